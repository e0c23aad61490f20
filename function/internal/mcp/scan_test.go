package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestValue(t *testing.T) {
	for _, text := range []string{
		`null`, `true`, `false`, `0`, `-0.5e+3`, `12345678901234567890`, `""`, `"a\"\\\/\b\f\n\r\té"`,
		`"\u0041\ud83d\ude00\ud800x\udc00\ud800\u0041"`, `[]`, `[1,[2,{"a":null}]]`, `{"a":{"b":[true,"ü"]}}`, " \t\r\n{ } \n",
	} {
		got, err := Decode([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		want, err := oracle([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if !same(got, want) {
			t.Errorf("%s: got %#v, want %#v", text, got, want)
		}
	}
	for _, text := range []string{
		``, ` `, `nul`, `01`, `1.`, `.5`, `-`, `1e`, `"`, `"\x"`, `"\u12g4"`, "\"\n\"", "\"\xff\"", `[1,]`, `[1 2]`, `{"a"}`, `{"a":1,}`,
		`{a:1}`, `{"a":1}x`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `1e999`, "\x00",
	} {
		if v, err := Decode([]byte(text)); err == nil {
			t.Errorf("%q was read as %#v", text, v)
		}
	}
}

// oracle reads with encoding/json, numbers as they are written.
func oracle(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err = d.Decode(&v); err == nil {
		if _, err = d.Token(); err == io.EOF {
			return v, nil
		}
		err = errors.New("more")
	}
	return nil, err
}

// same compares values. A number is the one that is written, or the double nearest to a fraction or to what no integer type holds.
func same(got, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		m, ok := got.(map[string]any)
		for name, v := range want {
			ok = ok && same(m[name], v)
		}
		return ok && len(m) == len(want)
	case []any:
		l, ok := got.([]any)
		ok = ok && len(l) == len(want)
		for i := 0; ok && i < len(want); i++ {
			ok = same(l[i], want[i])
		}
		return ok
	case json.Number:
		written, ok := new(big.Rat).SetString(want.String())
		switch v := got.(type) {
		case int64:
			return ok && written.Cmp(new(big.Rat).SetInt64(v)) == 0
		case uint64:
			return ok && v > math.MaxInt64 && written.Cmp(new(big.Rat).SetUint64(v)) == 0
		case float64:
			f, err := want.Float64()
			return err == nil && v == f && (!ok || !written.IsInt() && v != math.Trunc(v) || v < math.MinInt64 || v >= 1<<64)
		}
		return false
	}
	return reflect.DeepEqual(got, want)
}

func TestNumber(t *testing.T) {
	for _, c := range []struct {
		text string
		want any // nil where it is refused
	}{
		{"0", int64(0)}, {"-0", int64(0)}, {"0.0", int64(0)}, {"-0e999999999999", int64(0)}, {"1.0", int64(1)}, {"1e3", int64(1000)}, {"-0.5e+3", int64(-500)}, {"1500e-2", int64(15)},
		{"9007199254740993", int64(9007199254740993)}, {"-9007199254740993", int64(-9007199254740993)}, {"999999999999999999", int64(999999999999999999)},
		{"9223372036854775807", int64(math.MaxInt64)}, {"-9223372036854775808", int64(math.MinInt64)}, {"9223372036854775808", uint64(1 << 63)}, {"18446744073709551615", uint64(math.MaxUint64)},
		{"9007199254740992.0", int64(1 << 53)}, {"1e16", int64(1e16)}, {"1e19", uint64(1e19)}, {"-9.223372036854775808e18", int64(math.MinInt64)},
		{"0.1", 0.1}, {"1.5", 1.5}, {"6.02214076e23", 6.02214076e23}, {"1e300", 1e300}, {"-1e19", -1e19}, {"1.8446744073709552e+19", 1 << 64 * 1.0}, {"1e-300", 1e-300}, {"0.1e-5", 1e-6},
		{"18446744073709551616", nil}, {"-9223372036854775809", nil}, {"123456789012345678901234567890", nil}, {"9007199254740993.0", nil}, {"9.007199254740993e15", nil},
		{"18446744073709551615.0", nil}, {"1e400", nil}, {"1152921504606846977.5", nil}, {"0.99999999999999999999", nil}, {"-4503599627370497.55", nil}, {"-1e400", nil}, {"1e-400", nil}, {"1e99999999999999999999", nil}, {"1e-99999999999999999999", nil}, {strings.Repeat("9", 400), nil},
	} {
		got, err := Decode([]byte(c.text))
		if (err != nil) != (c.want == nil) || got != c.want {
			t.Errorf("%s: %T %v, %v, want %T %v", c.text, got, got, err, c.want, c.want)
		}
	}
}

func TestDepth(t *testing.T) {
	nest := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	if _, err := Decode(nest(maxDepth)); err != nil {
		t.Errorf("depth %d: %v", maxDepth, err)
	}
	for _, n := range []int{maxDepth + 2, 1 << 20} {
		if _, err := Decode(nest(n)); !errors.Is(err, errDepth) {
			t.Errorf("depth %d: %v", n, err)
		}
		s := scanner{buf: nest(n)}
		if _, err := s.raw(0); !errors.Is(err, errDepth) {
			t.Errorf("raw at depth %d: %v", n, err)
		}
	}
}

// FuzzValue holds the scanner against encoding/json: whatever it reads, encoding/json reads alike, and whatever it
// refuses is invalid there too, but for what the scanner refuses on purpose.
func FuzzValue(f *testing.F) {
	for _, seed := range []string{`{"a":[1,"x\u00e9",{"b":null}],"c":1e3}`, `"\ud83d\ude00"`, `[[[[]]]]`, `-0`, `9007199254740993.0`, `1e19`, `0.5e1`, `{"a":1,"a":2}`, `9007190254740993.9`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Decode(b)
		want, oracle := oracle(b)
		if err == nil {
			if oracle != nil {
				t.Fatalf("%q: read as %#v, encoding/json: %v", b, got, oracle)
			}
			if !same(got, want) {
				t.Fatalf("%q: got %#v, want %#v", b, got, want)
			}
		} else if oracle == nil && utf8.Valid(b) && !errors.Is(err, errDepth) && !strings.Contains(err.Error(), "duplicate member") && !strings.Contains(err.Error(), "number") && !strings.Contains(err.Error(), "can't be held exactly") {
			t.Fatalf("%q: refused with %v, encoding/json reads %#v", b, err, want)
		}
		s := scanner{buf: b}
		_, rawErr := s.raw(0)
		if rawErr == nil {
			rawErr = s.end()
		}
		if err == nil && rawErr != nil {
			t.Fatalf("%q: value reads it, raw refuses it: %v", b, rawErr)
		}
	})
}
