// Package docs executes every command that README.md, docs/ and examples/ print,
// as a reader would who types one block after the other, and fails where one of
// them fails or prints something else than the document shows.
//
// A document is written for readers; where the test has to know more, a comment
// before the block says so (mark). Start with TestEveryCommandIsExecuted and
// TestExamples.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// document is what a reader needs for the blocks of one.
type document struct {
	prepare func(w *world)
	tools   []string // of scripts/, besides Vault
}

// documents are those with command blocks that run, from the module's root. Those of
// examples/ are in examples.
var documents = map[string]document{
	"README.md": {prepare: func(w *world) {
		w.installed("v0.1.0")
		w.running(5 * time.Minute)
	}},
	"docs/clients.md": {prepare: func(w *world) {
		w.running(5 * time.Minute)
		proxy, err := servers.FreePort()
		require.NoError(w.t, err)
		w.shells[""].typed = onPorts(map[string]string{"127.0.0.1:8207": fmt.Sprintf("127.0.0.1:%d", proxy)})
	}},
	"docs/install.md":         {prepare: func(w *world) { w.installed("v0.1.0", "v0.2.0") }},
	"docs/operations.md":      {prepare: func(w *world) { w.running(5 * time.Minute) }},
	"docs/security.md":        {prepare: func(w *world) { w.running(5 * time.Minute) }},
	"docs/troubleshooting.md": {prepare: func(w *world) { w.running(5 * time.Minute) }},
}

func TestEveryCommandIsExecuted(t *testing.T) {
	t.Parallel()
	root, err := servers.ModuleRoot()
	require.NoError(t, err)
	for _, file := range markdown(t, root) {
		if strings.HasPrefix(file, "examples/") {
			continue // TestExamples
		}
		found := read(t, root, file)
		if len(found) == 0 {
			continue
		}
		d, known := documents[file]
		if !known && slices.ContainsFunc(found, block.runs) {
			t.Errorf("%s has command blocks: say in documents what their reader needs", file)
			continue
		}
		t.Run(strings.ReplaceAll(file, "/", "-"), func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			result := execute(t, found, d, ".")
			fmt.Printf("document: %-24s %s, %.0f s\n", file, result, time.Since(begin).Seconds())
		})
	}
}

// execute runs the blocks of a document in their order, and says how many.
func execute(t *testing.T, found []block, d document, dir string) string {
	t.Helper()
	var w *world
	counts := map[string]int{}
	for _, b := range found {
		switch {
		case b.mark.because != "":
			counts["not run"]++
			t.Logf("%s: not run: %s", b, b.mark.because)
			continue
		case b.mark.byCI:
			counts["run by .ci/run"]++
			requireStepsOfCI(t, b)
			continue
		}
		if w == nil {
			w = newWorld(t, dir)
			w.tools = d.tools
			d.prepare(w)
		}
		shell := w.shells[b.mark.shell]
		require.NotNil(t, shell, "%s: there is no shell %q", b, b.mark.shell)
		run := shell.run
		if b.mark.ready != "" {
			run = shell.start
		}
		require.NoError(t, run(b))
		counts["run"]++
	}
	return fmt.Sprintf("%d blocks run, %d run by .ci/run, %d not run", counts["run"], counts["run by .ci/run"], counts["not run"])
}

// requireStepsOfCI looks for each command of a block in .ci/run.
func requireStepsOfCI(t *testing.T, b block) {
	t.Helper()
	root, err := servers.ModuleRoot()
	require.NoError(t, err)
	ci, err := os.ReadFile(filepath.Join(root, ".ci", "run"))
	require.NoError(t, err)
	for line := range strings.Lines(b.text) {
		command, _, _ := strings.Cut(line, "#")
		require.Contains(t, string(ci), "\nstep "+strings.TrimSpace(command)+"\n", "%s: .ci/run does not run it", b)
	}
}

// markdown lists every document of the module.
func markdown(t *testing.T, root string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if e.IsDir() && (rel == "dist" || rel == "bin" || strings.HasPrefix(rel, ".") && rel != ".") {
			return fs.SkipDir
		}
		if strings.HasSuffix(rel, ".md") {
			files = append(files, rel)
		}
		return nil
	})
	require.NoError(t, err)
	require.Contains(t, files, "README.md")
	return files
}

// example is a directory of examples/; its README.md says what to type in it.
type example struct {
	document

	result string // what is shown when its blocks have run
}

var examples = map[string]example{
	"vault-agent": {result: "run", document: document{prepare: func(w *world) { w.running(20 * time.Second) }}},
	"consul-template": {result: "run", document: document{
		tools: []string{"consul-template"}, prepare: func(w *world) { w.running(20 * time.Second) },
	}},
	"terraform": {result: "run", document: document{
		tools: []string{"terraform"}, prepare: (*world).terraform,
	}},
	"python":     {result: "run", document: document{prepare: func(w *world) { w.python(20 * time.Second) }}},
	"ansible":    {result: "run", document: document{prepare: func(w *world) { w.python(5 * time.Minute) }}},
	"prometheus": {result: "run", document: document{prepare: func(w *world) { w.running(5 * time.Minute) }}},
	"policies":   {result: "run", document: document{prepare: func(w *world) { w.running(5 * time.Minute) }}},
	"curl":       {result: "run", document: document{prepare: func(w *world) { w.running(5 * time.Minute) }}},
	"auth0":      {result: "run, at fosite", document: document{prepare: (*world).auth0}},
	"entra-id":   {result: "run, at oidc-provider", document: document{prepare: (*world).entraID}},
	"okta":       {result: "run, at oidc-provider", document: document{prepare: (*world).okta}},
	"salesforce": {result: "run, at Authlib", document: document{prepare: (*world).salesforce}},
	"hydra":      {result: "run, at fosite", document: document{prepare: (*world).hydra}},
	"kubernetes": {result: "schema-checked only", document: document{
		tools: []string{"kubeconform"}, prepare: (*world).kubernetes,
	}},
}

// make examples shows the lines that this prints.
func TestExamples(t *testing.T) {
	t.Parallel()
	root, err := servers.ModuleRoot()
	require.NoError(t, err)
	entries, err := os.ReadDir(filepath.Join(root, "examples"))
	require.NoError(t, err)
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		name := entry.Name()
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, known := examples[name]
			require.True(t, known, "say in examples what it needs")
			dir := "examples/" + name
			found := read(t, root, dir+"/README.md")
			for _, b := range found {
				require.False(t, b.mark.byCI || b.mark.because != "", "%s: every block of an example runs", b)
			}
			require.NotEmpty(t, found)
			begin := time.Now()
			execute(t, found, e.document, dir)
			fmt.Printf("example: %-21s %s (%d blocks, %.0f s)\n", e.result, dir, len(found), time.Since(begin).Seconds())
		})
	}
}
