package function

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestWaits holds that tests wait by the clock of a bubble: a test that sleeps in real time is slow on each machine and wrong on a busy
// one. What waits outside of a synctest.Test call says on its line that it runs in a bubble, or "real time:" and why; the latter are few.
func TestWaits(t *testing.T) {
	const most = 15
	files := token.NewFileSet()
	inRealTime := 0
	check := func(path string) error {
		f, err := parser.ParseFile(files, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		said := map[int]string{} // by line
		for _, group := range f.Comments {
			for _, c := range group.List {
				said[files.Position(c.Pos()).Line] = c.Text
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			switch called(call) {
			case "synctest.Test":
				return false
			case "time.Sleep", "time.After", "time.AfterFunc", "time.NewTimer", "time.NewTicker", "time.Tick":
				at := files.Position(call.Pos())
				switch why := said[at.Line]; {
				case strings.Contains(why, "real time: "):
					inRealTime++
				case !strings.Contains(why, "in a bubble"):
					t.Errorf("%s: %s waits in real time: wait in a bubble (testing/synctest), or say why not", at, called(call))
				}
			}
			return true
		})
		return nil
	}
	for _, root := range []string{".", "../local"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && slices.Contains([]string{"checks", "testdata"}, d.Name()) {
				return filepath.SkipDir
			}
			supports := strings.HasSuffix(filepath.Dir(path), "test") || filepath.Base(filepath.Dir(path)) == "memnet"
			if strings.HasSuffix(path, "_test.go") || supports && strings.HasSuffix(path, ".go") {
				return check(path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if inRealTime == 0 || inRealTime > most {
		t.Errorf("%d waits in real time, of %d that there may be", inRealTime, most)
	}
	t.Logf("%d waits in real time", inRealTime)
}

// called names what a call calls, as in time.Sleep.
func called(c *ast.CallExpr) string {
	if of, ok := c.Fun.(*ast.SelectorExpr); ok {
		if pkg, ok := of.X.(*ast.Ident); ok {
			return pkg.Name + "." + of.Sel.Name
		}
	}
	return ""
}
