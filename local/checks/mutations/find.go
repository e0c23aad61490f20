package main

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A mutation is one small fault. Everything but Line tells it from others and finds it again in a checkout whose other lines
// have moved.
type mutation struct {
	File   string `json:"file"` // from the root of the checkout
	Line   int    `json:"line"`
	Func   string `json:"func"`   // empty outside functions
	Text   string `json:"text"`   // the line, without the space around it
	Nth    int    `json:"nth"`    // which of the function's lines with this text, from 0
	Column int    `json:"column"` // bytes of Text before the fault
	Kind   string `json:"kind"`
	Before string `json:"before"`
	After  string `json:"after"`

	start, end int // bytes of the file
}

// identity is what stays of a mutation when lines above it come and go.
func (m mutation) identity() mutation {
	m.Line, m.start, m.end = 0, 0, 0
	return m
}

func (m mutation) String() string {
	before, after := m.Text, "(nothing)"
	if end := m.Column + len(m.Before); end <= len(m.Text) {
		if line := m.Text[:m.Column] + m.After + m.Text[end:]; strings.TrimSpace(line) != "" {
			after = line
		}
	} else {
		before += " …"
		if m.After != "" {
			after = m.Text[:m.Column] + strings.SplitN(m.After, "\n", 2)[0] + " …"
		}
	}
	return fmt.Sprintf("%s:%d: %s: %s → %s", m.File, m.Line, m.Kind, before, after)
}

// Kinds of faults.
const (
	condition  = "condition"  // an if's is negated
	comparison = "comparison" // < and <=, > and >=, == and != change places
	arithmetic = "arithmetic" // + and - change places
	logic      = "logic"      // && and || change places
	statement  = "statement"  // a call or an assignment to a field is dropped
	success    = "success"    // nil is returned in place of an error
	constant   = "constant"   // an integer is one more
	branch     = "branch"     // a break or continue is dropped
)

var swapped = map[token.Token]struct {
	kind  string
	other token.Token
}{
	token.LSS: {comparison, token.LEQ}, token.LEQ: {comparison, token.LSS}, token.GTR: {comparison, token.GEQ}, token.GEQ: {comparison, token.GTR},
	token.EQL: {comparison, token.NEQ}, token.NEQ: {comparison, token.EQL},
	token.ADD: {arithmetic, token.SUB}, token.SUB: {arithmetic, token.ADD},
	token.ADD_ASSIGN: {arithmetic, token.SUB_ASSIGN}, token.SUB_ASSIGN: {arithmetic, token.ADD_ASSIGN},
	token.INC: {arithmetic, token.DEC}, token.DEC: {arithmetic, token.INC},
	token.LAND: {logic, token.LOR}, token.LOR: {logic, token.LAND},
}

// Functions that make texts for people: no test needs to find a fault in one.
var texts = []string{"String", "GoString", "Error", "Format", "LogValue"}

// find returns all faults of a file, in its order, or none where the file is generated.
func find(root, file string) ([]mutation, error) {
	src, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		return nil, err
	}
	return findIn(file, src)
}

func findIn(file string, src []byte) ([]mutation, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, file, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if ast.IsGenerated(tree) {
		return nil, nil
	}
	f := &finder{file: file, src: src, lines: fset.File(tree.Pos())}
	for _, d := range tree.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			f.within, f.function = 0, ""
			f.walk(d, nil)
		} else if fn.Body != nil && !slices.Contains(texts, fn.Name.Name) {
			f.within, f.function = f.lines.Offset(fn.Pos()), name(fn)
			f.walk(fn.Body, fn.Type.Results)
		}
	}
	slices.SortStableFunc(f.found, func(a, b mutation) int { return cmp.Compare(a.start, b.start) })
	return f.found, nil
}

// name is a function's, after its receiver's type.
func name(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.Name
	}
	receiver := ""
	ast.Inspect(fn.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && receiver == "" {
			receiver = id.Name
		}
		return receiver == ""
	})
	return receiver + "." + fn.Name.Name
}

type finder struct {
	file     string
	src      []byte
	lines    *token.File
	function string
	within   int // where it begins
	found    []mutation
}

// add notes that the bytes from start to end may become something else.
func (f *finder) add(kind string, from, to token.Pos, after string) {
	start, end := f.lines.Offset(from), f.lines.Offset(to)
	at := bytes.LastIndexByte(f.src[:start], '\n') + 1
	line, _, _ := strings.Cut(string(f.src[at:]), "\n")
	text := strings.TrimSpace(line)
	column := start - at - (len(line) - len(strings.TrimLeft(line, " \t")))
	nth := 0
	for l := range strings.Lines(string(f.src[min(f.within, at):at])) {
		if strings.TrimSpace(l) == text {
			nth++
		}
	}
	f.found = append(f.found, mutation{f.file, f.lines.Line(from), f.function, text, nth, column, kind, string(f.src[start:end]), after, start, end})
}

// walk finds the faults below a node, in a function with these results.
func (f *finder) walk(root ast.Node, results *ast.FieldList) {
	if root == nil {
		return
	}
	ast.Inspect(root, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			f.walk(n.Body, n.Type.Results)
			return false
		case *ast.GenDecl:
			return n.Tok != token.IMPORT && !(n.Tok == token.CONST && counts(n))
		case *ast.CallExpr:
			return f.call(n, results)
		case *ast.BlockStmt:
			f.statements(n.List)
		case *ast.CaseClause:
			f.statements(n.Body)
		case *ast.CommClause:
			f.statements(n.Body)
		case *ast.ForStmt: // without the step from one round to the next: that would be a test of patience
			if n.Init != nil {
				f.walk(n.Init, results)
			}
			if n.Cond != nil {
				f.walk(n.Cond, results)
			}
			f.walk(n.Body, results)
			return false
		case *ast.IfStmt:
			if onlyLogs(n) {
				return false
			}
			f.add(condition, n.Cond.Pos(), n.Cond.End(), "!("+f.text(n.Cond)+")")
			if b, ok := ast.Unparen(n.Cond).(*ast.BinaryExpr); ok && (b.Op == token.EQL || b.Op == token.NEQ) { // negated already
				f.walk(b.X, results)
				f.walk(b.Y, results)
				f.rest(n, results)
				return false
			}
		case *ast.BinaryExpr:
			if n.Op != token.ADD || !quoted(n.X) && !quoted(n.Y) {
				f.swap(n.OpPos, n.Op)
			}
		case *ast.AssignStmt:
			f.swap(n.TokPos, n.Tok)
		case *ast.IncDecStmt:
			f.swap(n.TokPos, n.Tok)
		case *ast.ReturnStmt:
			f.returned(n, results)
		case *ast.BasicLit:
			if n.Kind == token.INT {
				f.integer(n)
			}
		}
		return true
	})
}

func (f *finder) text(n ast.Node) string {
	return string(f.src[f.lines.Offset(n.Pos()):f.lines.Offset(n.End())])
}

// rest walks what an if has beside its condition.
func (f *finder) rest(n *ast.IfStmt, results *ast.FieldList) {
	if n.Init != nil {
		f.walk(n.Init, results)
	}
	f.walk(n.Body, results)
	if n.Else != nil {
		f.walk(n.Else, results)
	}
}

// call is true where the arguments of a call are to be walked as well.
func (f *finder) call(n *ast.CallExpr, results *ast.FieldList) bool {
	switch callee(n) {
	case "errors.New", "fmt.Errorf", "panic": // texts
		return false
	case "make": // of a slice's capacity and a map's size nobody knows
		if _, ok := n.Args[0].(*ast.MapType); !ok && len(n.Args) > 1 {
			f.walk(n.Args[1], results)
		}
		return false
	}
	return !logs(n) && !strings.HasSuffix(callee(n), ".Grow")
}

// callee is the name of a function as it is called, the package or value before it included.
func callee(n *ast.CallExpr) string {
	switch fun := n.Fun.(type) {
	case *ast.Ident:
		return fun.Name
	case *ast.SelectorExpr:
		return last(fun.X) + "." + fun.Sel.Name
	}
	return ""
}

func last(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

var logger = regexp.MustCompile(`^(?i:log|slog|logger)\.(Debug|Info|Warn|Error|Log|LogAttrs|Print|Printf|Println|Fatal|Fatalf)(Context)?$`)

// logs is true of a call that writes a log.
func logs(n *ast.CallExpr) bool { return logger.MatchString(callee(n)) }

// onlyLogs is true of an if that decides about the log alone.
func onlyLogs(n *ast.IfStmt) bool {
	if n.Else != nil || len(n.Body.List) == 0 {
		return false
	}
	return !slices.ContainsFunc(n.Body.List, func(s ast.Stmt) bool {
		e, ok := s.(*ast.ExprStmt)
		if !ok {
			return true
		}
		call, ok := e.X.(*ast.CallExpr)
		return !ok || !logs(call)
	})
}

// counts is true of constants that iota numbers: one more for each is the same.
func counts(d *ast.GenDecl) bool {
	found := false
	ast.Inspect(d, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		found = found || ok && id.Name == "iota"
		return !found
	})
	return found
}

func (f *finder) swap(at token.Pos, op token.Token) {
	if s, ok := swapped[op]; ok {
		f.add(s.kind, at, at+token.Pos(len(op.String())), s.other.String())
	}
}

// quoted is true of a text in the source, from which nothing can be subtracted.
func quoted(e ast.Expr) bool {
	l, ok := e.(*ast.BasicLit)
	return ok && l.Kind == token.STRING
}

// statements notes those of a list that can be left out.
func (f *finder) statements(list []ast.Stmt) {
	for _, s := range list {
		var call *ast.CallExpr
		switch s := s.(type) {
		case *ast.ExprStmt:
			call, _ = s.X.(*ast.CallExpr)
		case *ast.DeferStmt:
			call = s.Call
		case *ast.AssignStmt:
			if s.Tok != token.DEFINE && field(s.Lhs[0]) {
				f.add(statement, s.Pos(), s.End(), "")
			}
		case *ast.IncDecStmt:
			if field(s.X) {
				f.add(statement, s.Pos(), s.End(), "")
			}
		case *ast.BranchStmt:
			if s.Tok == token.BREAK || s.Tok == token.CONTINUE {
				f.add(branch, s.Pos(), s.End(), "")
			}
		}
		if call != nil && !logs(call) && callee(call) != "panic" {
			f.add(statement, s.Pos(), s.End(), "")
		}
	}
}

// field is true of a field, and of an element of one.
func field(e ast.Expr) bool {
	if i, ok := e.(*ast.IndexExpr); ok {
		e = i.X
	}
	_, ok := e.(*ast.SelectorExpr)
	return ok
}

// returned notes the error that a function returns last.
func (f *finder) returned(n *ast.ReturnStmt, results *ast.FieldList) {
	if results == nil || len(n.Results) != results.NumFields() || len(n.Results) == 0 {
		return
	}
	kind, ok := results.List[len(results.List)-1].Type.(*ast.Ident)
	err := n.Results[len(n.Results)-1]
	if ok && kind.Name == "error" && last(err) != "nil" {
		f.add(success, err.Pos(), err.End(), "nil")
	}
}

func (f *finder) integer(n *ast.BasicLit) {
	value, err := strconv.ParseUint(n.Value, 0, 63)
	if err != nil { // no constant as large can be one more
		return
	}
	after := strconv.FormatUint(value+1, 10)
	if strings.HasPrefix(n.Value, "0x") {
		after = "0x" + strconv.FormatUint(value+1, 16)
	} else if len(n.Value) > 1 && n.Value[0] == '0' {
		after = "0o" + strconv.FormatUint(value+1, 8)
	}
	f.add(constant, n.Pos(), n.End(), after)
}
