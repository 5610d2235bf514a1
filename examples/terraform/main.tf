terraform {
  required_providers {
    vault = {
      source  = "hashicorp/vault"
      version = ">= 3.3"
    }
  }
}

# VAULT_ADDR and VAULT_TOKEN say where and who.
provider "vault" {}

variable "path" {
  description = "Where the engine is mounted."
  default     = "panta-tf"
}

variable "base_url" {
  description = "Address of the identity server; null: that of the environment."
  default     = null
}

variable "client_secret" { sensitive = true }
variable "password" { sensitive = true }

resource "vault_mount" "panta" {
  path = var.path
  type = "vault-plugin-secrets-panta"
}

# An account. A read returns no secret, so Terraform cannot see whether somebody
# else changed one; of everything else it can. Durations are written in seconds,
# as they are read.
resource "vault_generic_endpoint" "dmo" {
  path                 = "${vault_mount.panta.path}/config/dmo"
  ignore_absent_fields = true

  data_json = jsonencode(merge({
    provider      = "panta"
    environment   = "dmo"
    client_id     = "panta-integration"
    client_secret = var.client_secret
    username      = "paula"
    password      = var.password
    tenant_id     = "tenant-4711"
    session_mode  = "shared"
    max_sessions  = 2
    ttl           = 120
  }, var.base_url == null ? {} : { base_url = var.base_url }))
}

# A narrower view of it.
resource "vault_generic_endpoint" "reports" {
  path                 = "${vault_mount.panta.path}/roles/reports"
  ignore_absent_fields = true

  data_json = jsonencode({
    config = "dmo"
    ttl    = 60
  })

  # A config that roles use is not deleted.
  depends_on = [vault_generic_endpoint.dmo]
}

resource "vault_policy" "reports" {
  name = "panta-reports"

  policy = <<-EOT
    path "${vault_mount.panta.path}/creds/reports" {
      capabilities = ["read"]
    }
  EOT
}
