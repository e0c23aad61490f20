package mcp

import (
	"encoding/json"
	"errors"
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
		got, err := decodeValue([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var want any
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %#v, want %#v", text, got, want)
		}
	}
	for _, text := range []string{
		``, ` `, `nul`, `01`, `1.`, `.5`, `-`, `1e`, `"`, `"\x"`, `"\u12g4"`, "\"\n\"", "\"\xff\"", `[1,]`, `[1 2]`, `{"a"}`, `{"a":1,}`,
		`{a:1}`, `{"a":1}x`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `1e999`, "\x00",
	} {
		if v, err := decodeValue([]byte(text)); err == nil {
			t.Errorf("%q was read as %#v", text, v)
		}
	}
}

func TestDepth(t *testing.T) {
	nest := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	if _, err := decodeValue(nest(maxDepth)); err != nil {
		t.Errorf("depth %d: %v", maxDepth, err)
	}
	for _, n := range []int{maxDepth + 2, 1 << 20} {
		if _, err := decodeValue(nest(n)); !errors.Is(err, errDepth) {
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
	for _, seed := range []string{`{"a":[1,"x\u00e9",{"b":null}],"c":1e3}`, `"\ud83d\ude00"`, `[[[[]]]]`, `-0`, `{"a":1,"a":2}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeValue(b)
		var want any
		oracle := json.Unmarshal(b, &want)
		if err == nil {
			if oracle != nil {
				t.Fatalf("%q: read as %#v, encoding/json: %v", b, got, oracle)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%q: got %#v, want %#v", b, got, want)
			}
		} else if oracle == nil && utf8.Valid(b) && !errors.Is(err, errDepth) && !strings.Contains(err.Error(), "duplicate member") {
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
