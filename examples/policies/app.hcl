# An application: one token, and nothing else.
path "panta/creds/dmo" {
  capabilities = ["read"]
}
