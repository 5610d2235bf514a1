package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// lines counts those of a file in the client's directory.
func (at *site) lines(name string) int {
	data, _ := os.ReadFile(filepath.Join(at.dir, name))
	return strings.Count(string(data), "\n")
}

// readsArrived is how many reads of this site's path Vault has answered.
func (at *site) readsArrived() (int, error) {
	log, err := os.ReadFile(at.auditLog())
	if err != nil {
		return 0, err
	}
	reads := 0
	for line := range bytes.Lines(log) {
		var entry struct {
			Type    string `json:"type"`
			Request struct {
				Path string `json:"path"`
			} `json:"request"`
		}
		if err := json.Unmarshal(line, &entry); err != nil {
			return 0, err
		}
		if entry.Type == "response" && entry.Request.Path == at.path {
			reads++
		}
	}
	return reads, nil
}

// python is the environment in which hvac and Ansible run.
func (at *site) python(ctx context.Context) (dir string, env []string, err error) {
	dir, err = servers.Tool(ctx, "python-clients")
	return dir, []string{
		"PYTHONPATH=" + filepath.Join(dir, "site"), "PYTHONDONTWRITEBYTECODE=1",
		"ANSIBLE_COLLECTIONS_PATH=" + dir, "ANSIBLE_HOME=" + at.dir, "ANSIBLE_LOCALHOST_WARNING=false", "ANSIBLE_INVENTORY_UNPARSED_WARNING=false",
		"CLIENT_PATH=" + at.path, "CLIENT_NAME=" + at.name(),
	}, err
}

// source is the path of a file of this package.
func source(name string) (string, error) {
	root, err := servers.ModuleRoot()
	return filepath.Join(root, "test", "clients", name), err
}

// hvac runs the code of examples/python.
func hvac(ctx context.Context, at *site) error {
	dir, env, err := at.python(ctx)
	if err != nil {
		return err
	}
	script, err := source("python/hvac_client.py")
	if err != nil {
		return err
	}
	example := filepath.Join(filepath.Dir(script), "../../../examples/python")
	env = append(env, "PYTHONPATH="+filepath.Join(dir, "site")+":"+example)
	return at.run(ctx, "python3", []string{script}, env...)
}

// ansibleLookup runs a play again and again. Each shows its token while it lasts.
func ansibleLookup(ctx context.Context, at *site) error {
	plays := 0
	defer func() { at.note("%d plays", plays) }()
	for {
		if err := at.play(ctx, "python/lookup.yml"); err != nil {
			return ignoreEnd(ctx, err)
		}
		plays++
		if ctx.Err() != nil {
			return nil
		}
	}
}

// ansibleWrite writes an account and a role, twice, with the values of YAML.
func ansibleWrite(ctx context.Context, at *site) error {
	for range 2 {
		if err := at.play(ctx, "python/write.yml"); err != nil {
			return err
		}
	}
	_, err := at.root.Logical().DeleteWithContext(ctx, servers.Mount+"/roles/"+at.name()+"-role")
	if err != nil {
		return err
	}
	_, err = at.root.Logical().DeleteWithContext(ctx, servers.Mount+"/config/"+at.name())
	return err
}

// play runs one play to its end.
func (at *site) play(ctx context.Context, name string) error {
	dir, env, err := at.python(ctx)
	if err != nil {
		return err
	}
	book, err := source(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "python3", filepath.Join(dir, "site", "bin", "ansible-playbook"), book)
	cmd.Dir = at.dir
	cmd.Env = append(env, "HOME="+at.dir, "PATH="+os.Getenv("PATH"), "LANG=C.UTF-8", "VAULT_ADDR="+at.vault.Addr, "VAULT_TOKEN="+at.token,
		"IAM="+at.url)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w:\n%s", err, out)
	}
	return nil
}

func spring(ctx context.Context, at *site) error {
	dir, err := servers.Tool(ctx, "spring-vault")
	if err != nil {
		return err
	}
	return at.run(ctx, "java", []string{"-Xmx64m", "-cp", filepath.Join(dir, "*") + ":" + dir, "Client", at.path, tokenFile})
}
