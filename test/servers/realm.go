package servers

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/pquerna/otp"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

// CreateRealm makes a realm like one of the emulator's, so that a test can have
// one of its own: its users, limits and lock-outs meet nobody else's. What only
// the emulator has (API, Tenant, LoginTime, Version, PathPrefix, personal access
// tokens) is left out. Of durations whole seconds count; 0 is Keycloak's default.
func (k *Keycloak) CreateRealm(ctx context.Context, r iam.Realm) error {
	return k.admin(ctx, http.MethodPost, "", realmRepresentation(r), nil)
}

// UpdateRealm changes attributes of a realm, named as in Keycloak's RealmRepresentation.
func (k *Keycloak) UpdateRealm(ctx context.Context, realm string, attributes map[string]any) error {
	return k.admin(ctx, http.MethodPut, "/"+realm, attributes, nil)
}

// UpdateUser changes attributes of a user, named as in Keycloak's UserRepresentation.
func (k *Keycloak) UpdateUser(ctx context.Context, realm, username string, attributes map[string]any) error {
	id, err := k.userID(ctx, realm, username)
	if err != nil {
		return err
	}
	return k.admin(ctx, http.MethodPut, "/"+realm+"/users/"+id, attributes, nil)
}

type object = map[string]any

func realmRepresentation(r iam.Realm) object {
	digits, period := r.OTP.Digits, r.OTP.Period
	if digits == 0 {
		digits = otp.DigitsSix
	}
	if period == 0 {
		period = 30 * time.Second
	}
	realm := object{
		"realm": r.Name, "enabled": true, "sslRequired": "none",
		// Two failures are in a row if a minute is between them, not a second: that
		// they were, must not depend on how busy the machine is.
		"bruteForceProtected": r.BruteForce, "quickLoginCheckMilliSeconds": time.Minute.Milliseconds(),
		// Nobody guesses these passwords, and hashing them costs half of a login.
		"passwordPolicy":     "hashAlgorithm(pbkdf2-sha256) and hashIterations(1)",
		"revokeRefreshToken": r.RevokeRefreshToken, "refreshTokenMaxReuse": 0,
		"otpPolicyType": "totp", "otpPolicyAlgorithm": "Hmac" + r.OTP.Algorithm.String(),
		"otpPolicyDigits": int(digits), "otpPolicyPeriod": seconds(period), "otpPolicyInitialCounter": 0,
		"otpPolicyLookAheadWindow": max(r.OTP.LookAround, 1), "otpPolicyCodeReusable": r.OTP.Reusable,
		"clients": clients(r), "users": users(r, int(digits), seconds(period)),
	}
	for name, d := range map[string]time.Duration{
		"accessTokenLifespan": r.TokenLife, "ssoSessionIdleTimeout": r.SessionIdle, "ssoSessionMaxLifespan": r.SessionMax,
	} {
		if d > 0 {
			realm[name] = seconds(d)
		}
	}
	if r.SessionLimit.Max > 0 {
		limitSessions(realm, r.SessionLimit)
	}
	return realm
}

func seconds(d time.Duration) int { return int(d / time.Second) }

func clients(r iam.Realm) []object {
	var list []object
	for _, c := range r.Clients {
		list = append(list, object{
			"clientId": c.ID, "enabled": true, "publicClient": c.Secret == "", "secret": c.Secret,
			"directAccessGrantsEnabled": c.DirectGrants, "serviceAccountsEnabled": c.ServiceAccount,
		})
	}
	return list
}

func users(r iam.Realm, digits, period int) []object {
	var list []object
	for _, u := range r.Users {
		credentials := []object{{"type": "password", "value": u.Password, "temporary": false}}
		if u.TOTPSecret != "" {
			credentials = append(credentials, object{
				"type":       "otp",
				"secretData": fmt.Sprintf(`{"value":%q}`, u.TOTPSecret),
				"credentialData": fmt.Sprintf(`{"subType":"totp","digits":%d,"counter":0,"period":%d,"algorithm":"Hmac%s"}`,
					digits, period, r.OTP.Algorithm),
			})
		}
		roles := []string{}
		if u.AccountRoles {
			roles = append(roles, "default-roles-"+r.Name)
		}
		list = append(list, object{
			"username": u.Username, "enabled": !u.Disabled, "realmRoles": roles, "credentials": credentials,
			"email": u.Username + "@example.test", "emailVerified": true, "firstName": u.Username, "lastName": "Test",
			"requiredActions": append([]string{}, u.RequiredActions...),
		})
	}
	return list
}

// limitSessions gives the realm the direct grant flow of test/keycloak/realms:
// user name, password, one-time code where the user has one, session limit.
func limitSessions(realm object, limit iam.SessionLimit) {
	behaviour, message := "Deny new session", limit.Message
	if limit.Behaviour == iam.TerminateOldest {
		behaviour = "Terminate oldest session"
	}
	if message == "" {
		message = "session limit exceeded"
	}
	step := func(priority int, authenticator string) object {
		return object{"authenticator": authenticator, "authenticatorFlow": false, "requirement": "REQUIRED", "priority": priority}
	}
	last := step(40, "user-session-limits")
	last["authenticatorConfig"] = "limit"
	realm["directGrantFlow"] = "limited"
	realm["authenticationFlows"] = []object{
		{
			"alias": "limited", "providerId": "basic-flow", "topLevel": true, "builtIn": false,
			"authenticationExecutions": []object{
				step(10, "direct-grant-validate-username"),
				step(20, "direct-grant-validate-password"),
				{"flowAlias": "limited-otp", "authenticatorFlow": true, "requirement": "CONDITIONAL", "priority": 30},
				last,
			},
		},
		{
			"alias": "limited-otp", "providerId": "basic-flow", "topLevel": false, "builtIn": false,
			"authenticationExecutions": []object{step(10, "conditional-user-configured"), step(20, "direct-grant-validate-otp")},
		},
	}
	realm["authenticatorConfig"] = []object{{"alias": "limit", "config": object{
		"userRealmLimit": strconv.Itoa(limit.Max), "userClientLimit": "0", "behavior": behaviour, "errorMessage": message,
	}}}
}
