// Package alerts checks what examples/prometheus has for Prometheus: with
// promtool, and against what the plugin really counts and docs/ explain.
package alerts

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
	"github.com/pantaindex/vault-plugin-secrets-panta/telemetry"
)

// root is the module's: a test runs in the directory of its package.
var root = filepath.Join("..", "..")

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, file))
	require.NoError(t, err)
	return string(content)
}

func TestPrometheusTakesTheRules(t *testing.T) {
	promtool := prometheusProgram(t, "promtool")
	for _, args := range [][]string{
		{"check", "rules", "alerts.yml"},
		{"test", "rules", "alerts_test.yml"},
		{"check", "config", "--syntax-only", "prometheus.yml"},
	} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = filepath.Join(root, "examples", "prometheus")
		output, err := cmd.CombinedOutput()
		require.NoError(t, err, "promtool %s: %s", strings.Join(args, " "), output)
	}
}

// prometheusProgram returns the path of a program of Prometheus.
func prometheusProgram(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	require.NoError(t, err, "%s is needed; Debian has it in the package prometheus", name)
	return path
}

var alertName = regexp.MustCompile(`(?m)^\s*- alert: (\w+)$`)

func TestEachAlertHasATestAndARunbook(t *testing.T) {
	rules, tests, runbooks := read(t, "examples/prometheus/alerts.yml"), read(t, "examples/prometheus/alerts_test.yml"), read(t, "docs/operations.md")
	alerts := alertName.FindAllStringSubmatch(rules, -1)
	require.NotEmpty(t, alerts)
	for _, alert := range alerts {
		name := alert[1]
		require.Contains(t, rules, "docs/operations.md#"+strings.ToLower(name)+"\n", name)
		require.Contains(t, runbooks, "\n### "+name+"\n")
		require.Regexp(t, `alertname: `+name+`\n\s+exp_alerts:\n`, tests, "%s fires", name)
	}
	for _, heading := range regexp.MustCompile(`(?m)^### (Panta\w+)$`).FindAllStringSubmatch(runbooks, -1) {
		require.Contains(t, rules, "- alert: "+heading[1]+"\n", "a runbook without an alert")
	}
}

var metricName = regexp.MustCompile(`panta_[a-z_]+`)

// TestMetricsAreThoseOfTheRulesAndTheDocs keeps alerts from watching what nobody counts.
func TestMetricsAreThoseOfTheRulesAndTheDocs(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.Build{Version: "v1.2.3", Commit: "abc"})
	m.Watch(func() []sessions.Reading {
		return []sessions.Reading{{Config: "eu1", Status: sessions.Status{Usage: machine.Usage{Limit: 5}, Clock: machine.Clock{Known: true}, KeepAlive: machine.KeepAlive{LastLogin: time.Unix(1, 0)}}}}
	}, func() uint64 { return 0 })
	m.WatchTokens(func() map[string]time.Time { return map[string]time.Time{"eu1-pat": time.Unix(1, 0)} })
	m.Called("eu1", "login", time.Second, &providers.Error{Kind: providers.Unavailable})
	m.Refused("eu1", machine.BudgetFull)
	values, err := m.Values()
	require.NoError(t, err)

	rules, docs := read(t, "examples/prometheus/alerts.yml"), read(t, "docs/operations.md")
	for _, name := range metricName.FindAllString(rules+docs, -1) {
		require.Contains(t, values, strings.TrimSuffix(name, "_bucket"), "of the alerts or the docs")
	}
	for name := range values {
		require.Contains(t, docs, "`"+name+"`", "docs/operations.md does not explain it")
	}

	text, _, err := m.Text()
	require.NoError(t, err)
	for _, label := range regexp.MustCompile(`(state|cause|event|operation|owner)="([^"]+)"`).FindAllString(rules, -1) {
		require.Contains(t, string(text), label, "the value of a label")
	}
	for _, event := range regexp.MustCompile(`event="([^"]+)"`).FindAllStringSubmatch(string(text), -1) {
		require.Contains(t, docs, "`panta/"+event[1]+"`")
	}
}
