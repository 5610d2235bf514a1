package servers

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

// The realms are those of the emulator: every user logs in, has one session and
// none after its logout.
func TestRealms(t *testing.T) {
	version := os.Getenv("KEYCLOAK")
	if version == "" {
		t.Skip("make test-keycloak runs this: KEYCLOAK=<version> says which Keycloak to start")
	}
	k := RunKeycloak(t, version)

	for _, realm := range iam.Demo().Realms {
		client := realm.Clients[0]
		for _, user := range realm.Users {
			t.Run(realm.Name+"/"+user.Username, func(t *testing.T) {
				ctx := t.Context()
				form := url.Values{
					"grant_type": {"password"}, "scope": {"openid"},
					"client_id": {client.ID}, "client_secret": {client.Secret},
					"username": {user.Username}, "password": {user.Password},
				}
				var token struct {
					Access string `json:"access_token"`
				}
				if user.TOTPSecret != "" {
					require.Error(t, k.post(ctx, realm.Name, form, &token), "a login without a code")
					code, err := totp.GenerateCodeCustom(iam.DemoTOTPSecret, time.Now(),
						totp.ValidateOpts{Period: uint(TOTPPeriod / time.Second), Digits: otp.DigitsSix})
					require.NoError(t, err)
					form.Set("otp", code)
				}
				require.NoError(t, k.post(ctx, realm.Name, form, &token))

				require.NoError(t, k.get(ctx, realm.Name+"/protocol/openid-connect/userinfo", token.Access))
				err := k.get(ctx, realm.Name+"/account/sessions", token.Access)
				if user.AccountRoles {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, "401")
				}

				sessions, err := k.Sessions(ctx, realm.Name, user.Username)
				require.NoError(t, err)
				require.Equal(t, 1, sessions)
				require.NoError(t, k.LogoutUser(ctx, realm.Name, user.Username))
				sessions, err = k.Sessions(ctx, realm.Name, user.Username)
				require.NoError(t, err)
				require.Zero(t, sessions)
			})
		}
		t.Run(realm.Name+"/client credentials", func(t *testing.T) {
			require.NoError(t, k.post(t.Context(), realm.Name, url.Values{
				"grant_type": {"client_credentials"},
				"client_id":  {iam.DemoService}, "client_secret": {iam.DemoServiceSecret},
			}, nil))
		})
		if realm.SessionLimit.Max > 0 {
			t.Run(realm.Name+"/session limit", func(t *testing.T) {
				form := url.Values{
					"grant_type": {"password"}, "client_id": {client.ID},
					"username": {iam.DemoPlainUser}, "password": {iam.DemoPlainPassword},
				}
				for range realm.SessionLimit.Max {
					require.NoError(t, k.post(t.Context(), realm.Name, form, nil))
				}
				require.ErrorContains(t, k.post(t.Context(), realm.Name, form, nil), "403")
			})
		}
	}
}

// post asks a realm for a token.
func (k *Keycloak) post(ctx context.Context, realm string, form url.Values, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		k.BaseURL+"/realms/"+realm+"/protocol/openid-connect/token", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return do(req, out)
}

// get reads a resource of a realm with an access token.
func (k *Keycloak) get(ctx context.Context, path, token string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.BaseURL+"/realms/"+path, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	return do(req, nil)
}
