package policy

import (
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// A fit tells whether the name of a tool fits what a condition says of it.
type fit func(name string) bool

// comparing are the functions that hold whole values against each other.
var comparing = []string{operators.Equals, operators.NotEquals, operators.In, operators.OldIn, operators.Index, operators.OptIndex}

// fitsOf finds what a condition says of tool.name in texts. Any text of it may be a whole name.
func fitsOf(tree *cel.Ast) (fits []fit) {
	native := tree.NativeRep()
	var about func(ast.Expr) bool // whether a value is made of tool.name
	about = func(e ast.Expr) bool {
		switch e.Kind() {
		case ast.IdentKind:
			return e.AsIdent() == "tool.name"
		case ast.CallKind:
			return !native.GetType(e.ID()).IsExactType(cel.BoolType) && slices.ContainsFunc(operandsOf(e.AsCall()), about)
		}
		return false
	}
	ast.PostOrderVisit(native.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if text, ok := textOf(e); ok {
			fits = append(fits, func(name string) bool { return name == text })
		}
		if e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		operands := operandsOf(call)
		if slices.Contains(comparing, call.FunctionName()) || !slices.ContainsFunc(operands, about) {
			return
		}
		for _, o := range operands {
			text, ok := textOf(o)
			if !ok {
				continue
			}
			switch call.FunctionName() {
			case "startsWith":
				fits = append(fits, func(name string) bool { return strings.HasPrefix(name, text) })
			case "endsWith":
				fits = append(fits, func(name string) bool { return strings.HasSuffix(name, text) })
			case "matches":
				if pattern, err := regexp.Compile(text); err == nil { // else the rule fails, and says so
					fits = append(fits, pattern.MatchString)
				}
			default:
				fits = append(fits, func(name string) bool { return strings.Contains(name, text) })
			}
		}
	}))
	return fits
}

func operandsOf(call ast.CallExpr) []ast.Expr {
	if call.IsMemberFunction() {
		return append([]ast.Expr{call.Target()}, call.Args()...)
	}
	return call.Args()
}

func textOf(e ast.Expr) (text string, ok bool) {
	if e.Kind() == ast.LiteralKind {
		text, ok = e.AsLiteral().Value().(string)
	}
	return text, ok
}

// means tells whether a rule means a tool by the name that it had: it says something that fits that, and not the one that it has.
func (r *compiled) means(o *Object) bool {
	return o.Formerly != "" && slices.ContainsFunc(r.fits, func(fits fit) bool { return fits(o.Formerly) && !fits(o.Name) })
}

// Meaning lists the rules that mean a tool by the name that it had.
func (s *Set) Meaning(o *Object) (rules []string) {
	for i := range s.rules {
		if r := &s.rules[i]; r.means(o) {
			rules = append(rules, r.place)
		}
	}
	return rules
}
