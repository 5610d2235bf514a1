package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strconv"
	"strings"
)

// mutant is one small mistake: a stretch of a file and what stands there instead.
type mutant struct {
	pkg        *pkg
	file       *file
	start, end int // offsets in the file
	with       string
	function   *ast.FuncDecl // it is in; nil: in none
	number     int           // in the program that holds all mistakes; 0: it is not in there
	// ran is what a test must have run to find it. Of the case of a switch that is the
	// switch: the coverage counts its statements alone.
	ran token.Pos
}

// source is the file with the mistake in it.
func (m *mutant) source() []byte {
	return slices.Concat(m.file.text[:m.start], []byte(m.with), m.file.text[m.end:])
}

func (m *mutant) line() int { return m.file.pos.Line(m.file.pos.Pos(m.start)) }

// what tells the mistake: the line before and after.
func (m *mutant) what() string {
	after := string(m.source())
	from := strings.LastIndexByte(after[:m.start], '\n') + 1
	return fmt.Sprintf("%s => %s", oneLine(string(m.file.text), from, m.end), oneLine(after, from, m.start+len(m.with)))
}

// oneLine returns the lines of a text that a stretch is on, as one.
func oneLine(text string, from, to int) string {
	end := len(text)
	if n := strings.IndexByte(text[to:], '\n'); n >= 0 {
		end = to + n
	}
	words := strings.Join(strings.Fields(text[from:end]), " ")
	if words == "" {
		return "(nothing)"
	}
	return words
}

// key names a mistake so that it is found again when lines above it have changed.
func (m *mutant) key() string { return m.file.name + ": " + m.what() }

// mutantsOf finds every mistake that can be made in a package. Not all of them
// compile: see pkg.compiles.
func mutantsOf(p *pkg) []*mutant {
	f := &finder{pkg: p, seen: map[string]bool{}}
	for _, file := range p.files {
		f.file = file
		for _, decl := range file.tree.Decls {
			f.function, _ = decl.(*ast.FuncDecl)
			ast.Inspect(decl, f.visit)
		}
	}
	return f.found
}

type finder struct {
	pkg      *pkg
	file     *file
	function *ast.FuncDecl
	results  []*types.Tuple // of the functions around, the innermost last
	stack    []ast.Node
	seen     map[string]bool
	found    []*mutant
}

// plant notes that a node can be replaced.
func (f *finder) plant(from, to token.Pos, with string) {
	m := &mutant{pkg: f.pkg, file: f.file, start: f.file.pos.Offset(from), end: f.file.pos.Offset(to), with: with, function: f.function, ran: from}
	for _, n := range f.stack {
		if s, ok := n.(*ast.SwitchStmt); ok && isInCase(s, from) {
			m.ran = s.Pos()
			break
		}
	}
	key := fmt.Sprint(f.file.name, m.start, m.end, with)
	if !f.seen[key] {
		f.seen[key] = true
		f.found = append(f.found, m)
	}
}

// isInCase says that what stands there decides where a switch goes.
func isInCase(s *ast.SwitchStmt, at token.Pos) bool {
	return slices.ContainsFunc(s.Body.List, func(clause ast.Stmt) bool {
		c := clause.(*ast.CaseClause)
		return c.Pos() <= at && at < c.Colon
	})
}

func (f *finder) replace(n ast.Node, with string) { f.plant(n.Pos(), n.End(), with) }

func (f *finder) text(n ast.Node) string {
	return string(f.file.text[f.file.pos.Offset(n.Pos()):f.file.pos.Offset(n.End())])
}

func (f *finder) visit(n ast.Node) bool {
	if n == nil {
		top := f.stack[len(f.stack)-1]
		f.stack = f.stack[:len(f.stack)-1]
		if isFunction(top) {
			f.results = f.results[:len(f.results)-1]
		}
		return true
	}
	f.stack = append(f.stack, n)
	if isFunction(n) {
		f.results = append(f.results, f.resultsOf(n))
	}
	switch n := n.(type) {
	case *ast.BinaryExpr:
		f.swapOperator(n)
	case *ast.UnaryExpr:
		if n.Op == token.NOT {
			f.replace(n, f.text(n.X))
		}
	case *ast.BasicLit:
		f.countWrong(n)
	case *ast.IfStmt:
		f.turn(n.Cond)
	case *ast.ForStmt:
		f.turn(n.Cond)
	case *ast.SwitchStmt:
		f.turnCases(n)
	case *ast.IncDecStmt:
		f.leaveOut(n)
		f.plant(n.TokPos, n.End(), map[token.Token]string{token.INC: "--", token.DEC: "++"}[n.Tok])
	case *ast.AssignStmt:
		f.assignWrong(n)
	case *ast.ExprStmt:
		f.leaveOut(n)
	case *ast.DeferStmt:
		f.leaveOut(n)
	case *ast.GoStmt:
		f.leaveOut(n)
	case *ast.BranchStmt:
		if n.Tok == token.BREAK || n.Tok == token.CONTINUE {
			f.leaveOut(n)
		}
	case *ast.ReturnStmt:
		f.returnWrong(n)
	case *ast.Ident:
		if object := f.pkg.info.Uses[n]; object == types.Universe.Lookup(n.Name) && (n.Name == "true" || n.Name == "false") {
			f.replace(n, turned(n.Name))
		}
	}
	return true
}

func isFunction(n ast.Node) bool {
	switch n.(type) {
	case *ast.FuncDecl, *ast.FuncLit:
		return true
	}
	return false
}

func (f *finder) resultsOf(n ast.Node) *types.Tuple {
	switch n := n.(type) {
	case *ast.FuncDecl:
		return f.pkg.info.Defs[n.Name].Type().(*types.Signature).Results()
	case *ast.FuncLit:
		return f.pkg.info.TypeOf(n).(*types.Signature).Results()
	}
	return nil
}

// others are the operators that are easily taken for another.
var others = map[token.Token][]string{
	token.EQL: {"!="}, token.NEQ: {"=="},
	token.LSS: {"<=", ">="}, token.LEQ: {"<", ">"}, token.GTR: {">=", "<="}, token.GEQ: {">", "<"},
	token.LAND: {"||"}, token.LOR: {"&&"},
	token.ADD: {"-"}, token.SUB: {"+"}, token.MUL: {"/"}, token.QUO: {"*"}, token.REM: {"*"},
	token.AND: {"|"}, token.OR: {"&"}, token.SHL: {">>"}, token.SHR: {"<<"},
	token.ADD_ASSIGN: {"-="}, token.SUB_ASSIGN: {"+="}, token.MUL_ASSIGN: {"/="}, token.QUO_ASSIGN: {"*="},
	token.OR_ASSIGN: {"&="}, token.AND_ASSIGN: {"|="},
}

// swapOperator puts another operator in. A constant changes by its numbers.
func (f *finder) swapOperator(n *ast.BinaryExpr) {
	if f.pkg.info.Types[n].Value != nil {
		return
	}
	for _, op := range others[n.Op] {
		f.plant(n.OpPos, n.OpPos+token.Pos(len(n.Op.String())), op)
	}
	if n.Op == token.LAND || n.Op == token.LOR {
		f.turn(n.X)
		f.turn(n.Y)
	}
}

// turn has a condition say the opposite. A comparison is turned by its operator.
func (f *finder) turn(condition ast.Expr) {
	switch c := condition.(type) {
	case *ast.Ident, *ast.SelectorExpr, *ast.CallExpr, *ast.IndexExpr:
		f.replace(condition, turned(f.text(condition)))
	case *ast.ParenExpr:
		f.turn(c.X)
	}
}

func turned(condition string) string {
	switch condition {
	case "true":
		return "false"
	case "false":
		return "true"
	}
	return "!" + condition
}

// turnCases turns the conditions of a switch without a value, and takes the
// others for ones that never come.
func (f *finder) turnCases(n *ast.SwitchStmt) {
	for _, statement := range n.Body.List {
		clause := statement.(*ast.CaseClause)
		for _, c := range clause.List {
			if n.Tag == nil {
				f.turn(c)
			}
		}
		if len(clause.Body) > 0 && len(clause.List) > 0 && n.Tag != nil {
			f.plant(clause.Colon+1, clause.End(), "")
		}
	}
}

// countWrong is off by one, but for the zero of a duration, where that is a nanosecond.
func (f *finder) countWrong(n *ast.BasicLit) {
	isDuration := f.pkg.info.Types[n].Type != nil && f.pkg.info.Types[n].Type.String() == "time.Duration"
	if n.Kind != token.INT || n.Value == "0" && isDuration {
		return
	}
	number, err := strconv.Atoi(n.Value)
	if err != nil || len(n.Value) > 1 && n.Value[0] == '0' { // a file's mode
		return
	}
	f.replace(n, strconv.Itoa(number+1))
	if number > 0 {
		f.replace(n, strconv.Itoa(number-1))
	}
}

func (f *finder) assignWrong(n *ast.AssignStmt) {
	if n.Tok == token.DEFINE {
		return
	}
	for _, op := range others[n.Tok] {
		f.plant(n.TokPos, n.TokPos+token.Pos(len(n.Tok.String())), op)
	}
	f.leaveOut(n)
}

// leaveOut has a statement missing, unless it is one that no test of the
// program's behaviour can miss.
func (f *finder) leaveOut(n ast.Stmt) {
	var call *ast.CallExpr
	switch n := n.(type) {
	case *ast.ExprStmt:
		call, _ = n.X.(*ast.CallExpr)
	case *ast.DeferStmt:
		call = n.Call
	}
	if call != nil && f.isUnseen(call) {
		return
	}
	// In the head of an if, for or switch a statement ends with a semicolon.
	f.replace(n, "")
}

// isUnseen says that a call locks, which the race detector looks after, or logs.
func (f *finder) isUnseen(call *ast.CallExpr) bool {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	on := f.pkg.info.TypeOf(method.X)
	if on == nil {
		return false
	}
	name := on.String()
	return strings.HasSuffix(name, "hclog.Logger") || strings.HasPrefix(strings.TrimPrefix(name, "*"), "sync.") &&
		slices.Contains([]string{"Lock", "Unlock", "RLock", "RUnlock"}, method.Sel.Name)
}

// returnWrong returns something else, one result at a time, or does not return.
func (f *finder) returnWrong(n *ast.ReturnStmt) {
	results := f.results[len(f.results)-1]
	if len(n.Results) == 0 {
		f.replace(n, "")
		return
	}
	if results.Len() != len(n.Results) { // the results of a call
		return
	}
	for i, r := range n.Results {
		if other, ok := f.otherValue(results.At(i).Type(), r); ok {
			f.replace(r, other)
		}
	}
}

// otherValue is a value of a type that an expression hardly has: the zero value,
// or for booleans the opposite.
func (f *finder) otherValue(t types.Type, r ast.Expr) (string, bool) {
	text := f.text(r)
	switch u := t.Underlying().(type) {
	case *types.Basic:
		if isComparison(r) { // turned by its operator
			return "", false
		}
		return otherBasic(u, text)
	case *types.Pointer, *types.Slice, *types.Map, *types.Signature, *types.Chan, *types.Interface:
		return "nil", text != "nil"
	case *types.Struct:
		zero := types.TypeString(t, func(p *types.Package) string {
			if p == f.pkg.types {
				return ""
			}
			return p.Name()
		}) + "{}"
		return zero, text != zero
	}
	return "", false
}

func isComparison(e ast.Expr) bool {
	b, ok := e.(*ast.BinaryExpr)
	return ok && (b.Op == token.EQL || b.Op == token.NEQ)
}

func otherBasic(t *types.Basic, text string) (string, bool) {
	switch {
	case t.Info()&types.IsBoolean != 0:
		if text == "true" || text == "false" || token.IsIdentifier(text) {
			return turned(text), true
		}
		return "!(" + text + ")", true
	case t.Info()&types.IsString != 0:
		return `""`, text != `""`
	case t.Info()&types.IsNumeric != 0:
		if text == "0" {
			return "1", true
		}
		return "0", true
	}
	return "", false
}

// byPlace orders mistakes by where they are.
func byPlace(a, b *mutant) int {
	return cmp.Or(cmp.Compare(a.file.name, b.file.name), cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end), cmp.Compare(a.with, b.with))
}
