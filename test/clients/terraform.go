package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/pantaindex/vault-plugin-secrets-panta/internal/iam"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// terraformConfig is a mount, an account and a role. What stands for %[3]s
// changes in the course of the story.
const terraformConfig = `
terraform {
  required_providers {
    vault = { source = "hashicorp/vault" }
  }
}

resource "vault_mount" "panta" {
  path = %[1]q
  type = "` + servers.PluginName + `"
}

resource "vault_generic_endpoint" "dmo" {
  path                 = "${vault_mount.panta.path}/config/dmo"
  ignore_absent_fields = true
  data_json = jsonencode({
    provider      = "panta"
    environment   = "dmo"
    base_url      = %[2]q
    client_id     = "` + iam.DemoPantaClient + `"
    client_secret = "` + iam.DemoPantaSecret + `"
    username      = "` + iam.DemoPantaUser + `"
    password      = "` + iam.DemoPantaPassword + `"
    tenant_id     = "` + iam.DemoPantaTenant + `"
    session_mode  = "shared"
    scopes        = ["reports", "openid"]
    %[3]s
  })
}

resource "vault_generic_endpoint" "reports" {
  path                 = "${vault_mount.panta.path}/roles/reports"
  ignore_absent_fields = true
  data_json            = jsonencode({ config = "dmo", ttl = 60, scopes = ["reports"] })
  depends_on           = [vault_generic_endpoint.dmo]
}
`

// terraform tells how an account is kept as code.
func terraform(ctx context.Context, at *site) error {
	tf, err := newTerraform(ctx, at)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		what   string
		config string
		do     func(context.Context) error
	}{
		{"apply", "ttl = 120", tf.apply},
		{"the second plan is empty", "ttl = 120", tf.nothingToDo},
		{"a change", "ttl = 90", tf.apply},
		{"nothing to do after it", "ttl = 90", tf.nothingToDo},
		{"null takes a field back", "ttl = null", tf.apply},
		{"to its default", "ttl = 0", tf.nothingToDo},
		{"import", "ttl = 0", tf.importAll},
		{"nothing to do after it", "ttl = 0", tf.nothingToDo},
		{"destroy", "ttl = 0", tf.destroy},
	} {
		if err := at.write("main.tf", fmt.Sprintf(terraformConfig, at.name(), at.url, step.config)); err != nil {
			return err
		}
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

type terraformClient struct {
	program string
	at      *site
}

func newTerraform(ctx context.Context, at *site) (*terraformClient, error) {
	program, err := servers.Tool(ctx, "terraform")
	if err != nil {
		return nil, err
	}
	provider, err := servers.Tool(ctx, "terraform-provider-vault")
	if err != nil {
		return nil, err
	}
	rc := fmt.Sprintf("provider_installation {\n  dev_overrides {\n    \"hashicorp/vault\" = %q\n  }\n  direct {}\n}\n", at.dir)
	return &terraformClient{program, at}, errors.Join(
		os.Symlink(provider, filepath.Join(at.dir, "terraform-provider-vault")), at.write("terraform.rc", rc))
}

// do runs a command of Terraform.
func (tf *terraformClient) do(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, tf.program, args...)
	cmd.Dir = tf.at.dir
	cmd.Env = []string{
		"HOME=" + tf.at.dir, "PATH=" + os.Getenv("PATH"), "VAULT_ADDR=" + tf.at.vault.Addr, "VAULT_TOKEN=" + tf.at.token,
		"TF_CLI_CONFIG_FILE=" + filepath.Join(tf.at.dir, "terraform.rc"), "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "TF_CLI_ARGS=-no-color",
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("terraform %s: %w:\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (tf *terraformClient) apply(ctx context.Context) error {
	return tf.do(ctx, "apply", "-auto-approve")
}

func (tf *terraformClient) destroy(ctx context.Context) error {
	return tf.do(ctx, "destroy", "-auto-approve")
}

// nothingToDo fails with exit status 2 where a plan finds something.
func (tf *terraformClient) nothingToDo(ctx context.Context) error {
	return tf.do(ctx, "plan", "-detailed-exitcode")
}

// importAll forgets what there is and takes it over again. What an import reads
// has no secrets, so that an apply writes them once more.
func (tf *terraformClient) importAll(ctx context.Context) error {
	mount := tf.at.name()
	for resource, id := range map[string]string{
		"vault_mount.panta": mount, "vault_generic_endpoint.dmo": mount + "/config/dmo", "vault_generic_endpoint.reports": mount + "/roles/reports",
	} {
		if err := tf.do(ctx, "state", "rm", resource); err != nil {
			return err
		}
		if err := tf.do(ctx, "import", resource, id); err != nil {
			return err
		}
	}
	return tf.apply(ctx)
}
