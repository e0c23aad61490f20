package mcp

import (
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Head is what the HTTP headers say of a request before its body is read.
type Head struct {
	RequestID  string // made at the edge; also the id of the receipt
	Version    string // MCP-Protocol-Version, "" if absent
	Method     string // Mcp-Method
	Name       string // Mcp-Name, decoded
	Header     http.Header
	RemoteAddr string
	Began      time.Time // when the request arrived

	fault string // a header that can't be read
}

// The headers as net/http keys them.
const (
	headerVersion = "Mcp-Protocol-Version"
	headerMethod  = "Mcp-Method"
	headerName    = "Mcp-Name"
	headerParam   = "Mcp-Param-"
)

// ReadHead reads the MCP headers. A malformed one is reported with the answer, as -32020.
func ReadHead(h http.Header, requestID, remoteAddr string, began time.Time) *Head {
	head := &Head{RequestID: requestID, Header: h, RemoteAddr: remoteAddr, Began: began}
	var err error
	if head.Version, _, err = headerValue(h, headerVersion); err != nil {
		head.fault = err.Error()
		head.Version = "unreadable" // no known version, and so held to the rules of the modern ones
	}
	if head.Method, _, err = headerValue(h, headerMethod); err != nil {
		head.fault = err.Error()
	}
	if head.Name, _, err = headerText(h, headerName); err != nil {
		head.fault = err.Error()
	}
	return head
}

// Modern tells whether the headers alone make this a request of 2026-07-28 or later: they name that version, or none
// that is known.
func (h *Head) Modern() bool { return h.Version != "" && !legacyVersion(h.Version) }

// headerValue returns the one value of a header and whether it is there.
func headerValue(h http.Header, key string) (string, bool, error) {
	values := h[key]
	if len(values) == 0 {
		return "", false, nil
	}
	if len(values) > 1 {
		return "", true, fmt.Errorf("header %s is given %d times", key, len(values))
	}
	v := values[0]
	for i := range len(v) {
		if c := v[i]; c != '\t' && (c < ' ' || c > '~') {
			return "", true, fmt.Errorf("header %s has a character that must be base64-encoded", key)
		}
	}
	return v, true, nil
}

const (
	sentinelStart = "=?base64?"
	sentinelEnd   = "?="
)

var strictBase64 = base64.StdEncoding.Strict()

// headerText is headerValue with the base64 sentinel of SEP-2243 resolved.
func headerText(h http.Header, key string) (string, bool, error) {
	v, ok, err := headerValue(h, key)
	if err != nil || !strings.HasPrefix(v, sentinelStart) || !strings.HasSuffix(v, sentinelEnd) || len(v) < len(sentinelStart)+len(sentinelEnd) {
		return v, ok, err
	}
	b, err := strictBase64.DecodeString(v[len(sentinelStart) : len(v)-len(sentinelEnd)])
	if err != nil || !utf8.Valid(b) {
		return "", true, fmt.Errorf("header %s is not valid base64 of UTF-8 text", key)
	}
	return string(b), true, nil
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
	got, ok, err := headerText(h, p.Key)
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
		same = got == v
	case bool:
		same = got == strconv.FormatBool(v)
	case float64:
		f, err := strconv.ParseFloat(got, 64)
		same = err == nil && f == v && math.Abs(v) <= maxSafeInteger
	default:
		return nil
	}
	if !same {
		return fmt.Errorf("header %s does not match %s", p.Key, path)
	}
	return nil
}
