package command

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCatalogUsage tries command lines that are wrong: each has the status 2, and says what is meant.
func TestCatalogUsage(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"check", "it is erlmcp catalog check FILE…, and 0 files are named"},
		{"diff a", "it is erlmcp catalog diff OLD NEW, and 1 files are named"},
		{"schema a", "it is erlmcp catalog schema, and 1 files are named"},
		{"chek a", `there is no "chek": there are check, diff, import, schema`},
		{"import", "import knows documents of openapi"},
		{"import postman a", "import knows documents of openapi"},
		{"import openapi", "it is erlmcp catalog import openapi URL|FILE, and 0 files are named"},
		{"import openapi a b", "and 2 files are named"},
		{"import openapi -json a", "-json is of check and diff"},
		{"check -name a b", "-name is of import"},
		{"check -frob a", "-frob"},
	} {
		var out, errs strings.Builder
		p := &Program{Name: "erlmcp"}
		if status := p.Run(append([]string{"catalog"}, strings.Fields(c.line)...), &out, &errs); status != 2 || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%s: status %d, %s\nwant %s", c.line, status, errs.String(), c.want)
		}
	}
}

// TestCatalogStatus tries what is well formed: pipelines go by the status.
func TestCatalogStatus(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tool := func(argument string) string {
		return "catalog: 1\nsources:\n- {name: x, rest: 'https://a.example', tools: [{name: t, description: D., request: GET /, arguments: {a: " + argument + "}}]}\n"
	}
	document := file("openapi.json", `{"openapi":"3.0.3","info":{"title":"T","version":"1"},"servers":[{"url":"https://a.example"}],"paths":{"/a":{"get":{"operationId":"a","summary":"A.","responses":{"200":{"description":"ok"}}}}}}`)
	one, two, bad := file("one.yaml", tool("string")), file("two.yaml", tool("{type: string, optional: true}")), file("bad.yaml", "catalog: 2\n")
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"check", one, two}, 0, "x_t"}, {[]string{"check", "-json", one}, 0, `"tool": "x_t"`}, {[]string{"check", one, bad}, 1, "bad.yaml is refused"},
		{[]string{"check", filepath.Join(dir, "none")}, 1, "no such file"},
		{[]string{"diff", one, one}, 0, "nothing changes for callers"}, {[]string{"diff", one, two}, 0, "a may be left out now"}, {[]string{"diff", two, one}, 1, "BREAKING x_t: its arguments: a is required now"},
		{[]string{"diff", one, bad}, 1, ""},
		{[]string{"import", "openapi", document}, 0, "- match: a"}, {[]string{"import", "openapi", "-name", "a: b", document}, 1, ""}, {[]string{"import", "openapi", bad}, 1, ""},
		{[]string{"schema"}, 0, "json-schema.org"},
	} {
		var out, errs strings.Builder
		p := &Program{Name: "erlmcp", Fetch: func(context.Context, string, string) ([]byte, error) { return nil, os.ErrNotExist }}
		if status := p.Run(append([]string{"catalog"}, c.args...), &out, &errs); status != c.status || !strings.Contains(out.String(), c.want) {
			t.Errorf("%q: status %d, %s%s\nwant %d, %s", c.args, status, out.String(), errs.String(), c.status, c.want)
		}
	}
}
