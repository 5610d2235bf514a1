package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// autoAuth logs Agent and Proxy in.
const autoAuth = `auto_auth {
  method "approle" {
    config = {
      role_id_file_path                   = "role-id"
      secret_id_file_path                 = "secret-id"
      remove_secret_id_file_after_reading = false
    }
  }
}
`

// template is what Agent and consul-template render.
func (at *site) template() string {
	return fmt.Sprintf(`{{ with secret %q }}{{ .Data.access_token }}{{ end }}`, at.path)
}

func agentTemplate(ctx context.Context, at *site) error {
	return at.agent(ctx, fmt.Sprintf("template {\n  contents = %q\n  destination = %q\n}\n", at.template(), tokenFile))
}

// child is the program below Agent: it shows the token that it was started with.
const child = `printf %s "$TOKEN" >token.new && mv token.new token && echo >>starts && exec sleep 86400`

func agentExec(ctx context.Context, at *site) error {
	command, err := json.Marshal([]string{"/bin/sh", "-c", child})
	if err != nil {
		return err
	}
	err = at.agent(ctx, fmt.Sprintf("env_template \"TOKEN\" {\n  contents = %q\n}\nexec {\n  command = %s\n}\n", at.template(), command))
	at.note("the child was started %d times", at.lines("starts"))
	return err
}

func (at *site) agent(ctx context.Context, config string) error {
	if err := at.write("agent.hcl", autoAuth+config); err != nil {
		return err
	}
	return at.run(ctx, at.vault.Binary, []string{"agent", "-config=agent.hcl"})
}

func consulTemplate(query string) func(context.Context, *site) error {
	return func(ctx context.Context, at *site) error {
		program, err := servers.Tool(ctx, "consul-template")
		if err != nil {
			return err
		}
		at.path += query
		config := fmt.Sprintf("template {\n  contents = %q\n  destination = %q\n}\n", at.template(), tokenFile)
		at.path = strings.TrimSuffix(at.path, query)
		if err := at.write("template.hcl", config); err != nil {
			return err
		}
		return at.run(ctx, program, []string{"-config=template.hcl"})
	}
}

// locals is how many programs read through one proxy.
const locals = 5

// proxy runs Vault Proxy, and programs that read through it without a token of
// their own.
func proxy(cache string) func(context.Context, *site) error {
	return func(ctx context.Context, at *site) error {
		port, err := servers.FreePort()
		if err != nil {
			return err
		}
		listen := fmt.Sprintf("127.0.0.1:%d", port)
		config := autoAuth + cache + fmt.Sprintf(
			"api_proxy {\n  use_auto_auth_token = \"force\"\n}\nlistener \"tcp\" {\n  address = %q\n  tls_disable = true\n}\n", listen)
		if err := at.write("proxy.hcl", config); err != nil {
			return err
		}
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		var (
			all   sync.WaitGroup
			reads atomic.Int64
			errs  = make([]error, locals+1)
		)
		all.Go(func() {
			errs[locals] = at.run(ctx, at.vault.Binary, []string{"proxy", "-config=proxy.hcl"})
			stop()
		})
		for i := range locals {
			all.Go(func() {
				errs[i] = at.readThrough(ctx, "http://"+listen, i == 0, &reads)
				if errs[i] != nil {
					stop()
				}
			})
		}
		all.Wait()
		arrived, err := at.readsArrived()
		at.note("%d programs made %d reads, of which %d arrived at Vault", locals, reads.Load(), arrived)
		return errors.Join(append(errs, err)...)
	}
}

// readThrough is one program behind a proxy. The first shows its token.
func (at *site) readThrough(ctx context.Context, addr string, shows bool, reads *atomic.Int64) error {
	client, err := at.vault.Client()
	if err != nil {
		return err
	}
	client.ClearToken()
	if err := client.SetAddress(addr); err != nil {
		return err
	}
	if err := awaitProxy(ctx, client); err != nil {
		return err
	}
	for {
		secret, err := client.Logical().ReadWithContext(ctx, at.path)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end
		}
		if err != nil {
			return err
		}
		reads.Add(1)
		if shows {
			if err := at.show(secret.Data["access_token"]); err != nil {
				return err
			}
		}
		pause, err := nextRead(secret)
		if err != nil {
			return err
		}
		if !wait(ctx, pause) {
			return nil
		}
	}
}

// awaitProxy waits until a proxy answers, and has logged in: before that, it sends
// requests on without a token.
func awaitProxy(ctx context.Context, client *api.Client) error {
	begun := time.Now()
	for {
		_, err := client.Auth().Token().LookupSelfWithContext(ctx)
		if err == nil || time.Since(begun) > patience || !wait(ctx, 100*time.Millisecond) {
			return err
		}
	}
}

// nextRead is when a program reads again that does what docs/clients.md says:
// at four fifths of a lease, or when the answer's ttl is over.
func nextRead(secret *api.Secret) (time.Duration, error) {
	if secret.LeaseID != "" {
		return time.Duration(secret.LeaseDuration) * time.Second * 4 / 5, nil
	}
	ttl, err := whole(secret.Data, "ttl")
	return time.Duration(ttl+1) * time.Second, err
}

// whole is a number of an answer.
func whole(data map[string]any, name string) (int64, error) {
	number, ok := data[name].(json.Number)
	if !ok {
		return 0, fmt.Errorf("%s is %v (%[2]T)", name, data[name])
	}
	return number.Int64()
}

func lifetimeWatcher(ctx context.Context, at *site) error {
	client, err := at.client()
	if err != nil {
		return err
	}
	for {
		secret, err := client.Logical().ReadWithContext(ctx, at.path)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end
		}
		if err != nil {
			return err
		}
		if err := at.show(secret.Data["access_token"]); err != nil {
			return err
		}
		watcher, err := client.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: secret})
		if err != nil {
			return err
		}
		go watcher.Start()
		select {
		case <-ctx.Done():
			watcher.Stop()
			return nil
		case err := <-watcher.DoneCh():
			if err != nil {
				return err
			}
		}
	}
}
