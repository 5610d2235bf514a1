package docs

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pantaindex/vault-plugin-secrets-panta/configs"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers"
	"github.com/pantaindex/vault-plugin-secrets-panta/providers/presets"
	"github.com/pantaindex/vault-plugin-secrets-panta/test/servers"
)

// go test ./test/docs -run TestTheFieldsOfTheReferenceAreThoseOfTheCode -update
var update = flag.Bool("update", false, "write the tables of fields into docs/reference.md")

func TestTheFieldsOfTheReferenceAreThoseOfTheCode(t *testing.T) {
	root, err := servers.ModuleRoot()
	require.NoError(t, err)
	file := filepath.Join(root, "docs", "reference.md")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	want := string(content)
	want = withTable(t, want, "## Fields of a config", fieldTable(configs.Fields()))
	want = withTable(t, want, "## Fields of a role", fieldTable(configs.RoleFields()))
	want = withTable(t, want, "## Fields by provider", providerTable())
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(want), 0o644))
	}
	require.Equal(t, want, string(content))
}

// withTable puts a table in the place of the first one below a heading.
func withTable(t *testing.T, text, heading, table string) string {
	t.Helper()
	before, rest, found := strings.Cut(text, heading+"\n")
	require.True(t, found, heading)
	begin := strings.Index(rest, "\n|")
	require.GreaterOrEqual(t, begin, 0, heading)
	end := begin + strings.Index(rest[begin:], "\n\n")
	return before + heading + "\n" + rest[:begin+1] + table + rest[end+1:]
}

func fieldTable(fields []providers.Field) string {
	types := map[providers.Type]string{
		providers.Text: "text", providers.List: "list", providers.Params: "map", providers.Number: "number",
		providers.Flag: "true or false", providers.Duration: "duration", providers.Time: "time",
	}
	var out strings.Builder
	out.WriteString("| field | type | default | meaning |\n| --- | --- | --- | --- |\n")
	for _, f := range fields {
		kind := types[f.Type]
		if f.Secret {
			kind = "secret"
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", f.Name, kind, f.Default, f.Help)
	}
	return out.String()
}

// providerTable says of each field which methods need it, and which take it.
func providerTable() string {
	var methods []string
	uses := map[string]map[string]string{}
	for _, p := range presets.All() {
		for _, m := range p.Describe().Methods {
			method := fmt.Sprintf("`%s` %s", p.Describe().Name, m.Name)
			methods = append(methods, method)
			for _, f := range slices.Concat(m.Fields, configs.FieldsOfUse(m)) {
				if uses[f.Name] == nil {
					uses[f.Name] = map[string]string{}
				}
				uses[f.Name][method] = "yes"
				if f.Required {
					uses[f.Name][method] = "**required**"
				}
			}
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "| field | %s |\n| --- |%s\n", strings.Join(methods, " | "), strings.Repeat(" --- |", len(methods)))
	for _, f := range configs.Fields() {
		if uses[f.Name] == nil {
			continue // of all
		}
		fmt.Fprintf(&out, "| `%s` |", f.Name)
		for _, method := range methods {
			fmt.Fprintf(&out, " %s |", uses[f.Name][method])
		}
		out.WriteString("\n")
	}
	return out.String()
}
