package presets_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/presets"
)

func TestEveryProviderIsFoundByItsName(t *testing.T) {
	var names []string
	for _, p := range presets.All() {
		d := p.Describe()
		names = append(names, d.Name)
		found, ok := presets.All().Lookup(d.Name)
		require.True(t, ok)
		assert.Equal(t, d, found.Describe())
	}
	assert.Equal(t, []string{"panta", "ocp", "partner", "keycloak", "oauth2"}, names)
	_, ok := presets.All().Lookup("nobody")
	assert.False(t, ok)
}

func TestDefaultsAreThoseOfTheDesign(t *testing.T) {
	type defaults struct {
		mode     providers.Mode
		limit    int
		sessions bool
	}
	got := map[string]defaults{}
	for _, p := range presets.All() {
		d := p.Describe()
		for _, m := range d.Methods {
			got[d.Name+" "+string(m.Name)] = defaults{m.Mode, m.MaxSessions, m.Sessions}
		}
	}
	assert.Equal(t, map[string]defaults{
		"panta password":              {providers.Dedicated, 0, true},
		"ocp password":                {providers.Shared, 5, true},
		"ocp pat":                     {providers.Shared, 0, false},
		"partner client_credentials":  {providers.Shared, 0, false},
		"keycloak password":           {providers.Dedicated, 0, true},
		"keycloak client_credentials": {providers.Shared, 0, true},
		"oauth2 password":             {providers.Dedicated, 0, true},
		"oauth2 client_credentials":   {providers.Shared, 0, true},
	}, got)
}

func TestEveryFieldIsDescribed(t *testing.T) {
	secrets := map[string]bool{"client_secret": true, "private_key": true, "password": true, "totp_secret": true, "personal_access_token": true}
	for _, p := range presets.All() {
		for _, m := range p.Describe().Methods {
			seen := map[string]bool{}
			for _, f := range m.Fields {
				assert.NotEmpty(t, f.Help, f.Name)
				assert.Equal(t, secrets[f.Name], f.Secret, f.Name)
				assert.False(t, seen[f.Name], "%s twice", f.Name)
				seen[f.Name] = true
			}
		}
	}
}

func TestAPersonalAccessTokenWorksForTheSevenServicesOfTheDocument(t *testing.T) {
	ocp, ok := presets.All().Lookup("ocp")
	require.True(t, ok)
	pat, ok := ocp.Describe().Method(providers.PersonalAccessToken)
	require.True(t, ok)
	assert.Len(t, pat.Services, 7)
}
