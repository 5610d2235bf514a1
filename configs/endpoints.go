package configs

import (
	"net/url"
	"slices"
	"strings"
)

// guardEndpoints refuses to send what is stored to a host that has not had it:
// whoever may write a config may not read from it. Secrets that are given anew
// replace it; they are not compared, which would tell whether a guess is right.
//
// Sessions that are open stay with the connection that opened them.
func (w *write) guardEndpoints() error {
	known := w.knownOrigins()
	next := w.next.account
	for _, endpoint := range []struct{ field, url string }{
		{"base_url", next.TokenURL}, {"token_url", next.TokenURL}, {"logout_url", next.LogoutURL}, {"revocation_url", next.RevocationURL},
	} {
		origin := originOf(endpoint.url)
		if origin == "" || slices.Contains(known, origin) || !w.next.uses(endpoint.field) {
			continue
		}
		if err := w.wantSecretsAnew(endpoint.field); err != nil {
			return err
		}
	}
	// Behind one address the name decides who answers.
	if name := next.TLSServerName; name != "" && !slices.Contains(known, strings.ToLower(name)) {
		return w.wantSecretsAnew("tls_server_name")
	}
	return nil
}

// wantSecretsAnew refuses a field unless each secret that is stored is given with it.
func (w *write) wantSecretsAnew(field string) error {
	var missing []string
	for _, secret := range []string{"client_secret", "private_key", "password", "totp_secret"} {
		_, stored := w.old[secret]
		if _, given := w.change[secret]; stored && !given {
			missing = append(missing, secret)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return refuse(field, "leads to a host that has not had the stored secrets; give %s with it", strings.Join(missing, " and "))
}

// knownOrigins are where the stored secrets have been sent. Of a stored config that is
// not valid any more it is only what was given as addresses.
func (w *write) knownOrigins() []string {
	addresses := []any{w.old["base_url"], w.old["token_url"], w.old["logout_url"], w.old["revocation_url"]}
	name := w.old["tls_server_name"]
	if w.before != nil {
		a := w.before.account
		addresses = append(addresses, a.TokenURL, a.LogoutURL, a.RevocationURL)
	}
	var known []string
	for _, address := range addresses {
		text, _ := address.(string)
		known = append(known, originOf(text))
	}
	if text, _ := name.(string); text != "" {
		known = append(known, strings.ToLower(text))
	}
	return known
}

// originOf is the scheme and host of an address; empty: there is none.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return ""
	}
	return strings.ToLower(u.Scheme + "://" + u.Host)
}
