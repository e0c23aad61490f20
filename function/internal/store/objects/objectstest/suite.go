package objectstest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"example.com/erlmcp/function/internal/backup"
)

// TestObjects wants of an empty place what backups rely on.
func TestObjects(t *testing.T, o backup.Objects) {
	ctx := t.Context()
	want := map[string][]byte{}
	random := rand.New(rand.NewPCG(1, 2))
	for i, name := range []string{"a/1", "a/2", "a/b/3", "a/b/4", "b", "a/c/d/5", "roots/2026-11-29/000000000009.json", "roots/2026-11-30/000000000010.json", "roots/2026-11-30/000000000011.json"} {
		content := make([]byte, i*1000)
		for j := range content {
			content[j] = byte(random.Uint32())
		}
		want[name] = content
		if err := o.Create(ctx, name, content); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for name, content := range want {
		if err := o.Create(ctx, name, content); err != nil {
			t.Errorf("%s once more: %v", name, err)
		}
		if err := o.Create(ctx, name, append(bytes.Clone(content), 1)); !errors.Is(err, backup.ErrExists) {
			t.Errorf("%s with another content: %v", name, err)
		}
		if got, err := o.Read(ctx, name); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s has %d bytes (%v), want %d", name, len(got), err, len(content))
		}
	}
	if _, err := o.Read(ctx, "a/none"); !errors.Is(err, backup.ErrNotFound) {
		t.Errorf("what is not there: %v", err)
	}
	for _, c := range []struct {
		prefix, from string
		want         []string
	}{
		{"a/", "", []string{"a/1", "a/2", "a/b/3", "a/b/4", "a/c/d/5"}},
		{"a/b/", "", []string{"a/b/3", "a/b/4"}},
		{"a/", "a/b/4", []string{"a/b/4", "a/c/d/5"}},
		{"roots/2026-11-30/", "roots/2026-11-30/000000000011", []string{"roots/2026-11-30/000000000011.json"}},
		{"c/", "", nil},
	} {
		var got []string
		for name, err := range o.List(ctx, c.prefix, c.from) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, name)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("below %q from %q: %q, want %q", c.prefix, c.from, got, c.want)
		}
	}
	for prefix, want := range map[string][]string{"a/": {"b", "c"}, "roots/": {"2026-11-29", "2026-11-30"}, "c/": nil} {
		if got, err := o.Folders(ctx, prefix); err != nil || !slices.Equal(got, want) {
			t.Errorf("folders below %q: %q (%v), want %q", prefix, got, err, want)
		}
	}
	if err := o.Create(ctx, "great", bytes.Repeat([]byte("x"), 9<<20)); err != nil {
		t.Errorf("a great object: %v", err)
	}
	if got := fmt.Sprint(o); got == "" {
		t.Error("it has no name")
	}
}
