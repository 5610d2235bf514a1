package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

var (
	inlineCode = regexp.MustCompile("`[^`]+`")
	testName   = regexp.MustCompile(`\b(?:Test|Benchmark|Fuzz)[A-Z]\w{2,}`)
	makeTarget = regexp.MustCompile(`^(?:[A-Z_]+=\S+ )*make ([a-z][a-z-]*)`)
	fileName   = regexp.MustCompile(`^[\w./-]+\.(?:go|json|md|svg|txtar|ya?ml)$|^[\w.-]+/[\w./-]*[\w-]$`)
)

// Tests, make targets and files that a document names as inline code exist.
func TestNamesInDocumentsExist(t *testing.T) {
	root, err := servers.ModuleRoot()
	require.NoError(t, err)
	files, tests := sourceTree(t, root)
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	require.NoError(t, err)
	for _, document := range markdown(t, root) {
		content, err := os.ReadFile(filepath.Join(root, document))
		require.NoError(t, err)
		for _, code := range inlineCode.FindAllString(fenced.ReplaceAllString(string(content), ""), -1) {
			code = strings.Trim(code, "`")
			for _, name := range testName.FindAllString(code, -1) {
				if !strings.Contains(tests, "func "+name+"(") {
					t.Errorf("%s names a test that does not exist: %s", document, name)
				}
			}
			if m := makeTarget.FindStringSubmatch(code); m != nil && !strings.Contains(string(makefile), "\n"+m[1]+":") {
				t.Errorf("%s names a make target that does not exist: %s", document, m[1])
			}
			if !fileName.MatchString(code) || strings.Contains(code, ".Test") {
				continue
			}
			// Of paths without an extension, many are Vault's or a module's.
			first, _, _ := strings.Cut(code, "/")
			if filepath.Ext(code) == "" && !slices.Contains(files, first) {
				continue
			}
			exists := func(file string) bool { return file == code || strings.HasSuffix(file, "/"+code) }
			if !slices.ContainsFunc(files, exists) {
				t.Errorf("%s names a file that does not exist: %s", document, code)
			}
		}
	}
}

// sourceTree returns the files and directories of the module, and the text of its tests.
func sourceTree(t *testing.T, root string) (files []string, tests string) {
	t.Helper()
	var text strings.Builder
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == ".git" || path == "bin" || path == "dist" {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		files = append(files, path)
		if strings.HasSuffix(path, "_test.go") {
			content, err := os.ReadFile(filepath.Join(root, path))
			text.Write(content)
			return err
		}
		return nil
	})
	require.NoError(t, err)
	return files, text.String()
}
