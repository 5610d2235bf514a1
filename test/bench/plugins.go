package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/hashicorp/vault/api"
)

// build builds a command below test/bench into a directory, with the flags of
// the plugin that is released.
func build(ctx context.Context, dir, name string) (string, error) {
	path := filepath.Join(dir, "bench-"+name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path,
		"github.com/pantaindex/vault-plugin-secrets-panta/test/bench/"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", name, err, out)
	}
	return path, nil
}

// enable registers a plugin's binary under the name of its mount and mounts it.
func (g *ground) enable(ctx context.Context, binary, mount string, args ...string) error {
	data, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	name := "bench-" + mount
	if err := os.WriteFile(filepath.Join(g.vault.Dir, "plugins", name), data, 0o700); err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	err = g.client.Sys().RegisterPluginWithContext(ctx, &api.RegisterPluginInput{
		Name: name, Type: api.PluginTypeSecrets, Command: name, Args: args, SHA256: hex.EncodeToString(sum[:]),
	})
	if err != nil {
		return err
	}
	return g.client.Sys().MountWithContext(ctx, mount, &api.MountInput{Type: name})
}
