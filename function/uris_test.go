package function

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// documents are resources that say what they were asked for.
func documents(read *[]string) []Resource {
	doc := func(_ context.Context, uri string, vars map[string]string) ([]ResourceContents, error) {
		*read = append(*read, fmt.Sprint(uri, " ", vars))
		return []ResourceContents{{URI: uri, Text: "contents"}}, nil
	}
	return []Resource{
		NewResource("DOC://Fixed/%61", "fixed", doc, ResourceOptions{}),
		NewResource("text://größe", "letters", doc, ResourceOptions{}),
		NewTemplate("doc://{name}", "doc", doc, ResourceOptions{}),
		NewTemplate("file:///{+path}", "file", doc, ResourceOptions{}),
		NewTemplate("part://{name}/{part}{?q}", "part", doc, ResourceOptions{}),
		NewTemplate("dots://x/{+path}", "dots", doc, ResourceOptions{DotSegments: true}),
		NewTemplate("many://x{/path*}", "many", doc, ResourceOptions{}),
	}
}

func reading(version, uri string) wire {
	if version != "" {
		return legacy(version, "resources/read", `"uri":"`+strings.ReplaceAll(uri, `\`, `\\`)+`"`)
	}
	return modern("resources/read", "=?base64?"+base64.StdEncoding.EncodeToString([]byte(uri))+"?=", `"uri":"`+strings.ReplaceAll(uri, `\`, `\\`)+`"`)
}

// TestRulesSeeTheURIThatIsRead: each spelling of a URI is decided and read in its normal form.
func TestRulesSeeTheURIThatIsRead(t *testing.T) {
	var read []string
	srv := newServer(t, WithResources(documents(&read)...), WithGetenv(env("POLICY_FILE", writeFile(t, "", `
rules:
- {name: bob, when: 'args.uri == "doc://bob"', then: deny}
- {name: etc, when: 'args.uri.startsWith("file:///etc")', then: deny}
- {name: fixed, when: 'tool.name == "doc://fixed/a"', then: deny}
- {name: letters, when: 'args.uri == "text://größe"', then: deny}
- {name: part, when: 'has(args.vars.part) && args.vars.part == "a/secret"', then: deny}
- {name: name, when: 'args.?vars.name.orValue("") == "eve adams"', then: deny}
`))))
	for _, c := range []struct{ uri, want string }{ // what was read, "" where it was not
		{"doc://bo%62", ""}, {"doc://bob", ""}, {"DOC://bob", ""}, {"doc://BOB", ""}, {"doc://%42%4f%42", ""}, {"dOc://%62ob", ""},
		{"doc://ann", "doc://ann map[name:ann]"}, {"doc://%41nn", "doc://ann map[name:ann]"}, {"doc://a%20b", "doc://a%20b map[name:a b]"}, {"doc://bo%2562", "doc://bo%2562 map[name:bo%62]"},
		{"doc://eve%20adams", ""}, {"doc://Eve%20%41dams", ""}, {"doc://eve adams", ""},
		{"file:///etc/passwd", ""}, {"file:///%65tc/passwd", ""}, {"file:///x/../etc/passwd", ""}, {"file:///x/%2e%2E/etc/passwd", ""}, {"file:///./etc/passwd", ""}, {"FILE:///%65%74%63/passwd", ""},
		{"file:///../../etc/passwd", ""}, {"file:///home/./a", "file:///home/a map[path:home/a]"}, {"file:///home/../srv/a", "file:///srv/a map[path:srv/a]"},
		{"doc://fixed/a", ""}, {"doc://FIXED/%61", ""}, {"doc://fixed/x/../a", ""},
		{"text://größe", ""}, {"text://gr%C3%B6%C3%9Fe", ""}, {"text://gr%c3%b6ße", ""},
		{"part://x/a%2Fsecret", ""}, {"part://x/a%2fs%65cret", ""}, {"part://x/a%2Fpublic", "part://x/a%2Fpublic map[name:x part:a/public]"},
		{"many://x/a/b", "many://x/a/b map[path:a,b]"},
	} {
		for _, version := range []string{"", "2025-06-18"} {
			read = nil
			_, got := reading(version, c.uri).send(t, srv.URL)
			if one := strings.Join(read, "; "); one != c.want {
				t.Errorf("%s (%s): read %q, want %q: %s", c.uri, version, one, c.want, got)
			}
			if a := parse(t, got); c.want == "" && a.code() == 0 {
				t.Errorf("%s (%s): %s", c.uri, version, got)
			}
		}
	}
	_, got := modern("resources/list", "", "").send(t, srv.URL)
	if strings.Contains(strings.ToLower(got), "doc://fixed") { // hidden
		t.Error(got)
	}
}

// TestVariablesLeadNowhereElse: no variable has the segment "..", in whatever spelling, unless the template says that it may.
func TestVariablesLeadNowhereElse(t *testing.T) {
	var read []string
	srv := newServer(t, WithResources(documents(&read)...))
	for _, c := range []struct{ uri, want string }{
		{"file:///a/..%2F..%2Fetc", ""}, {"file:///..%2fetc", ""}, {"file:///%2e%2e%2fetc", ""}, {"file:///a%2F%2e%2e", ""}, {"file:///a%5C..%5Cb", ""}, {`file:///a\..\b`, ""}, {`file:///..\b`, ""},
		{"doc://..", ""}, {"doc://%2E%2e", ""}, {"doc://..%00", ""}, {"doc://..%20", ""}, {"doc://..;x", ""}, {"part://a/b?q=../../etc", ""}, {"part://a/b?q=x%2f..", ""}, {"part://../b", ""},
		{"many://x/a/b%2F..%2Fc", ""}, {"part://a/..%2Fb", ""},
		{"file:///a/..b/c..", "file:///a/..b/c.. map[path:a/..b/c..]"}, {"file:///a/.../b", "file:///a/.../b map[path:a/.../b]"}, {"doc://a..b", "doc://a..b map[name:a..b]"},
		{"file:///a/%252e%252e/b", "file:///a/%252e%252e/b map[path:a/%2e%2e/b]"}, // is decoded once
		{"file:///a%2F.%2Fb", "file:///a%2F.%2Fb map[path:a/./b]"}, {"part://a/b?q=x", "part://a/b?q=x map[name:a part:b q:x]"},
		{"dots://x/a%2F..%2Fb", "dots://x/a%2F..%2Fb map[path:a/../b]"}, {`dots://x/..\b`, `dots://x/..%5Cb map[path:..\b]`},
	} {
		for _, version := range []string{"", "2025-06-18"} {
			read = nil
			_, got := reading(version, c.uri).send(t, srv.URL)
			if one := strings.Join(read, "; "); one != c.want || c.want == "" && parse(t, got).code() != -32602 && !strings.Contains(got, "not found") {
				t.Errorf("%s (%s): read %q, want %q: %s", c.uri, version, one, c.want, got)
			}
		}
	}
	for _, uri := range []string{"file:///%", "file:///%zz", "file:///a%2"} {
		if _, got := reading("", uri).send(t, srv.URL); parse(t, got).code() != -32602 || !strings.Contains(got, "percent sign") {
			t.Errorf("%s: %s", uri, got)
		}
	}
	for _, r := range []Resource{
		NewResource("doc://%zz", "x", nil, ResourceOptions{}), NewTemplate("doc://%/{a}", "x", nil, ResourceOptions{}),
	} {
		if _, err := assemble(t.Context(), WithResources(r), WithGetenv(env())); err == nil || !strings.Contains(err.Error(), "doc://%") {
			t.Errorf("%v", err)
		}
	}
	if _, err := assemble(t.Context(), WithResources(append(documents(&read), NewResource("doc://fixed/%61", "again", nil, ResourceOptions{}))...), WithGetenv(env())); err == nil || !strings.Contains(err.Error(), "another resource") {
		t.Errorf("two spellings of one URI: %v", err)
	}
}
