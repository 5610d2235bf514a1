# Renders run/headers as Vault Agent does; VAULT_ADDR and VAULT_TOKEN say where
# and who. The token's policy is ../policies/app.hcl.
vault {
  renew_token             = true
  lease_renewal_threshold = 0.85 # the share of a lease after which the next is read
}

template {
  source      = "../vault-agent/headers.ctmpl"
  destination = "run/headers"
  perms       = "0600"
}

# The application starts with the first token. It reads the file for each call,
# so a new token is no reason to restart it.
exec {
  command       = "exec ../vault-agent/app \"$IAM/api/panta/ping\" run/headers 45"
  reload_signal = "SIGCONT"
}
