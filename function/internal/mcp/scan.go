package mcp

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a message, so that a small body cannot buy a deep stack.
const maxDepth = 100

var errDepth = fmt.Errorf("nesting is deeper than %d levels", maxDepth)

// A scanner reads one JSON text (RFC 8259) once, validating as it goes. Unlike encoding/json it refuses invalid
// UTF-8 and, in the objects that it decodes, duplicate names: both let two readers of one body disagree.
type scanner struct {
	buf []byte
	pos int
	own bool // what is read was written here
}

type syntaxError struct {
	offset int
	what   string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.what, e.offset) }

func (s *scanner) fail(what string) error { return &syntaxError{s.pos, what} }

func (s *scanner) space() {
	for s.pos < len(s.buf) {
		switch s.buf[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// peek skips white space and returns the next byte, or 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.pos == len(s.buf) {
		return 0
	}
	return s.buf[s.pos]
}

func (s *scanner) expect(c byte) error {
	if s.peek() != c {
		if s.pos == len(s.buf) {
			return s.fail("unexpected end")
		}
		return s.fail(fmt.Sprintf("want %q, got %q", c, s.buf[s.pos]))
	}
	s.pos++
	return nil
}

// end demands that nothing but white space is left.
func (s *scanner) end() error {
	if s.peek() != 0 || s.pos < len(s.buf) {
		return s.fail("unexpected text after the message")
	}
	return nil
}

// object calls member for each name of the object ahead, with the scanner before the member's value, which member
// must read. The name is unquoted.
func (s *scanner) object(member func(name []byte) error) error {
	if err := s.expect('{'); err != nil {
		return err
	}
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	for {
		if s.peek() != '"' {
			return s.fail("want a member name")
		}
		name, err := s.text()
		if err != nil {
			return err
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
		if s.peek() == ',' {
			s.pos++
			continue
		}
		return s.expect('}')
	}
}

// array calls element for each element of the array ahead, with the scanner before its value.
func (s *scanner) array(element func() error) error {
	if err := s.expect('['); err != nil {
		return err
	}
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if s.peek() == ',' {
			s.pos++
			continue
		}
		return s.expect(']')
	}
}

// raw validates the value ahead and returns its bytes, which alias the input.
func (s *scanner) raw(depth int) ([]byte, error) {
	s.space()
	start := s.pos
	if err := s.skip(depth); err != nil {
		return nil, err
	}
	return s.buf[start:s.pos:s.pos], nil
}

func (s *scanner) skip(depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	switch c := s.peek(); c {
	case '{':
		return s.object(func([]byte) error { return s.skip(depth + 1) })
	case '[':
		return s.array(func() error { return s.skip(depth + 1) })
	case '"':
		_, _, err := s.quoted()
		return err
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	case 0:
		if s.pos == len(s.buf) {
			return s.fail("unexpected end")
		}
	}
	_, err := s.number()
	return err
}

// value decodes the value ahead as encoding/json decodes into any, but for numbers: map[string]any, []any, string, int64, uint64, float64,
// bool, nil.
func (s *scanner) value(depth int) (any, error) {
	if depth > maxDepth && (!s.own || depth > maxOwnDepth) {
		return nil, errDepth
	}
	switch c := s.peek(); c {
	case '{':
		m := map[string]any{}
		err := s.object(func(name []byte) error {
			key := string(name)
			if _, dup := m[key]; dup {
				return s.fail("duplicate member " + quote(key))
			}
			v, err := s.value(depth + 1)
			m[key] = v
			return err
		})
		return m, err
	case '[':
		l := []any{}
		err := s.array(func() error {
			v, err := s.value(depth + 1)
			l = append(l, v)
			return err
		})
		return l, err
	case '"':
		b, err := s.text()
		return string(b), err
	case 't':
		return true, s.literal("true")
	case 'f':
		return false, s.literal("false")
	case 'n':
		return nil, s.literal("null")
	case 0:
		if s.pos == len(s.buf) {
			return nil, s.fail("unexpected end")
		}
	}
	num, err := s.number()
	if err != nil {
		return nil, err
	}
	v, wrong := number(num)
	if wrong != "" && s.own {
		return nearest(num), nil
	}
	if wrong != "" {
		return nil, s.fail(wrong)
	}
	return v, nil
}

func (s *scanner) literal(word string) error {
	if !bytes.HasPrefix(s.buf[s.pos:], []byte(word)) {
		return s.fail("invalid literal")
	}
	s.pos += len(word)
	return nil
}

func (s *scanner) number() ([]byte, error) {
	start := s.pos
	digits := func() bool {
		from := s.pos
		for s.pos < len(s.buf) && '0' <= s.buf[s.pos] && s.buf[s.pos] <= '9' {
			s.pos++
		}
		return s.pos > from
	}
	at := func(c ...byte) bool { return s.pos < len(s.buf) && bytes.IndexByte(c, s.buf[s.pos]) >= 0 }
	if at('-') {
		s.pos++
	}
	if at('0') {
		s.pos++
	} else if !digits() {
		return nil, s.fail("invalid value")
	}
	if at('.') {
		s.pos++
		if !digits() {
			return nil, s.fail("invalid number")
		}
	}
	if at('e', 'E') {
		s.pos++
		if at('+', '-') {
			s.pos++
		}
		if !digits() {
			return nil, s.fail("invalid number")
		}
	}
	return s.buf[start:s.pos], nil
}

// text reads a string and returns its unquoted bytes, which alias the input where nothing was escaped.
func (s *scanner) text() ([]byte, error) {
	b, escaped, err := s.quoted()
	if err != nil || !escaped {
		return b, err
	}
	return unescape(b), nil
}

// quoted validates the string ahead and returns what stands between the quotes.
func (s *scanner) quoted() (b []byte, escaped bool, err error) {
	s.pos++
	start := s.pos
	for s.pos < len(s.buf) {
		switch c := s.buf[s.pos]; {
		case c == '"':
			b = s.buf[start:s.pos]
			s.pos++
			return b, escaped, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return nil, false, err
			}
		case c < ' ':
			return nil, false, s.fail("control character in a string")
		case c < utf8.RuneSelf:
			s.pos++
		default:
			r, n := utf8.DecodeRune(s.buf[s.pos:])
			if r == utf8.RuneError && n <= 1 {
				return nil, false, s.fail("invalid UTF-8")
			}
			s.pos += n
		}
	}
	return nil, false, s.fail("unexpected end of a string")
}

func (s *scanner) escape() error {
	rest := s.buf[s.pos:]
	if len(rest) < 2 {
		return s.fail("unexpected end of a string")
	}
	switch rest[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos += 2
		return nil
	case 'u':
		if len(rest) >= 6 && hex4(rest[2:6]) >= 0 {
			s.pos += 6
			return nil
		}
	}
	return s.fail("invalid escape")
}

// unescape resolves the escapes of a validated string; a lone surrogate becomes U+FFFD.
func unescape(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); {
		if b[i] != '\\' {
			out = append(out, b[i])
			i++
			continue
		}
		switch c := b[i+1]; c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := hex4(b[i+2 : i+6])
			i += 4
			if utf16.IsSurrogate(r) {
				low := rune(utf8.RuneError)
				if i+8 <= len(b) && b[i+2] == '\\' && b[i+3] == 'u' {
					low = utf16.DecodeRune(r, hex4(b[i+4:i+8]))
				}
				if r = low; r != utf8.RuneError {
					i += 6
				}
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, c)
		}
		i += 2
	}
	return out
}

func hex4(b []byte) rune {
	var r rune
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// Decode decodes one JSON text, which white space may follow, as arguments are decoded. Names that are given twice are refused.
func Decode(b []byte) (any, error) {
	s := scanner{buf: b}
	v, err := s.value(0)
	if err != nil {
		return nil, err
	}
	return v, s.end()
}

// DecodeAnswer is [Decode] for what a handler of this server answers: numbers that have more digits than ours become the nearest that we
// have, and it may be nested deeply.
func DecodeAnswer(b []byte) (any, error) {
	s := scanner{buf: b, own: true}
	v, err := s.value(0)
	if err != nil {
		return nil, err
	}
	return v, s.end()
}

const maxOwnDepth = 1000

func nearest(num []byte) float64 {
	f, err := strconv.ParseFloat(string(num), 64)
	if err != nil {
		return math.Copysign(math.MaxFloat64, f) // it is infinite
	}
	return f
}

var errNotObject = errors.New("must be an object")

// decodeObject decodes a JSON object; absent counts as empty.
func decodeObject(b []byte) (map[string]any, error) {
	if len(b) == 0 {
		return map[string]any{}, nil
	}
	v, err := Decode(b)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errNotObject
	}
	return m, nil
}
