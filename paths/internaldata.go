package paths

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
)

// internalData is what Vault keeps with a lease, and gives back when it is
// revoked: ids only, never a token.
type internalData struct {
	lease  sessions.LeaseRef // zero: a personal access token, of which nothing ends
	config string
}

// internalVersion is the newest form that this plugin reads. Leases outlive
// upgrades and downgrades of the plugin.
const internalVersion = 1

func (d internalData) encode() map[string]any {
	return map[string]any{
		"secret_type": tokenType,
		"version":     internalVersion,
		"account":     string(d.lease.Account),
		"session":     d.lease.Session,
		"grant":       d.lease.Grant,
		"mode":        string(d.lease.Mode),
		"config":      d.config,
	}
}

func decodeInternalData(raw map[string]any) (internalData, error) {
	switch version, ok := wholeNumber(raw["version"]); {
	case !ok:
		return internalData{}, errors.New("the lease's internal data has no version")
	case version != internalVersion:
		return internalData{}, fmt.Errorf("the lease's internal data is of version %d; this plugin reads version %d", version, internalVersion)
	}
	texts := make(map[string]string)
	for _, field := range []string{"account", "session", "grant", "mode", "config"} {
		value, ok := raw[field].(string)
		if !ok {
			return internalData{}, fmt.Errorf("the lease's internal data has no %q", field)
		}
		texts[field] = value
	}
	d := internalData{
		lease: sessions.LeaseRef{
			Account: sessions.AccountID(texts["account"]),
			Session: texts["session"],
			Grant:   texts["grant"],
			Mode:    providers.Mode(texts["mode"]),
		},
		config: texts["config"],
	}
	return d, d.checkIDs()
}

// checkIDs refuses ids that name nothing (rule 5).
func (d internalData) checkIDs() error {
	if !d.holdsSession() {
		return nil
	}
	if !sessions.IsAccountID(string(d.lease.Account)) {
		return errors.New("the lease's internal data has an \"account\" that cannot be read")
	}
	if _, err := machine.ParseTokenRef(d.lease.Session); err != nil {
		return errors.New("the lease's internal data has a \"session\" that cannot be read")
	}
	if _, err := machine.ParseGrantID(d.lease.Grant); err != nil {
		return errors.New("the lease's internal data has a \"grant\" that cannot be read")
	}
	return nil
}

// wholeNumber reads a number as JSON leaves it, which depends on who decoded it.
func wholeNumber(value any) (int64, bool) {
	switch n := value.(type) {
	case int:
		return int64(n), true
	case float64:
		return int64(n), n == float64(int64(n))
	case json.Number:
		whole, err := n.Int64()
		return whole, err == nil
	}
	return 0, false
}

// holdsSession is false for a personal access token.
func (d internalData) holdsSession() bool { return d.lease.Session != "" }
