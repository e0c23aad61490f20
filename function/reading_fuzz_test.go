package function

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A bound is what schema or rule of a random tool demand of the number at a path. Zero always fits: it is what a field has that nothing was
// sent for.
type bound struct {
	path        []string
	least, most int64
	only        bool // one of least, most and 0
	by          string
}

func (b *bound) fits(n *big.Rat) bool {
	least, most := new(big.Rat).SetInt64(b.least), new(big.Rat).SetInt64(b.most)
	if b.only {
		return n.Sign() == 0 || n.Cmp(least) == 0 || n.Cmp(most) == 0
	}
	return n.Cmp(least) >= 0 && n.Cmp(most) <= 0
}

// holds looks for numbers at the path in what a tool got.
func (b *bound) holds(got any, path []string) error {
	switch v := got.(type) {
	case map[string]any:
		if len(path) > 0 {
			return b.holds(v[path[0]], path[1:])
		}
	case json.Number:
		if n, ok := new(big.Rat).SetString(v.String()); len(path) == 0 && (!ok || !b.fits(n)) {
			return fmt.Errorf("%v is %v, and %s demands %d to %d (only: %t)", b.path, v, b.by, b.least, b.most, b.only)
		}
	}
	return nil
}

type (
	fuzzInner struct {
		A int64  `json:"a,omitempty"`
		B double `json:"b,omitempty"`
		C any    `json:"c,omitempty"`
	}
	fuzzSelf     fuzzInner
	fuzzEmbedded struct {
		fuzzInner
		A []int64          `json:"d,omitempty"`
		B *uint64          `json:"B,omitempty"`
		D map[string]int64 `json:"map,omitempty"`
	}
	fuzzTree struct {
		A    uint64              `json:"a,omitempty"`
		B    json.Number         `json:"b,omitempty"`
		C    int8                `json:"c,omitempty"`
		D    []fuzzInner         `json:"d,omitempty"`
		Next *fuzzInner          `json:"next,omitempty"`
		Self *fuzzSelf           `json:"self,omitempty"`
		Map  map[string]fuzzSelf `json:"map,omitempty"`
	}
	fuzzUntagged struct {
		A, B int64
		C    single // whole numbers alone: of fractions a float32 has neighbours
		Next *struct{ A, B, Next int64 }
	}
)

// These are written with all their digits.
type (
	double float64
	single float32
)

func (d double) MarshalJSON() ([]byte, error) {
	if n := new(big.Rat).SetFloat64(float64(d)); n.IsInt() {
		return []byte(n.Num().String()), nil
	}
	return json.Marshal(float64(d))
}

func (s single) MarshalJSON() ([]byte, error) { return double(s).MarshalJSON() }

func (s *fuzzSelf) UnmarshalJSON(text []byte) error {
	type plain fuzzInner
	return json.Unmarshal(text, (*plain)(s))
}

// fuzzTools make a tool whose arguments are of a type, and that tells what it got as JSON.
var fuzzTools = []func(got *[]byte, opts ...ToolOptions) Tool{
	fuzzTool[fuzzInner], fuzzTool[fuzzEmbedded], fuzzTool[fuzzTree], fuzzTool[fuzzUntagged], fuzzTool[map[string]any], fuzzTool[json.RawMessage],
}

func fuzzTool[In any](got *[]byte, opts ...ToolOptions) Tool {
	return NewTool("tool", "Takes anything.", func(_ context.Context, in In) (string, error) {
		b, err := json.Marshal(in)
		*got = b
		return "ran", err
	}, opts...)
}

var fuzzNames = []string{"a", "b", "c", "d", "next", "self", "map", "A", "B", "C", "Next"}

// fuzzBounds draws bounds with the schema and the condition that demand them.
func fuzzBounds(r *rand.Rand) (bounds []bound, schema, condition string) {
	root := map[string]any{"type": "object"}
	var conditions []string
	limits := []int64{0, 1, 100, 1000, 1 << 24, 1<<53 - 1, 1 << 53, 1<<53 + 2, 1 << 60}
	for range 1 + r.IntN(3) {
		b := bound{most: limits[r.IntN(len(limits))], least: -limits[r.IntN(len(limits))], only: r.IntN(3) == 0}
		for range 1 + r.IntN(2) {
			b.path = append(b.path, fuzzNames[r.IntN(len(fuzzNames))])
		}
		if r.IntN(2) == 0 {
			b.by = "the schema"
			demands := map[string]any{"minimum": b.least, "maximum": b.most}
			if b.only {
				demands = map[string]any{"enum": []int64{b.least, b.most, 0}}
			}
			if !describe(root, b.path, demands) {
				continue
			}
		} else {
			b.by = "the rule"
			at, has := "args", ""
			for _, name := range b.path {
				if has != "" {
					has += " && type(" + at + ") == map && "
				}
				has += strconv.Quote(name) + " in " + at
				at += "[" + strconv.Quote(name) + "]"
			}
			if b.only {
				b.most++ // beyond what a double tells from its neighbour
				conditions = append(conditions, fmt.Sprintf("!(%s) || %s == %d || %s == %d || %s == 0", has, at, b.least, at, b.most, at))
			} else {
				b.most++
				conditions = append(conditions, fmt.Sprintf("!(%s) || %s >= %d && %s <= %d", has, at, b.least, at, b.most))
			}
		}
		bounds = append(bounds, b)
	}
	text, _ := json.Marshal(root)
	for i, c := range conditions {
		conditions[i] = "(" + c + ")"
	}
	if len(conditions) == 0 {
		conditions = []string{"true"}
	}
	return bounds, string(text), strings.Join(conditions, " && ")
}

// describe adds demands to a schema at a path. It tells whether there was none yet.
func describe(schema map[string]any, path []string, demands map[string]any) bool {
	for _, name := range path {
		properties, _ := schema["properties"].(map[string]any)
		if properties == nil {
			properties = map[string]any{}
			schema["properties"] = properties
		}
		next, _ := properties[name].(map[string]any)
		if next == nil {
			next = map[string]any{}
			properties[name] = next
		}
		schema = next
	}
	if _, there := schema["type"]; there {
		return false
	}
	schema["type"] = []string{"number", "object", "null"}
	if demands["enum"] != nil {
		schema["type"] = "number"
	}
	for key, value := range demands {
		schema[key] = value
	}
	return true
}

// fuzzArguments writes random arguments, in spellings that an honest client has no use for.
func fuzzArguments(r *rand.Rand, depth int, bounds []bound) string {
	var b strings.Builder
	b.WriteByte('{')
	n := r.IntN(5)
	if depth == 0 {
		n = r.IntN(2)
	}
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		name := fuzzNames[r.IntN(len(fuzzNames))]
		if of := bounds[r.IntN(len(bounds))].path; r.IntN(2) == 0 {
			name = of[r.IntN(len(of))]
		}
		switch r.IntN(8) {
		case 0:
			name = strings.ToUpper(name)
		case 1:
			name = strings.ToLower(name)
		case 2:
			name = fmt.Sprintf(`\u%04x%s`, name[0], name[1:])
		case 3:
			name = strings.ReplaceAll(name, "s", "\u017f") // which folds into s
		}
		fmt.Fprintf(&b, `"%s":%s`, name, fuzzValue(r, depth, bounds))
	}
	b.WriteByte('}')
	return b.String()
}

func fuzzValue(r *rand.Rand, depth int, bounds []bound) string {
	if depth > 0 {
		switch r.IntN(6) {
		case 0, 1:
			return fuzzArguments(r, depth-1, bounds)
		case 2:
			return "[" + fuzzValue(r, depth-1, bounds) + "," + fuzzValue(r, depth-1, bounds) + "]"
		}
	}
	of := bounds[r.IntN(len(bounds))]
	n := []int64{of.least, of.most, 0, r.Int64()}[r.IntN(4)] + int64(r.IntN(5)) - 2
	digits := strconv.FormatInt(n, 10)
	switch r.IntN(24) {
	case 0:
		return digits + ".0"
	case 1:
		return digits + "e0"
	case 2:
		return digits + "0e-1"
	case 3:
		return digits + ".5"
	case 4:
		return digits + "000000000000000000000"
	case 5:
		return digits + "e300"
	case 6:
		return strconv.FormatUint(uint64(n), 10)
	case 7:
		return []string{"null", "true", `"` + digits + `"`, "1e400", "-0", "1e-400", `""`}[r.IntN(7)]
	}
	return digits
}

// FuzzReading calls random tools with random arguments: whatever a tool gets fits schema and rule.
func FuzzReading(f *testing.F) {
	for seed := range uint64(30) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { readRandomly(t, seed) })
}

// TestReading is the fuzzing in short, and tells that it tries something.
func TestReading(t *testing.T) {
	ran := 0
	for seed := range uint64(100) {
		ran += readRandomly(t, 1000+seed)
	}
	if ran < 2000 {
		t.Errorf("only %d calls ran", ran)
	}
}

func readRandomly(t *testing.T, seed uint64) (ran int) {
	r := rand.New(rand.NewPCG(seed, 7))
	bounds, schema, condition := fuzzBounds(r)
	if len(bounds) == 0 {
		return 0
	}
	var got []byte
	tool := fuzzTools[r.IntN(len(fuzzTools))](&got, ToolOptions{InputSchema: schema, AllowWhen: []Condition{{When: condition}}})
	s, err := assemble(t.Context(), WithTools(tool), WithGetenv(env("GOVERNOR_ENABLED", "false", "RECEIPTS", "false")), WithLogOutput(io.Discard))
	if err != nil {
		t.Fatalf("%s %s: %v", schema, condition, err)
	}
	defer s.Close()
	for range 200 {
		got = nil
		args := fuzzArguments(r, 3, bounds)
		w := legacy("2025-06-18", "tools/call", `"name":"tool","arguments":`+args)
		req := httptest.NewRequestWithContext(t.Context(), "POST", "http://localhost/mcp", strings.NewReader(w.body))
		req.Header.Set("Content-Type", "application/json")
		for key, value := range w.header {
			req.Header.Set(key, value)
		}
		s.ServeHTTP(httptest.NewRecorder(), req)
		if got == nil {
			continue
		}
		ran++
		d := json.NewDecoder(strings.NewReader(string(got)))
		d.UseNumber()
		var seen any
		if err := d.Decode(&seen); err != nil {
			t.Fatal(err)
		}
		for _, b := range bounds {
			if err := b.holds(seen, slices.Clone(b.path)); err != nil {
				t.Fatalf("%s\nwith the schema %s\nand the condition %s\ngot %s: %v", args, schema, condition, got, err)
			}
		}
	}
	return ran
}
