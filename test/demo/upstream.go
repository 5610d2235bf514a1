package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// upstream is what the plugin logs in to. The partner API and OCP's personal
// access tokens are emulated in any case: Keycloak has neither.
type upstream struct {
	emulator *emulator
	keycloak *servers.Keycloak // nil: Panta's login and OCP's IAM are emulated too
}

func startUpstream(ctx context.Context, kind string) (*upstream, error) {
	if kind != "emulator" && kind != "keycloak" {
		return nil, fmt.Errorf("IAM=%s: want emulator or keycloak", kind)
	}
	e, err := startEmulator()
	if err != nil {
		return nil, err
	}
	up := &upstream{emulator: e}
	if kind == "keycloak" {
		fmt.Printf("Starting Keycloak %s, which takes about half a minute ...\n", keycloakVersion)
		if up.keycloak, err = servers.StartKeycloak(ctx, keycloakVersion); err != nil {
			up.stop()
			return nil, err
		}
	}
	return up, nil
}

func (u *upstream) stop() {
	u.emulator.stop()
	if u.keycloak != nil {
		u.keycloak.Stop()
	}
}

// introduce says where what is.
func (u *upstream) introduce() string {
	if u.keycloak == nil {
		return fmt.Sprintf("Panta's login, OCP's IAM and the partner API are emulated at %s.", u.emulator.url)
	}
	return fmt.Sprintf("A real Keycloak %s at %s is Panta's login and OCP's IAM.\n", u.keycloak.Release.Name, u.keycloak.Origin) +
		"Its protected resource is userinfo, which checks the session and wants scopes=openid.\n" +
		fmt.Sprintf("Keycloak has no partner API and no personal access tokens: these are emulated at %s.", u.emulator.url)
}

// panta are the fields of a config that say where Panta's login is.
func (u *upstream) panta() string {
	if u.keycloak == nil {
		return "base_url=" + u.emulator.url
	}
	return "base_url=" + u.keycloak.BaseURL + " scopes=openid"
}

// ocp are the fields of a config that say where OCP's IAM is, and how one logs in.
func (u *upstream) ocp() string {
	if u.keycloak == nil {
		return u.ocpAddress()
	}
	return u.ocpAddress() + " scopes=openid"
}

// totpSecret is olga's: codes of a Keycloak of ours are good for a shorter time than usual.
func (u *upstream) totpSecret() string {
	if u.keycloak == nil {
		return iam.DemoTOTPSecret
	}
	return fmt.Sprintf("otpauth://totp/OCP:olga?secret=%s&period=%.0f", iam.DemoTOTPSecret, servers.TOTPPeriod.Seconds())
}

// ocpAddress is where OCP's IAM is.
func (u *upstream) ocpAddress() string {
	if u.keycloak == nil {
		return "base_url=" + u.emulator.url
	}
	return "base_url=" + u.keycloak.Origin
}

func (u *upstream) pantaAPI() string {
	if u.keycloak == nil {
		return u.emulator.url + "/api/panta/ping"
	}
	return u.userinfo(iam.DemoPantaRealm)
}

func (u *upstream) ocpAPI() string {
	if u.keycloak == nil {
		return u.emulator.url + "/api/ocp/nlu/ping"
	}
	return u.userinfo(iam.DemoSwarmRealm)
}

func (u *upstream) userinfo(realm string) string {
	return u.keycloak.BaseURL + "/realms/" + realm + "/protocol/openid-connect/userinfo"
}

// counter is who counts the sessions.
func (u *upstream) counter() string {
	if u.keycloak == nil {
		return "emulator's admin view"
	}
	return "Keycloak's admin REST API"
}

// sessions counts the sessions that the server has of a user.
func (u *upstream) sessions(ctx context.Context, realm, user string) (int, error) {
	if u.keycloak != nil {
		return u.keycloak.Sessions(ctx, realm, user)
	}
	answer, err := get(ctx, u.emulator.url+"/admin/realms/"+realm+"/users/"+user+"/sessions", nil)
	if err != nil {
		return 0, err
	}
	var list []struct{}
	err = json.Unmarshal([]byte(answer.body), &list)
	return len(list), err
}

// statistics are what the emulator counted.
func (u *upstream) statistics(ctx context.Context) (iam.Stats, error) {
	var stats iam.Stats
	answer, err := get(ctx, u.emulator.url+"/_iam/stats", nil)
	if err != nil {
		return stats, err
	}
	return stats, json.Unmarshal([]byte(answer.body), &stats)
}
