# Who maintains the accounts. No access to tokens: those are for applications.
path "panta/config/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

path "panta/roles/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

path "panta/sessions/*" {
  capabilities = ["read", "list", "delete"]
}

# A check logs in, and says what the server answers.
path "panta/check/*" {
  capabilities = ["read", "update"]
}

path "panta/providers/*" {
  capabilities = ["read", "list"]
}

path "panta/info" {
  capabilities = ["read"]
}

path "panta/metrics" {
  capabilities = ["read"]
}

# To end the leases of one config or role at once.
path "sys/leases/revoke-prefix/panta/creds/*" {
  capabilities = ["update", "sudo"]
}
