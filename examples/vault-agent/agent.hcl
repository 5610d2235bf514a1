# Vault Agent logs in by AppRole, and keeps run/headers true: it reads a new
# token before the old one's lease ends. VAULT_ADDR says where Vault is.
auto_auth {
  method "approle" {
    config = {
      role_id_file_path                   = "role-id"
      secret_id_file_path                 = "secret-id"
      remove_secret_id_file_after_reading = false
    }
  }
}

template_config {
  # Without Vault there will be no token: let the supervisor see it.
  exit_on_retry_failure = true
}

template {
  source      = "headers.ctmpl"
  destination = "run/headers"
  perms       = "0600"
}

template {
  contents    = "{{ with secret \"panta/creds/dmo\" }}{{ .Data.access_token }}{{ end }}"
  destination = "run/token"
  perms       = "0600"
}
