package catalogfile

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/backend/rest"
)

// write puts files into a new folder.
func write(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		put(t, filepath.Join(dir, name), text)
	}
	return dir
}

// put writes a file whose last change is long ago, so that its stamp stays as it is.
func put(t *testing.T, path, text string) {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644))
	age(t, path)
	age(t, filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
}

func age(t *testing.T, path string) {
	if info, err := os.Stat(path); err == nil {
		old := info.ModTime().Add(-time.Hour)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
}

// reading reads the catalog file of a folder.
func reading(t *testing.T, dir string, change ...func(*Options)) (*Catalog, *Files, error) {
	t.Helper()
	file := filepath.Join(dir, "catalog.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{File: file, Getenv: func(string) string { return "" }, Files: &Files{}}
	for _, c := range change {
		c(&o)
	}
	c, err := Read(t.Context(), text, o)
	return c, o.Files, err
}

const (
	document = `{"openapi":"3.0.3","info":{"title":"T","version":"1"},"servers":[{"url":"https://a.example"}],"paths":{` +
		`"/a/{id}":{"get":{"operationId":"getA","summary":"A.","parameters":[{"$ref":"common/types.json#/id"},{"name":"q","in":"query","schema":{"type":"string"}}],"responses":{"200":{"description":"ok"}}},` +
		`"put":{"operationId":"putA","summary":"A.","parameters":[{"$ref":"common/types.json#/id"}],"requestBody":{"content":{"application/json":{"schema":{"type":"object","properties":{"b":{"type":"string"}}}}}},"responses":{"200":{"description":"ok"}}}}}}`
	types   = `{"id":{"name":"id","in":"path","required":true,"schema":{"type":"string"}}}`
	sources = "catalog: 1\nsources:\n- {name: a, openapi: api/openapi.json, tools: [{match: '*'}]}\n- {name: b, texts: {dir: texts, as: resources}}\n"
)

// TestChangesAreSeen changes each thing that a catalog is made of: that it changed is seen, and the hash is another one. A copy at another place
// and time has the same hash.
func TestChangesAreSeen(t *testing.T) {
	all := map[string]string{"catalog.yaml": sources, "api/openapi.json": document, "api/common/types.json": types, "texts/a.md": "# A", "texts/in/b.md": "# B"}
	first, files, err := reading(t, write(t, all))
	if err != nil || files.Changed() {
		t.Fatal(err, files)
	}
	for what, change := range map[string]func(dir string){
		"the document":                  func(dir string) { put(t, dir+"/api/openapi.json", document+" ") },
		"a file that it refers to":      func(dir string) { put(t, dir+"/api/common/types.json", types+" ") },
		"a text":                        func(dir string) { put(t, dir+"/texts/a.md", "# A, changed") },
		"a text more":                   func(dir string) { put(t, dir+"/texts/c.md", "# C") },
		"a text more in a folder":       func(dir string) { put(t, dir+"/texts/in/c.md", "# C") },
		"a text less in a folder":       func(dir string) { os.Remove(dir + "/texts/in/b.md"); put(t, dir+"/texts/in/c.md", "# B") },
		"a folder that takes its place": func(dir string) { os.Rename(dir+"/texts/in", dir+"/texts/of"); age(t, dir+"/texts") },
	} {
		dir := write(t, all)
		same, files, err := reading(t, dir)
		if err != nil || same.Hash != first.Hash || files.Changed() {
			t.Fatal(what, err, same, files.Changed())
		}
		change(dir)
		if !files.Changed() {
			t.Errorf("%s: the change is not seen", what)
		}
		if now, _, err := reading(t, dir); err != nil || now.Hash == first.Hash {
			t.Errorf("%s: %v, the same hash", what, err)
		}
	}
	// What is missing is looked for.
	dir := write(t, map[string]string{"catalog.yaml": sources, "api/openapi.json": document, "texts/a.md": "# A"})
	if _, files, _ = reading(t, dir); files.Changed() {
		t.Error("nothing has changed")
	}
	if put(t, dir+"/api/common/types.json", types); !files.Changed() {
		t.Error("that what was missing is there is not seen")
	}
}

// TestLinks follows a folder as Kubernetes mounts one: what changes are the links alone.
func TestLinks(t *testing.T) {
	dir := t.TempDir()
	version := func(name, text string) {
		put(t, filepath.Join(dir, name, "openapi.json"), strings.ReplaceAll(document, "common/types.json#/id", "types.json#/id"))
		put(t, filepath.Join(dir, name, "types.json"), types)
		put(t, filepath.Join(dir, name, "catalog.yaml"), "catalog: 1\nsources:\n- {name: a, openapi: openapi.json, tools: [{match: getA, description: "+text+"}]}\n")
		next := filepath.Join(dir, "..next")
		if err := errors.Join(os.Symlink(name, next), os.Rename(next, filepath.Join(dir, "..data"))); err != nil {
			t.Fatal(err)
		}
	}
	version("..1", "One.")
	for _, name := range []string{"openapi.json", "types.json", "catalog.yaml"} {
		if err := os.Symlink("..data/"+name, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	was, files, err := reading(t, dir)
	if err != nil || files.Changed() {
		t.Fatal(err)
	}
	version("..2", "Two.")
	if is, _, err := reading(t, dir); err != nil || is.Hash == was.Hash || !files.Changed() {
		t.Error(err, files.Changed())
	}
}

// TestNothingIsOfNoEffect writes what would do nothing, or other than it says: each is told, and the remedy that is told is taken.
func TestNothingIsOfNoEffect(t *testing.T) {
	rests := func(more, tool string) string {
		return "catalog: 1\nsources:\n- {name: x, rest: 'https://a.example'" + more + ", tools: [{name: t, description: D., request: 'GET /{p}', arguments: {p: string}}, " + tool + "]}\n"
	}
	opens := func(more, tool string) string {
		return "catalog: 1\nsources:\n- {name: a, openapi: api/openapi.json" + more + ", tools: [" + tool + "]}\n"
	}
	folder := func(more string) string {
		return "catalog: 1\nsources:\n- {name: b, texts: {dir: texts, as: resources" + more + "}\n"
	}
	const tool = "{name: u, description: D., request: GET /u}"
	for _, c := range []struct{ text, want, remedy string }{
		{sources + "---\ncatalog: 1\nsources: []\n", "another document behind ---", sources},
		{opens(", sha256: abc", "{match: '*'}"), "sha256 is of a document at a URL", opens("", "{match: '*'}")},
		{opens(", server: 'https://b.example', variables: {a: b}", "{match: '*'}"), "leave one of them out", opens(", server: 'https://b.example'", "{match: '*'}")},
		{folder("}, result: {max: 1KiB}"), "result is of no use with texts", folder("}")},
		{folder("}, limits: {perSecond: 1}"), "limits are of tools, and these texts have none", folder(", search: true}, limits: {perSecond: 1}")},
		{opens("", "{match: getA, arguments: {q: {in: header}}}"), "has the argument q in its query, as q", opens("", "{match: getA, arguments: {q: {in: query}}}")},
		{opens("", "{match: getA, arguments: {q: {wire: query}}}"), "has the argument q in its query, as q", opens("", "{match: getA}")},
		{opens("", "{match: putA, arguments: {b: {slashes: true}}}"), "has the argument b in its body, as b", opens("", "{match: putA, arguments: {id: {slashes: true}}}")},
		{rests("", "{name: u, description: D., request: GET /u, arguments: {q: {type: string, slashes: true}}}"), "slashes are of the path alone", rests("", tool)},
		{rests("", "{name: u, description: D., request: 'GET /u/{q}', arguments: {q: {type: string, wire: r}}}"), "where wire has no place", rests("", tool)},
		{opens(", result: {output: true, fields: [a]}", "{match: '*'}"), "would not fit", opens(", result: {output: true}", "{match: '*'}")},
		{rests(", auth: {oauth2: {token: login, client: env:A, secret: env:B}}", tool), "token is the URL of the token endpoint", rests(", auth: {oauth2: {token: 'https://login.example.com/token', client: env:A, secret: env:B}}", tool)},
		{rests(", breaker: {failures: 3}", tool), "{failures: 0} is none", rests(", breaker: {failures: 0}", tool)},
		{opens("", "{match: [getA, putA], name: n}, {match: 'DELETE *', offer: false}"), "the name n is for one operation", opens("", "{match: getA, name: n}, {match: putA}")},
	} {
		dir := write(t, map[string]string{"catalog.yaml": c.text, "api/openapi.json": document, "api/common/types.json": types, "texts/a.md": "# A"})
		if _, _, err := reading(t, dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n%v\nwant %s", c.text, err, c.want)
		}
		put(t, filepath.Join(dir, "catalog.yaml"), c.remedy)
		if _, _, err := reading(t, dir); err != nil {
			t.Errorf("the remedy of %q: %s\n%v", c.want, c.remedy, err)
		}
	}
}

// TestNothingIsOfferedThatIsLeftOut leaves tools out in each kind of source.
func TestNothingIsOfferedThatIsLeftOut(t *testing.T) {
	dir := write(t, map[string]string{"api/openapi.json": document, "api/common/types.json": types, "catalog.yaml": "catalog: 1\nsources:\n" +
		"- {name: a, openapi: api/openapi.json, tools: [{match: putA, offer: false}, {match: '*'}]}\n" +
		"- {name: b, rest: 'https://a.example', tools: [{name: one, description: D., request: GET /}, {name: two, description: D., request: DELETE /, offer: false}]}\n"})
	c, _, err := reading(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	var made []string
	for name := range offersOf(c) {
		made = append(made, strings.ToLower(strings.ReplaceAll(name, "_", "")))
	}
	if slices.Sort(made); strings.Join(made, " ") != "ageta bone" {
		t.Errorf("%q", made)
	}
}

// TestRetriesByDefault holds what a file does not say of retries to what the list of members says.
func TestRetriesByDefault(t *testing.T) {
	for text, want := range map[string]rest.Retries{
		"":                                  {Max: 2, Connect: true, Statuses: []int{429, 502, 503, 504}},
		"retries: {}":                       {Max: 2, Connect: true, Statuses: []int{429, 502, 503, 504}},
		"retries: {after: 503}":             {Max: 2, Statuses: []int{503}},
		"retries: {max: 0}":                 {Max: 0, Connect: true, Statuses: []int{429, 502, 503, 504}},
		"retries: {max: 1, after: connect}": {Max: 1, Connect: true},
	} {
		f, err := Parse([]byte("catalog: 1\nsources:\n- name: x\n  rest: https://a.example\n  tools: [{name: t, description: D., request: GET /}]\n  " + text + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := retries(f.Sources[0].Retries); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}

// TestFaultsHaveNoSecrets writes secrets where they should not be: no fault shows them.
func TestFaultsHaveNoSecrets(t *testing.T) {
	const secret = "hunter2"
	for _, text := range []string{
		"rest: 'https://user:" + secret + "@a.example'", "rest: 'https://a.example/?key=" + secret + "'", "rest: env:URL", "rest: env:NONE", "openapi: x.json\n  server: env:URL",
		"openapi: x.json\n  server: 'https://user:" + secret + "@a.example'",
		"rest: https://a.example\n  auth: {bearer: " + secret + "}", "rest: https://a.example\n  auth: {basic: 'user:" + secret + "'}", "rest: https://a.example\n  auth: " + secret,
		"rest: https://a.example\n  auth: {key: {header: X, from: [" + secret + "]}}", "rest: https://a.example\n  auth: {oauth2: {token: 'https://u:" + secret + "@l.example', client: a, secret: " + secret + "}}",
	} {
		dir := write(t, map[string]string{"catalog.yaml": "catalog: 1\nsources:\n- name: x\n  " + text + "\n  tools: [{name: t, match: x, description: D., request: GET /}]\n"})
		for _, matches := range []string{"match: x, ", "description: D., request: GET /"} {
			file := filepath.Join(dir, "catalog.yaml")
			whole, _ := os.ReadFile(file)
			put(t, file, strings.Replace(string(whole), matches, "", 1))
			_, _, err := reading(t, dir, func(o *Options) {
				o.Getenv = func(name string) string {
					return map[string]string{"URL": "https://user:" + secret + "@a.example"}[name]
				}
			})
			if err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v", text, err)
			}
			put(t, file, string(whole))
		}
	}
}

// TestDocumentsAtURLs holds a document at a URL, and what it refers to, to one hash.
func TestDocumentsAtURLs(t *testing.T) {
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(document)))
	dir := write(t, map[string]string{"catalog.yaml": "catalog: 1\nsources:\n- {name: a, openapi: 'https://d.example/v1/openapi.json', sha256: " + sum + ", tools: [{match: '*'}]}\n"})
	at := func(referred string) func(*Options) {
		return func(o *Options) {
			o.Fetch = func(_ context.Context, url, _ string) ([]byte, error) {
				if strings.HasSuffix(url, "openapi.json") {
					return []byte(document), nil
				}
				return []byte(referred), nil
			}
		}
	}
	one, _, err := reading(t, dir, at(types))
	if err != nil {
		t.Fatal(err)
	}
	if two, _, err := reading(t, dir, at(strings.ReplaceAll(types, "string", "integer"))); err != nil || two.Hash == one.Hash {
		t.Errorf("another file that the document refers to has the same hash: %v", err)
	}
}
