// Command profiled is the plugin with profiles: what is released, and a port to
// take a CPU profile from.
package main

import (
	"flag"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/plugin"

	"github.com/pantaindex/vault-plugin-secrets-panta/backend"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/bench/profiling"
)

func main() {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: os.Stderr, JSONFormat: true})
	meta := &api.PluginAPIClientMeta{}
	flags := meta.FlagSet()
	profiles := flags.String("profiles", "", "directory to write the address of the profiles to")
	if err := run(flags, profiles, meta, logger); err != nil {
		logger.Error("plugin shutting down", "error", err)
		os.Exit(1)
	}
}

func run(flags *flag.FlagSet, profiles *string, meta *api.PluginAPIClientMeta, logger hclog.Logger) error {
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	if err := profiling.Serve(*profiles); err != nil {
		return err
	}
	return plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: backend.Factory(),
		TLSProviderFunc:    api.VaultPluginTLSProvider(meta.GetTLSConfig()),
		Logger:             logger,
	})
}
