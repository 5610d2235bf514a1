// Package docs_test holds the documentation against the code.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const root = "../.."

var (
	goTest   = regexp.MustCompile("^`([a-z0-9/]+)\\.(Test[A-Za-z0-9_]+)`$")
	journey  = regexp.MustCompile("^`(test/[a-z0-9/_]+\\.txtar)`$")
	sentence = regexp.MustCompile(`^"(.+)"$`)
)

func TestEveryTestThatTheTableOfProvidersNamesExists(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "providers.md"))
	require.NoError(t, err)
	contract := sources(t, "providers/contract", ".go")
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 3 || strings.HasSuffix(strings.TrimSpace(line), "| shown by |") || strings.HasPrefix(line, "| ---") {
			assert.False(t, strings.HasPrefix(line, "|") && len(cells) != 3, "a row of other than three cells: %s", line)
			continue
		}
		rows++
		for _, named := range split(cells[2]) {
			switch {
			case goTest.MatchString(named):
				m := goTest.FindStringSubmatch(named)
				assert.Contains(t, sources(t, m[1], "_test.go"), "func "+m[2]+"(t *testing.T)", "package %s", m[1])
			case journey.MatchString(named):
				assert.FileExists(t, filepath.Join(root, journey.FindStringSubmatch(named)[1]))
			case sentence.MatchString(named):
				assert.Contains(t, contract, `sentence: "`+sentence.FindStringSubmatch(named)[1]+`"`)
			default:
				t.Errorf("neither a test nor a journey nor a sentence: %s", named)
			}
		}
	}
	assert.Greater(t, rows, 35)
}

// split parts a cell at its commas, except those inside of quotes.
func split(cell string) []string {
	var parts []string
	quoted, from := false, 0
	for i, c := range cell {
		switch {
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			parts, from = append(parts, strings.TrimSpace(cell[from:i])), i+1
		}
	}
	return append(parts, strings.TrimSpace(cell[from:]))
}

// sources returns the text of a package's files.
func sources(t *testing.T, pkg, suffix string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, pkg, "*"+suffix))
	require.NoError(t, err)
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		all.Write(text)
	}
	return all.String()
}
