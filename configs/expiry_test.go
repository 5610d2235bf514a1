package configs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestThePersonalAccessTokenThatEndsSoonIsWarnedAbout(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for left, warning := range map[time.Duration]string{
		14*24*time.Hour + time.Second: "",
		14 * 24 * time.Hour:           "the personal access token ends at 2026-12-12T12:00:00Z; make a new one in OCP and write it with its expires_at",
		time.Second:                   "the personal access token ends at 2026-11-28T12:00:01Z; make a new one in OCP and write it with its expires_at",
		0:                             "the personal access token has ended at 2026-11-28T12:00:00Z; make a new one in OCP and write it with its expires_at",
	} {
		require.Equal(t, warning, ExpiryWarning(now.Add(left), now), "%s before its end", left)
	}
	require.Empty(t, ExpiryWarning(time.Time{}, now), "the end is not known")
}
