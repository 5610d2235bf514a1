// Command null is a plugin that does as little as a plugin can for a leased
// secret: the floor that the benchmark measures reads of creds/ against. It
// answers what was written to sample, again and again, and nothing ends with
// the lease.
package main

import (
	"context"
	"encoding/json"
	"os"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/bench/profiling"
)

func main() {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: os.Stderr, JSONFormat: true})
	if err := run(logger); err != nil {
		logger.Error("plugin shutting down", "error", err)
		os.Exit(1)
	}
}

func run(logger hclog.Logger) error {
	meta := &api.PluginAPIClientMeta{}
	flags := meta.FlagSet()
	profiles := flags.String("profiles", "", "directory to write the address of the profiles to; empty: there are none")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	if *profiles != "" {
		if err := profiling.Serve(*profiles); err != nil {
			return err
		}
	}
	return plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: factory,
		TLSProviderFunc:    api.VaultPluginTLSProvider(meta.GetTLSConfig()),
		Logger:             logger,
	})
}

// sample is what the real plugin answers at creds/ and at static-creds/.
type sample struct {
	Data         map[string]any `json:"data"`
	StaticData   map[string]any `json:"static_data"`
	InternalData map[string]any `json:"internal_data"`
	Seconds      int            `json:"seconds"`
}

func factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	var leasedAnswer, staticAnswer atomic.Pointer[logical.Response]
	answering := func(answer *atomic.Pointer[logical.Response]) framework.OperationFunc {
		return func(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
			return answer.Load(), nil
		}
	}
	named := func(path string, answer *atomic.Pointer[logical.Response]) *framework.Path {
		return &framework.Path{
			Pattern:   path + "/" + framework.GenericNameRegex("name"),
			Fields:    map[string]*framework.FieldSchema{"name": {Type: framework.TypeString}},
			Callbacks: map[logical.Operation]framework.OperationFunc{logical.ReadOperation: answering(answer)}, //nolint:staticcheck // Operations would ask Vault at each read, see above
		}
	}
	learn := func(_ context.Context, _ *logical.Request, data *framework.FieldData) (*logical.Response, error) {
		var s sample
		if err := json.Unmarshal([]byte(data.Get("sample").(string)), &s); err != nil {
			return nil, err
		}
		leasedAnswer.Store(leased(s))
		staticAnswer.Store(&logical.Response{Data: s.StaticData})
		return nil, nil
	}
	b := &framework.Backend{
		BackendType: logical.TypeLogical,
		Paths: []*framework.Path{
			{
				// As plugins are written: for each request to one of Operations the
				// framework asks Vault for the state of its replication.
				Pattern: "creds/usual",
				Operations: map[logical.Operation]framework.OperationHandler{
					logical.ReadOperation: &framework.PathOperation{Callback: answering(&leasedAnswer)},
				},
			},
			named("creds", &leasedAnswer),
			named("static-creds", &staticAnswer),
			{
				Pattern: "sample",
				Fields:  map[string]*framework.FieldSchema{"sample": {Type: framework.TypeString}},
				Operations: map[logical.Operation]framework.OperationHandler{
					logical.UpdateOperation: &framework.PathOperation{Callback: learn},
				},
			},
		},
		Secrets: []*framework.Secret{{
			Type: secretType,
			Revoke: func(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
				return nil, nil
			},
		}},
	}
	return b, b.Setup(ctx, conf)
}

const secretType = "null_token"

// leased is made once: its maps are only read from then on.
func leased(s sample) *logical.Response {
	s.InternalData["secret_type"] = secretType
	ttl := time.Duration(s.Seconds) * time.Second
	return &logical.Response{
		Data: s.Data,
		Secret: &logical.Secret{
			LeaseOptions: logical.LeaseOptions{TTL: ttl, MaxTTL: ttl},
			InternalData: s.InternalData,
		},
	}
}
