package main

import (
	"context"
	"regexp"
	"strings"
)

// scenario is a client in one of the ways to use it.
type scenario struct {
	client string
	mode   string

	reads     string // "creds" or "static-creds"; "": it does not read tokens
	dedicated bool   // the account's session_mode
	pat       bool   // the account has a personal access token
	revokes   bool   // its policy lets it revoke leases

	// start runs the client until ctx ends; one that reads no tokens ends by
	// itself.
	start func(ctx context.Context, at *site) error
}

// name is that of the scenario's user, config, policy and directory.
func (s scenario) name() string {
	return strings.Trim(noName.ReplaceAllString(strings.ToLower(s.client+" "+s.mode), "-"), "-")
}

var noName = regexp.MustCompile(`[^a-z0-9]+`)

func scenarios() []scenario {
	return []scenario{
		{client: "Vault Agent", mode: "template, dedicated", reads: "creds", dedicated: true, start: agentTemplate},
		{client: "Vault Agent", mode: "template, shared", reads: "creds", start: agentTemplate},
		{client: "Vault Agent", mode: "exec, shared", reads: "creds", start: agentExec},
		{client: "Vault Agent", mode: "template, static-creds", reads: "static-creds", start: agentTemplate},
		{client: "Vault Agent", mode: "exec, static-creds", reads: "static-creds", start: agentExec},
		{client: "Vault Agent", mode: "template, rotated PAT", reads: "creds", pat: true, start: agentRotatedPAT},
		{client: "Vault Proxy", mode: "no cache, shared", reads: "creds", start: proxy("")},
		{client: "Vault Proxy", mode: "cache, shared", reads: "creds", start: proxy("cache {}\n")},
		{client: "Vault Proxy", mode: "cache, dedicated", reads: "creds", dedicated: true, start: proxy("cache {}\n")},
		{client: "Vault Proxy", mode: "no cache, static-creds", reads: "static-creds", start: proxy("")},
		{client: "Vault Proxy", mode: "cache, static-creds", reads: "static-creds", start: proxy("cache {}\n")},
		{client: "consul-template", mode: "dedicated", reads: "creds", dedicated: true, start: consulTemplate("")},
		{client: "consul-template", mode: "shared, min_ttl", reads: "creds", start: consulTemplate("?min_ttl=10s")},
		{client: "consul-template", mode: "static-creds", reads: "static-creds", start: consulTemplate("")},
		{client: "Terraform", mode: "apply, plan, null, import", start: terraform},
		{client: "hvac", mode: "dedicated", reads: "creds", dedicated: true, start: hvac},
		{client: "hvac", mode: "static-creds", reads: "static-creds", start: hvac},
		{client: "Ansible", mode: "lookup, shared", reads: "creds", start: ansibleLookup},
		{client: "Ansible", mode: "lookup, static-creds", reads: "static-creds", start: ansibleLookup},
		{client: "Ansible", mode: "vault_write", start: ansibleWrite},
		{client: "Spring Vault", mode: "rotating, shared", reads: "creds", revokes: true, start: spring},
		{client: "Go LifetimeWatcher", mode: "dedicated", reads: "creds", dedicated: true, start: lifetimeWatcher},
		{client: "ESO (imitated)", mode: "shared", reads: "creds", start: externalSecrets},
		{client: "ESO (imitated)", mode: "dedicated", reads: "creds", dedicated: true, start: externalSecrets},
		{client: "ESO (imitated)", mode: "static-creds", reads: "static-creds", start: externalSecrets},
		{client: "VSO (imitated)", mode: "shared", reads: "creds", revokes: true, start: vaultSecretsOperator},
		{client: "VSO (imitated)", mode: "dedicated", reads: "creds", dedicated: true, revokes: true, start: vaultSecretsOperator},
		{client: "VSO (imitated)", mode: "static-creds", reads: "static-creds", start: vaultSecretsOperator},
		{client: "CSI provider (imitated)", mode: "shared", reads: "creds", start: csiProvider},
		{client: "CSI provider (imitated)", mode: "static-creds", reads: "static-creds", start: csiProvider},
	}
}
