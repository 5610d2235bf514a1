package presets

import "github.com/pantaindex/vault-plugin-secrets-panta/providers"

// The fields of package providers' Account as a preset lists them.

func required(f providers.Field) providers.Field {
	f.Required = true
	return f
}

func environment(names string) providers.Field {
	return providers.Field{Name: "environment", Help: "Named preset of base_url and realm: " + names + ". Required unless base_url is given."}
}

func baseURL() providers.Field {
	return providers.Field{Name: "base_url", Help: "Address of the identity server, without the path of its endpoints. It wins over that of an environment."}
}

func realm() providers.Field {
	return providers.Field{Name: "realm", Help: "Keycloak realm. It wins over that of an environment."}
}

func logoutURL() providers.Field {
	return providers.Field{Name: "logout_url", Help: "Logout endpoint, if it is not the realm's own."}
}

func clientID() providers.Field {
	return providers.Field{Name: "client_id", Help: "OAuth 2.0 client identifier."}
}

func clientSecret() providers.Field {
	return providers.Field{Name: "client_secret", Secret: true, Help: "Secret of the client, unless it is a public one."}
}

func username() providers.Field {
	return providers.Field{Name: "username", Help: "Name of the user who logs in."}
}

func password() providers.Field {
	return providers.Field{Name: "password", Secret: true, Help: "Password of the user."}
}

func scopes() providers.Field {
	return providers.Field{Name: "scopes", Help: "Scopes to ask for; offline_access is not allowed."}
}

// totp are the fields from which one-time codes are made.
func totp() []providers.Field {
	return []providers.Field{
		{Name: "totp_secret", Secret: true, Help: "Secret of the user's authenticator: base32, or the otpauth:// URL of its QR code. Without it a person types each code as otp."},
		{Name: "totp_digits", Default: "6", Help: "Length of a code: 6 or 8."},
		{Name: "totp_period", Default: "30s", Help: "Life of a code, whole seconds from 1 to 300."},
		{Name: "totp_algorithm", Default: "SHA1", Help: "SHA1, SHA256 or SHA512."},
	}
}

// connection are the fields that say how the server is reached.
func connection() []providers.Field {
	return []providers.Field{
		{Name: "request_timeout", Default: "10s", Help: "Time limit of one call to the server, at most 60s."},
		{Name: "ca_cert", Help: "PEM certificates of authorities to trust besides the system's."},
		{Name: "tls_server_name", Help: "Name that the server's certificate must have, if it is not the host of its address."},
		{Name: "allow_http", Default: "false", Help: "Allow plain http to hosts other than this one. Passwords then cross the network in the clear."},
	}
}
