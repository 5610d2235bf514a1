# A person who types one-time codes: vault write keeps them out of the URL.
path "panta/creds/eu1" {
  capabilities = ["read", "update"]
}
