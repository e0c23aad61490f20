package mcp

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"sync"
)

// A request is one HTTP request while it is served.
type request struct {
	*Server
	Exchange
	admission Admission // nil for who was not let in
	head      *RequestHeader
	known     RequestHeader // what decides: of the head only what will be held against the body
	started   bool          // its call has: the admission is in other hands

	mu   sync.Mutex
	here bool // the body is
}

// Serve answers one HTTP request. The context is the request's: it ends when the client goes away.
func (s *Server) Serve(ctx context.Context, head *RequestHeader, x Exchange) {
	r := &request{Server: s, Exchange: x, head: head, known: *head}
	if !head.Modern() || head.Method == methodToolsCall && s.opts.Catalog.Indirect(head.Name) != Direct {
		r.known.Method, r.known.Name = "", "" // headers that nothing will hold against the body, or that don't say what is called, decide nothing
	} else if r.known.Name = head.entry(); head.Method == methodToolsCall {
		r.known.Name = s.opts.Catalog.Named(r.known.Name)
	}
	var refusal *Refusal
	if r.admission, refusal = s.opts.Gate.Admit(ctx, &r.known); refusal != nil {
		r.refuseUnread(ctx, x.Peek(), refusal)
		return
	}
	defer r.drop(ctx)
	body, err := x.Body(r.admission.Caller(), r)
	r.arrived()
	if unread, ok := errors.AsType[*BodyError](err); ok {
		refusal := unread.refusal("refused: "+unread.Message, head)
		refusal.Unread = true
		r.refuseUnread(ctx, body, refusal)
		return
	}
	if err != nil {
		r.invalid(ctx, nil, &Error{Code: CodeParse, Message: "the request's body could not be read: " + err.Error()})
		return
	}
	r.serveBody(ctx, body)
}

// byteOrderMark is what some programs on Windows begin a text with; RFC 8259, section 8.1, lets it be ignored.
var byteOrderMark = []byte("\ufeff")

// serveBody decodes the body, and has its message served by the rules of its era.
func (r *request) serveBody(ctx context.Context, body []byte) {
	sc := &scanner{buf: bytes.TrimPrefix(body, byteOrderMark)}
	if sc.peek() == '[' {
		r.serveBatch(ctx, sc)
		return
	}
	m, err := sc.message()
	if err == nil {
		err = sc.end()
	}
	invalid, ok := errors.AsType[*invalidError](err)
	switch {
	case ok:
		r.invalid(ctx, invalid.id, notMessage(invalid.what))
	case err != nil:
		r.invalid(ctx, nil, notJSON(err))
	case negotiates(m):
		if r.head.Modern() && r.head.Method != methodInitialize {
			r.admission.Yield() // what was decided was another message
		}
		r.serveLegacy(ctx, m)
	case r.head.Modern() || m.params.meta.version.set:
		r.serveModern(ctx, m)
	default:
		r.serveLegacy(ctx, m)
	}
}

func notJSON(err error) *Error {
	return &Error{Code: CodeParse, Message: "not JSON: " + err.Error()}
}

func notMessage(what string) *Error {
	return &Error{Code: CodeInvalidRequest, Message: "not a JSON-RPC 2.0 message: " + what}
}

// Identify finds out who sends a request that is no message, and refuses it where nobody may that it knows. Clients that are not signed
// in learn so by whatever they ask first.
func (s *Server) Identify(ctx context.Context, head *RequestHeader, x Exchange) (known bool) {
	who := *head
	who.Method, who.Name, who.Size = "", "", 0
	admission, refusal := s.opts.Gate.Admit(ctx, &who)
	if refusal == nil {
		admission.Drop(ctx)
		return true
	}
	s.refuse(x, asked{modern: true, stranger: true}, refusal)
	m := (&request{Server: s, admission: admission, head: head}).told(Refused)
	m.Refusal = refusal
	x.Observe(ctx, m)
	return false
}

// told is the beginning of what is told of a message.
func (r *request) told(o Outcome) *Message {
	m := &Message{Head: r.head, Outcome: o, Catalog: r.opts.Catalog}
	if r.admission != nil {
		m.Tenant = r.admission.Tenant()
	}
	return m
}

// Late gives back what was taken for a call whose body does not come.
func (r *request) Late() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.here {
		r.admission.Yield()
	}
}

func (r *request) arrived() {
	r.mu.Lock()
	r.here = true
	r.mu.Unlock()
}

func (r *request) drop(ctx context.Context) {
	if !r.started {
		r.admission.Drop(ctx)
	}
}

// refuseUnread refuses what is not decoded; begin is what was read of the body.
func (r *request) refuseUnread(ctx context.Context, begin []byte, refusal *Refusal) {
	id, method := peekRequest(begin)
	r.refuse(r, asked{modern: r.head.Modern(), id: id, method: method, stranger: r.admission == nil}, refusal)
	m := r.told(Refused)
	m.Method, m.Name, m.Modern, m.Version, m.Refusal = r.known.Method, r.known.Name, r.head.Modern(), r.head.Version, refusal
	r.Observe(ctx, m)
}

// charge counts what is no call, and refuses it over the limits.
func (r *request) charge(ctx context.Context, id []byte) (refused bool) {
	refusal := r.admission.Charge(ctx)
	if refusal == nil {
		return false
	}
	r.refuse(r, asked{modern: r.head.Modern(), id: id}, refusal)
	m := r.told(Refused)
	m.Modern, m.Version, m.Refusal = r.head.Modern(), r.head.Version, refusal
	r.Observe(ctx, m)
	return true
}

// invalid answers a body that is no message.
func (r *request) invalid(ctx context.Context, id []byte, e *Error) {
	if r.charge(ctx, id) {
		return
	}
	r.fail(400, id, e)
	m := r.told(Invalid)
	m.Error = e
	r.Observe(ctx, m)
}

func (r *request) fail(status int, id []byte, e *Error) {
	p := getBuffer()
	*p = AppendError(*p, id, e)
	r.Reply(status, *p)
	putBuffer(p)
}

// accept acknowledges what has no answer.
func (r *request) accept(ctx context.Context, m *message, modern bool) {
	if r.charge(ctx, nil) {
		return
	}
	r.Accept()
	told := r.told(Completed)
	told.Method, told.Modern, told.Version = m.method, modern, r.head.Version
	r.Observe(ctx, told)
}

// begin prepares a call: what is wrong with it is told once it is admitted.
func (r *request) begin(ctx context.Context, c *Call, m *message) (_ context.Context, wrong *Error) {
	c.caller, c.Believed = r.admission.Caller(), r.admission.Believed()
	wrong = c.read(m)
	return r.opts.Begin(ctx, c), wrong
}

// serveCall admits and runs a call that has the exchange to itself.
func (r *request) serveCall(ctx context.Context, c *Call, m *message) {
	p := getBuffer()
	defer putBuffer(p)
	ctx, wrong := r.begin(ctx, c, m)
	if c.indirect {
		r.admission.Yield() // what the headers may have been admitted for was another tool
	}
	told := r.told(Panicked)
	defer func() { r.Observe(ctx, told.of(c)) }()
	b, outcome, e, refusal := r.run(ctx, c, m, appendEnvelope(*p, m.id), wrong)
	told.ended(c, outcome, e, refusal)
	*p = b
	c.end()
	to := asked{modern: c.Modern, id: m.id, method: m.method}
	switch {
	case refusal != nil:
		r.refuse(r, to, refusal)
	case e != nil:
		status := 200
		if c.Modern {
			status = e.status()
		}
		*p = AppendError(b[:0], m.id, e)
		r.Reply(status, *p)
	default:
		*p = append(b, '}')
		r.reply(to, *p)
	}
}

// reply sends an answer, or says that it is lost.
func (r *request) reply(to asked, body []byte) {
	if lost, ok := errors.AsType[*BodyError](r.Reply(200, body)); ok {
		refusal := lost.refusal("the call ran, and its answer is lost: "+lost.Message, r.head)
		refusal.Reason = Backpressure
		r.refuse(r, to, refusal)
	}
}

// run admits a call, dispatches it unless there is something wrong with it, and reports its outcome. It appends `"result":…` to b.
func (r *request) run(ctx context.Context, c *Call, m *message, b []byte, wrong *Error) (_ []byte, outcome Outcome, _ *Error, _ *Refusal) {
	if wrong != nil {
		if refusal := r.admission.Invalid(ctx, c); refusal != nil {
			return b, Refused, nil, refusal
		}
		if wrong == c.misuse { // a model must read it, which has written that
			return r.appendResult(c, append(b, `"result":`...), &Result{Content: []Content{Text(wrong.Message)}, IsError: true}), ToolFailed, nil, nil
		}
		return b, Failed, wrong, nil
	}
	r.started = true
	if !c.Modern {
		// A legacy client that disconnects has not cancelled; only the server's end, or the gate, ends the call.
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		defer context.AfterFunc(r.opts.Stop, cancel)()
	}
	ctx, running, refusal := r.admission.Start(ctx, c)
	if refusal != nil {
		return b, Refused, nil, refusal
	}
	end := Ending{Outcome: Panicked}
	defer func() {
		end.Entered = c.entered
		running.End(&end)
	}()
	b = append(b, `"result":`...)
	from := len(b)
	b, outcome, e := r.dispatch(NewContext(ctx, c), c, m, b)
	if end = (Ending{Outcome: outcome, Error: e}); e == nil {
		end.Result = b[from:]
	}
	return b, outcome, e, nil
}

var null = []byte("null")

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
	if !c.indirect {
		c.Raw = p.arguments
	}
	var err error
	if c.Arguments, err = decodeObject(c.Raw); err != nil {
		if c.indirect {
			return c.misused(p.name.value, "arguments: "+err.Error())
		}
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
		c.Name = p.name.value
		if m.method == methodPromptsGet {
			return nil
		}
		switch c.server.opts.Catalog.Indirect(c.Name) {
		case ByName:
			return c.unwrap(p)
		case ByCursor:
			return c.resumeReading(p)
		}
		c.Name = c.server.opts.Catalog.Named(c.Name)
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
