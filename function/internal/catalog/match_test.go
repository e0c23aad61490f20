package catalog

import (
	"maps"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"github.com/yosida95/uritemplate/v3"

	"example.com/erlmcp/function/internal/mcp"
)

func matcherOf(t *testing.T, template string) *matcher {
	t.Helper()
	normal, err := mcp.NormalTemplate(template)
	if err != nil {
		t.Fatal(err)
	}
	return newMatcher(normal)
}

func matched(t *testing.T, m *matcher, uri string) map[string]string {
	t.Helper()
	normal, err := mcp.NormalURI(uri)
	if err != nil {
		t.Fatal(uri, err)
	}
	return m.match(mcp.ASCII(normal))
}

// TestMatchesWhatIsExpanded expands templates by another implementation, and wants the values back.
func TestMatchesWhatIsExpanded(t *testing.T) {
	// ASCII alone: the other implementation writes the numbers of other letters, not their octets.
	letters := []string{"a", "Z", "7", "-", "._~", " ", "%", "'()*!", ",", ";", "=", "&", "+", "/", "?", "#", ":@", "[]", "$", `"\`, "%41"}
	for _, template := range []string{
		"x:{a}", "x:/p/{a}", "x:{a}/{b}", "x:{a}:x", "x:{a,b}", "x://h/{a}{?b}", "x:y{?a,b,c}", "x:y?fix=1{&a,b}", "x:y?a={a}&b={b}", "x:y?a={a}{&b}", "x:{+a}", "x:{+a}/end", "x:y{/a}", "x:y{/a,b}", "x:{a}{.b}",
		"x:y{;a,b}", "x:y{#a}", "x:größe/{a}{?b}", "X://HOST/{a}",
	} {
		parsed := uritemplate.MustNew(template)
		m := matcherOf(t, template)
		for seed := range uint64(300) {
			r := rand.New(rand.NewPCG(seed, 1))
			values, want := uritemplate.Values{}, map[string]string{}
			for _, name := range parsed.Varnames() {
				text := "v"
				for range r.IntN(4) {
					text += letters[r.IntN(len(letters))]
				}
				if strings.Contains(template, "{.") {
					text = strings.ReplaceAll(text, ".", "") // which of them begins the second is not written
				}
				if strings.Contains(template, "{+") || strings.Contains(template, "{#") {
					text = strings.NewReplacer("?", "", "%", "", "#", "").Replace(text) // what the reserved set leaves as it is means something else
				}
				values.Set(name, uritemplate.String(text))
				want[name] = text
			}
			uri, err := parsed.Expand(values)
			if err != nil {
				t.Fatal(err)
			}
			if got := matched(t, m, uri); !maps.Equal(got, want) {
				t.Fatalf("%s: %s is read as %q, want %q", template, uri, got, want)
			}
		}
	}
}

func TestMatch(t *testing.T) {
	type vars = map[string]string
	component := func(text string) string { // as encodeURIComponent
		return strings.NewReplacer("+", "%20", "%27", "'", "%28", "(", "%29", ")", "%2A", "*", "%21", "!").Replace(url.QueryEscape(text))
	}
	for _, c := range []struct {
		template, uri string
		want          vars // nil where it does not match
	}{
		{"c:{name}", "c:New York", vars{"name": "New York"}},
		{"c:{name}", "c:" + component("Xi'an (陕西)!*"), vars{"name": "Xi'an (陕西)!*"}},
		{"c:{name}", "c:São Paulo", vars{"name": "São Paulo"}},
		{"c:{name}", "c:a,b", vars{"name": "a,b"}},
		{"c:{name}", "c:a%2Cb", vars{"name": "a,b"}},
		{"c:{name}", "c:a:b@c;d=e&f+g$", vars{"name": "a:b@c;d=e&f+g$"}},
		{"c:{name}", `c:"<a>|b\c^` + "`{}", vars{"name": `"<a>|b\c^` + "`{}"}},
		{"c:{name}", "c:50%25", vars{"name": "50%"}},
		{"c:{name}", "c:a/b", nil},
		{"c:{name}", "c:a?b", nil},
		{"c:{name}", "c:a#b", nil},
		{"c:{name}", "c:%FF", nil},
		{"c:{name}", "d:a", nil},
		{"c:{name}/x", "c:a/xy", nil},
		{"c:{a,b}", "c:1,2", vars{"a": "1", "b": "2"}},
		{"c:{a,b}", "c:1", vars{"a": "1"}},
		{"c:{a,b}", "c:1,2,3", vars{"a": "1", "b": "2,3"}},
		{"c:{list*}", "c:1,2,3", vars{"list": "1,2,3"}},
		{"c:x{/path*}", "c:x/a/b%2Fc", vars{"path": "a,b/c"}},
		{"c:x{/path*}", "c:x", vars{}},
		{"c:{name:3}", "c:gr%C3%B6", vars{"name": "grö"}},
		{"c:{name:3}", "c:groß", nil},
		{"c:{a}-{a}", "c:x-x", vars{"a": "x"}},
		{"c:{a}-{a}", "c:x-y", nil},
		{"s:q{?a,b,c}", "s:q?a=1&b=2&c=3", vars{"a": "1", "b": "2", "c": "3"}},
		{"s:q{?a,b,c}", "s:q?c=3&a=1&b=2", vars{"a": "1", "b": "2", "c": "3"}},
		{"s:q{?a,b,c}", "s:q?b=2", vars{"b": "2"}},
		{"s:q{?a,b,c}", "s:q", vars{}},
		{"s:q{?a,b,c}", "s:q?", vars{}},
		{"s:q{?a,b,c}", "s:q?&b=&", vars{"b": ""}},
		{"s:q{?a,b,c}", "s:q?b", vars{"b": ""}},
		{"s:q{?a}", "s:q?a=x,y", vars{"a": "x,y"}},
		{"s:q{?a}", "s:q?a=" + component("a=b&c d'!"), vars{"a": "a=b&c d'!"}},
		{"s:q{?a}", "s:q?a=b=c?/d", vars{"a": "b=c?/d"}},
		{"s:q{?a}", "s:q?%61=1", vars{"a": "1"}},
		{"s:q{?a}", "s:q?A=1", nil},
		{"s:q{?a}", "s:q?a=1&x=2", nil},
		{"s:q{?a}", "s:q?a=1&a=2", nil},
		{"s:q{?a*}", "s:q?a=1&a=2", vars{"a": "1,2"}},
		{"s:q?v=1{&a,b}", "s:q?b=2&v=1", vars{"b": "2"}},
		{"s:q?v=1{&a,b}", "s:q?b=2", nil},
		{"s:q?v=1{&a,b}", "s:q?b=2&v=2", nil},
		{"s:q?v=1{&a,b}", "s:q?v=1&v=1", nil},
		{"s:q?a={a}&b={b}", "s:q?b=2&a=1", vars{"a": "1", "b": "2"}},
		{"s:q?a={a}&b={b}", "s:q?a=1", vars{"a": "1"}},
		{"s:q?a={x}{&y}", "s:q?y=2&a=1", vars{"x": "1", "y": "2"}},
		{"s:q?{a}", "s:q?x", vars{"a": "x"}},
		{"s:q{?a}{#f}", "s:q?a=1#top", vars{"a": "1", "f": "top"}},
		{"f:///{+path}", "f:///a/b c?d", vars{"path": "a/b c?d"}},
		{"f:///{+path}{?v}", "f:///a/b?v=1", vars{"path": "a/b", "v": "1"}},
		{"f:{base}{.ext}", "f:a.tar.gz", vars{"base": "a", "ext": "tar.gz"}},
		{"f:{base}{.ext}", "f:a", vars{"base": "a"}},
	} {
		if got := matched(t, matcherOf(t, c.template), c.uri); (got == nil) != (c.want == nil) || !maps.Equal(got, c.want) {
			t.Errorf("%s: %s is read as %q, want %q", c.template, c.uri, got, c.want)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("x:{a}{?b,c}", "x:1?c=2")
	f.Add("x:{+a:3}{/b*}{;c*}{.d}{#e}?{f}", "x:")
	f.Fuzz(func(t *testing.T, template, uri string) {
		if _, err := uritemplate.New(template); err != nil {
			return
		}
		normal, err := mcp.NormalTemplate(template)
		if err != nil {
			return
		}
		if _, err := uritemplate.New(normal); err != nil {
			return
		}
		if u, err := mcp.NormalURI(uri); err == nil {
			newMatcher(normal).match(mcp.ASCII(u))
		}
	})
}
