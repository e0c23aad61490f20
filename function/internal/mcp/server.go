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
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/seal"
)

// An Exchange is one HTTP request and its answer. The engine calls exactly one of Reply, Accept and Refuse, once, last;
// Stream may be called before Reply, from any goroutine but not at the same time.
type Exchange interface {
	// Body reads the whole body, into memory of the owner's share. With an error it returns what was read before; the error is a
	// [*BodyError] where there may be no such body. If the body is long in coming, it says so, once and from another goroutine.
	Body(owner string, late Late) ([]byte, error)
	// Glance reads no more of the body than an answer without it needs, to find the request's id.
	Glance() []byte
	// Reply sends the JSON-RPC answer, as the last event where streaming began. It does not keep the body. With a
	// [*BodyError] it has not: there may be no such answer, and Refuse is to be called.
	Reply(status int, body []byte) error
	// Accept acknowledges what has no answer.
	Accept()
	// Refuse sends a refusal; status is that of the HTTP answer, body the JSON-RPC answer.
	Refuse(r *Refusal, status int, body []byte)
	// Stream sends a notification as a server-sent event, and does not wait for that. Where the client takes no events, or does
	// not read them, it is dropped.
	Stream(event []byte)
	// Tell tells what became of a message, once for each, after the answer to one that has an exchange to itself. The
	// context is the call's.
	Tell(context.Context, *Message)
}

// Late is told that a body is long in coming.
type Late interface{ Late() }

// A BodyError is why [Exchange.Body] does not read a body.
type BodyError struct {
	Reason                Reason
	Message, Scope, Limit string // as a [Refusal] has them
}

func (e *BodyError) Error() string { return e.Message + ": the limit is " + e.Limit }

func (e *BodyError) refusal(message string, head *Head) *Refusal {
	r := &Refusal{Reason: e.Reason, Message: message, Scope: e.Scope, Limit: e.Limit, Receipt: head.RequestID}
	if e.Reason != TooLarge {
		r.RetryAfter = time.Second
	}
	return r
}

// Options configure a [Server]. The zero value of each field is a default, but for Catalog, Gate and Keys, which must be
// there.
type Options struct {
	Catalog Catalog
	Gate    Gate
	Keys    *seal.Ring
	Info    Info
	Logger  *slog.Logger     // default: discards
	Now     func() time.Time // default: time.Now
	// RefusalErrors has all refusals be JSON-RPC errors with a status of HTTP. Else those of tools/call are results, which reach the model.
	RefusalErrors bool
	PageSize      int           // entries on one page of a list; default 100
	Timeout       time.Duration // of a call whose entry names none; default 60 s
	// Stop ends the calls of legacy clients, which outlive their connection, when the server must go. Default: never.
	Stop context.Context
	// Client is what handlers reach the outside with. Default: none.
	Client *http.Client
	// Answers tell whether an answer of the person at the client counts. Default: each does, again and again.
	Answers Answers
	// Begin is told of each decoded request before it is admitted; the gate and the handler get the context that it returns,
	// in which a span may be. Default: none.
	Begin func(context.Context, *Call) context.Context
}

// A Server is the engine. It is safe for concurrent use.
type Server struct {
	opts         Options
	serverInfo   []byte // a member of _meta of every modern result
	resultMeta   []byte // `"_meta":{…}` of them
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
	s.serverInfo = fmt.Appendf(nil, `"%sserverInfo":%s`, metaPrefix, opts.Info.json())
	s.resultMeta = fmt.Appendf(nil, `"_meta":{%s}`, s.serverInfo)

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
	t := &taken{gate: s.opts.Gate, head: head, known: *head}
	known := &t.known
	if !head.Modern() {
		known.Method, known.Name = "", "" // headers that nothing will hold against the body decide nothing
	} else {
		if known.Name = known.entry(); known.Method == methodToolsCall {
			known.Name = s.opts.Catalog.Named(known.Name)
		}
	}
	ticket, refusal := s.opts.Gate.Head(ctx, known)
	t.ticket = ticket
	if refusal != nil {
		id, method := glance(x.Glance())
		s.refuse(x, asked{modern: head.Modern(), id: id, method: method, stranger: ticket == nil}, refusal)
		m := t.message(Refused)
		m.Method, m.Name, m.Modern, m.Version, m.Refusal = known.Method, known.Name, head.Modern(), head.Version, refusal
		x.Tell(ctx, m)
		return
	}
	defer t.drop()

	body, err := x.Body(ticket.Caller(), t)
	t.arrived()
	if unread, ok := errors.AsType[*BodyError](err); ok {
		refusal := unread.refusal("refused: "+unread.Message, head)
		refusal.Unread = true
		id, method := glance(body)
		s.refuse(x, asked{modern: head.Modern(), id: id, method: method}, refusal)
		m := t.message(Refused)
		m.Method, m.Name, m.Modern, m.Version, m.Refusal = known.Method, known.Name, head.Modern(), head.Version, refusal
		x.Tell(ctx, m)
		return
	}
	if err != nil {
		s.invalid(ctx, t, x, nil, &Error{Code: CodeParse, Message: "the request's body could not be read: " + err.Error()})
		return
	}
	sc := &scanner{buf: bytes.TrimPrefix(body, byteOrderMark)}
	if sc.peek() == '[' {
		s.serveBatch(ctx, head, t, x, sc)
		return
	}
	m, err := sc.message()
	if err == nil {
		err = sc.end()
	}
	invalid, ok := errors.AsType[*invalidError](err)
	switch {
	case ok:
		s.invalid(ctx, t, x, invalid.id, &Error{Code: CodeInvalidRequest, Message: "not a JSON-RPC 2.0 message: " + invalid.what})
	case err != nil:
		s.invalid(ctx, t, x, nil, &Error{Code: CodeParse, Message: "not JSON: " + err.Error()})
	case negotiates(m):
		if head.Modern() && head.Method != methodInitialize {
			s.opts.Gate.Yield(ticket) // what was decided was another message
		}
		s.serveLegacy(ctx, head, t, x, m)
	case head.Modern() || m.params.meta.version.set:
		s.serveModern(ctx, head, t, x, m)
	default:
		s.serveLegacy(ctx, head, t, x, m)
	}
}

// byteOrderMark is what some programs on Windows begin a text with; RFC 8259, section 8.1, lets it be ignored.
var byteOrderMark = []byte("\ufeff")

var null = []byte("null")

// negotiates tells whether a message is initialize of a legacy client, which is what agrees on a version, whatever its header says.
func negotiates(m *message) bool {
	return m.method == methodInitialize && m.id != nil && !m.params.meta.version.set
}

// Identify finds out who sends a request that is no message, and refuses it where nobody may that it knows. Clients that are not signed
// in learn so by whatever they ask first.
func (s *Server) Identify(ctx context.Context, head *Head, x Exchange) (known bool) {
	who := *head
	who.Method, who.Name, who.Size = "", "", 0
	ticket, refusal := s.opts.Gate.Head(ctx, &who)
	if refusal == nil {
		s.opts.Gate.Drop(ticket)
		return true
	}
	s.refuse(x, asked{modern: true, stranger: true}, refusal)
	m := (&taken{ticket: ticket, head: head}).message(Refused)
	m.Refusal = refusal
	x.Tell(ctx, m)
	return false
}

// taken is a ticket until it reaches Begin.
type taken struct {
	gate   Gate
	ticket Ticket // nil for who was not let in
	head   *Head
	known  Head // what decides: of the head only what will be held against the body
	used   bool

	mu   sync.Mutex
	here bool // the body is
}

// message is the beginning of what is told of a message.
func (t *taken) message(o Outcome) *Message {
	m := &Message{Head: t.head, Outcome: o}
	if t.ticket != nil {
		m.Tenant = t.ticket.Tenant()
	}
	return m
}

// Late gives back what was taken for a call whose body does not come.
func (t *taken) Late() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.here {
		t.gate.Yield(t.ticket)
	}
}

func (t *taken) arrived() {
	t.mu.Lock()
	t.here = true
	t.mu.Unlock()
}

func (t *taken) drop() {
	if !t.used {
		t.gate.Drop(t.ticket)
	}
}

// charge counts what is no call, and refuses it over the limits.
func (s *Server) charge(ctx context.Context, t *taken, x Exchange, id []byte) (refused bool) {
	refusal := s.opts.Gate.Charge(ctx, t.ticket)
	if refusal == nil {
		return false
	}
	s.refuse(x, asked{modern: t.head.Modern(), id: id}, refusal)
	m := t.message(Refused)
	m.Modern, m.Version, m.Refusal = t.head.Modern(), t.head.Version, refusal
	x.Tell(ctx, m)
	return true
}

// invalid answers a body that is no message.
func (s *Server) invalid(ctx context.Context, t *taken, x Exchange, id []byte, e *Error) {
	if s.charge(ctx, t, x, id) {
		return
	}
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

// asked is what a refusal answers, as far as it was read.
type asked struct {
	modern bool
	id     []byte
	method string // "" where that was not read
	// stranger: it is not known who asks. Clients learn by the status that they are to sign in.
	stranger bool
}

// refuse answers a refusal, with HTTP 200, since the transports of clients drop the body otherwise. What can't be tied to a request has
// the status of its reason, and so has a challenge, which clients know by it.
func (s *Server) refuse(x Exchange, to asked, r *Refusal) {
	status := 200
	if to.id == nil || r.Challenge != "" || to.stranger || to.modern && s.opts.RefusalErrors {
		status = r.Reason.Status
	}
	x.Refuse(r, status, s.appendRefusal(nil, to, r))
}

// appendRefusal appends a whole response: a result for the model, where a tool was called, and else an error. Of an error most agents
// tell their model only that there was one, and some end.
func (s *Server) appendRefusal(b []byte, to asked, r *Refusal) []byte {
	if to.method != methodToolsCall || to.id == nil || to.stranger || r.Challenge != "" || s.opts.RefusalErrors {
		return AppendError(b, to.id, r.Err())
	}
	b = append(appendEnvelope(b, to.id), `"result":{`...)
	if to.modern {
		b = append(b, `"resultType":"complete",`...)
	}
	b = append(b, `"content":`...)
	b = appendContents(b, []Content{Text(r.text())})
	b = append(b, `,"isError":true,"_meta":{`...)
	if to.modern {
		b = append(append(b, s.serverInfo...), ',')
	}
	b = append(b, metaRefusal+`{"code":`...)
	b = append(appendInt(b, int64(r.Reason.Code)), ',')
	return append(r.appendData(b), "}}}"...)
}

// reply sends an answer, or says that it is lost.
func (s *Server) reply(x Exchange, to asked, head *Head, body []byte) {
	if lost, ok := errors.AsType[*BodyError](x.Reply(200, body)); ok {
		r := lost.refusal("the call ran, and its answer is lost: "+lost.Message, head)
		r.Reason = Backpressure
		s.refuse(x, to, r)
	}
}

func (s *Server) serveModern(ctx context.Context, head *Head, t *taken, x Exchange, m *message) {
	if m.id != nil && !wholeID(m.id) {
		s.invalid(ctx, t, x, nil, &Error{Code: CodeInvalidRequest, Message: "not a JSON-RPC 2.0 message: id must be a string or an integer"})
		return
	}
	if e := checkModern(head, m); e != nil {
		if s.charge(ctx, t, x, m.id) {
			return
		}
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
	if name := m.name(); name.set && name.value != head.Name {
		s.opts.Gate.Yield(t.ticket) // a name that looks like copies of the one that was decided
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
	if s.charge(ctx, t, x, nil) {
		return
	}
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
		return &Error{Code: CodeHeaderMismatch, Message: clip("header mismatch: "+fmt.Sprintf(format, args...), mostSaid)}
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
		data, _ := json.Marshal(map[string]any{"supported": supported, "requested": clip(head.Version, mostQuoted)})
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
	if name := m.name(); name.set && name.value != head.Name && name.value != head.whole {
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
	case p.meta.progressToken != nil && !wholeID(p.meta.progressToken):
		return invalidParams("params._meta.progressToken must be a string or an integer")
	case p.meta.logLevel.set && severity(p.meta.logLevel.value) < 0:
		return invalidParams("unknown log level %s: use one of %v", quote(p.meta.logLevel.value), levels)
	}
	return nil
}

// serveRequest admits and runs one request that has an exchange to itself.
func (s *Server) serveRequest(ctx context.Context, c *Call, t *taken, x Exchange, m *message) {
	p := getBuffer()
	defer putBuffer(p)
	c.caller, c.Believed = t.ticket.Caller(), t.ticket.Believed()
	wrong := c.read(m)
	ctx = s.opts.Begin(ctx, c)
	told := t.message(Panicked)
	defer func() { x.Tell(ctx, told.of(c)) }()
	b, outcome, e, refusal := s.run(ctx, c, t, m, appendEnvelope(*p, m.id), wrong)
	told.ended(c, outcome, e, refusal)
	*p = b
	c.end()
	switch {
	case refusal != nil:
		s.refuse(x, asked{modern: c.Modern, id: m.id, method: m.method}, refusal)
	case e != nil:
		status := 200
		if c.Modern {
			status = e.status()
		}
		*p = AppendError(b[:0], m.id, e)
		x.Reply(status, *p)
	default:
		*p = append(b, '}')
		s.reply(x, asked{modern: c.Modern, id: m.id, method: m.method}, c.Head, *p)
	}
}

// run admits a request, dispatches it unless there is something wrong with it, and reports its outcome. It appends `"result":…` to b.
func (s *Server) run(ctx context.Context, c *Call, t *taken, m *message, b []byte, wrong *Error) (_ []byte, outcome Outcome, _ *Error, _ *Refusal) {
	if wrong != nil {
		if refusal := s.opts.Gate.Invalid(ctx, t.ticket, c); refusal != nil {
			return b, Refused, nil, refusal
		}
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
	defer func() {
		end.Entered = c.entered
		done(end)
	}()
	b = append(b, `"result":`...)
	from := len(b)
	b, outcome, e := s.dispatch(NewContext(ctx, c), c, m, b)
	if end = (Ending{Outcome: outcome, Error: e}); e == nil {
		end.Result = b[from:]
	}
	return b, outcome, e, nil
}

// entry is the name of what a modern request is about, as far as its headers say so: that of a method whose body is not held against the
// header is worth nothing.
func (h *Head) entry() string {
	switch h.Method {
	case methodToolsCall, methodPromptsGet:
		return h.Name
	case methodResourcesRead:
		if uri, err := NormalURI(h.Name); err == nil {
			return uri
		}
		return h.Name // the body's, which is the same, is refused
	}
	return ""
}

// read decodes what the method's params hold, so that the gate sees what the request is about: its name too where something else is wrong.
func (c *Call) read(m *message) *Error {
	p := &m.params
	e := c.readName(m)
	switch {
	case p.wrong != "":
		return invalidParams("%s", p.wrong)
	case e != nil:
		return e
	case m.method == methodComplete && c.server.opts.Catalog.Completes():
		return c.readCompletion(p)
	case m.method != methodToolsCall && m.method != methodPromptsGet && m.method != methodResourcesRead:
		return nil
	}
	c.Raw = p.arguments
	var err error
	if c.Arguments, err = decodeObject(p.arguments); err != nil {
		return invalidParams("params.arguments: %v", err)
	}
	if m.method == methodToolsCall { // so that rules, the schema and the tool see the same
		c.server.opts.Catalog.Settle(c.Name, c.Arguments, bytes.Contains(c.Raw, null))
	}
	if m.method == methodPromptsGet {
		maps.DeleteFunc(c.Arguments, isNull) // as the prompt sees them
	}
	if c.Modern {
		return c.resume(p)
	}
	return nil
}

// isNull tells what is as if it were not there.
func isNull(_ string, value any) bool { return value == nil }

func (c *Call) readName(m *message) *Error {
	p := &m.params
	switch {
	case m.method == methodToolsCall || m.method == methodPromptsGet:
		if !p.name.set {
			return invalidParams("params.name is missing")
		}
		if c.Name = p.name.value; m.method == methodToolsCall {
			c.Name = c.server.opts.Catalog.Named(c.Name)
		}
	case m.method == methodResourcesRead || !c.Modern && (m.method == methodSubscribe || m.method == methodUnsubscribe):
		if !p.uri.set {
			return invalidParams("params.uri is missing")
		}
		var err error
		if c.Name, err = NormalURI(p.uri.value); err != nil {
			return invalidParams("params.uri: %v", err)
		}
	}
	return nil
}
