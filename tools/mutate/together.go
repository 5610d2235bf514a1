package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Most mistakes are built together into one program, which a variable of the
// environment tells the one to make: to link a program for each of them takes much
// longer than to run it. A function with mistakes begins with a switch over copies of
// its body.

const (
	environment = "PLANTED_MISTAKE"
	variable    = "plantedMistake"
)

// together writes an overlay with all mistakes that can be built together, and numbers
// them.
func together(mutants []*mutant, scratch string) (overlay string, err error) {
	byFunction := map[*ast.FuncDecl][]*mutant{}
	byFile := map[*file][]*ast.FuncDecl{}
	replace := map[string]string{}
	write := func(path, text string) error {
		replace[path] = filepath.Join(scratch, strconv.Itoa(len(replace))+".go")
		return os.WriteFile(replace[path], []byte(text), 0o600)
	}
	for i, m := range mutants {
		if !m.isInCopy() {
			continue
		}
		m.number = i + 1
		if byFunction[m.function] == nil {
			byFile[m.file] = append(byFile[m.file], m.function)
		}
		byFunction[m.function] = append(byFunction[m.function], m)
		path := filepath.Join(m.pkg.dir, "planted_mistake.go")
		if replace[path] == "" {
			text := fmt.Sprintf("package %s\n\nimport (\n\"os\"\n\"strconv\"\n)\n\nvar %s, _ = strconv.Atoi(os.Getenv(%q))\n", m.pkg.types.Name(), variable, environment)
			if err := write(path, text); err != nil {
				return "", err
			}
		}
	}
	for f, functions := range byFile {
		slices.SortFunc(functions, func(a, b *ast.FuncDecl) int { return cmp.Compare(a.Pos(), b.Pos()) })
		var text strings.Builder
		from := 0
		for _, function := range functions {
			begin := f.pos.Offset(function.Body.Lbrace) + 1
			text.Write(f.text[from:begin])
			text.WriteString(copies(byFunction[function]))
			from = begin
		}
		text.Write(f.text[from:])
		if err := write(f.path, text.String()); err != nil {
			return "", err
		}
	}
	return writeOverlay(replace, scratch)
}

// copies is a switch over the bodies of a function, each with one mistake.
func copies(mutants []*mutant) string {
	var text strings.Builder
	fmt.Fprintf(&text, "\nswitch %s {\n", variable)
	for _, m := range mutants {
		begin, end := m.file.pos.Offset(m.function.Body.Lbrace)+1, m.file.pos.Offset(m.function.Body.Rbrace)
		fmt.Fprintf(&text, "case %d:\n%s%s%s\n", m.number, m.file.text[begin:m.start], m.with, m.file.text[m.end:end])
		if m.function.Type.Results == nil {
			text.WriteString("return\n")
		}
	}
	text.WriteString("}\n")
	return text.String()
}

// isInCopy says that the function's body with the mistake means the same in a block of
// its own: it has no label, and does not assign a parameter or a result by :=, which
// would be another variable there.
func (m *mutant) isInCopy() bool {
	if m.function == nil || m.start <= m.file.pos.Offset(m.function.Body.Lbrace) {
		return false
	}
	fits := true
	ast.Inspect(m.function.Body, func(n ast.Node) bool {
		if _, labeled := n.(*ast.LabeledStmt); labeled {
			fits = false
		}
		return fits
	})
	return fits && !slices.ContainsFunc(m.function.Body.List, m.redeclares)
}

func (m *mutant) redeclares(s ast.Stmt) bool {
	assigned, ok := s.(*ast.AssignStmt)
	if !ok || assigned.Tok != token.DEFINE {
		return false
	}
	fields := slices.Clone(m.function.Type.Params.List)
	if m.function.Type.Results != nil {
		fields = append(fields, m.function.Type.Results.List...)
	}
	return slices.ContainsFunc(fields, func(f *ast.Field) bool {
		return slices.ContainsFunc(f.Names, func(name *ast.Ident) bool {
			return slices.ContainsFunc(assigned.Lhs, func(e ast.Expr) bool { id, ok := e.(*ast.Ident); return ok && id.Name == name.Name })
		})
	})
}

// writeOverlay has the go command take other files in the place of some.
func writeOverlay(replace map[string]string, scratch string) (overlay string, err error) {
	text, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(scratch, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}
