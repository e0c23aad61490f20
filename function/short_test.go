package function

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const (
	maxLines  = 60 // of a function
	maxParams = 5
)

// long are the functions that may be longer, each with its reason: to a table or a parser, a part with a name of its own adds nothing.
var long = map[string]string{
	"internal/recovery.readOrder":                     "a table: a case for each route whose receipts are read",
	"internal/value.(*describer).whole":               "a table: a case for each kind of type",
	"internal/value.(*node).encode":                   "a table: a case for each kind of type",
	"internal/value.fieldsOf":                         "a parser of tags",
	"internal/value.(*describer).node":                "a table: a case for each kind of type",
	"internal/app/dataplane.(*Plane).governorMetrics": "a table of metrics",
}

// TestFunctionsAreShort holds the product's functions to their bounds. Suites of stores, whose packages end in test, are tests.
func TestFunctionsAreShort(t *testing.T) {
	functions, reasons := 0, map[string]bool{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") || strings.HasSuffix(path.Dir(filepath.ToSlash(file)), "test") {
			return err
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, file, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if of, ok := n.(*ast.FuncType); ok && of.Params.NumFields() > maxParams {
				t.Errorf("%s has a function of %d parameters, and %d are enough: give it a struct", files.Position(of.Pos()), of.Params.NumFields(), maxParams)
			}
			return true
		})
		for _, d := range f.Decls {
			of, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			functions++
			name := path.Dir(filepath.ToSlash(file)) + "." + nameOf(of)
			lines := files.Position(of.End()).Line - files.Position(of.Pos()).Line + 1
			if lines <= maxLines {
				continue
			}
			if reasons[name] = true; long[name] == "" {
				t.Errorf("%s: %s has %d lines, and is to have %d at most: split it where a part has a name, or give the reason in long", files.Position(of.Pos()), name, lines, maxLines)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range long {
		if !reasons[name] {
			t.Errorf("%s is short, or not there: take it out of long", name)
		}
	}
	if functions < 2000 {
		t.Errorf("%d functions: this looks in the wrong place", functions)
	}
}

// nameOf is a function's name, with its receiver as in (*T).name.
func nameOf(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	of, pointer := f.Recv.List[0].Type, ""
	if p, ok := of.(*ast.StarExpr); ok {
		of, pointer = p.X, "*"
	}
	if generic, ok := of.(*ast.IndexExpr); ok {
		of = generic.X
	}
	if named, ok := of.(*ast.Ident); ok {
		return "(" + pointer + named.Name + ")." + f.Name.Name
	}
	return f.Name.Name
}
