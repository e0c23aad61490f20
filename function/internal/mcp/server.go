// Package mcp is the protocol engine: it decodes a Model Context Protocol message once, asks the gate, dispatches to the
// catalog and encodes the answer. It speaks both eras on one endpoint, the modern one (2026-07-28, every request complete
// in itself) and the legacy ones (2024-11-05 to 2025-11-25, which begin with initialize), and remembers nothing between
// two requests, so that any instance answers any of them.
//
// It does no input or output of its own: an [Exchange] brings the body and takes the answer, a [Gate] decides, a [Catalog]
// holds what can be called, and a seal.Ring protects what travels through the client. The wire is described by the
// specification at https://modelcontextprotocol.io/specification/2026-07-28.
package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"example.com/erlmcp/function/internal/seal"
)

// An Exchange is one HTTP request and its answer. The engine calls exactly one of Reply, Accept and Refuse, once, last;
// Stream may be called before Reply, from any goroutine but not at the same time.
type Exchange interface {
	// Body reads the whole body. With an error it returns what was read before.
	Body() ([]byte, error)
	// Glance reads no more of the body than an answer without it needs, to find the request's id.
	Glance() []byte
	// Reply sends the JSON-RPC answer, as the last event where streaming began. It does not keep the body.
	Reply(status int, body []byte)
	// Accept acknowledges what has no answer.
	Accept()
	// Refuse sends a refusal; status is that of the HTTP answer, body the JSON-RPC error.
	Refuse(r *Refusal, status int, body []byte)
	// Stream sends a notification as a server-sent event. Where the client takes no events, it is dropped.
	Stream(event []byte)
	// Tell tells what became of a message, once for each, after the answer to one that has an exchange to itself. The
	// context is the call's.
	Tell(context.Context, *Message)
}

// ErrTooLarge is the error of [Exchange.Body] for a body over the limit.
var ErrTooLarge = errors.New("request body is too large")

// Options configure a [Server]. The zero value of each field is a default, but for Catalog, Gate and Keys, which must be
// there.
type Options struct {
	Catalog  Catalog
	Gate     Gate
	Keys     *seal.Ring
	Info     Info
	Logger   *slog.Logger     // default: discards
	Now      func() time.Time // default: time.Now
	PageSize int              // entries on one page of a list; default 100
	Timeout  time.Duration    // of a call whose entry names none; default 60 s
	// Stop ends the calls of legacy clients, which outlive their connection, when the server must go. Default: never.
	Stop context.Context
	// Begin is told of each decoded request before it is admitted; the gate and the handler get the context that it returns,
	// in which a span may be. Default: none.
	Begin func(context.Context, *Call) context.Context
}

// A Server is the engine. It is safe for concurrent use.
type Server struct {
	opts         Options
	resultMeta   []byte // `"_meta":{…}` of every modern result
	capabilities []byte
}

// NewServer returns a server. The catalog's kinds are read once, as capabilities.
func NewServer(opts Options) *Server {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.PageSize == 0 {
		opts.PageSize = 100
	}
	if opts.Timeout == 0 {
		opts.Timeout = time.Minute
	}
	if opts.Stop == nil {
		opts.Stop = context.Background()
	}
	if opts.Begin == nil {
		opts.Begin = func(ctx context.Context, _ *Call) context.Context { return ctx }
	}
	s := &Server{opts: opts}
	s.resultMeta = fmt.Appendf(nil, `"_meta":{"%sserverInfo":%s}`, metaPrefix, opts.Info.json())

	capabilities := map[string]struct{}{"logging": {}}
	for kind, name := range []string{Tools: "tools", Prompts: "prompts", Resources: "resources", Templates: "resources"} {
		if opts.Catalog.Has(Kind(kind)) {
			capabilities[name] = struct{}{}
		}
	}
	if opts.Catalog.Completes() {
		capabilities["completions"] = struct{}{}
	}
	s.capabilities, _ = json.Marshal(capabilities)
	return s
}

// Serve answers one HTTP request. The context is the request's: it ends when the client goes away.
func (s *Server) Serve(ctx context.Context, head *Head, x Exchange) {
	known := *head
	if !head.Modern() {
		known.Method, known.Name = "", "" // headers that nothing will hold against the body decide nothing
	}
	ticket, refusal := s.opts.Gate.Head(ctx, &known)
	t := &taken{gate: s.opts.Gate, ticket: ticket, head: head}
	if refusal != nil {
		s.refuse(x, head.Modern(), ScanID(x.Glance()), refusal)
		m := t.message(Refused)
		m.Method, m.Name, m.Modern, m.Version, m.Refusal = known.Method, known.Name, head.Modern(), head.Version, refusal
		x.Tell(ctx, m)
		return
	}
	defer t.drop()

	body, err := x.Body()
	if errors.Is(err, ErrTooLarge) {
		refusal := &Refusal{Reason: TooLarge, Message: "the request's body is too large", Limit: err.Error(), Receipt: head.RequestID}
		s.refuse(x, head.Modern(), ScanID(body), refusal)
		m := t.message(Refused)
		m.Method, m.Name, m.Modern, m.Version, m.Refusal = known.Method, known.Name, head.Modern(), head.Version, refusal
		x.Tell(ctx, m)
		return
	}
	if err != nil {
		s.invalid(ctx, t, x, nil, &Error{Code: CodeParse, Message: "the request's body could not be read: " + err.Error()})
		return
	}
	sc := &scanner{buf: body}
	if sc.peek() == '[' {
		s.serveBatch(ctx, head, t, x, sc)
		return
	}
	m, err := sc.message()
	if err == nil {
		err = sc.end()
	}
	var invalid *invalidError
	switch {
	case errors.As(err, &invalid):
		s.invalid(ctx, t, x, invalid.id, &Error{Code: CodeInvalidRequest, Message: "not a JSON-RPC 2.0 message: " + invalid.what})
	case err != nil:
		s.invalid(ctx, t, x, nil, &Error{Code: CodeParse, Message: "not JSON: " + err.Error()})
	case head.Modern() || m.params.meta.version.set:
		s.serveModern(ctx, head, t, x, m)
	default:
		s.serveLegacy(ctx, head, t, x, m)
	}
}

// taken is a ticket until it reaches Begin.
type taken struct {
	gate   Gate
	ticket Ticket // nil for who was not let in
	head   *Head
	used   bool
}

// message is the beginning of what is told of a message.
func (t *taken) message(o Outcome) *Message {
	m := &Message{Head: t.head, Outcome: o}
	if t.ticket != nil {
		m.Tenant = t.ticket.Tenant()
	}
	return m
}

func (t *taken) drop() {
	if !t.used {
		t.gate.Drop(t.ticket)
	}
}

// invalid answers a body that is no message.
func (s *Server) invalid(ctx context.Context, t *taken, x Exchange, id []byte, e *Error) {
	s.fail(x, 400, id, e)
	m := t.message(Invalid)
	m.Error = e
	x.Tell(ctx, m)
}

func (s *Server) fail(x Exchange, status int, id []byte, e *Error) {
	p := getBuffer()
	*p = AppendError(*p, id, e)
	x.Reply(status, *p)
	putBuffer(p)
}

// refuse renders a refusal. A legacy client gets it with HTTP 200, since its transport would drop the body otherwise;
// what can't be tied to a request keeps the HTTP status, and so does a challenge, which clients know by it.
func (s *Server) refuse(x Exchange, modern bool, id []byte, r *Refusal) {
	status := r.Reason.Status
	if !modern && id != nil && r.Challenge == "" {
		status = 200
	}
	x.Refuse(r, status, AppendError(nil, id, r.Err()))
}

func (s *Server) serveModern(ctx context.Context, head *Head, t *taken, x Exchange, m *message) {
	if e := checkModern(head, m); e != nil {
		s.fail(x, e.status(), m.id, e)
		told := t.message(Failed)
		told.Method, told.Modern, told.Version, told.Error = m.method, true, head.Version, e
		x.Tell(ctx, told)
		return
	}
	if m.id == nil {
		s.accept(ctx, t, x, m, true)
		return
	}
	c := &Call{
		Head: head, Method: m.method, Modern: true, Version: Version20260728, Client: m.params.meta.clientInfo,
		Trace: m.params.meta.trace, server: s, exchange: x, progressToken: m.params.meta.progressToken,
		capabilities: m.params.meta.capabilities, logLevel: noLog,
	}
	if l := m.params.meta.logLevel; l.set {
		c.logLevel = severity(l.value)
	}
	s.serveRequest(ctx, c, t, x, m)
}

// accept acknowledges what has no answer.
func (s *Server) accept(ctx context.Context, t *taken, x Exchange, m *message, modern bool) {
	x.Accept()
	told := t.message(Completed)
	told.Method, told.Modern, told.Version = m.method, modern, t.head.Version
	x.Tell(ctx, told)
}

// checkModern holds a request against its headers and the rules for _meta. The order is that of the specification's
// error table: what is wrong with the headers comes first, since a proxy may have acted on them.
func checkModern(head *Head, m *message) *Error {
	p := &m.params
	mismatch := func(format string, args ...any) *Error {
		return &Error{Code: CodeHeaderMismatch, Message: "header mismatch: " + fmt.Sprintf(format, args...)}
	}
	if head.fault != "" {
		return mismatch("%s", head.fault)
	}
	if m.response {
		return &Error{Code: CodeInvalidRequest, Message: "a request or a notification is wanted, not a response"}
	}
	if head.Version == "" {
		return mismatch("MCP-Protocol-Version is missing")
	}
	if p.meta.version.set && p.meta.version.value != head.Version {
		return mismatch("MCP-Protocol-Version is %s, _meta says %s", quote(head.Version), quote(p.meta.version.value))
	}
	if head.Version != Version20260728 {
		data, _ := json.Marshal(map[string]any{"supported": supportedModern, "requested": head.Version})
		return &Error{CodeUnsupportedVersion, "unsupported protocol version", data}
	}
	if m.id == nil {
		return nil // this revision defines no header rules for notifications
	}
	if head.Method == "" {
		return mismatch("Mcp-Method is missing")
	}
	if head.Method != m.method {
		return mismatch("Mcp-Method is %s, the body says %s", quote(head.Method), quote(m.method))
	}
	var name optional
	switch m.method {
	case methodToolsCall, methodPromptsGet:
		name = p.name
	case methodResourcesRead:
		name = p.uri
	}
	if name.set && name.value != head.Name {
		if _, there := head.Header[headerName]; !there {
			return mismatch("Mcp-Name is missing")
		}
		return mismatch("Mcp-Name is %s, the body says %s", quote(head.Name), quote(name.value))
	}
	switch {
	case p.wrong != "":
		return invalidParams("%s", p.wrong)
	case !p.meta.version.set:
		return invalidParams("params._meta must have %sprotocolVersion", metaPrefix)
	case p.meta.capabilities == nil:
		return invalidParams("params._meta must have %sclientCapabilities", metaPrefix)
	case p.meta.logLevel.set && severity(p.meta.logLevel.value) < 0:
		return invalidParams("unknown log level %s: use one of %v", quote(p.meta.logLevel.value), levels)
	}
	return nil
}

// serveRequest admits and runs one request that has an exchange to itself.
func (s *Server) serveRequest(ctx context.Context, c *Call, t *taken, x Exchange, m *message) {
	p := getBuffer()
	defer putBuffer(p)
	c.caller = t.ticket.Caller()
	wrong := c.read(m)
	ctx = s.opts.Begin(ctx, c)
	told := t.message(Panicked)
	defer func() { x.Tell(ctx, told.of(c)) }()
	b, outcome, e, refusal := s.run(ctx, c, t, m, appendEnvelope(*p, m.id), wrong)
	told.Outcome, told.Error, told.Refusal = outcome, e, refusal
	*p = b
	c.end()
	switch {
	case refusal != nil:
		s.refuse(x, c.Modern, m.id, refusal)
	case e != nil:
		status := 200
		if c.Modern {
			status = e.status()
		}
		*p = AppendError(b[:0], m.id, e)
		x.Reply(status, *p)
	default:
		*p = append(b, '}')
		x.Reply(200, *p)
	}
}

// run admits a request unless there is something wrong with it, dispatches it and reports its outcome. It appends `"result":…`
// to b.
func (s *Server) run(ctx context.Context, c *Call, t *taken, m *message, b []byte, wrong *Error) (_ []byte, outcome Outcome, _ *Error, _ *Refusal) {
	if wrong != nil {
		return b, Failed, wrong, nil
	}
	t.used = true
	if !c.Modern {
		// A legacy client that disconnects has not cancelled; only the server's end, or the gate, ends the call.
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		defer context.AfterFunc(s.opts.Stop, cancel)()
	}
	ctx, done, refusal := s.opts.Gate.Begin(ctx, t.ticket, c)
	if refusal != nil {
		return b, Refused, nil, refusal
	}
	end := Ending{Outcome: Panicked}
	defer func() { done(end) }()
	b = append(b, `"result":`...)
	from := len(b)
	b, outcome, e := s.dispatch(NewContext(ctx, c), c, m, b)
	if end = (Ending{Outcome: outcome, Error: e}); e == nil {
		end.Result = b[from:]
	}
	return b, outcome, e, nil
}

// read decodes what the method's params hold, so that the gate sees it.
func (c *Call) read(m *message) *Error {
	p := &m.params
	if p.wrong != "" {
		return invalidParams("%s", p.wrong)
	}
	switch m.method {
	case methodToolsCall, methodPromptsGet:
		c.Name = p.name.value
		if !p.name.set {
			return invalidParams("params.name is missing")
		}
	case methodResourcesRead:
		c.Name = p.uri.value
		if !p.uri.set {
			return invalidParams("params.uri is missing")
		}
	default:
		return nil
	}
	c.Raw = p.arguments
	var err error
	if c.Arguments, err = decodeObject(p.arguments); err != nil {
		return invalidParams("params.arguments: %v", err)
	}
	if c.Modern {
		return c.resume(p)
	}
	return nil
}
