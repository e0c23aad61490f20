package rest

import (
	"bytes"
	"encoding/json"
	"iter"
)

// What follows reads JSON that [json.Valid] has found to be JSON, and copies no value: order, white space and the digits of numbers stay as they came.

// An item is a part of a list or an object.
type item struct {
	key   []byte // with its quotes; nil in a list
	value []byte
}

// name returns a member's name.
func (i item) name() string {
	if bytes.IndexByte(i.key, '\\') < 0 {
		return string(i.key[1 : len(i.key)-1])
	}
	var name string
	if json.Unmarshal(i.key, &name) != nil {
		return ""
	}
	return name
}

// items yields the parts of a list or an object, and nothing of other values.
func items(raw []byte) iter.Seq[item] {
	return func(yield func(item) bool) {
		raw = trim(raw)
		if len(raw) == 0 || raw[0] != '[' && raw[0] != '{' {
			return
		}
		object := raw[0] == '{'
		for i := skipSpace(raw, 1); i < len(raw) && raw[i] != ']' && raw[i] != '}'; {
			var one item
			if object {
				end := skipValue(raw, i)
				one.key = raw[i:end]
				i = skipSpace(raw, skipSpace(raw, end)+1)
			}
			end := skipValue(raw, i)
			one.value = raw[i:end]
			if !yield(one) {
				return
			}
			if i = skipSpace(raw, end); raw[i] == ',' {
				i = skipSpace(raw, i+1)
			}
		}
	}
}

// list returns the parts at once.
func list(raw []byte) (out []item) {
	for i := range items(raw) {
		out = append(out, i)
	}
	return out
}

func trim(raw []byte) []byte { return bytes.Trim(raw, " \t\r\n") }

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

// skipValue returns where the value that begins at i ends.
func skipValue(b []byte, i int) int {
	for depth := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '[', '{':
			depth++
		case ']', '}':
			if depth--; depth == 0 {
				return i + 1
			} else if depth < 0 {
				return i
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return i
}

// isNull tells of null, and of a value that is not there.
func isNull(raw []byte) bool { return len(raw) == 0 || string(trim(raw)) == "null" }

// at returns the value at a path of names and of numbers of items, and where it stands, or nil.
func at(raw []byte, path []string) []byte {
	for _, name := range path {
		var found []byte
		n := 0
		for i := range items(raw) {
			if i.key != nil && i.name() == name || i.key == nil && index(name) == n {
				found = i.value
				break
			}
			n++
		}
		if found == nil {
			return nil
		}
		raw = found
	}
	return raw
}

func index(name string) int {
	n := 0
	for _, c := range []byte(name) {
		if c < '0' || c > '9' || n > 1<<30 {
			return -1
		}
		n = 10*n + int(c-'0')
	}
	if name == "" {
		return -1
	}
	return n
}
