package mcp

import (
	"bytes"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	errPercent = errors.New("a percent sign is not followed by two hexadecimal digits")
	errUTF8    = errors.New("the URI is not in UTF-8")
)

// NormalURI returns the normal form of a URI, in which rules, lookups and readers see it, by RFC 3986 section 6.2.2: small letters in scheme
// and host, no percent-encoding of what needs none, capital letters in the rest of it, and no dot segments. Letters beyond ASCII stand as
// themselves, as RFC 3987 section 5.3.2.3 has it.
func NormalURI(uri string) (string, error) {
	if isNormal(uri) {
		return uri, nil
	}
	if !utf8.ValidString(uri) {
		return "", errUTF8
	}
	text, err := normalText(uri)
	if err != nil {
		return "", err
	}
	scheme, rest := cutScheme(text)
	if scheme == "" {
		return text, nil // no URI, and so nowhere to be found
	}
	b := append(make([]byte, 0, len(text)+2), lower(scheme)...)
	b = append(b, ':')
	rest, tail := rest, ""
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest, tail = rest[:i], rest[i:]
	}
	path, ok := strings.CutPrefix(rest, "//")
	if ok {
		end := strings.IndexByte(path, '/')
		if end < 0 {
			end = len(path)
		}
		host := strings.LastIndexByte(path[:end], '@') + 1
		b = append(b, "//"...)
		b = append(b, path[:host]...)
		b = append(b, lower(path[host:end])...)
		path = path[end:]
	} else {
		path = rest
	}
	if path = withoutDots(path); !ok && strings.HasPrefix(path, "//") {
		b = append(b, "/."...) // else it would begin with a host
	}
	return string(append(append(b, path...), tail...)), nil
}

// isNormal tells quickly of most URIs that are in normal form that they are.
func isNormal(uri string) bool {
	scheme, rest := cutScheme(uri)
	if scheme == "" || strings.Contains(uri, "/.") || strings.HasPrefix(rest, ".") {
		return false
	}
	for i := range len(uri) {
		if c := uri[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~' || c == '/' || c == ':') {
			return false
		}
	}
	return true
}

// cutScheme cuts the scheme off; without one it is "".
func cutScheme(uri string) (scheme, rest string) {
	for i := range len(uri) {
		switch c := uri[i] | 0x20; {
		case uri[i] == ':' && i > 0:
			return uri[:i], uri[i+1:]
		case 'a' <= c && c <= 'z':
		case i > 0 && ('0' <= uri[i] && uri[i] <= '9' || uri[i] == '+' || uri[i] == '-' || uri[i] == '.'):
		default:
			return "", uri
		}
	}
	return "", uri
}

// lower makes small letters, but for the digits of what is percent-encoded.
func lower(text string) []byte {
	b := []byte(text)
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '%':
			i += 2
		case 'A' <= c && c <= 'Z':
			b[i] = c + 'a' - 'A'
		}
	}
	return b
}

const reserved = ":/?#[]@!$&'()*+,;="

// normalText decodes what needs no percent-encoding, and encodes what does.
func normalText(text string) (string, error) {
	b := make([]byte, 0, len(text)+8)
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '%':
			raw := encoded(text[i:])
			if len(raw) == 0 {
				return "", errPercent
			}
			r, size := utf8.DecodeRune(raw)
			b = appendNormal(b, raw[:size], r, false)
			i += 3 * size
		case c < utf8.RuneSelf:
			b = appendNormal(b, []byte{c}, rune(c), true)
			i++
		default:
			r, size := utf8.DecodeRuneInString(text[i:])
			b = appendNormal(b, []byte(text[i:i+size]), r, true)
			i += size
		}
	}
	return string(b), nil
}

// encoded decodes the octets ahead, as many as one character may have.
func encoded(text string) []byte {
	var raw []byte
	for len(raw) < utf8.UTFMax && len(text) >= 3 && text[0] == '%' {
		octet := hex4([]byte{'0', '0', text[1], text[2]})
		if octet < 0 {
			break
		}
		raw, text = append(raw, byte(octet)), text[3:]
	}
	return raw
}

// appendNormal appends a character. Of the reserved ones, which delimit where they stand for themselves, an encoded one is another.
func appendNormal(b, raw []byte, r rune, plain bool) []byte {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '.', r == '_', r == '~',
		plain && r < utf8.RuneSelf && strings.ContainsRune(reserved, r),
		r >= utf8.RuneSelf && r != utf8.RuneError && unicode.IsPrint(r):
		return append(b, raw...)
	}
	return percent(b, raw)
}

func percent(b, raw []byte) []byte {
	const capitals = "0123456789ABCDEF"
	for _, c := range raw {
		b = append(b, '%', capitals[c>>4], capitals[c&15])
	}
	return b
}

// ASCII returns a URI in normal form with letters beyond ASCII percent-encoded (RFC 3987 section 3.1).
func ASCII(uri string) string {
	if strings.IndexFunc(uri, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return uri
	}
	b := make([]byte, 0, 2*len(uri))
	for i := range len(uri) {
		if c := uri[i]; c < utf8.RuneSelf {
			b = append(b, c)
		} else {
			b = percent(b, []byte{c})
		}
	}
	return string(b)
}

// withoutDots removes dot segments (RFC 3986 section 5.2.4).
func withoutDots(in string) string {
	if !strings.Contains(in, "/.") && !strings.HasPrefix(in, ".") {
		return in
	}
	out := make([]byte, 0, len(in))
	for in != "" {
		switch {
		case strings.HasPrefix(in, "../"):
			in = in[3:]
		case strings.HasPrefix(in, "./"), strings.HasPrefix(in, "/./"):
			in = in[2:]
		case in == "/.":
			in = "/"
		case strings.HasPrefix(in, "/../"), in == "/..":
			if in = in[3:]; in == "" {
				in = "/"
			}
			out = out[:max(0, bytes.LastIndexByte(out, '/'))]
		case in == ".", in == "..":
			in = ""
		default:
			end := strings.IndexByte(in[1:], '/') + 1
			if end == 0 {
				end = len(in)
			}
			out, in = append(out, in[:end]...), in[end:]
		}
	}
	return string(out)
}

// NormalTemplate returns an RFC 6570 template that matches the normal forms, in ASCII, of the URIs that the given one expands to.
func NormalTemplate(template string) (string, error) {
	var b []byte
	var literal []bool // whether the byte of b is no part of an expression
	for rest := template; rest != ""; {
		begin := strings.IndexByte(rest, '{')
		if begin < 0 {
			begin = len(rest)
		}
		text, err := normalText(rest[:begin])
		if err != nil {
			return "", err
		}
		rest = rest[begin:]
		for _, c := range []byte(ASCII(text)) {
			b, literal = append(b, c), append(literal, true)
		}
		end := strings.IndexByte(rest, '}') + 1
		if end == 0 {
			end = len(rest) // which the parser refuses
		}
		for _, c := range []byte(rest[:end]) {
			b, literal = append(b, c), append(literal, false)
		}
		rest = rest[end:]
	}
	// An expression may hold what delimits, which is looked for where expressions are letters, but for those that begin with it.
	shape := []byte(string(b))
	for i := range shape {
		if !literal[i] && (b[i-min(i, 1)] != '{' || strings.IndexByte("/?#", b[i]) < 0) {
			shape[i] = 'x'
		}
	}
	scheme, rest := cutScheme(string(shape))
	from, to := 0, len(scheme)
	small := func() {
		for i := from; i < to; i++ {
			switch {
			case !literal[i]:
			case b[i] == '%':
				i += 2
			default:
				copy(b[i:], lower(string(b[i:i+1])))
			}
		}
	}
	small()
	if host, ok := strings.CutPrefix(rest, "//"); ok && scheme != "" {
		from = len(shape) - len(host)
		to = len(shape)
		if i := strings.IndexAny(host, "/?#"); i >= 0 {
			to = from + i
		}
		from += strings.LastIndexByte(string(shape[from:to]), '@') + 1
		small()
	}
	return string(b), nil
}
