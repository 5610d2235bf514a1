package oauth2_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every vector is an answer of status 200. In its body "JWT" stands for a token
// with its claims. It is either of no use, and then says whether its session can
// be ended, or it is good for so long.
func TestEveryAnswerThatLiesHasAStatedOutcome(t *testing.T) {
	text, err := os.ReadFile("testdata/lies.json")
	require.NoError(t, err)
	var vectors []struct {
		Name         string            `json:"name"`
		Preset       string            `json:"preset"` // empty: panta
		Op           string            `json:"op"`     // empty: login
		Header       map[string]string `json:"header"`
		Claims       json.RawMessage   `json:"claims"`
		Body         string            `json:"body"`
		Kind         string            `json:"kind"` // empty: success
		Outcome      string            `json:"outcome"`
		RefreshToken string            `json:"refresh_token"` // of a failure; of a refresh
		ExpiresIn    string            `json:"expires_in"`
		ServerTime   string            `json:"server_time"`
	}
	require.NoError(t, json.Unmarshal(text, &vectors))
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			if v.Preset == "" {
				v.Preset = "panta"
			}
			if v.Claims == nil {
				v.Claims = []byte("{}")
			}
			rt := &roundTrip{status: 200, header: v.Header, body: strings.ReplaceAll(v.Body, "JWT", token(string(v.Claims)))}
			got, err := do(t.Context(), connect(t, account(v.Preset), v.Preset, rt), v.Op)
			assert.Equal(t, 1, rt.calls)
			if v.Kind != "" {
				failure := asError(t, err)
				assert.Equal(t, v.Kind, failure.Kind.String())
				assert.Equal(t, v.Outcome, failure.Outcome.String())
				assert.Equal(t, v.RefreshToken, got.RefreshToken.Reveal())
				assert.True(t, got.AccessToken.Empty(), "an answer of no use hands out nothing")
				return
			}
			require.NoError(t, err)
			assertUsable(t, got)
			life, err := time.ParseDuration(v.ExpiresIn)
			require.NoError(t, err)
			assert.Equal(t, life, got.ExpiresIn)
			assert.Zero(t, got.RefreshExpiresIn)
			if v.Op == "refresh" {
				assert.Equal(t, v.RefreshToken, got.RefreshToken.Reveal())
			}
			if v.ServerTime != "" {
				assert.Equal(t, v.ServerTime, got.ServerTime.Format(time.RFC3339))
			}
		})
	}
}
