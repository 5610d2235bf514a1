// Command vault-plugin-secrets-panta is the plugin process that Vault starts.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/plugin"

	"github.com/pantaindex/vault-plugin-secrets-panta/backend"
)

func main() {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: os.Stderr, JSONFormat: true})
	if err := run(os.Args[1:], logger); err != nil && !errors.Is(err, flag.ErrHelp) {
		logger.Error("plugin shutting down", "error", err)
		os.Exit(1)
	}
}

func run(args []string, logger hclog.Logger) error {
	meta := &api.PluginAPIClientMeta{}
	flags := meta.FlagSet()
	showVersion := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *showVersion {
		b := backend.Build()
		fmt.Printf("vault-plugin-secrets-panta %s (commit %s, %s)\n", b.Version, b.Commit, b.GoVersion)
		return nil
	}
	go endWithParent()
	return plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: backend.Factory(),
		TLSProviderFunc:    api.VaultPluginTLSProvider(meta.GetTLSConfig()),
		Logger:             logger,
	})
}
