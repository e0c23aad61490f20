package receipt

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gowebpki/jcs"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// full is a receipt with every member.
func full() Receipt {
	return Receipt{
		ID: "019b4f3a-7c55-7d1e-9a3b-04c26b1f90ee", Time: noon.Add(123456 * time.Microsecond), Kind: Completed, Tenant: "acme", Principal: "5d41402abc4b2a76",
		Method: "tools/call", Tool: "search", Decision: Allow, Reason: "rate", Limit: "tool:search 5/s", Era: "2026-07-28", Duration: 1500 * time.Microsecond,
		Arguments: HashOf([]byte(`{"q":"x"}`)), Result: HashOf([]byte("[]")), Catalog: "c7", Policy: "p3", Trace: "4bf92f3577b34da6a3ce929d0e0e4736",
		Detail: "per second 2", More: 41, Instance: "node-1", Seq: 7, Previous: HashOf(nil),
	}
}

// oracle is what a library makes of the receipt.
func oracle(t testing.TB, r *Receipt) string {
	t.Helper()
	valid := func(s string) string { return strings.ToValidUTF8(strings.ReplaceAll(s, "\xff", "\xfe"), "\ufffd") }
	members := map[string]any{"id": "", "time": r.Time.UTC().Format("2006-01-02T15:04:05.000000Z")}
	for name, s := range map[string]string{
		"tenant": r.Tenant, "principal": r.Principal, "method": r.Method, "tool": r.Tool, "reason": r.Reason, "limit": r.Limit, "era": r.Era,
		"catalog": r.Catalog, "policy": r.Policy, "trace": r.Trace, "detail": r.Detail, "instance": r.Instance, "kind": string(r.Kind), "decision": string(r.Decision),
		"arguments": r.Arguments.String(), "result": r.Result.String(), "previous": r.Previous.String(), "id": r.ID,
	} {
		if s != "" {
			members[name] = valid(s)
		}
	}
	for name, n := range map[string]int64{"durationUs": r.Duration.Microseconds(), "more": r.More, "seq": r.Seq} {
		if n != 0 {
			members[name] = n
		}
	}
	form := func() []byte {
		text, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		if text, err = jcs.Transform(text); err != nil {
			t.Fatal(err)
		}
		return text
	}
	members["hash"] = Hash(sha256.Sum256(form())).String()
	return string(form())
}

func TestCanonical(t *testing.T) {
	with := func(change func(*Receipt)) Receipt { r := full(); change(&r); return r }
	for _, c := range []struct {
		name string
		r    Receipt
	}{
		{"every member", full()},
		{"nothing", Receipt{Time: noon}},
		{"hash first", Receipt{ID: "x", Time: noon, Kind: Admitted, Seq: 1}},
		{"escapes", with(func(r *Receipt) {
			for c := range rune(0x80) {
				r.Detail += string(c)
			}
		})},
		{"other scripts", with(func(r *Receipt) { r.Tool, r.Tenant = "検索\u2028\u2029\u007f😀", "<&>é" })},
		{"not UTF-8", with(func(r *Receipt) { r.Tool = "a\xffb\xed\xa0\x80c" })},
		{"great numbers", with(func(r *Receipt) { r.Seq, r.More, r.Duration = maxInt, maxInt, maxInt*time.Microsecond })},
		{"far dates", with(func(r *Receipt) { r.Time = time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC) })},
		{"another zone", with(func(r *Receipt) { r.Time = r.Time.In(time.FixedZone("", 3600)) })},
	} {
		t.Run(c.name, func(t *testing.T) { canonical(t, c.r) })
	}
}

// canonical holds the form of a receipt against the library, and reads it back.
func canonical(t testing.TB, r Receipt) {
	t.Helper()
	line := r.Append([]byte("before"))
	if !bytes.HasPrefix(line, []byte("before")) {
		t.Fatal("what was in the buffer is gone")
	}
	line = line[len("before"):]
	if want := oracle(t, &r); string(line) != want && utf8.ValidString(r.Tool) {
		t.Fatalf("\n got %s\nwant %s", line, want)
	}
	back, err := Parse(line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if again := back.Append(nil); !bytes.Equal(again, line) {
		t.Fatalf("\nread %s\nback %s", line, again)
	}
	r.Time, r.Duration = r.Time.UTC().Truncate(time.Microsecond), r.Duration.Truncate(time.Microsecond)
	if utf8.ValidString(r.Tool) && !reflect.DeepEqual(back, r) {
		t.Errorf("\nread %+v\nwant %+v", back, r)
	}
}

func TestParse(t *testing.T) {
	r := full()
	good := string(r.Append(nil))
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%s is not in %s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	for _, c := range []struct {
		name, line string
		want       error
	}{
		{"as it was", good, nil},
		{"edited", swap(`"tool":"search"`, `"tool":"Search"`), ErrHash},
		{"hash edited", swap(r.Hash.String(), HashOf([]byte("x")).String()), ErrHash},
		{"no hash", swap(`,"hash":"`+r.Hash.String()+`"`, ""), errForm},
		{"no time", swap(`,"time":"2026-11-24T12:00:00.123456Z"`, ""), errForm},
		{"a space", swap(`"seq":7`, `"seq": 7`), errForm},
		{"a newline", good + "\n", errForm},
		{"two", good + good, errForm},
		{"nothing", "", errForm},
		{"half", good[:len(good)/2], errForm},
		{"a member twice", swap(`"seq":7`, `"seq":7,"seq":7`), errForm},
		{"an unknown member", swap(`"seq":7`, `"seq":7,"seqs":7`), errForm},
		{"members in another order", swap(`"tool":"search","trace":"4bf92f3577b34da6a3ce929d0e0e4736"`, `"trace":"4bf92f3577b34da6a3ce929d0e0e4736","tool":"search"`), errForm},
		{"an escape too many", swap("search", `s\u0065arch`), errForm},
		{"an escaped slash", swap("tools/call", `tools\/call`), errForm},
		{"upper-case digits", swap(r.Hash.String(), strings.ToUpper(r.Hash.String())), errForm},
		{"a number as text", swap(`"seq":7`, `"seq":"7"`), errForm},
		{"a leading zero", swap(`"seq":7`, `"seq":07`), errForm},
		{"a fraction", swap(`"seq":7`, `"seq":7.0`), errForm},
		{"too great a number", swap(`"seq":7`, `"seq":9007199254740993`), errForm},
		{"a negative number", swap(`"seq":7`, `"seq":-7`), errForm},
		{"empty text", swap(`"tool":"search"`, `"tool":""`), errForm},
		{"no such day", swap("2026-11-24", "2026-11-31"), errForm},
		{"no such month", swap("2026-11-24", "2026-13-24"), errForm},
		{"no such hour", swap("T12:", "T24:"), errForm},
		{"a leap second", swap(":00.123456Z", ":60.123456Z"), errForm},
		{"another zone", swap("123456Z", "12345+1"), errForm},
		{"not UTF-8", swap("search", "s\xffarch"), errForm},
		{"a control character", swap("search", "s\narch"), errForm},
	} {
		if _, err := Parse([]byte(c.line)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	for i := range good {
		for bit := range 8 {
			flipped := []byte(good)
			flipped[i] ^= 1 << bit
			if _, err := Parse(flipped); err == nil {
				t.Fatalf("byte %d bit %d flipped and accepted: %s", i, bit, flipped)
			}
		}
	}
}

func TestClip(t *testing.T) {
	r := full()
	r.Tool = strings.Repeat("é", 1000)
	r.Detail = "x" + strings.Repeat("é", 10000)
	r.More, r.Duration = -1, 1<<63-1
	r.Clip()
	if len(r.Tool) > maxText || len(r.Detail) > maxDetail || !utf8.ValidString(r.Tool) || !utf8.ValidString(r.Detail) || !strings.HasSuffix(r.Tool, "é…") {
		t.Errorf("%d %d %s", len(r.Tool), len(r.Detail), r.Tool)
	}
	canonical(t, r)
}

// FuzzCanonical holds the form of any receipt against the library.
func FuzzCanonical(f *testing.F) {
	f.Add("search", "acme", "", int64(0), int64(0), int64(0), []byte(nil))
	f.Add("\u2028\"\\\x00", "<&>é", "\x7f\t", int64(1795521600123456), int64(maxInt), int64(1), []byte("x"))
	f.Fuzz(func(t *testing.T, tool, tenant, detail string, at, seq, duration int64, arguments []byte) {
		const last = 253402300799999999 // of year 9999
		r := Receipt{ID: tenant, Tool: tool, Tenant: tenant, Detail: detail, Time: time.UnixMicro(max(-62135596800000000, min(at, last))), Seq: seq & maxInt, Duration: time.Duration(duration)}
		if len(arguments) > 0 {
			r.Arguments = HashOf(arguments)
		}
		r.Clip()
		if !utf8.ValidString(tenant) || !utf8.ValidString(detail) {
			return // how many replacements there are differs
		}
		canonical(t, r)
	})
}

// FuzzParse wants that what is accepted comes back byte for byte, and that nothing makes the parser fall.
func FuzzParse(f *testing.F) {
	r := full()
	f.Add(r.Append(nil))
	f.Add([]byte(`{"hash":"00","id":"\u0000"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := Parse(line)
		if err != nil {
			return
		}
		if again := r.Append(nil); !bytes.Equal(again, line) {
			t.Fatalf("read %q, back %q", line, again)
		}
	})
}

func TestID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := NewID(0xfeedbeef, noon.Add(1234567))
		tag, at, err := Tag(id)
		if err != nil || tag != 0xfeedbeef || !at.Equal(noon.Add(time.Millisecond)) || !strings.HasSuffix(id, "feedbeef") {
			t.Fatalf("%s: %x %v %v", id, tag, at, err)
		}
		seen[id] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d ids of 1000 differ", len(seen))
	}
	id := NewID(7, noon)
	for _, bad := range []string{"", id[:35], id + "0", strings.ToUpper(id[:30]) + id[30:33] + "ABC", strings.Replace(id, "-7", "-4", 1), id[:19] + "c" + id[20:], "x" + id[1:]} {
		if _, _, err := Tag(bad); err == nil {
			t.Errorf("%q is taken for an id", bad)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	r := full()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = r.Append(buf[:0])
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkParse(b *testing.B) {
	r := full()
	line := r.Append(nil)
	var p Parser
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Parse(line); err != nil {
			b.Fatal(err)
		}
	}
}
