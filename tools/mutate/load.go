package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// pkg is a package in which mistakes are made.
type pkg struct {
	path, dir string
	fset      *token.FileSet
	files     []*file
	types     *types.Package
	info      *types.Info
	importer  types.Importer
}

// file is one of its source files.
type file struct {
	path string // absolute
	name string // from the module's root
	text []byte
	tree *ast.File
	pos  *token.File
}

// module is what the go command knows of the packages of this module and their
// tests.
type module struct {
	root, path string
	exports    map[string]string          // compiled packages, by import path
	listed     map[string]listed          // by import path, of this module only
	tests      map[string]map[string]bool // what the tests of each package depend on
}

// listed is what `go list` says of a package.
type listed struct {
	ImportPath string `json:"ImportPath"`
	Dir        string `json:"Dir"`
	Export     string `json:"Export"`  // where it is compiled
	ForTest    string `json:"ForTest"` // compiled anew for the tests of that package
	Module     *struct {
		Path string `json:"Path"`
		Dir  string `json:"Dir"`
	} `json:"Module"`
	Match   []string `json:"Match"` // it is of ./...
	GoFiles []string `json:"GoFiles"`
	Deps    []string `json:"Deps"`
}

// load asks the go command about the packages of this module.
func load(ctx context.Context) (*module, error) {
	list := exec.CommandContext(ctx, "go", "list", "-deps", "-test", "-export", "-json=ImportPath,Dir,Export,ForTest,Module,Match,GoFiles,Deps", "./...")
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	m := &module{exports: map[string]string{}, listed: map[string]listed{}, tests: map[string]map[string]bool{}}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return m, nil
		} else if err != nil {
			return nil, fmt.Errorf("the answer of go list: %w", err)
		}
		m.take(p)
	}
}

func (m *module) take(p listed) {
	if tested, isTest := strings.CutSuffix(p.ImportPath, ".test"); isTest && p.ForTest == "" {
		deps := map[string]bool{}
		for _, d := range p.Deps {
			path, _, _ := strings.Cut(d, " ") // "path [for that test]"
			deps[path] = true
		}
		m.tests[tested] = deps
		return
	}
	if p.ForTest != "" {
		return
	}
	m.exports[p.ImportPath] = p.Export
	if len(p.Match) > 0 {
		m.root, m.path = p.Module.Dir, p.Module.Path
		m.listed[p.ImportPath] = p
	}
}

// open reads and checks a package, named by its folder.
func (m *module) open(folder string) (*pkg, error) {
	path := m.path + "/" + filepath.ToSlash(filepath.Clean(folder))
	l, ok := m.listed[path]
	if !ok {
		return nil, fmt.Errorf("%s: there is no such package in %s", folder, m.path)
	}
	p := &pkg{path: path, dir: l.Dir, fset: token.NewFileSet()}
	p.importer = importer.ForCompiler(p.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(m.exports[path]) })
	for _, name := range l.GoFiles {
		full := filepath.Join(l.Dir, name)
		text, err := os.ReadFile(full)
		if err != nil {
			return nil, err
		}
		tree, err := parser.ParseFile(p.fset, full, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		short, err := filepath.Rel(m.root, full)
		if err != nil {
			return nil, err
		}
		p.files = append(p.files, &file{path: full, name: filepath.ToSlash(short), text: text, tree: tree, pos: p.fset.File(tree.Pos())})
	}
	p.info = &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{},
	}
	var err error
	p.types, err = p.check(p.trees(), p.info)
	return p, err
}

func (p *pkg) trees() []*ast.File {
	trees := make([]*ast.File, len(p.files))
	for i, f := range p.files {
		trees[i] = f.tree
	}
	return trees
}

func (p *pkg) check(trees []*ast.File, info *types.Info) (*types.Package, error) {
	return (&types.Config{Importer: p.importer}).Check(p.path, p.fset, trees, info)
}

// compiles says whether the package still does with a mistake in it.
func (p *pkg) compiles(m *mutant) bool {
	tree, err := parser.ParseFile(p.fset, m.file.path, m.source(), parser.SkipObjectResolution)
	if err != nil {
		return false
	}
	trees := p.trees()
	trees[slices.Index(p.files, m.file)] = tree
	_, err = p.check(trees, nil)
	return err == nil
}
