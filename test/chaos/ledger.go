package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// ledger reads what the plugin has stored past the plugin, through Vault's raw
// storage. It is a witness that asks nobody's opinion.
type ledger struct {
	client func() *api.Client
	root   string // sys/raw/logical/<mount>/session/
}

func openLedger(ctx context.Context, client func() *api.Client) (*ledger, error) {
	mounts, err := client().Sys().ListMountsWithContext(ctx)
	if err != nil {
		return nil, err
	}
	mount, ok := mounts[servers.Mount+"/"]
	if !ok {
		return nil, errors.New("the plugin is not mounted")
	}
	return &ledger{client: client, root: "sys/raw/logical/" + mount.UUID + "/session/"}, nil
}

// sessions returns where each session of the ledger is stored, by its id.
func (l *ledger) sessions(ctx context.Context) (map[string]string, error) {
	found := map[string]string{}
	accounts, err := l.list(ctx, l.root)
	if err != nil {
		return nil, err
	}
	for _, account := range accounts {
		ids, err := l.list(ctx, l.root+account)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			found[id] = l.root + account + id
		}
	}
	return found, nil
}

func (l *ledger) list(ctx context.Context, path string) ([]string, error) {
	secret, err := l.client().Logical().ListWithContext(ctx, path)
	if err != nil || secret == nil {
		return nil, err
	}
	keys, ok := secret.Data["keys"].([]any)
	if !ok {
		return nil, fmt.Errorf("a list of %s without keys", path)
	}
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = fmt.Sprint(k)
	}
	return names, nil
}

// stage returns the stage of a stored session: "opening", "open", "closing",
// "spent"; empty: it is not there any more.
func (l *ledger) stage(ctx context.Context, path string) (string, error) {
	secret, err := l.client().Logical().ReadWithContext(ctx, path)
	if err != nil || secret == nil {
		return "", err
	}
	value, _ := secret.Data["value"].(string)
	at := strings.Index(value, `"stage"`)
	if at < 0 {
		return "", fmt.Errorf("the entry %s has no stage", path)
	}
	var stage string
	_, rest, _ := strings.Cut(value[at:], ":")
	if err := json.NewDecoder(strings.NewReader(rest)).Decode(&stage); err != nil {
		return "", fmt.Errorf("the entry %s: %w", path, err)
	}
	return stage, nil
}
