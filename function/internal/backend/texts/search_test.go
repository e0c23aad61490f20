package texts

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type found struct {
	Content []struct{ Type, Text, URI, Title, Name string }
	IsError bool
}

func (f found) links() (uris []string) {
	for _, c := range f.Content {
		if c.Type == "resource_link" {
			uris = append(uris, c.URI)
		}
	}
	return uris
}

// TestSearchDocs searches the documentation of this repository: each heading in it, as a query, finds the page that it is of.
func TestSearchDocs(t *testing.T) {
	files := map[string]string{}
	headings := map[string][]string{} // and the pages that have it
	root := os.DirFS("../../../..")
	err := fs.WalkDir(root, ".", func(at string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() && (strings.HasPrefix(e.Name(), ".") && at != "." || e.Name() == "node_modules") {
			return fs.SkipDir
		}
		if e.IsDir() || !strings.HasSuffix(at, ".md") {
			return nil
		}
		text, err := fs.ReadFile(root, at)
		files[at] = string(text)
		for line := range strings.Lines(string(text)) {
			if h := heading.FindStringSubmatch(strings.TrimRight(line, "\n")); h != nil && len(words(h[1])) > 1 {
				headings[h[1]] = append(headings[h[1]], "docs:///"+at)
			}
		}
		return err
	})
	if err != nil || len(files) < 10 || len(headings) < 80 {
		t.Fatalf("%d files, %d headings, %v", len(files), len(headings), err)
	}
	s := serve(t, &Directory{Name: "docs", Dir: write(t, files), As: AsResources, URI: "docs:///{+path}", Search: true}, "")
	hit := 0
	var missed []string
	for h, pages := range headings {
		var f found
		if e := s.ask("tools/call", `"name":"docs_search","arguments":{"limit":3,"query":`+quoted(h[:min(len(h), 200)])+`}`, &f); e != "" {
			t.Fatal(e)
		}
		if slices.ContainsFunc(f.links(), func(uri string) bool { return slices.Contains(pages, uri) }) {
			hit++
		} else {
			missed = append(missed, h)
		}
	}
	if t.Logf("%d of %d headings find their page among three of %d", hit, len(headings), len(files)); hit*10 < len(headings)*9 {
		t.Errorf("fewer than nine of ten: %q", missed)
	}
}

func TestSearch(t *testing.T) {
	dir := write(t, map[string]string{
		"travel.md":  "---\ntitle: Travel\n---\nPlanes.\n\n" + strings.Repeat("Nothing of interest. ", 40) + "A Pangolin is carried in the hold. " + strings.Repeat("More of that. ", 40),
		"zoo.md":     "# Zoo\nThe pangolin sleeps. The pangolin eats ants.",
		"secret.md":  "# Pangolin\nThe pangolin's salary.",
		"pangolin.x": "\x00\xff",
		"other.md":   "# Other\nÜbung macht den Meister.",
	})
	d := &Directory{Name: "h", Dir: dir, As: AsResources, URI: "h:///{+path}", Search: true, Description: "Of a zoo."}
	ask := func(s served, args string) found {
		t.Helper()
		var f found
		if e := s.ask("tools/call", `"name":"h_search","arguments":`+args, &f); e != "" {
			t.Fatal(e)
		}
		return f
	}
	s := serve(t, d, "secret")
	f := ask(s, `{"query":"Pangolin?"}`)
	if got := strings.Join(f.links(), " "); !strings.Contains(got, "h:///zoo.md") || !strings.Contains(got, "h:///travel.md") || strings.Contains(got, "secret") || strings.Contains(got, "other") {
		t.Errorf("found %s", got)
	}
	all := ""
	for _, c := range f.Content {
		all += c.Text + "\n"
		if len(c.Text) > 500 {
			t.Errorf("an excerpt of %d bytes", len(c.Text))
		}
	}
	if !strings.Contains(all, "A Pangolin is carried") || !strings.Contains(all, "Travel\nh:///travel.md\n… ") || strings.Contains(all, "salary") {
		t.Error(all)
	}
	if f := ask(serve(t, d, ""), `{"query":"pangolin","limit":1}`); strings.Join(f.links(), " ") != "h:///secret.md" {
		t.Errorf("the title counts most, and one is asked for: %v", f.links())
	}
	if f := ask(s, `{"query":"übung"}`); strings.Join(f.links(), " ") != "h:///other.md" {
		t.Errorf("%+v", f)
	}
	if f := ask(s, `{"query":"--- ?!"}`); len(f.links()) != 0 || !strings.Contains(f.Content[0].Text, "Try other words") || f.IsError {
		t.Errorf("%+v", f)
	}
	for _, wrong := range []string{`{}`, `{"query":""}`, `{"query":"a","limit":21}`, `{"query":"a","more":1}`, `{"query":["a"]}`} {
		if f := ask(s, wrong); !f.IsError {
			t.Errorf("%s: %+v", wrong, f)
		}
	}
	// What is found is what is there now.
	os.WriteFile(filepath.Join(dir, "zoo.md"), []byte("The pangolin is gone."), 0o644)
	os.Remove(filepath.Join(dir, "travel.md"))
	if f := ask(s, `{"query":"pangolin"}`); strings.Contains(strings.Join(f.links(), " "), "travel") || !strings.Contains(f.Content[0].Text+f.Content[2].Text, "is gone.") {
		t.Errorf("%+v", f)
	}
	d.Index = func(documents []Document) Index {
		return func(string) []int { return []int{0, 1} }
	}
	if f := ask(serve(t, d, ""), `{"query":"anything"}`); len(f.links()) != 2 || f.links()[0] != "h:///other.md" {
		t.Errorf("another index: %v", f.links())
	}
}
