package machine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

func TestAGrantSetForgetsWhatIsRemovedAndNothingElse(t *testing.T) {
	var g grantSet
	require.False(t, g.remove(0))
	for id := uint64(1); id <= 3; id++ {
		g.add(id)
	}
	require.Equal(t, 3, g.len())
	require.True(t, g.remove(1))
	require.False(t, g.remove(1))
	require.False(t, g.remove(0))
	require.Equal(t, 2, g.len())
	g.add(4)
	require.True(t, g.remove(3))
	require.True(t, g.remove(4))
	require.True(t, g.remove(2))
	require.False(t, g.remove(2))
	require.Zero(t, g.len())
}

func TestReferencesAreReadAsTheyAreWritten(t *testing.T) {
	grant, err := ParseGrantID(GrantID{Boot: "boot", N: 7}.String())
	require.NoError(t, err)
	require.Equal(t, GrantID{Boot: "boot", N: 7}, grant)
	for _, text := range []string{"", "boot", "7", "-7", "boot-", "boot-x", "boot--7"} {
		_, err := ParseGrantID(text)
		require.Error(t, err, text)
	}
	require.Empty(t, TokenRef{}.String())
	ref, err := ParseTokenRef(TokenRef{Session: "s", Generation: 1}.String())
	require.NoError(t, err)
	require.Equal(t, TokenRef{Session: "s", Generation: 1}, ref)
	for _, text := range []string{"", "s", "1", ".1", "s.", "s.x", "s.0", "s.-1"} {
		_, err := ParseTokenRef(text)
		require.Error(t, err, text)
	}
}

func TestOnlyALeaseThatIsNotTheLastIsReleasedOnTheHotPath(t *testing.T) {
	now := time.Now()
	a := newBenchAccount(1, benchLimits, now)
	first := openShared(t, a, now)
	session := first.Token.Ref.Session
	require.False(t, a.TryRelease(session, first.ID), "the last one")

	second, granted := a.TryGrant(Want{Mode: providers.Shared}, now)
	require.True(t, granted)
	require.False(t, a.TryRelease(session, GrantID{Boot: "another boot", N: second.ID.N}))
	require.False(t, a.TryRelease("session-0", GrantID{Boot: "boot", N: 1}), "a dedicated session")
	require.False(t, a.TryRelease("unknown", second.ID))
	require.True(t, a.TryRelease(session, second.ID))
	require.False(t, a.TryRelease(session, second.ID), "a second time")

	// The first lease still holds the session.
	require.Empty(t, a.Step(Tick{}, now.Add(time.Minute)))
	effects := a.Step(Release{Waiter: 2, Session: session, Grant: first.ID}, now.Add(time.Minute))
	require.IsType(t, Logout{}, effects[0])
}
