package servers

import (
	"context"
	"net/http"
)

// CreateClient adds a client to a realm, with attributes named as in Keycloak's
// ClientRepresentation: one that iam.Client cannot describe.
func (k *Keycloak) CreateClient(ctx context.Context, realm string, attributes map[string]any) error {
	return k.admin(ctx, http.MethodPost, "/"+realm+"/clients", attributes, nil)
}

// Issuer is the address of a realm as the server itself has it.
func (k *Keycloak) Issuer(ctx context.Context, realm string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, k.BaseURL+"/realms/"+realm+"/.well-known/openid-configuration", http.NoBody)
	if err != nil {
		return "", err
	}
	var said struct {
		Issuer string `json:"issuer"`
	}
	err = do(r, &said)
	return said.Issuer, err
}
