package configs

import (
	"cmp"
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
	logins, all := w.knownServers()
	next := w.next.account
	for _, endpoint := range []struct {
		field, url string
		known      []string
	}{
		{"base_url", next.TokenURL, logins},
		{"token_url", next.TokenURL, logins},
		{"logout_url", next.LogoutURL, all},
		{"revocation_url", next.RevocationURL, all},
	} {
		server := serverOf(endpoint.url, next.TLSServerName)
		if server == "" || slices.Contains(endpoint.known, server) || !w.next.uses(endpoint.field) {
			continue
		}
		field := endpoint.field
		if slices.Contains(endpoint.known, serverOf(endpoint.url, w.stored("tls_server_name"))) {
			field = "tls_server_name"
		}
		if err := w.wantSecretsAnew(field, "leads to a host that has not had the stored secrets"); err != nil {
			return err
		}
	}
	if next.CACert != "" && next.CACert != w.stored("ca_cert") {
		return w.wantSecretsAnew("ca_cert", "decides which host gets the stored secrets")
	}
	return nil
}

// wantSecretsAnew refuses a field unless each secret that is stored is given with it.
func (w *write) wantSecretsAnew(field, problem string) error {
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
	return refuse(field, "%s; give %s with it", problem, strings.Join(missing, " and "))
}

// knownServers are where the stored secrets have been sent: all of them with logins, and
// those that logouts need. Of a stored config that is not valid any more it is only what
// was given as addresses.
func (w *write) knownServers() (logins, all []string) {
	loginURLs := []string{w.stored("base_url"), w.stored("token_url")}
	logoutURLs := []string{w.stored("logout_url"), w.stored("revocation_url")}
	if w.before != nil {
		a := w.before.account
		loginURLs, logoutURLs = append(loginURLs, a.TokenURL), append(logoutURLs, a.LogoutURL, a.RevocationURL)
	}
	for _, address := range loginURLs {
		logins = append(logins, serverOf(address, w.stored("tls_server_name")))
	}
	all = slices.Clone(logins)
	for _, address := range logoutURLs {
		all = append(all, serverOf(address, w.stored("tls_server_name")))
	}
	return logins, all
}

// stored is a field of the stored config that is a text; empty: not given.
func (w *write) stored(field string) string {
	text, _ := w.old[field].(string)
	return text
}

// serverOf is the scheme and host of an address, and the name in the server's
// certificate, which decides behind one address who answers; empty: there is none.
func serverOf(address, tlsServerName string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return ""
	}
	return strings.ToLower(u.Scheme + "://" + u.Host + " " + cmp.Or(tlsServerName, u.Hostname()))
}
