package function

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/seal"
)

// A part is what a tool answers, as far as a client needs it that reads on.
type part struct {
	Content []struct{ Text string }
	IsError bool
	Meta    struct {
		More string `json:"erlmcp/more"`
	} `json:"_meta"`
}

func (p *part) words() (all string) {
	for _, c := range p.Content {
		all += c.Text + "\n"
	}
	return all
}

// A reader calls tools of several instances by turns, as one caller.
type reader struct {
	t     *testing.T
	urls  []string
	key   string
	eras  []string // of its calls, by turns
	calls int
}

// call calls a tool on the next instance, in the next era.
func (r *reader) call(tool, arguments string) (p part, id string) {
	r.t.Helper()
	params := `"name":"` + tool + `","arguments":` + arguments
	w := modern("tools/call", tool, params)
	if r.eras[r.calls%len(r.eras)] == "legacy" {
		w = legacy("2025-11-25", "tools/call", params)
	}
	if r.key != "" {
		w = w.with("Authorization", "Bearer "+r.key)
	}
	resp, got := w.send(r.t, r.urls[r.calls%len(r.urls)])
	r.calls++
	var a struct{ Result part }
	if err := json.Unmarshal([]byte(got), &a); err != nil {
		r.t.Fatalf("%.2000s: %v", got, err)
	}
	if a.Result.Content == nil {
		r.t.Fatalf("%.2000s", got)
	}
	return a.Result, resp.Header.Get("X-Request-Id")
}

// more reads on.
func (r *reader) more(cursor string) part {
	r.t.Helper()
	p, _ := r.call("read_more", `{"cursor":"`+cursor+`"}`)
	return p
}

// all are the parts of an answer, in their order. A model finds each cursor in the words, too.
func (r *reader) all(tool, arguments string) (parts []string) {
	r.t.Helper()
	for p, _ := r.call(tool, arguments); ; p = r.more(p.Meta.More) {
		if p.IsError {
			r.t.Fatalf("part %d: %s", len(parts)+1, p.words())
		}
		parts = append(parts, p.Content[0].Text)
		if p.Meta.More == "" {
			return parts
		}
		if last := p.Content[len(p.Content)-1].Text; !strings.Contains(last, "read_more") || !strings.Contains(last, p.Meta.More) {
			r.t.Fatalf("a model does not read how to go on: %s", last)
		}
	}
}

// joined is the list that lists make together.
func joined(parts []string) string {
	var inner []string
	for _, p := range parts {
		inner = append(inner, strings.TrimSuffix(strings.TrimPrefix(p, "["), "]"))
	}
	return "[" + strings.Join(inner, ",") + "]"
}

// longAnswers is an API whose answers are too long, and a catalog file over it.
func longAnswers(t *testing.T, list, text string) (file string, changed *atomic.Bool) {
	changed = &atomic.Bool{}
	mux := http.NewServeMux()
	answer := func(contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentType)
			if io.WriteString(w, body); changed.Load() && contentType == "text/plain" {
				io.WriteString(w, "!")
			}
		}
	}
	mux.HandleFunc("/list", answer("application/json", list))
	mux.HandleFunc("/within", answer("application/json", `{"total": 3, "data": {"items": `+list+`}}`))
	mux.HandleFunc("/text", answer("text/plain", text))
	return writeFile(t, t.TempDir()+"/catalog.yaml", `catalog: 1
defaults: {result: {max: 1000}}
sources:
- name: x
  rest: `+network.Serve(t, mux)+`
  read: 32MiB
  tools:
  - {name: list, request: GET /list, description: Is long., arguments: {q: {type: string, optional: true}}}
  - {name: large, request: GET /list, description: Is long., result: {max: `+fmt.Sprint(len(list)/4)+`}}
  - {name: within, request: GET /within, description: Is long.}
  - {name: text, request: GET /text, description: Is long.}
  - {name: rare, request: GET /text, description: Is long., limits: {perDay: 2}}
  - {name: change, request: POST /text, description: Changes something.}
`), changed
}

// readers are two callers of two instances, which share nothing but their settings, and the same of an instance that has other keys.
func readers(t *testing.T, file string, eras []string) (ada, bob, elsewhere *reader) {
	keysFile, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ada", Scopes: []string{"*"}}, identity.Key{Tenant: "acme", Subject: "bob", Scopes: []string{"*"}})
	var urls []string
	for _, key := range []string{testKey(1), testKey(1), testKey(2)} {
		urls = append(urls, start(t, WithMemory(NewInMemoryStore()), WithTools(wireTools()...),
			WithGetenv(env("AUTHENTICATION", "keys", "API_KEYS_FILE", keysFile, "EGRESS_ALLOW", "127.0.0.1", "CATALOG_FILE", file, "SEALING_KEYS", key))).URL)
	}
	return &reader{t, urls[:2], keys[0], eras, 0}, &reader{t, urls[:2], keys[1], eras, 0}, &reader{t, urls[2:], keys[0], eras, 0}
}

func listOf(bytes int) string {
	var b strings.Builder
	b.WriteString("[")
	for n := 0; b.Len() < bytes; n++ {
		if n > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, `{"id":%d,"name":"größe <%d> \u00e9 \"q\"","price":%d.50,"tags":["a","b",{"c":[1e3,null]}]}`, n, n, n%997)
	}
	return b.String() + "]"
}

// TestReadOn reads long answers over two instances by turns, in each era and in both by turns: their parts are the answer, byte for byte.
func TestReadOn(t *testing.T) {
	size := 20 << 20
	if testing.Short() {
		size = 2 << 20
	}
	for _, c := range []struct {
		tool string
		eras []string
		size int
	}{
		{"x_large", []string{"modern", "modern", "legacy", "legacy"}, size},
		{"x_list", []string{"modern"}, 20 << 10}, {"x_list", []string{"legacy"}, 20 << 10},
		{"x_within", []string{"modern"}, 20 << 10}, {"x_within", []string{"legacy"}, 20 << 10},
		{"x_text", []string{"modern"}, 20 << 10}, {"x_text", []string{"legacy"}, 20 << 10},
	} {
		synctest.Test(t, func(t *testing.T) {
			list, text := listOf(c.size), strings.Repeat("äöü €𝄞 x", 500)
			file, _ := longAnswers(t, list, text)
			r, _, _ := readers(t, file, c.eras)
			parts := r.all(c.tool, "{}")
			got, want := joined(parts), list
			switch c.tool {
			case "x_within":
				var first struct {
					Total int
					Data  struct{ Items json.RawMessage }
				}
				if err := json.Unmarshal([]byte(parts[0]), &first); err != nil || first.Total != 3 {
					t.Fatalf("%s: %v", parts[0], err)
				}
				got = joined(append([]string{string(first.Data.Items)}, parts[1:]...))
			case "x_text":
				got, want = strings.Join(parts, ""), text
				for _, p := range parts {
					if !utf8.ValidString(p) {
						t.Errorf("a part of a text has a half of a character")
					}
				}
			}
			if got != want || len(parts) < 4 {
				t.Errorf("%s, %v: %d parts are %d bytes, and not the %d of the answer", c.tool, c.eras, len(parts), len(got), len(want))
			}
		})
	}
}

// TestReadMoreRefused tries cursors that are not, or no longer, those of the caller's own answers.
func TestReadMoreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, changed := longAnswers(t, listOf(5000), strings.Repeat("x", 5000))
		ada, bob, elsewhere := readers(t, file, []string{"modern", "legacy"})
		refused := func(what string, p part, want string) {
			t.Helper()
			if !p.IsError || !strings.Contains(p.words(), want) || p.Meta.More != "" {
				t.Errorf("%s: %s", what, p.words())
			}
		}
		const none = "nothing can be read on with this cursor"
		first, _ := ada.call("x_text", "{}")
		cursor := first.Meta.More
		for range 2 { // on both instances, in both eras
			refused("of another caller", bob.more(cursor), none)
			ada.calls++
		}
		r := rand.New(rand.NewPCG(3, 4))
		for range 300 { // what is changed in any place, or is none
			b := []byte(cursor)
			switch i := r.IntN(len(b)); r.IntN(4) {
			case 0:
				b = b[:i]
			case 1:
				b = append(b, b[i])
			default:
				old := b[i]
				for b[i] == old {
					b[i] = "ABCDEFabcdef0123456789-_"[r.IntN(24)]
				}
			}
			refused("tampered with", ada.more(string(b)), none)
		}
		for arguments, want := range map[string]string{
			`{}`: "cursor is missing", `{"cursor":1}`: "cursor is missing", `{"cursor":"x","tool":"x_list"}`: "no argument but cursor", `{"cursor":""}`: none,
			`{"cursor":"x","cursor":"y"}`: "cursor",
		} {
			p, _ := ada.call("read_more", arguments)
			refused(arguments, p, want)
		}
		p, _ := ada.call("x_change", "{}")
		if p.Meta.More != "" || strings.Contains(p.words(), "read_more") || p.IsError {
			t.Errorf("a tool that changes something is called again for the rest: %s", p.words())
		}
		if p, _ := ada.call("x_list", `{"q":"`+strings.Repeat("x", 2000)+`"}`); p.Meta.More != "" || !strings.Contains(p.words(), "can't be read on") {
			t.Errorf("arguments that are too long: %s", p.words())
		}
		time.Sleep(24*time.Hour - time.Minute) // in a bubble
		if p := ada.more(cursor); p.IsError {
			t.Errorf("before the day is over: %s", p.words())
		}
		changed.Store(true)
		refused("of an answer that has changed", ada.more(cursor), "has changed")
		changed.Store(false)
		time.Sleep(2 * time.Minute) // in a bubble
		refused("of another day", ada.more(cursor), none)

		again, _ := ada.call("x_text", "{}")
		refused("under other keys", elsewhere.more(again.Meta.More), none)
		ring, err := seal.ParseRing(testKey(1))
		if err != nil {
			t.Fatal(err)
		}
		refused("of a list of tools", ada.more(ring.Seal("cursor", []byte("tools"), []byte("x_text"), time.Now().Add(time.Hour))), none)
		if p := ada.more("  " + again.Meta.More + `\n`); p.IsError {
			t.Errorf("a cursor with white space around it, as models copy it: %s", p.words())
		}

		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for what, change := range map[string]*strings.Replacer{ // of the file that takes its place
			"it may change something": strings.NewReplacer("name: text,", "readOnly: false, name: text,"),
			"it is gone":              strings.NewReplacer("name: text,", "name: other,"),
		} {
			writeFile(t, file, change.Replace(string(text)))
			for range 2 { // each looks at its own file before it is asked
				ada.call("x_list", "{}")
			}
			time.Sleep(3 * time.Second) // in a bubble
			for range 2 {
				ada.call("x_list", "{}")
			}
			synctest.Wait() // they look beside their calls
			refused(what, ada.more(again.Meta.More), "can't be read on any more")
		}
	})
}

// TestReadMoreIsGoverned has each part that is read on be a call of the tool: limited, stopped and recorded by its name, with the arguments of then.
func TestReadMoreIsGoverned(t *testing.T) {
	for _, era := range []string{"modern", "legacy"} {
		synctest.Test(t, func(t *testing.T) {
			file, _ := longAnswers(t, listOf(5000), strings.Repeat("x", 5000))
			m := NewInMemoryStore()
			defer m.Close()
			url, store, end := recorded(t, wireTools(), WithMemory(m), WithGetenv(env("EGRESS_ALLOW", "127.0.0.1", "CATALOG_FILE", file)))
			r := &reader{t: t, urls: []string{url}, eras: []string{era}}
			const arguments = `{ "q":"a<b" }`
			var ids []string
			call := func(tool, arguments string) part {
				p, id := r.call(tool, arguments)
				ids = append(ids, id)
				return p
			}
			more := func(p part) part { return call("read_more", `{"cursor":"`+p.Meta.More+`"}`) }
			more(call("x_list", arguments))
			second := more(call("x_rare", `{}`))
			if refused := more(second); second.IsError || !refused.IsError || !strings.Contains(refused.words(), "2") {
				t.Errorf("%s: a third part of a day's two: %s", era, refused.words())
			}
			list := call("x_list", arguments)
			if _, err := m.of().Store.Change(t.Context(), func(d *directives.Directives) error {
				return d.Kill(directives.Kill{Scope: "tool:x_list", Reason: "it leaks", At: time.Now()})
			}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second) // in a bubble
			if p := more(list); !p.IsError || !strings.Contains(p.words(), "it leaks") {
				t.Errorf("%s: a part of a tool that is stopped: %s", era, p.words())
			}
			_, metrics := scrape(t, url)
			if strings.Contains(metrics, "read_more") {
				t.Errorf("%s: read_more is counted by its own name", era)
			}
			end()
			for i, want := range []string{"x_list", "x_list", "x_rare", "x_rare", "x_rare", "x_list", "x_list"} {
				all := find(t, store, ids[i])
				if len(all) == 0 {
					t.Errorf("%s: call %d has no receipt", era, i)
				}
				for _, one := range all {
					if one.Tool != want || want == "x_list" && one.Arguments.String() != sum(t, arguments) {
						t.Errorf("%s: call %d is recorded as %s with %v, want %s", era, i, one.Tool, one.Arguments, want)
					}
				}
			}
		})
	}
}
