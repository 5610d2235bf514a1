package docs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryThreatNamesTheTestsThatShowIt(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "## Threats\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	rows := 0
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") || strings.HasPrefix(line, "| who ") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		require.Len(t, cells, 4, line)
		for _, named := range split(cells[3]) {
			m := goTest.FindStringSubmatch(named)
			require.NotNil(t, m, "no test: %q", named)
			assert.Contains(t, sources(t, m[1], "_test.go"), "func "+m[2]+"(t *testing.T)", "package %s", m[1])
		}
	}
	assert.Greater(t, rows, 12)
}
