package configs

import (
	"context"
	"net/url"
	"slices"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
)

// refuseSecretsElsewhere refuses to send what is stored to another host: whoever may
// write a config may not read from it. Secrets that are given anew replace it; they
// are not compared, which would tell whether a guess is right.
func (w *write) refuseSecretsElsewhere() error {
	before, next := w.before.account, w.next.account
	for _, endpoint := range []struct{ field, before, next string }{
		{"logout_url", before.LogoutURL, next.LogoutURL},
		{"revocation_url", before.RevocationURL, next.RevocationURL},
	} {
		if origin := originOf(endpoint.next); origin == "" || origin == originOf(endpoint.before) || origin == originOf(next.TokenURL) {
			continue
		}
		for _, secret := range []struct {
			field  string
			stored providers.Secret
		}{{"client_secret", before.ClientSecret}, {"password", before.Password}} {
			if _, given := w.change[secret.field]; !secret.stored.Empty() && !given {
				return refuse(endpoint.field, "leads to another host, which is then sent the client's secret and refresh tokens; give %s with it", secret.field)
			}
		}
	}
	return nil
}

// refuseSessionsElsewhere refuses to send the refresh tokens of sessions that are
// open, or wait for their logout, to a host that was not to get them.
func (w *write) refuseSessionsElsewhere(ctx context.Context) error {
	if !w.next.canLogIn() {
		return nil
	}
	known := []string{"", originOf(w.next.account.TokenURL)}
	for _, n := range []*connection{w.before, w.other} {
		if n != nil && n.canLogIn() {
			known = append(known, originOf(n.account.LogoutURL), originOf(n.account.RevocationURL))
		}
	}
	kept, found, err := w.entries.Retired.Get(ctx, string(w.next.id))
	if err != nil {
		return err
	}
	if found {
		known = append(known, originOf(kept.Account.LogoutURL), originOf(kept.Account.RevocationURL))
	}
	for _, endpoint := range []struct{ field, url string }{
		{"logout_url", w.next.account.LogoutURL}, {"revocation_url", w.next.account.RevocationURL},
	} {
		if slices.Contains(known, originOf(endpoint.url)) {
			continue
		}
		open, err := w.engine.InUse(ctx, w.next.id)
		if err != nil {
			return err
		}
		if open > 0 {
			return refuse(endpoint.field, "leads to another host, and %d session(s) of the account are open: their refresh tokens would be sent there; revoke their leases first", open)
		}
	}
	return nil
}

// originOf is the scheme and host of an address that Normalize has checked; empty:
// there is none.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
