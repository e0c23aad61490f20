package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Call is one admitted request while it runs. Its exported fields are set before the gate sees it and not changed.
type Call struct {
	Head      *RequestHeader
	Method    string
	Name      string          // of the tool or prompt, the resource's URI in normal form, or the URI of the template whose variable is completed
	Modern    bool            // 2026-07-28 or later
	Version   string          // protocol revision
	Arguments map[string]any  // as rules, the schema and the tool see them, or those that are known while one of them is completed
	Raw       json.RawMessage // the same as they came
	Client    json.RawMessage // clientInfo, or nil
	Trace     Trace
	Believed  bool   // see [Admission]
	From      *Place // in the tool's answer, which is read on from there; nil for its beginning

	server        *Server
	exchange      Exchange
	caller        string
	progressToken []byte
	logLevel      int // least severity that the client wants, or noLog
	capabilities  []byte
	completion    *completion
	state         sealedState
	stateID       string // until its answers are used
	unused        error  // why they could not be
	strict        bool   // nothing may be guessed
	indirect      bool   // the tool was named by the arguments of another, or by a cursor in them
	misuse        *Error // what is wrong with those
	responses     map[string]json.RawMessage
	accepted      map[string]answer
	pending       []InputRequest
	required      []InputRequest // of the gate
	concealed     *Refusal       // of which the caller sees that there is no such thing
	handled       time.Duration
	entered       bool  // the handler was
	declined      error // what a person's answer comes to, other than an answer

	mu       sync.Mutex
	over     bool
	progress float64
	started  bool // progress was sent
}

// Conceal says why the gate hides what the call is about: the caller is told that there is no such thing, and operators the refusal.
func (c *Call) Conceal(r *Refusal) { c.concealed = r }

// Concealed is what [Call.Conceal] was given, or nil.
func (c *Call) Concealed() *Refusal { return c.concealed }

type contextKey struct{}

// FromContext returns the call that a handler serves, or nil.
func FromContext(ctx context.Context) *Call {
	c, _ := ctx.Value(contextKey{}).(*Call)
	return c
}

// NewContext returns a context that carries the call.
func NewContext(ctx context.Context, c *Call) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// Levels of log messages (RFC 5424), from the least severe.
var levels = []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}

const noLog = 1 << 10

func severity(level string) int {
	for i, l := range levels {
		if l == level {
			return i
		}
	}
	return -1
}

// Progress tells the client how far the call is, if it asked to be told. A value that is not greater than the last one
// is dropped, as the protocol demands; a total of 0 is unknown.
func (c *Call) Progress(done, total float64, message string) {
	if c.progressToken == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.started && done <= c.progress {
		return
	}
	c.started, c.progress = true, done
	b := append(make([]byte, 0, 160), `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":`...)
	b = append(b, c.progressToken...)
	b = append(b, `,"progress":`...)
	b = strconv.AppendFloat(b, done, 'g', -1, 64)
	b = append(b, ',')
	if total > 0 {
		b = append(b, `"total":`...)
		b = strconv.AppendFloat(b, total, 'g', -1, 64)
		b = append(b, ',')
	}
	b = appendMember(b, "message", message)
	c.exchange.Stream(append(closeObject(b), '}'))
}

// Log sends a log message to the client, if it wants messages of this level. Data is any value that marshals to JSON.
func (c *Call) Log(level, logger string, data any) error {
	n := severity(level)
	if n < 0 {
		return invalidParams("unknown log level %q: use one of %v", level, levels)
	}
	if n < c.logLevel {
		return nil
	}
	value, err := json.Marshal(data)
	if err != nil {
		return err
	}
	b := append(make([]byte, 0, 160+len(value)), `{"jsonrpc":"2.0","method":"notifications/message","params":{`...)
	b = appendMember(b, "level", level)
	b = appendMember(b, "logger", logger)
	b = append(b, `"data":`...)
	b = append(append(b, value...), "}}"...)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.exchange.Stream(b)
	}
	return nil
}

// end stops notifications: the answer is the last thing on the stream.
func (c *Call) end() {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
}

// Wants tells whether the client declared the capability, such as "sampling" or "elicitation.url". Elicitation by form
// is what "elicitation" alone declares; a client that names modes has those that it names.
func (c *Call) Wants(capability string) bool {
	if !c.Modern {
		return false
	}
	declared, err := decodeObject(c.capabilities)
	if err != nil {
		return false
	}
	name, mode, _ := strings.Cut(capability, ".")
	modes, ok := declared[name].(map[string]any)
	if !ok {
		return false
	}
	if name == "elicitation" && mode == "" {
		return len(modes) == 0 || modes["form"] != nil
	}
	return mode == "" || modes[mode] != nil
}

// HTTPClient is what the call reaches the outside with, or nil.
func (c *Call) HTTPClient() *http.Client { return c.server.opts.Client }

// Caller is the caller's stable name.
func (c *Call) Caller() string { return c.caller }

// Read reads a resource of the catalog for a handler, within the handler's own time, where the caller may read it.
func (c *Call) Read(ctx context.Context, uri string) (*ReadResult, error) {
	uri, err := NormalURI(uri)
	if err != nil {
		return nil, err
	}
	if err := c.server.opts.Gate.MayRead(ctx, c, uri); err != nil {
		return nil, err
	}
	return c.ReadAny(ctx, uri)
}

// ReadAny reads what the caller sees by the context, or all where that says nothing of it, and asks no gate.
func (c *Call) ReadAny(ctx context.Context, uri string) (*ReadResult, error) {
	uri, err := NormalURI(uri)
	if err != nil {
		return nil, err
	}
	r, vars, err := c.server.opts.Catalog.Resource(ctx, uri)
	switch {
	case r == nil:
		return nil, ErrUnknown
	case err != nil:
		return nil, err
	}
	return r.Read(ctx, c, uri, vars)
}

// ErrNoCall is what is made of a call outside of one.
var ErrNoCall = errors.New("this context is not that of a call")
