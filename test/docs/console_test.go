package docs

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// step is a command, with the output that a console block shows for it.
type step struct{ command, output string }

// steps splits a block. In a console block a command begins with "$ " and goes
// on where a line ends in a backslash.
func (b block) steps() []step {
	if b.lang == "sh" {
		return []step{{command: b.text}}
	}
	var all []step
	typing := false
	for line := range strings.Lines(b.text) {
		command, begins := strings.CutPrefix(line, "$ ")
		switch {
		case begins:
			all = append(all, step{command: command})
		case len(all) == 0:
			continue
		case typing:
			all[len(all)-1].command += line
		default:
			all[len(all)-1].output += line
		}
		typing = (begins || typing) && strings.HasSuffix(strings.TrimSpace(line), `\`)
	}
	return all
}

// differs compares what is shown with what was printed: line by line, and in
// each its words. What is different each time is not compared: words with a
// digit, and long ones, stand for each other. "…" stands for anything, with
// the word that it ends, and alone in a line for any lines.
func differs(shown, printed string) bool {
	var pattern strings.Builder
	pattern.WriteString("^")
	for line := range strings.Lines(shown) {
		if strings.TrimSpace(line) == "…" {
			pattern.WriteString("(?:.*\n)*")
			continue
		}
		pattern.WriteString(strings.ReplaceAll(regexp.QuoteMeta(normal(begun.ReplaceAllString(line, "…"))), "…", ".*") + "\n")
	}
	pattern.WriteString("$")
	var lines strings.Builder
	for line := range strings.Lines(printed) {
		lines.WriteString(normal(line) + "\n")
	}
	return !regexp.MustCompile(pattern.String()).MatchString(lines.String())
}

// begun is a word of which only the beginning is shown.
var begun = regexp.MustCompile(`[A-Za-z0-9_.-]+…`)

var changing = regexp.MustCompile(`\bv[0-9]+\.[0-9]+\.[0-9]+|[A-Za-z0-9_]*[0-9][A-Za-z0-9_]*|[A-Za-z0-9_]{13,}`)

func normal(line string) string {
	return changing.ReplaceAllStringFunc(strings.Join(strings.Fields(line), " "), func(word string) string {
		if strings.HasPrefix(word, "v") && strings.Contains(word, ".") {
			return word
		}
		return "#"
	})
}

func TestAConsoleBlockIsCommandsAndTheirOutput(t *testing.T) {
	b := block{lang: "console", text: "$ vault read a\nKey  Value\n$ vault write b \\\n    c=d\n$ ls\n"}
	require.Equal(t, []step{
		{"vault read a\n", "Key  Value\n"}, {"vault write b \\\n    c=d\n", ""}, {"ls\n", ""},
	}, b.steps())
}

func TestOutputIsComparedButForWhatChanges(t *testing.T) {
	require.False(t, differs("lease_id   panta/creds/dmo/ZOhfD4\nduration 4m54s\n", "lease_id  panta/creds/dmo/abcDefghijklmn\nduration   4m53s\n"))
	require.False(t, differs("a\n…\nz\n", "a\nb\nc\nz\n"))
	require.False(t, differs(`{"ok":true,…}`, `{"ok":true,"account":"paula"}`+"\n"))
	require.False(t, differs("Bearer eyJhbGci… b\n", "Bearer eyJ0.abc b\n"))
	require.True(t, differs("v0.1.0\n", "v0.2.0\n"))
	require.True(t, differs("config dmo\n", "config eu\n"))
	require.True(t, differs("a\n", "a\nb\n"))
	require.True(t, differs("a\nb\n", "a\n"))
}
