package mcp

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// RequestHeader is what the HTTP headers say of a request before its body is read.
type RequestHeader struct {
	RequestID  string // made at the edge; also the id of the receipt
	Version    string // MCP-Protocol-Version, "" if absent
	Method     string // Mcp-Method
	Name       string // Mcp-Name, decoded
	Header     http.Header
	RemoteAddr string
	Toolset    string    // that the request's path names, "" for none
	Size       int64     // of the body in bytes, as it is announced; -1 where it is not
	Began      time.Time // when the request arrived

	fault string // a header that can't be read
	whole string // Mcp-Name as it came, where Name is one of the copies that it may be made of
}

// The headers as net/http keys them.
const (
	headerVersion = "Mcp-Protocol-Version"
	headerMethod  = "Mcp-Method"
	headerName    = "Mcp-Name"
	headerParam   = "Mcp-Param-"
)

// ReadRequestHeader reads the MCP headers. A malformed one is reported with the answer, as -32020.
func ReadRequestHeader(h http.Header, requestID, remoteAddr string, began time.Time) *RequestHeader {
	head := &RequestHeader{RequestID: requestID, Header: h, RemoteAddr: remoteAddr, Began: began}
	var err error
	if head.Version, _, _, err = headerText(h, headerVersion, headerValue); err != nil {
		head.fault = err.Error()
		head.Version = "unreadable" // no known version, and so held to the rules of the modern ones
	}
	if head.Method, _, _, err = headerText(h, headerMethod, headerValue); err != nil {
		head.fault = err.Error()
	}
	if head.Name, head.whole, _, err = headerText(h, headerName, decoded); err != nil {
		head.fault = err.Error()
	}
	return head
}

// Modern tells whether the headers alone make this a request of 2026-07-28 or later: they name that version, or none
// that is known.
func (h *RequestHeader) Modern() bool { return h.Version != "" && !legacyVersion(h.Version) }

// headerText returns the text of a header and whether it is there. Some clients send a header twice, on two lines or, as RFC 9110
// section 5.3 lets anyone on the way do, joined by a comma: copies that agree are one. A text may itself be what such copies look like;
// whole is that text then, and else it is text.
func headerText(h http.Header, key string, read func(string) (string, error)) (text, whole string, there bool, _ error) {
	lines := h[key]
	for i, line := range lines {
		one, err := read(oneCopy(line))
		if err != nil {
			return "", "", true, fmt.Errorf("header %s %w", key, err)
		}
		if i > 0 && one != text {
			return "", "", true, fmt.Errorf("header %s is given %d times, and not each time with the same value", key, len(lines))
		}
		all, err := read(line)
		if err != nil || i > 0 && all != whole {
			all = one
		}
		text, whole = one, all
	}
	return text, whole, len(lines) > 0, nil
}

// maxCommas is in how many places a list is looked for to begin again.
const maxCommas = 64

// oneCopy returns the element of a list of equal elements, and any other text as it is. An element may have commas.
func oneCopy(list string) string {
	for i, tried := 0, 0; i < len(list) && tried < maxCommas; i++ {
		if list[i] != ',' {
			continue
		}
		tried++
		element := strings.Trim(list[:i], " \t")
		rest := list[i:]
		for element != "" && strings.HasPrefix(rest, ",") {
			next, ok := strings.CutPrefix(strings.TrimLeft(rest[1:], " \t"), element)
			if !ok {
				break
			}
			rest = strings.TrimLeft(next, " \t")
		}
		if rest == "" {
			return element
		}
	}
	return list
}

// headerValue reads the value of a header that is never encoded.
func headerValue(v string) (string, error) {
	for i := range len(v) {
		if c := v[i]; c != '\t' && (c < ' ' || c > '~') {
			return "", errors.New("has a character that must be base64-encoded")
		}
	}
	return v, nil
}

const (
	sentinelStart = "=?base64?"
	sentinelEnd   = "?="
)

var strictBase64 = base64.StdEncoding.Strict()

// decoded is headerValue with the base64 sentinel of SEP-2243 resolved.
func decoded(v string) (string, error) {
	v, err := headerValue(v)
	if err != nil || !strings.HasPrefix(v, sentinelStart) || !strings.HasSuffix(v, sentinelEnd) || len(v) < len(sentinelStart)+len(sentinelEnd) {
		return v, err
	}
	b, err := strictBase64.DecodeString(v[len(sentinelStart) : len(v)-len(sentinelEnd)])
	if err != nil || !utf8.Valid(b) {
		return "", errors.New("is not valid base64 of UTF-8 text")
	}
	return string(b), nil
}

// A HeaderParam binds a property of a tool's input to the header Mcp-Param-X that mirrors it (x-mcp-header).
type HeaderParam struct {
	Key  string   // canonical header name, Mcp-Param-…
	Path []string // property names from the root of the arguments
}

// NewHeaderParam makes the binding for the x-mcp-header value name at path.
func NewHeaderParam(name string, path []string) HeaderParam {
	return HeaderParam{Key: textproto.CanonicalMIMEHeaderKey(headerParam + name), Path: path}
}

const maxSafeInteger = 1<<53 - 1

// check compares the header with the argument that it mirrors.
func (p HeaderParam) check(h http.Header, args map[string]any) error {
	var value any = args
	for _, name := range p.Path {
		object, ok := value.(map[string]any)
		if !ok {
			return nil // the schema check says what is wrong
		}
		value = object[name]
	}
	if value == nil {
		return nil
	}
	got, whole, ok, err := headerText(h, p.Key, decoded)
	if err != nil {
		return err
	}
	path := "argument " + strings.Join(p.Path, ".")
	if !ok {
		return fmt.Errorf("header %s is missing: it must mirror %s", p.Key, path)
	}
	same := false
	switch v := value.(type) {
	case string:
		same = got == v || whole == v
	case bool:
		same = got == strconv.FormatBool(v)
	case int64:
		number, err := Decode([]byte(got))
		same = err == nil && number == value && -maxSafeInteger <= v && v <= maxSafeInteger
	case uint64, float64: // beyond what a header may mirror
	default:
		return nil
	}
	if !same {
		return fmt.Errorf("header %s does not match %s", p.Key, path)
	}
	return nil
}
