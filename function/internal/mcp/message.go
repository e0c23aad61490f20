package mcp

import (
	"bytes"
	"errors"
	"strings"
)

// Protocol revisions that this server speaks.
const (
	Version20260728 = "2026-07-28" // modern: every request complete in itself
	Version20251125 = "2025-11-25" // legacy from here: initialize first
	Version20250618 = "2025-06-18"
	Version20250326 = "2025-03-26"
	Version20241105 = "2024-11-05"
)

var supported = []string{Version20260728, Version20251125, Version20250618, Version20250326, Version20241105}

func legacyVersion(v string) bool {
	switch v {
	case Version20251125, Version20250618, Version20250326, Version20241105:
		return true
	}
	return false
}

// A message is one JSON-RPC message, decoded in one pass. Its byte slices alias the body.
type message struct {
	id       []byte // as it came, string or number; nil in a notification
	method   string
	response bool // result or error instead of a method: an answer to a question of an earlier connection
	params   params
}

// params holds the members of params that any method reads. What a method does not read is validated and dropped.
type params struct {
	wrong          string // the first member of a wrong type, with what it must be
	name           optional
	uri            optional
	cursor         optional
	level          optional
	version        optional // protocolVersion of initialize
	requestState   optional
	arguments      []byte
	inputResponses []byte
	ref            []byte
	argument       []byte
	context        []byte
	meta           meta
}

type meta struct {
	version       optional
	logLevel      optional
	capabilities  []byte
	clientInfo    []byte
	progressToken []byte
	trace         Trace
}

type optional struct {
	value string
	set   bool
}

// Trace is the W3C trace context that a caller put in _meta (SEP-414).
type Trace struct {
	Parent, State, Baggage string
}

const metaPrefix = "io.modelcontextprotocol/"

// Names of members, as bits, so that a second occurrence is seen without a map.
const (
	memJSONRPC = 1 << iota
	memID
	memMethod
	memParams
	memResult
	memError
	memMeta
	memName
	memURI
	memCursor
	memLevel
	memVersion
	memState
	memArguments
	memResponses
	memRef
	memArgument
	memContext
	memCapabilities
	memClientInfo
	memProgress
	memTraceParent
	memTraceState
	memBaggage
)

// name is what the header Mcp-Name mirrors.
func (m *message) name() optional {
	switch m.method {
	case methodToolsCall, methodPromptsGet:
		return m.params.name
	case methodResourcesRead:
		return m.params.uri
	}
	return optional{}
}

// An invalidError is JSON that is not a JSON-RPC message; the id is known where it could be read.
type invalidError struct {
	what string
	id   []byte
}

func (e *invalidError) Error() string { return e.what }

const (
	badVersion = `jsonrpc must be "2.0"`
	badID      = "id must be a string or a number, of at most 512 bytes"
)

// A messageReader reads the members of a message.
type messageReader struct {
	*scanner
	message
	seen    int    // members, as bits
	invalid string // the first that is no good
	noID    bool   // there is an id, and it is null
	named   bool   // there is a method
}

// message decodes the message ahead.
func (s *scanner) message() (*message, error) {
	if s.peek() != '{' {
		_, err := s.raw(0)
		if err == nil {
			err = &invalidError{what: "a JSON-RPC message is an object"}
		}
		return nil, err
	}
	r := &messageReader{scanner: s}
	if err := s.object(r.member); err != nil {
		return nil, err
	}
	m := &r.message
	m.response = !r.named && r.seen&(memResult|memError) != 0
	switch {
	case r.invalid != "":
	case r.seen&memJSONRPC == 0:
		r.invalid = badVersion
	case m.method == "" && !m.response:
		r.invalid = "method is missing"
	case r.noID && !m.response && !strings.HasPrefix(m.method, "notifications/"):
		r.invalid = badID // who asks waits for an answer, which nothing would tie to the question
	}
	if r.invalid != "" {
		return nil, &invalidError{r.invalid, m.id}
	}
	return m, nil
}

func (r *messageReader) flag(what string) {
	if r.invalid == "" {
		r.invalid = what
	}
}

func (r *messageReader) member(name []byte) (err error) {
	var bit int
	switch string(name) {
	case "jsonrpc":
		bit = memJSONRPC
		var raw []byte
		if raw, err = r.raw(1); err == nil && string(raw) != `"2.0"` {
			r.flag(badVersion)
		}
	case "id":
		bit = memID
		if r.id, err = r.raw(1); err == nil && !validID(r.id) {
			if r.noID = string(r.id) == "null"; !r.noID {
				r.flag(badID)
			}
			r.id = nil
		}
	case "method":
		bit = memMethod
		var o optional
		var wrong string
		if o, err = r.optional("", name, &wrong); err == nil && wrong != "" {
			r.flag(wrong)
		}
		r.method, r.named = o.value, r.named || o.set || wrong != ""
	case "params":
		bit = memParams
		switch r.peek() {
		case '{':
			err = r.scanner.params(&r.message.params)
		case 'n':
			err = r.skip(1)
		default:
			if _, err = r.raw(1); err == nil {
				r.flag("params must be an object")
			}
		}
	case "result":
		bit, err = memResult, r.skip(1)
	case "error":
		bit, err = memError, r.skip(1)
	default:
		err = r.skip(1)
	}
	if err == nil && bit != 0 && r.seen&bit != 0 {
		r.invalid = "duplicate member " + quote(string(name))
	}
	r.seen |= bit
	return err
}

func (s *scanner) params(p *params) error {
	var seen int
	return s.object(func(name []byte) error {
		var bit int
		var err error
		var text *optional
		var object *[]byte
		switch string(name) {
		case "_meta":
			bit, err = memMeta, s.meta(p)
		case "name":
			bit, text = memName, &p.name
		case "uri":
			bit, text = memURI, &p.uri
		case "cursor":
			bit, text = memCursor, &p.cursor
		case "level":
			bit, text = memLevel, &p.level
		case "protocolVersion":
			bit, text = memVersion, &p.version
		case "requestState":
			bit, text = memState, &p.requestState
		case "arguments":
			bit, object = memArguments, &p.arguments
		case "inputResponses":
			bit, object = memResponses, &p.inputResponses
		case "ref":
			bit, object = memRef, &p.ref
		case "argument":
			bit, object = memArgument, &p.argument
		case "context":
			bit, object = memContext, &p.context
		case "capabilities":
			bit, err = memCapabilities, s.skip(2)
		case "clientInfo":
			if bit = memClientInfo; s.peek() == 'n' {
				err = s.skip(2)
			} else {
				p.meta.clientInfo, err = s.raw(2)
			}
		default:
			err = s.skip(2)
		}
		switch {
		case text != nil:
			*text, err = s.optional("params.", name, &p.wrong)
		case object != nil:
			*object, err = s.member("params.", name, &p.wrong)
		}
		if seen&bit != 0 {
			p.flag("duplicate member params." + string(name))
		}
		seen |= bit
		return err
	})
}

func (s *scanner) meta(p *params) error {
	if c := s.peek(); c != '{' {
		if c != 'n' {
			p.flag("params._meta must be an object")
		}
		return s.skip(2)
	}
	m := &p.meta
	var seen int
	return s.object(func(name []byte) error {
		var bit int
		var err error
		switch string(name) {
		case metaPrefix + "protocolVersion":
			bit = memVersion
			there := s.peek() != 'n'
			m.version, err = s.optional("params._meta ", name[len(metaPrefix):], &p.wrong)
			m.version.set = there // even with an unknown or malformed value, the key marks a modern request
		case metaPrefix + "clientCapabilities":
			bit = memCapabilities
			m.capabilities, err = s.member("params._meta ", name[len(metaPrefix):], &p.wrong)
		case metaPrefix + "clientInfo":
			bit = memClientInfo
			m.clientInfo, err = s.member("params._meta ", name[len(metaPrefix):], &p.wrong)
		case metaPrefix + "logLevel":
			bit = memLevel
			m.logLevel, err = s.optional("params._meta ", name[len(metaPrefix):], &p.wrong)
		case "progressToken":
			bit = memProgress
			none := s.peek() == 'n'
			if m.progressToken, err = s.raw(3); err == nil && !validID(m.progressToken) {
				if m.progressToken = nil; none {
					break
				}
				p.flag("params._meta.progressToken must be a string or a number")
			}
		case "traceparent":
			bit = memTraceParent
			m.trace.Parent, err = s.loose()
		case "tracestate":
			bit = memTraceState
			m.trace.State, err = s.loose()
		case "baggage":
			bit = memBaggage
			m.trace.Baggage, err = s.loose()
		default:
			err = s.skip(3)
		}
		if seen&bit != 0 {
			p.flag("duplicate member params._meta " + string(name))
		}
		seen |= bit
		return err
	})
}

func (p *params) flag(what string) {
	if p.wrong == "" {
		p.wrong = what
	}
}

// Programs write null for what is not set: null reads as absent.

// optional reads a string; another type is said in wrong and reads as absent.
func (s *scanner) optional(where string, name []byte, wrong *string) (optional, error) {
	if c := s.peek(); c != '"' {
		if *wrong == "" && c != 'n' {
			*wrong = where + string(name) + " must be a string"
		}
		return optional{}, s.skip(2)
	}
	b, err := s.text()
	return optional{intern(b), true}, err
}

// member reads an object; another type is said in wrong and reads as absent.
func (s *scanner) member(where string, name []byte, wrong *string) ([]byte, error) {
	if c := s.peek(); c != '{' {
		if *wrong == "" && c != 'n' {
			*wrong = where + string(name) + " must be an object"
		}
		return nil, s.skip(2)
	}
	return s.raw(2)
}

// loose reads a string, and anything else as empty: trace context never fails a call.
func (s *scanner) loose() (string, error) {
	if s.peek() != '"' {
		return "", s.skip(3)
	}
	b, err := s.text()
	return string(b), err
}

// wholeID tells whether a valid id is one of 2026-07-28, where numbers are whole.
func wholeID(raw []byte) bool {
	if raw[0] == '"' {
		return true
	}
	if _, ok := small(raw); ok {
		return true
	}
	_, whole := wholeDigits(raw)
	return whole
}

func validID(raw []byte) bool {
	return len(raw) <= 512 && (raw[0] == '"' || raw[0] == '-' || '0' <= raw[0] && raw[0] <= '9')
}

// intern spares an allocation for the words that most messages carry.
func intern(b []byte) string {
	switch string(b) {
	case methodToolsCall:
		return methodToolsCall
	case methodToolsList:
		return methodToolsList
	case Version20260728:
		return Version20260728
	}
	return string(b)
}

// peekRequest finds the id and the method of the request in what was read of a body, for an answer that is given without the rest. The id
// is nil where there is no usable one.
func peekRequest(body []byte) (id []byte, method string) {
	s := scanner{buf: bytes.TrimPrefix(body, byteOrderMark)}
	errFound := errors.New("found")
	s.object(func(name []byte) (err error) {
		switch string(name) {
		case "id":
			var raw []byte
			if raw, err = s.raw(1); err == nil && validID(raw) {
				id = raw
			}
		case "method":
			var o optional
			var wrong string
			o, err = s.optional("", name, &wrong)
			method = o.value
		default:
			err = s.skip(1)
		}
		if err == nil && id != nil && method != "" {
			err = errFound
		}
		return err
	})
	return id, method
}
