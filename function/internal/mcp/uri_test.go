package mcp

import (
	"net/url"
	"strings"
	"testing"
)

// TestNormalURI has the equivalences of RFC 3986 section 6.2.2 and RFC 3987 section 5.3.2.
func TestNormalURI(t *testing.T) {
	for _, c := range []struct{ normal, others string }{
		{"example://a/b/c/%7Bfoo%7D", "eXAMPLE://a/./b/../b/%63/%7bfoo%7d example://a/b/c/{foo}"},
		{"http://www.example.com/", "HTTP://www.EXAMPLE.com/ http://WWW.example.com/%2e http://www.ex%41mple.com/a/%2E%2e/"},
		{"doc://bob", "doc://bo%62 DOC://bob doc://BOB doc://%42ob doc://%62%6f%62"},
		{"file:///etc/passwd", "file:///%65tc/passwd file:///x/../etc/passwd file:///x/%2e%2e/etc/passwd file:///../etc/./passwd file:///etc/%2E/passwd File:///etc/p%61sswd"},
		{"doc://x/A%2Fb", "doc://x/A%2fb doc://X/%41%2fb"}, // what delimits is another character where it is encoded
		{"doc://x/%252E", "doc://%78/%252E"},
		{"doc://x/%25252E", "doc://x/%25252E"},
		{"doc://Bob@host:80/Path?Query=%3F&a=b#Frag", "doc://Bob@HOST:80/%50ath?Query=%3f&a=%62#Fr%61g"},
		{"doc://x/a%5C..%5Cb", `doc://x/a\..\b doc://x/a%5c..%5cb doc://x/a%5c%2e%2E\b`},
		{"note://größe/ü", "note://gr%C3%B6%c3%9fe/ü note://gr%c3%b6ße/%C3%BC"},
		{"note://x/%E2%80%AEabc%20%C3", "note://x/\u202eabc%20%c3"}, // what can't be seen, and what is no letter, stays encoded
		{"urn:isbn:1", "URN:isbn:1 urn:%69sbn:1"},
		{"urn:%3A", "urn:%3a URN:%3a"},
		{"a:/.//x", "a:/y/..//x a:/.//x A:/.//x"},
		{"mailto:A@B.example", "MAILTO:A@B.example mailto:%41@B.example"},
	} {
		for _, uri := range append(strings.Split(c.others, " "), c.normal) {
			if got, err := NormalURI(uri); err != nil || got != c.normal {
				t.Errorf("%s: %s, %v, want %s", uri, got, err, c.normal)
			}
		}
	}
	for _, uri := range []string{"doc://x/%", "doc://x/%4", "doc://x/%zz", "doc://x/%%41", "doc://x/%4g", "doc://x?%"} {
		if got, err := NormalURI(uri); err == nil {
			t.Errorf("%s is %s", uri, got)
		}
	}
}

// TestDotSegments has the examples of RFC 3986 section 5.4: a reference as it is merged with its base becomes the target.
func TestDotSegments(t *testing.T) {
	const base = "http://a/b/c/"
	for merged, want := range map[string]string{
		base + "g": "http://a/b/c/g", base + "./g": "http://a/b/c/g", base + "g/": "http://a/b/c/g/", "http://a/g": "http://a/g", "http://g": "http://g",
		base + "d;p?y": "http://a/b/c/d;p?y", base + "g?y": "http://a/b/c/g?y", base + "d;p?q#s": "http://a/b/c/d;p?q#s", base + "g#s": "http://a/b/c/g#s", base + "g?y#s": "http://a/b/c/g?y#s",
		base + ";x": "http://a/b/c/;x", base + "g;x": "http://a/b/c/g;x", base + "g;x?y#s": "http://a/b/c/g;x?y#s", base + "d;p?q": "http://a/b/c/d;p?q",
		base + ".": "http://a/b/c/", base + "./": "http://a/b/c/", base + "..": "http://a/b/", base + "../": "http://a/b/", base + "../g": "http://a/b/g",
		base + "../..": "http://a/", base + "../../": "http://a/", base + "../../g": "http://a/g", // 5.4.1, and 5.4.2 from here
		base + "../../../g": "http://a/g", base + "../../../../g": "http://a/g", "http://a/./g": "http://a/g", "http://a/../g": "http://a/g",
		base + "g.": "http://a/b/c/g.", base + ".g": "http://a/b/c/.g", base + "g..": "http://a/b/c/g..", base + "..g": "http://a/b/c/..g",
		base + "./../g": "http://a/b/g", base + "./g/.": "http://a/b/c/g/", base + "g/./h": "http://a/b/c/g/h", base + "g/../h": "http://a/b/c/h",
		base + "g;x=1/./y": "http://a/b/c/g;x=1/y", base + "g;x=1/../y": "http://a/b/c/y",
		base + "g?y/./x": "http://a/b/c/g?y/./x", base + "g?y/../x": "http://a/b/c/g?y/../x", base + "g#s/./x": "http://a/b/c/g#s/./x", base + "g#s/../x": "http://a/b/c/g#s/../x",
		"http:g": "http:g",
	} {
		if got, err := NormalURI(merged); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", merged, got, err, want)
		}
		encoded := strings.ReplaceAll(merged, "/.", "/%2e")
		if got, _ := NormalURI(encoded); !strings.ContainsAny(merged, "?#") && got != want {
			t.Errorf("%s: %s, want %s", encoded, got, want)
		}
	}
}

// FuzzNormalURI: a normal form is its own normal form, can be read where the URI can, and says the same there.
func FuzzNormalURI(f *testing.F) {
	for _, seed := range []string{"eXAMPLE://a/./b/../b/%63/%7bfoo%7d", "a:/y/..//x", "note://gr%C3%B6ße", "x:../..", "a://b@C/%2e%2E/", "http://[::1]/", "%", "a:%c3%28"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		normal, err := NormalURI(uri)
		if err != nil {
			return
		}
		if again, err := NormalURI(normal); err != nil || again != normal {
			t.Fatalf("%q is %q is %q, %v", uri, normal, again, err)
		}
		if isNormal(uri) && normal != uri {
			t.Fatalf("%q passes for normal", uri)
		}
		was, err := url.Parse(uri)
		if err != nil || was.Scheme == "" {
			return
		}
		is, err := url.Parse(ASCII(normal))
		if err != nil && was.Host != "" {
			return // net/url takes nothing that is percent-encoded in a host
		}
		if err != nil {
			t.Fatalf("%q is %q: %v", uri, normal, err)
		}
		if dots := strings.Contains(uri, ".") || strings.Contains(strings.ToLower(uri), "%2e"); !dots && (is.Path != was.Path || is.Scheme != was.Scheme || !strings.EqualFold(is.Host, was.Host) || is.Fragment != was.Fragment) {
			t.Fatalf("%q is %q: %+v, %+v", uri, normal, was, is)
		}
	})
}

func TestNormalTemplate(t *testing.T) {
	for _, c := range [][2]string{
		{"city://{name}", "city://{name}"}, {"Doc://User@Host/{+Path}", "doc://User@host/{+Path}"}, {"FILE:///%65tc/{a}?Q={b}", "file:///etc/{a}?Q={b}"},
		{"note://größe/{X}", "note://gr%C3%B6%C3%9Fe/{X}"}, {"A{b}://C{D}E/{F}", "a{b}://c{D}e/{F}"}, {"doc:{Name}", "doc:{Name}"}, {"DOC:Name/{Name}", "doc:Name/{Name}"},
		{"x://{a}.Example{/b}/C", "x://{a}.example{/b}/C"}, {"x://{a}.Example{?b}C", "x://{a}.example{?b}C"},
	} {
		if got, err := NormalTemplate(c[0]); err != nil || got != c[1] {
			t.Errorf("%s: %s, %v, want %s", c[0], got, err, c[1])
		}
	}
}
