package docs

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// block is a fenced block of commands.
type block struct {
	file string // from the module's root
	line int    // of its fence
	lang string // sh or console
	mark mark
	text string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.file, b.line) }

// runs says that the test types it.
func (b block) runs() bool { return !b.mark.byCI && b.mark.because == "" }

// mark says what the test does with a block. A reader does not see it: it is
// an HTML comment in the line before the fence.
//
//	(none)                                 runs, in the document's shell
//	<!-- test: in NAME -->                 runs, in the shell of that name
//	<!-- test: stays running, ready when COMMAND -->
//	                                       runs beside the shell until the document ends
//	<!-- test: run by .ci/run -->          each of its lines is a step there
//	<!-- test: not run, REASON -->         does not run
type mark struct {
	shell   string
	ready   string // of what stays running
	byCI    bool
	because string // it is not run
}

const (
	markBegin, markEnd = "<!-- test: ", " -->"
	staysRunning       = "stays running, ready when "
	notRun             = "not run, "
)

func parseMark(line string) (mark, error) {
	text, ok := strings.CutPrefix(line, markBegin)
	if !ok {
		return mark{}, nil
	}
	text, ok = strings.CutSuffix(text, markEnd)
	if !ok {
		return mark{}, fmt.Errorf("the mark %q does not end in %q", line, markEnd)
	}
	if name, ok := strings.CutPrefix(text, "in "); ok {
		return mark{shell: name}, nil
	}
	if command, ok := strings.CutPrefix(text, staysRunning); ok {
		return mark{ready: command}, nil
	}
	if reason, ok := strings.CutPrefix(text, notRun); ok && reason != "" {
		return mark{because: reason}, nil
	}
	if text == "run by .ci/run" {
		return mark{byCI: true}, nil
	}
	return mark{}, fmt.Errorf("the mark %q is not known", line)
}

// blocks returns the command blocks of a document, in order. What is not to be
// typed (output, configuration) is in a fence of another language; a fence
// without any is refused, since nobody knows what it is.
func blocks(file, content string) ([]block, error) {
	var found []block
	var open *block
	var before string
	for i, line := range strings.Split(content, "\n") {
		lang, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && open != nil:
			if open.lang == "sh" || open.lang == "console" {
				found = append(found, *open)
			}
			open = nil
		case fence:
			open = &block{file: file, line: i + 1, lang: lang}
			m, err := parseMark(strings.TrimSpace(before))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", *open, err)
			}
			open.mark = m
			switch lang {
			case "", "bash", "shell":
				return nil, fmt.Errorf("%s: say sh or console for what is typed, text for what is not", *open)
			}
		case open != nil:
			open.text += line + "\n"
		}
		before = line
	}
	if open != nil {
		return nil, fmt.Errorf("%s: the fence is not closed", *open)
	}
	return found, nil
}

func read(t *testing.T, root, file string) []block {
	t.Helper()
	content, err := os.ReadFile(root + "/" + file)
	require.NoError(t, err)
	found, err := blocks(file, string(content))
	require.NoError(t, err)
	return found
}

func TestMarksAndFencesAreUnderstood(t *testing.T) {
	found, err := blocks("x.md", strings.Join([]string{
		"```sh", "make demo", "```",
		"```hcl", "path {}", "```",
		"<!-- test: not run, it is yours -->", "```console", "$ ls", "a", "```",
	}, "\n"))
	require.NoError(t, err)
	require.Equal(t, []block{
		{file: "x.md", line: 1, lang: "sh", text: "make demo\n"},
		{file: "x.md", line: 8, lang: "console", text: "$ ls\na\n", mark: mark{because: "it is yours"}},
	}, found)

	for _, wrong := range []string{"```\nls\n```", "```sh\nls", "<!-- test: nonsense -->\n```sh\nls\n```", "<!-- test: not run, -->\n```sh\nls\n```"} {
		_, err := blocks("x.md", wrong)
		require.Error(t, err, wrong)
	}
}
