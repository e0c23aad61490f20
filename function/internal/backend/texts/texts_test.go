package texts

import (
	"fmt"
	"math/rand/v2"
	"mime"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/yosida95/uritemplate/v3"

	"example.com/erlmcp/function/internal/mcp"
)

type contents struct {
	Contents []struct{ URI, MIMEType, Text, Blob string }
}

type listed struct {
	Resources         []struct{ URI, Name, Title, Description, MIMEType string }
	ResourceTemplates []struct{ URITemplate, Name, Description string }
}

func TestResources(t *testing.T) {
	dir := write(t, map[string]string{
		"travel.md":          "---\ntitle: Travel\ndescription: How trips are booked.\ntags: [a, b]\n---\n# Another heading\nBook early.\n",
		"pay/salary.md":      "# Salary #\nPaid on the 25th.\n",
		"rule.md":            "---\nA rule across the page.\n---\n## Below it\n",
		"data.json":          "{}",
		"LICENSE":            "Do as you like.",
		"logo.png":           "\x89PNG\x00\xff",
		"empty.txt":          "",
		".git/config":        "secret",
		".hidden.md":         "secret",
		"pay/.draft/next.md": "secret",
	})
	if err := os.Symlink("travel.md", filepath.Join(dir, "trips.md")); err != nil {
		t.Fatal(err)
	}
	s := serve(t, &Directory{Name: "handbook", Dir: dir, As: AsResources, URI: "handbook:///{+path}"}, "")
	var all listed
	if e := s.ask("resources/list", "", &all); e != "" {
		t.Fatal(e)
	}
	var got []string
	for _, r := range all.Resources {
		got = append(got, strings.Join([]string{r.URI, r.Name, r.Title, r.Description, r.MIMEType}, "|"))
	}
	want := []string{
		"handbook:///LICENSE|LICENSE|||text/plain", "handbook:///data.json|data.json|||application/json", "handbook:///empty.txt|empty.txt|||text/plain",
		"handbook:///logo.png|logo.png|||image/png", "handbook:///pay/salary.md|pay/salary.md|Salary||text/markdown",
		"handbook:///rule.md|rule.md|Below it||text/markdown", "handbook:///travel.md|travel.md|Travel|How trips are booked.|text/markdown",
		"handbook:///trips.md|trips.md|Travel|How trips are booked.|text/markdown",
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var c contents
	if e := s.ask("resources/read", `"uri":"handbook:///logo.png"`, &c); e != "" || c.Contents[0].Blob != "iVBORwD/" {
		t.Errorf("%s %+v", e, c)
	}

	// What is in a file is what it is now, and so is whether there is one.
	at := filepath.Join(dir, "travel.md")
	replace := func(text string) {
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	read := func() string {
		var c contents
		if e := s.ask("resources/read", `"uri":"handbook:///travel.md"`, &c); e != "" {
			return e
		}
		return c.Contents[0].Text
	}
	replace("new")
	if got := read(); got != "new" {
		t.Error(got)
	}
	replace(strings.Repeat("x", maxFileBytes+1))
	if got := read(); !strings.Contains(got, "has more than 1048576 bytes") {
		t.Errorf("a file that grew: %.200s", got)
	}
	os.Remove(at)
	if got := read(); !strings.Contains(got, "not found") {
		t.Error(got)
	}
	if err := syscall.Mkfifo(at, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := read(); !strings.Contains(got, "not found") { // and is not waited for
		t.Error(got)
	}
	os.Remove(at)
	if err := os.Symlink("/etc/passwd", at); err != nil {
		t.Fatal(err)
	}
	if got := read(); strings.Contains(got, "root:") || !strings.Contains(got, "can't be read") || strings.Contains(got, dir) {
		t.Errorf("through a link to the outside: %.200s", got)
	}
	os.Remove(dir + ".old")
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if replace("another directory"); read() != "another directory" {
		t.Error("a directory in place of the first is not read")
	}
}

// TestURIs has others' implementations of RFC 6570 and RFC 3986 expand each template for files of generated names, in ones and in many: what it makes is
// where the file is.
func TestURIs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	letters := []rune("aZ0-_~ %+&=?#[]@!$'()*,;:\"<>|^`{}\\äßžЖ中🦊é.")
	files := map[string]string{"%41.md": "percent", "a+b c.txt": "plus", "what?.md": "question", "x#y.md": "hash", "Big/And/Small.md": "case", "ünï.md": "letters"}
	for len(files) < 150 {
		var parts []string
		for range 1 + r.IntN(3) {
			name := make([]rune, 1+r.IntN(8))
			for i := range name {
				name[i] = letters[r.IntN(len(letters))]
			}
			parts = append(parts, "f"+string(name))
		}
		at := strings.Join(parts, "/") + ".md"
		files[at] = at
	}
	for _, few := range []bool{true, false} {
		for _, template := range []string{"handbook:///{+path}", "handbook:///{path}", "h://host/a/{+path}", "urn:doc:{path}", "https://x.example/?p={path}", "handbook://{+path}", "handbook://{path}"} {
			some := files
			if few {
				some = map[string]string{}
				for at, text := range files {
					if some[at] = text; len(some) == maxListed {
						break
					}
				}
			}
			// Where the host is, case is lost: of names that differ in nothing else one is left.
			folded, kept := map[string]bool{}, map[string]string{}
			for at, text := range some {
				if first, _, _ := strings.Cut(at, "/"); template == "handbook://{+path}" && strings.Contains(first, "@") {
					continue
				}
				if key := strings.ToLower(at); !folded[key] {
					folded[key], kept[at] = true, text
				}
			}
			d := &Directory{Name: "handbook", Dir: write(t, kept), As: AsResources, URI: template}
			s := serve(t, d, "")
			var all listed
			if e := s.ask("resources/list", "", &all); few && (e != "" || len(all.Resources) != len(kept)) {
				t.Errorf("%s: %d of %d files are listed: %s", template, len(all.Resources), len(kept), e)
			}
			for _, l := range all.Resources {
				var c contents
				if e := s.ask("resources/read", `"uri":`+quoted(l.URI), &c); e != "" || c.Contents[0].Text != kept[l.Name] || c.Contents[0].URI != l.URI {
					t.Errorf("%s: %s is listed at %s, where there is %q %s", template, l.Name, l.URI, c, e)
				}
			}
			var templates listed
			if e := s.ask("resources/templates/list", "", &templates); few != (len(templates.ResourceTemplates) == 0) {
				t.Errorf("%s of %d files: %+v %s", template, len(kept), templates, e)
			}
			second := uritemplate.MustNew(template)
			for at, text := range kept {
				uri, err := second.Expand(uritemplate.Values{"path": uritemplate.String(at)})
				if err != nil {
					t.Fatal(err)
				}
				if strings.ContainsFunc(at, func(r rune) bool { return r > '~' }) { // that package encodes code points, and no octets of UTF-8
					encoded := strings.ReplaceAll(url.QueryEscape(at), "+", "%20")
					if strings.Contains(template, "+") {
						encoded = strings.ReplaceAll(encoded, "%2F", "/")
					}
					uri = strings.NewReplacer("{path}", encoded, "{+path}", encoded).Replace(template)
				}
				if strings.Contains(template, "{+path}") && strings.ContainsAny(at, "?#%") {
					continue // {+path} leaves these as they are, and then they are no part of the path
				}
				if few && strings.Contains(template, "+") && strings.ContainsAny(at, "!$&'()*+,;=:@[]") {
					continue // what is listed has them encoded, and is copied as it is
				}
				var c contents
				if e := s.ask("resources/read", `"uri":`+quoted(uri), &c); e != "" || len(c.Contents) != 1 || c.Contents[0].Text != text {
					t.Errorf("%s of %q, expanded to %s: %s", template, at, uri, e)
				}
			}
			if few {
				continue
			}
			var proposed struct{ Completion struct{ Values []string } }
			if e := s.ask("completion/complete", `"ref":{"type":"ref/resource","uri":`+quoted(template)+`},"argument":{"name":"path","value":"big/and"}`, &proposed); e != "" ||
				!slices.Equal(proposed.Completion.Values, []string{"Big/And/Small.md"}) {
				t.Errorf("%s: proposed %q %s", template, proposed.Completion.Values, e)
			}
			for _, other := range []string{"nothing.md", "../" + path.Base(d.Dir) + "/what?.md", "..%2F..%2Fetc%2Fpasswd", "/etc/passwd", ".hidden", "%00", ""} {
				var c contents
				if e := s.ask("resources/read", `"uri":`+quoted(strings.NewReplacer("{path}", other, "{+path}", other).Replace(template)), &c); e == "" {
					t.Errorf("%s of %q is %+v", template, other, c)
				}
			}
		}
	}
}

// TestFaults has each fault say where it is and what to do, all of them at once.
func TestFaults(t *testing.T) {
	resources := Directory{Name: "h", As: AsResources, URI: "h:///{+path}"}
	with := func(change func(*Directory)) Directory {
		d := resources
		change(&d)
		return d
	}
	prompts := Directory{Name: "h", As: AsPrompts}
	const front = "---\ndescription: Does.\n---\n"
	many := map[string]string{}
	for i := range maxFiles + 1 {
		many[fmt.Sprint(i)] = ""
	}
	for _, c := range []struct {
		name  string
		d     Directory
		files map[string]string
		want  []string // in the error, each on a line of its own, with DIR for the directory
	}{
		{"a name with a space", with(func(d *Directory) { d.Name = "a b" }), map[string]string{"a": ""}, []string{`name: "a b" is not`}},
		{"neither", with(func(d *Directory) { d.As = "tools" }), map[string]string{"a": ""}, []string{`as: "tools" is neither resources nor prompts`}},
		{"no template", with(func(d *Directory) { d.URI = "" }), map[string]string{"a": ""}, []string{"uri: it is missing: write a scheme of your own and {+path}, such as handbook:///{+path}"}},
		{"another variable", with(func(d *Directory) { d.URI = "h:///{file}" }), map[string]string{"a": ""}, []string{"has not the one variable {path} or {+path}"}},
		{"two variables", with(func(d *Directory) { d.URI = "h:///{path}/{path}" }), map[string]string{"a": ""}, []string{"has not the one variable"}},
		{"no scheme", with(func(d *Directory) { d.URI = "/docs/{path}" }), map[string]string{"a": ""}, []string{"has no scheme"}},
		{"an open brace", with(func(d *Directory) { d.URI = "h:///{path" }), map[string]string{"a": ""}, []string{"has not the one variable"}},
		{"prompts at URIs", Directory{Name: "h", As: AsPrompts, URI: "h:///{path}", Search: true}, map[string]string{"a.md": front + "x"}, []string{"uri: prompts have none", "search: prompts are picked by a person"}},
		{"no files", resources, map[string]string{".a": ""}, []string{"DIR: there is no file"}},
		{"deep folders", resources, map[string]string{strings.Repeat("d/", maxDepth+1) + "a": ""}, []string{"it is more than 16 folders deep"}},
		{"a large file", resources, map[string]string{"a.md": strings.Repeat("x", maxFileBytes+1), "b.md": ""}, []string{"DIR/a.md: it has more than 1048576 bytes"}},
		{"many files", resources, many, []string{"DIR: there are more than 2000 files: divide them"}},
		{"two names that differ in case, at a host", with(func(d *Directory) { d.URI = "h://{path}" }), map[string]string{"a.md": "", "A.md": ""}, []string{"DIR/a.md:1: its URI is h://a.md, as that of A.md is, because a host has no capital letters: write uri: h:///{+path}, or rename it"}},
		{"a sign of a host's", with(func(d *Directory) { d.URI = "h://{+path}" }), map[string]string{"a@b.md": ""}, []string{"DIR/a@b.md:1: the sign @ stands where a URI has its host: write uri: h:///{+path}"}},
		{"YAML that is none, and bytes that are no text", resources, map[string]string{"a.md": "---\ntitle: a: b\n---\n", "b.md": "---\nx: 1\ntitle: [a]\n---\n", "c.md": "a\nb\xff\n"},
			[]string{"DIR/a.md:2: the front matter is not YAML", "DIR/b.md:3: title: it is a text", "DIR/c.md:2: it is not in UTF-8"}},
		{"faults of a source and of a file", with(func(d *Directory) { d.URI = "" }), map[string]string{"a.md": "---\ntitle: 1\ntitle: 2\n---\n"}, []string{"uri: it is missing", "DIR/a.md:3: title is written twice"}},

		{"a placeholder that is no argument", prompts, map[string]string{"a.md": "---\ndescription: Does.\narguments:\n- name: who\n---\nHello\n{{who}} and {{whom}}\n{{ when }}"},
			[]string{"DIR/a.md:7: {{whom}} is no argument: add - name: whom to arguments in the front matter, or write { {whom} }", "DIR/a.md:8: {{ when }} is no argument"}},
		{"an argument that is nowhere", prompts, map[string]string{"a.md": "---\ndescription: Does.\narguments:\n- name: who\n---\nHello"}, []string{"DIR/a.md:4: arguments: who is nowhere in the text: write {{who}}"}},
		{"an argument twice", prompts, map[string]string{"a.md": "---\ndescription: D.\narguments:\n- name: who\n- name: who\n---\n{{who}}"}, []string{"DIR/a.md:5: arguments: who is written twice"}},
		{"an argument of another name", prompts, map[string]string{"a.md": "---\ndescription: D.\narguments:\n- name: a b\n---\nx"}, []string{`DIR/a.md:4: arguments: the name "a b"`}},
		{"an argument with another member", prompts, map[string]string{"a.md": "---\ndescription: D.\narguments:\n- name: a\n  type: int\n  required: perhaps\n  values: x\n---\n{{a}}"},
			[]string{"DIR/a.md:5: type: an argument has no such member", "DIR/a.md:6: required: it is true or false", "DIR/a.md:7: values: it is a list of texts"}},
		{"arguments that are none", prompts, map[string]string{"a.md": "---\ndescription: D.\narguments: who\n---\nx", "b.md": "---\ndescription: D.\narguments: [who]\n---\nx"},
			[]string{"DIR/a.md:3: arguments: it is a list", "DIR/b.md:3: arguments: each is a mapping"}},
		{"another member", prompts, map[string]string{"a.md": "---\ndescription: D.\ntags: [a]\n---\nx"}, []string{"DIR/a.md:3: tags: a prompt has no such member"}},
		{"no description", prompts, map[string]string{"a.md": "---\ntitle: A\n---\nx"}, []string{"DIR/a.md:1: description: it is missing"}},
		{"no front matter", prompts, map[string]string{"a.md": "x"}, []string{"DIR/a.md:1: there is no front matter: begin with"}},
		{"front matter that is a list", prompts, map[string]string{"a.md": "---\n- a\n---\nx"}, []string{"DIR/a.md:2: the front matter is not a mapping"}},
		{"no text", prompts, map[string]string{"a.md": front}, []string{"DIR/a.md:4: there is no text after the front matter"}},
		{"a name that is none", prompts, map[string]string{"a.md": "---\ndescription: D.\nname: a b\n---\nx"}, []string{`DIR/a.md:3: the name "a b" is not 1 to 64`}},
		{"two prompts of a name", prompts, map[string]string{"a.md": front + "x", "b.md": "---\ndescription: D.\nname: a\n---\nx"}, []string{"DIR/b.md:1: its name is a, as that of a.md is"}},
		{"a file that is no prompt", prompts, map[string]string{"a.md": front + "x", "b.json": "{}"}, []string{"DIR/b.json:1: a prompt is a file .md or .txt"}},
		{"a prompt that is no text", prompts, map[string]string{"a.md": front + "\xff"}, []string{"DIR/a.md:4: it is not in UTF-8"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.d.Dir = write(t, c.files)
			entries, err := c.d.Entries()
			if err == nil || entries != nil {
				t.Fatalf("%d entries, %v", len(entries), err)
			}
			lines := strings.Split(strings.ReplaceAll(err.Error(), c.d.Dir, "DIR"), "\n")
			for _, want := range c.want {
				if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, want) }) {
					t.Errorf("%q is not in\n%s", want, strings.Join(lines, "\n"))
				}
			}
			if _, remedy, ok := strings.Cut(err.Error(), "write uri: "); ok { // which is tried
				c.d.URI, _, _ = strings.Cut(remedy, ",")
				if _, err := c.d.Entries(); err != nil {
					t.Errorf("with uri: %s: %v", c.d.URI, err)
				}
			}
			if len(lines) != len(c.want) {
				t.Errorf("%d faults of %d:\n%s", len(lines), len(c.want), strings.Join(lines, "\n"))
			}
		})
	}
	for _, dir := range []string{"", "/nowhere"} {
		d := resources
		d.Dir = dir
		if _, err := d.Entries(); err == nil || !strings.HasPrefix(err.Error(), "dir: ") {
			t.Errorf("in %q: %v", dir, err)
		}
	}
}

// TestLinks follows links as a mounted ConfigMap has them, and none that lead out or around.
func TestLinks(t *testing.T) {
	dir := write(t, map[string]string{"..2026_11_30/a.md": "# A", "..2026_11_30/sub/b.md": "# B", "..2026_12_01/a.md": "# A", "..2026_12_01/sub/b.md": "later"})
	link := func(to, at string) {
		t.Helper()
		os.Remove(filepath.Join(dir, at))
		if err := os.Symlink(to, filepath.Join(dir, at)); err != nil {
			t.Fatal(err)
		}
	}
	link("..2026_11_30", "..data")
	link("..data/a.md", "a.md")
	link("..data/sub", "sub")
	d := &Directory{Name: "h", Dir: dir, As: AsResources, URI: "h:///{+path}"}
	s := serve(t, d, "")
	link("..2026_12_01", "..data") // as the kubelet does
	var c contents
	if e := s.ask("resources/read", `"uri":"h:///sub/b.md"`, &c); e != "" || c.Contents[0].Text != "later" {
		t.Errorf("%s %+v", e, c)
	}
	outside := write(t, map[string]string{"secret.md": "secret"})
	link(filepath.Join(outside, "secret.md"), "out.md")
	link(outside, "outs")
	link("../"+filepath.Base(outside), "up")
	link("nowhere", "gone.md")
	link(".", "around")
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.md"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := d.Entries()
	if err == nil {
		t.Fatal("there is no fault")
	}
	for _, at := range []string{"out.md: it can't be read, or is a link that leads out", "outs: it can't be read", "up: it can't be read", "gone.md: it can't be read", "around: it is a link to a folder that it is in", "pipe.md: it is no regular file"} {
		if !strings.Contains(err.Error(), at) {
			t.Errorf("%q is not in %v", at, err)
		}
	}
}

// TestMediaTypes compares with the table of the system, which is IANA's, where it knows the extension.
func TestMediaTypes(t *testing.T) {
	older := []string{"text/xml", "application/x-yaml", "application/javascript"} // before RFC 7303, 9512 and 9239
	known := 0
	for ext, media := range mediaTypes {
		system, _, _ := strings.Cut(mime.TypeByExtension(ext), ";")
		if system == "" {
			continue
		}
		if known++; system != media && !slices.Contains(older, system) {
			t.Errorf("%s is %s, and by the system's table %s", ext, media, system)
		}
	}
	if known < 10 {
		t.Errorf("the system knows %d of the extensions", known)
	}
}

// TestHeadings has the examples of CommonMark 0.31.2, section 4.2, and of section 4.5 what is code.
func TestHeadings(t *testing.T) {
	for text, want := range map[string]string{
		"# foo": "foo", "###### foo": "foo", "####### foo": "", "#5 bolt\n\n#hashtag": "", "#\tFoo": "Foo", `\## foo`: "", "#                  foo                     ": "foo",
		" ### foo\n  ## foo\n   # foo": "foo", "    # foo": "", "## foo ##\n  ###   bar    ###": "foo", "# foo ##################################": "foo", "### foo ###     ": "foo",
		"### foo ### b": "foo ### b", "# foo#": "foo#", "****\n## foo\n****": "foo", "Foo bar\n# baz\nBar foo": "baz", "## \n#\n### ###": "", "```\n# code\n```\n# text": "text",
		"````\n# a\n```\n# b\n````\n# c": "c", "~~~\n# a\n```\n# b\n~~~\n# c": "c", "# a\r\nb": "a", "": "",
	} {
		if got := append(headings([]byte(text)), "")[0]; got != want {
			t.Errorf("%q begins with the heading %q, want %q", text, got, want)
		}
	}
}

func TestPrompts(t *testing.T) {
	dir := write(t, map[string]string{
		"write/greeting.md": "---\ntitle: A greeting\ndescription: Greets a person.\narguments:\n- name: who\n  description: The person.\n  required: true\n- name: tone\n  values: [warm, formal, Witty]\n---\n\nWrite a {{tone}} greeting to {{ who }}: {{who}}!\n{x} {{ .x }} {{{who}}} {{\"who\"}}\n",
		"short.txt":         "---\nname: brief\ndescription: Is brief.\n---\nBe brief.\n",
	})
	s := serve(t, &Directory{Name: "desk", Dir: dir, As: AsPrompts}, "")
	var all struct {
		Prompts []struct {
			Name, Title, Description string
			Arguments                []struct {
				Name, Description string
				Required          bool
			}
		}
	}
	if e := s.ask("prompts/list", "", &all); e != "" || len(all.Prompts) != 2 {
		t.Fatalf("%s %+v", e, all)
	}
	if got, want := fmt.Sprintf("%+v", all.Prompts), "[{Name:desk_brief Title: Description:Is brief. Arguments:[]} {Name:desk_write_greeting Title:A greeting Description:Greets a person. "+
		"Arguments:[{Name:who Description:The person. Required:true} {Name:tone Description: Required:false}]}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	get := func(args string) string {
		var got struct {
			Messages []struct {
				Role    string
				Content struct{ Text string }
			}
		}
		if e := s.ask("prompts/get", `"name":"desk_write_greeting","arguments":`+args, &got); e != "" {
			return e
		}
		if len(got.Messages) != 1 || got.Messages[0].Role != "user" {
			t.Errorf("%+v", got)
		}
		return got.Messages[0].Content.Text
	}
	if got, want := get(`{"who":"{{tone}} $1 Ann","tone":"warm"}`), "Write a warm greeting to {{tone}} $1 Ann: {{tone}} $1 Ann!\n{x} {{ .x }} {{{tone}} $1 Ann} {{\"who\"}}"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := get(`{"who":"Ann"}`); !strings.HasPrefix(got, "Write a  greeting to Ann: Ann!") {
		t.Error(got)
	}
	if got := get(`{"tone":"warm"}`); !strings.Contains(got, `needs the argument "who"`) {
		t.Error(got)
	}
	if got := get(`{"who":` + quoted(strings.Repeat("x", 600<<10)) + `}`); !strings.Contains(got, "give shorter arguments") {
		t.Errorf("%.200s", got)
	}
	for typed, want := range map[string][]string{"": {"warm", "formal", "Witty"}, "w": {"warm", "Witty"}, "x": {}} {
		var proposed struct{ Completion struct{ Values []string } }
		if e := s.ask("completion/complete", `"ref":{"type":"ref/prompt","name":"desk_write_greeting"},"argument":{"name":"tone","value":"`+typed+`"}`, &proposed); e != "" || !slices.Equal(proposed.Completion.Values, want) {
			t.Errorf("%q: %q %s", typed, proposed.Completion.Values, e)
		}
	}
	at := filepath.Join(dir, "write/greeting.md")
	os.WriteFile(at, []byte("---\nname: changed\n---\nHi {{who}}"), 0o644)
	if got := get(`{"who":"Ann"}`); got != "Hi Ann" {
		t.Error(got)
	}
	os.WriteFile(at, []byte("---\nname: changed\n---\nHi\n{{whom}}"), 0o644)
	if got := get(`{"who":"Ann"}`); !strings.Contains(got, "write/greeting.md:5 was changed, and can't be used so: {{whom}} is no argument") {
		t.Error(got)
	}
	os.Remove(at)
	if got := get(`{"who":"Ann"}`); !strings.Contains(got, mcp.ErrUnavailable.Error()) {
		t.Error(got)
	}
}

// TestFill compares with the standard library's replacer, over generated texts of braces and names.
func TestFill(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pieces := []string{"{{a}}", "{{b}}", "{{", "}}", "{", "}", "a", "b", " ", "\n", "$", "{{a}", "{a}}", "é"}
	replaced := 0
	for range 20000 {
		var text strings.Builder
		for range r.IntN(12) {
			text.WriteString(pieces[r.IntN(len(pieces))])
		}
		values := map[string]string{"a": pieces[r.IntN(len(pieces))], "b": pieces[r.IntN(len(pieces))]}
		p := &prompt{body: strings.NewReplacer("{ ", "{", " }", "}").Replace(text.String())}
		want := strings.NewReplacer("{{a}}", values["a"], "{{b}}", values["b"]).Replace(p.body)
		got, err := p.fill(values)
		if slices.ContainsFunc(placeholder.FindAllString(p.body, -1), func(m string) bool { return m != "{{a}}" && m != "{{b}}" }) {
			continue // other names
		}
		if err != nil || got != want {
			t.Fatalf("%q with %q is %q, want %q: %v", p.body, values, got, want, err)
		}
		if got != p.body {
			replaced++
		}
	}
	if replaced < 1000 {
		t.Errorf("something was replaced in %d texts", replaced)
	}
}
