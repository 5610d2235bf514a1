package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	noWord  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	fenced  = regexp.MustCompile("(?ms)^```.*?^```")
)

// Each link inside of the repository leads to a file, and to a heading of it.
func TestLinksLeadSomewhere(t *testing.T) {
	root, err := servers.ModuleRoot()
	require.NoError(t, err)
	headings := map[string]map[string]bool{}
	for _, file := range markdown(t, root) {
		headings[file] = anchors(t, filepath.Join(root, file))
	}
	for _, file := range markdown(t, root) {
		content, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		for _, found := range link.FindAllStringSubmatch(string(content), -1) {
			path, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			target := file
			if path != "" {
				target = filepath.Join(filepath.Dir(file), path)
				if _, err := os.Stat(filepath.Join(root, target)); err != nil {
					t.Errorf("%s: %s does not exist", file, found[1])
				}
			}
			if anchor != "" {
				assert.True(t, headings[target][anchor], "%s: there is no heading for %s", file, found[1])
			}
		}
	}
}

// anchors are the names that the headings of a document get.
func anchors(t *testing.T, file string) map[string]bool {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	all := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(string(content), ""), -1) {
		all[strings.ReplaceAll(noWord.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")] = true
	}
	return all
}
