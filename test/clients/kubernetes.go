package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/vault/api"
)

// What was seen of the operators on a real kube-apiserver. A token reaches the
// application when the kubelet has brought the Secret to its volume.

// kubelet is that delay: two thirds of a minute for a token that lives 300 s.
func (w *world) kubelet() time.Duration { return w.life / 8 }

// interval is how often a client reads that does not look at leases. Before the
// lease is over, which is 5 s before the end of a token that may have been read
// at half its life: else the last lease of a shared session ends, and the session
// with it, before the next read.
func (w *world) interval() time.Duration { return w.life/2 - 7*time.Second }

// bring shows a token after the kubelet's delay.
func (at *site) bring(ctx context.Context, secret *api.Secret) error {
	if at.shown() != "" && !wait(ctx, at.kubelet()) {
		return nil
	}
	return at.show(secret.Data["access_token"])
}

// login is by AppRole, where the operators use their service account.
func (at *site) login(ctx context.Context) (*api.Client, error) {
	client, err := at.vault.Client()
	if err != nil {
		return nil, err
	}
	client.ClearToken()
	answer, err := client.Logical().WriteWithContext(ctx, "auth/approle/login",
		map[string]any{"role_id": at.roleID, "secret_id": at.secretID})
	if err != nil {
		return nil, err
	}
	client.SetToken(answer.Auth.ClientToken)
	return client, nil
}

// externalSecrets is the External Secrets Operator: at each refresh it logs in
// to Vault and reads, often twice within 0.3 s. It renews nothing and revokes
// nothing.
func externalSecrets(ctx context.Context, at *site) error {
	for n := 0; ; n++ {
		client, err := at.login(ctx)
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		secret, err := client.Logical().ReadWithContext(ctx, at.path)
		if err == nil && n%2 == 0 && wait(ctx, 300*time.Millisecond) {
			secret, err = client.Logical().ReadWithContext(ctx, at.path)
		}
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		begun := time.Now()
		if err := at.bring(ctx, secret); err != nil {
			return err
		}
		if !wait(ctx, at.interval()-time.Since(begun)) {
			return nil
		}
	}
}

// vaultSecretsOperator reads again at 67 to 77 % of a lease and leaves the old
// one. Without lease (allowStaticCreds) it reads half a second after ttl, and up
// to 0.15 s later.
func vaultSecretsOperator(ctx context.Context, at *site) error {
	client, err := at.login(ctx)
	if err != nil {
		return err
	}
	for {
		secret, err := client.Logical().ReadWithContext(ctx, at.path)
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		begun := time.Now()
		if err := at.bring(ctx, secret); err != nil {
			return err
		}
		var horizon time.Duration
		if secret.LeaseID != "" {
			lease := time.Duration(secret.LeaseDuration) * time.Second
			horizon = time.Duration(float64(lease) * (0.67 + 0.1*rand.Float64()))
		} else {
			ttl, err := rotation(secret.Data)
			if err != nil {
				return err
			}
			horizon = ttl + time.Second/2 + rand.N(150*time.Millisecond)
		}
		if !wait(ctx, horizon-time.Since(begun)) {
			return nil
		}
	}
}

// rotation reads what the Vault Secrets Operator reads of an answer without lease.
func rotation(data map[string]any) (ttl time.Duration, err error) {
	last, _ := data["last_vault_rotation"].(string)
	if _, err := time.Parse(time.RFC3339Nano, last); err != nil {
		return 0, err
	}
	period, err := whole(data, "rotation_period")
	if err == nil && period < 1 {
		err = fmt.Errorf("rotation_period is %d", period)
	}
	if err != nil {
		return 0, err
	}
	seconds, err := whole(data, "ttl")
	return time.Duration(seconds) * time.Second, err
}

// csiProvider logs in and reads once for each mount, and again when the driver's
// rotation poll mounts anew.
func csiProvider(ctx context.Context, at *site) error {
	for {
		client, err := at.login(ctx)
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		secret, err := client.Logical().ReadWithContext(ctx, at.path)
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		if err := at.show(secret.Data["access_token"]); err != nil {
			return err
		}
		if !wait(ctx, at.interval()) {
			return nil
		}
	}
}

// ignoreEnd drops the error of a request that ended because the client was told
// to end.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it was told to end
	}
	return err
}
