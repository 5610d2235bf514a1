package servers

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/pquerna/otp"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
)

// CreateRealm makes a realm like one of the emulator's, so that a test can have
// one of its own: its users, limits and lock-outs meet nobody else's. The realm
// master is there already and gets what that one has. What only the emulator has
// (API, Tenant, LoginTime, Release, PathPrefix, personal access tokens) is left
// out, and so is a limit where the release has no limiter. Of durations whole
// seconds count; 0 is Keycloak's default.
//
// It is done in steps because old releases fail on parts of one that is imported
// as a whole.
func (k *Keycloak) CreateRealm(ctx context.Context, r iam.Realm) error {
	path := "/" + r.Name
	if r.Name != "master" {
		if err := k.admin(ctx, http.MethodPost, "", object{"realm": r.Name, "enabled": true}, nil); err != nil {
			return err
		}
	}
	if err := k.admin(ctx, http.MethodPut, path, k.attributes(r), nil); err != nil {
		return err
	}
	digits, period := otpDefaults(r.OTP)
	for _, client := range clients(r) { // not imported: they would have no service account
		if err := k.admin(ctx, http.MethodPost, path+"/clients", client, nil); err != nil {
			return err
		}
	}
	imported := object{"ifResourceExists": "FAIL", "users": users(r, digits, period)}
	if err := k.admin(ctx, http.MethodPost, path+"/partialImport", imported, nil); err != nil {
		return err
	}
	if r.SessionLimit.Max == 0 || k.Release.SessionLimit == iam.NoLimiter {
		return nil
	}
	return k.limitSessions(ctx, r)
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

func otpDefaults(p iam.OTPPolicy) (digits, period int) {
	if p.Digits == 0 {
		p.Digits = otp.DigitsSix
	}
	if p.Period == 0 {
		p.Period = 30 * time.Second
	}
	return int(p.Digits), seconds(p.Period)
}

// attributes are the realm's own, named as in Keycloak's RealmRepresentation.
func (k *Keycloak) attributes(r iam.Realm) object {
	digits, period := otpDefaults(r.OTP)
	realm := object{
		"realm": r.Name, "enabled": true, "sslRequired": "none",
		// Two failures are in a row if a minute is between them, not a second: that
		// they were, must not depend on how busy the machine is.
		"bruteForceProtected": r.BruteForce, "quickLoginCheckMilliSeconds": time.Minute.Milliseconds(),
		// Nobody guesses these passwords, and hashing them costs half of a login.
		"passwordPolicy":     "hashAlgorithm(pbkdf2-sha256) and hashIterations(1)",
		"revokeRefreshToken": r.RevokeRefreshToken, "refreshTokenMaxReuse": 0,
		"otpPolicyType": "totp", "otpPolicyAlgorithm": "Hmac" + r.OTP.Algorithm.String(),
		"otpPolicyDigits": digits, "otpPolicyPeriod": period, "otpPolicyInitialCounter": 0,
		"otpPolicyLookAheadWindow": max(r.OTP.LookAround, 1),
	}
	if !k.Release.CodesWorkTwice { // else the attribute is not known
		realm["otpPolicyCodeReusable"] = r.OTP.Reusable
	}
	for name, d := range map[string]time.Duration{
		// The defaults of every realm but master.
		"accessTokenLifespan":   cmp.Or(r.TokenLife, 300*time.Second),
		"ssoSessionIdleTimeout": cmp.Or(r.SessionIdle, 1800*time.Second),
		"ssoSessionMaxLifespan": cmp.Or(r.SessionMax, 36000*time.Second),
	} {
		realm[name] = seconds(d)
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
			"attributes": object{"client_credentials.use_refresh_token": strconv.FormatBool(c.UseRefreshToken)},
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
		roles := object{}
		if u.AccountRoles {
			roles["account"] = []string{"view-profile", "manage-account"}
		}
		list = append(list, object{
			"username": u.Username, "enabled": !u.Disabled, "clientRoles": roles, "credentials": credentials,
			"email": u.Username + "@example.test", "emailVerified": true, "firstName": u.Username, "lastName": "Test",
			"requiredActions": append([]string{}, u.RequiredActions...),
		})
	}
	return list
}

// limitSessions puts the session limit behind user name, password and one-time
// code: at the end of a copy of the realm's direct grant flow.
func (k *Keycloak) limitSessions(ctx context.Context, r iam.Realm) error {
	behaviour, message := "Deny new session", r.SessionLimit.Message
	if r.SessionLimit.Behaviour == iam.TerminateOldest {
		behaviour = "Terminate oldest session"
	}
	if message == "" {
		message = "session limit exceeded"
	}
	const flow, limiter = "limited", "user-session-limits"
	authentication := "/" + r.Name + "/authentication"
	executions := authentication + "/flows/" + flow + "/executions"
	if err := k.admin(ctx, http.MethodPost, authentication+"/flows/direct%20grant/copy", object{"newName": flow}, nil); err != nil {
		return err
	}
	if err := k.admin(ctx, http.MethodPost, executions+"/execution", object{"provider": limiter}, nil); err != nil {
		return err
	}
	var all []object
	if err := k.admin(ctx, http.MethodGet, executions, nil, &all); err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(e object) bool { return e["providerId"] == limiter })
	if i < 0 {
		return fmt.Errorf("realm %s: the copied flow has no %s", r.Name, limiter)
	}
	limit := all[i]
	limit["requirement"] = "REQUIRED"
	if err := k.admin(ctx, http.MethodPut, executions, limit, nil); err != nil {
		return err
	}
	config := object{"alias": "limit", "config": object{
		"userRealmLimit": strconv.Itoa(r.SessionLimit.Max), "userClientLimit": "0", "behavior": behaviour, "errorMessage": message,
	}}
	if err := k.admin(ctx, http.MethodPost, fmt.Sprintf("%s/executions/%s/config", authentication, limit["id"]), config, nil); err != nil {
		return err
	}
	return k.UpdateRealm(ctx, r.Name, object{"realm": r.Name, "directGrantFlow": flow})
}
