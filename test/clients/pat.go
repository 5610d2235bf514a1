package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// Personal access tokens of the emulator.
const (
	oldPAT = "pat-old"
	newPAT = "pat-new"
)

// patLease is the ttl of the config that holds one.
const patLease = 15 * time.Second

// agentRotatedPAT is the runbook "Rotating a personal access token" of
// docs/operations.md: the new token is written, and its owner deletes the old
// one when the leases of that moment are over.
func agentRotatedPAT(ctx context.Context, at *site) error {
	ended := make(chan error, 1)
	go func() {
		ended <- at.agent(ctx, fmt.Sprintf("template {\n  contents = %q\n  destination = %q\n}\n",
			fmt.Sprintf(`{{ with secret %q }}{{ .Data.personal_access_token }}{{ end }}`, at.path), tokenFile))
	}()
	return errors.Join(at.rotatePAT(ctx), <-ended)
}

func (at *site) rotatePAT(ctx context.Context) error {
	for at.shown() == "" {
		if !wait(ctx, 100*time.Millisecond) {
			return nil
		}
	}
	if !wait(ctx, at.life) {
		return nil
	}
	_, err := at.root.Logical().WriteWithContext(ctx, servers.Mount+"/config/"+at.name(), map[string]any{"personal_access_token": newPAT})
	if err != nil {
		return err
	}
	written := time.Now()
	for at.shown() != newPAT {
		if !wait(ctx, 100*time.Millisecond) {
			return errors.New("the new token did not reach the file")
		}
	}
	at.note("the new token was in the file %.1f s after it was written; leases last %.0f s", time.Since(written).Seconds(), patLease.Seconds())
	if wait(ctx, time.Until(written.Add(patLease))) {
		at.deletePAT(oldPAT)
	}
	return nil
}

func (at *site) deletePAT(token string) {
	at.mu.Lock()
	defer at.mu.Unlock()
	at.deleted = token
}

func (at *site) isDeleted(token string) bool {
	at.mu.Lock()
	defer at.mu.Unlock()
	return at.deleted == token
}
