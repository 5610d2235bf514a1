package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// terminal runs commands as a user would, shows them with their output, and
// counts what was expected of them.
type terminal struct {
	vault  *servers.Vault
	client string // vault or bao, as the user has to type it
	prefix string // of the client's environment variables

	expected int
	failed   []string
}

func newTerminal(v *servers.Vault) (*terminal, error) {
	if v.Server != "openbao" {
		return &terminal{vault: v, client: "vault", prefix: "VAULT"}, nil
	}
	// There it is by the name of vault only.
	err := os.Symlink(v.Binary, filepath.Join(v.BinDir(), "bao"))
	return &terminal{vault: v, client: "bao", prefix: "BAO"}, err
}

func (t *terminal) say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

func (t *terminal) title(text string) { t.say("\n== %s", text) }

// long is a token; nobody reads it.
var long = regexp.MustCompile(`[A-Za-z0-9_.-]{80,}`)

func shorten(text string) string {
	return long.ReplaceAllStringFunc(text, func(token string) string { return token[:12] + "…" })
}

// show prints a command. Where its text has a line break, so has what is shown.
func (t *terminal) show(command string) {
	lines := strings.Split(command, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	t.say("\n$ %s", shorten(strings.Join(lines, " \\\n    ")))
}

// vaultDo shows and runs a command of the client, given without its name, and
// returns its output.
func (t *terminal) vaultDo(ctx context.Context, command string) (string, error) {
	t.show(t.client + " " + command)
	cmd := t.vault.Command(ctx, strings.Fields(command)...)
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, os.Stdout
	err := cmd.Run()
	fmt.Print(shorten(stdout.String()))
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", t.client, strings.Fields(command)[0], err)
	}
	return stdout.String(), nil
}

// curl sends the headers of a leased token to an API, and shows it as curl.
func (t *terminal) curl(ctx context.Context, url string, headers map[string]string) (answer, error) {
	lines := []string{`curl -sw ' %{http_code}\n' ` + url}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		lines = append(lines, fmt.Sprintf("-H '%s: %s'", name, headers[name]))
	}
	t.show(strings.Join(lines, "\n"))
	got, err := get(ctx, url, headers)
	if err == nil {
		t.say("%s %d", got.body, got.status)
	}
	return got, err
}

// expect notes whether what has to be is.
func (t *terminal) expect(is bool, what string, args ...any) {
	t.expected++
	what = fmt.Sprintf(what, args...)
	if !is {
		t.failed = append(t.failed, what)
		t.say("  NOT TRUE: %s", what)
		return
	}
	t.say("  ✓ %s", what)
}

// summary ends the demo: with an error, if anything was not as it has to be.
func (t *terminal) summary(took time.Duration) error {
	if len(t.failed) > 0 {
		return fmt.Errorf("%d of %d expectations were not met:\n  %s", len(t.failed), t.expected, strings.Join(t.failed, "\n  "))
	}
	t.say("\nAll %d expectations were met, in %.1f s.", t.expected, took.Seconds())
	return nil
}
