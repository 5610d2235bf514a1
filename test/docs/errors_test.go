package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/sessions/machine"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

const troubleshooting = "docs/troubleshooting.md"

// The rows of docs/troubleshooting.md are the errors that the code makes, no more
// and no less; … stands for what differs.
func TestEveryErrorIsExplained(t *testing.T) {
	root, err := servers.ModuleRoot()
	require.NoError(t, err)
	made := map[string]string{}
	for _, pkg := range []string{"configs", "paths", "providers/oauth2", "sessions", "sessions/machine", "store"} {
		files, err := filepath.Glob(filepath.Join(root, pkg, "*.go"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				maps.Copy(made, messages(t, file))
			}
		}
	}
	require.Greater(t, len(made), 40)

	content, err := os.ReadFile(filepath.Join(root, troubleshooting))
	require.NoError(t, err)
	explained := map[string]bool{}
	for line := range strings.Lines(string(content)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		text, isRow := strings.CutPrefix(cells[0], "| `")
		if !isRow {
			continue
		}
		require.Len(t, cells, 3, line)
		text = strings.TrimSuffix(text, "`")
		explained[text] = true
		if made[text] == "" {
			t.Errorf("%s explains what no code says: %s", troubleshooting, text)
		}
	}
	for _, text := range slices.Sorted(maps.Keys(made)) {
		if !explained[text] {
			t.Errorf("%s does not explain: %s (%s)", troubleshooting, text, made[text])
		}
	}
}

func TestEveryKindOfErrorHasItsPlace(t *testing.T) {
	root, err := servers.ModuleRoot()
	require.NoError(t, err)
	content, err := os.ReadFile(filepath.Join(root, troubleshooting))
	require.NoError(t, err)
	for kind := providers.Kind(0); !strings.HasPrefix(kind.String(), "kind "); kind++ {
		require.Contains(t, string(content), "**"+kind.String()+"**")
	}
	for _, reason := range machine.Reasons() {
		require.Contains(t, string(content), "**"+string(reason)+"**")
	}
}

// messages are the texts that a file gives to errors, with where it does.
func messages(t *testing.T, file string) map[string]string {
	t.Helper()
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, nil, 0)
	require.NoError(t, err)
	found := map[string]string{}
	add := func(e ast.Expr) {
		text := repeated.ReplaceAllString(strings.ReplaceAll(textOf(e), "`", ""), "…")
		text = strings.TrimPrefix(text, "…: ") // the config
		if strings.HasPrefix(text, "field \"") {
			return // it says all there is to say
		}
		// Without words of its own it is another error's text.
		if len(strings.Trim(text, "…:; ")) > 0 && !strings.HasPrefix(text, "… without") {
			position := set.Position(e.Pos())
			found[text] = filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file) + ":" + strconv.Itoa(position.Line)
		}
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Message" {
				add(n.Value)
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok {
				switch {
				case f.Sel.Name == "failed" && len(n.Args) == 4:
					add(n.Args[2])
				case f.Sel.Name == "CodedError":
					add(n.Args[1])
				case f.Sel.Name == "ErrorResponse":
					add(&ast.CallExpr{Fun: &ast.SelectorExpr{X: f.X, Sel: ast.NewIdent("Sprintf")}, Args: n.Args})
				}
			}
		case *ast.FuncDecl:
			if n.Name.Name == "Error" && parsed.Name.Name == "store" || wording[n.Name.Name] {
				ast.Inspect(n, func(inner ast.Node) bool {
					switch inner := inner.(type) {
					case *ast.ReturnStmt:
						add(inner.Results[0])
					case *ast.AssignStmt: // of a message that is added to later
						if inner.Tok == token.DEFINE {
							add(inner.Rhs[0])
						}
					}
					return true
				})
			}
		}
		return true
	})
	return found
}

// wording are the functions that word what broke a connection.
var wording = map[string]bool{"noConnection": true, "silence": true, "redirection": true, "quote": true}

var (
	verb     = regexp.MustCompile(`%[+#]?[a-z]`)
	repeated = regexp.MustCompile(`…+`)
)

// textOf is what an expression says, as far as the source knows.
func textOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		if err == nil {
			return text
		}
	case *ast.BinaryExpr:
		return textOf(e.X) + textOf(e.Y)
	case *ast.CallExpr:
		if f, ok := e.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Sprintf" {
			return verb.ReplaceAllString(textOf(e.Args[0]), "…")
		}
	}
	return "…"
}
