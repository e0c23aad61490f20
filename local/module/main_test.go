package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRename(t *testing.T) {
	const name = "github.com/acme/agents"
	for _, c := range []struct{ file, before, after string }{
		{"go.mod", "module example.com/shop\n\ngo 1.26.0\n", "module github.com/acme/agents\n\ngo 1.26.0\n"},
		{"checks/go.mod", "module example.com/shop/checks\n\nrequire example.com/shop v0.0.0\n\nreplace example.com/shop => ..\n",
			"module github.com/acme/agents/checks\n\nrequire github.com/acme/agents v0.0.0\n\nreplace github.com/acme/agents => ..\n"},
		{"a.go", "package a\n\nimport (\n\t_ \"example.com/shop/b\"\n\t_ \"github.com/aaa/c\"\n)\n", "package a\n\nimport (\n\t_ \"github.com/aaa/c\"\n\t_ \"github.com/acme/agents/b\"\n)\n"},
		{"Makefile", "REDISDB := example.com/shop/redisdb\n", "REDISDB := github.com/acme/agents/redisdb\n"},
		{"README.md", "`example.com/shop` at https://mcp.example.com/shop, and example.com/shopping\n", "`github.com/acme/agents` at https://mcp.example.com/shop, and example.com/shopping\n"},
		{"b/s.txt", "x=example.com/shop@v0.0.0 -replace=example.com/shop=y", "x=github.com/acme/agents@v0.0.0 -replace=github.com/acme/agents=y"},
		{"vendor/m.txt", "example.com/shop", "example.com/shop"},
		{"image", "\x00example.com/shop", "\x00example.com/shop"},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "go.mod"), "module example.com/shop\n")
		write(t, filepath.Join(dir, c.file), c.before)
		if _, err := rename(dir, name); err != nil {
			t.Errorf("%s: %v", c.file, err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, c.file)); string(got) != c.after {
			t.Errorf("%s: %v %q, want %q", c.file, err, got, c.after)
		}
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module example.com/shop\n")
	for _, name := range []string{"", "shop", "acme/shop", "github.com", "github.com/", "github.com/../x", "github.com/a b", "https://github.com/a/b"} {
		if _, err := rename(dir, name); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
