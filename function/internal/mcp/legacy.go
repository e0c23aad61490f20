package mcp

import (
	"context"
	"errors"
	"fmt"
)

const mostInBatch = 100

var errBatch = fmt.Errorf("a batch has 1 to %d messages", mostInBatch)

func (s *Server) serveLegacy(ctx context.Context, head *Head, t *taken, x Exchange, m *message) {
	if m.id == nil || m.response {
		s.accept(ctx, t, x, m, false) // nothing waits here for notifications/cancelled, or for answers of another connection
		return
	}
	s.serveRequest(ctx, s.legacyCall(head, x, m), t, x, m)
}

func (s *Server) legacyCall(head *Head, x Exchange, m *message) *Call {
	version := head.Version
	switch {
	case m.method == methodInitialize:
		version = negotiated(m)
	case version == "":
		version = Version20250326
	}
	return &Call{
		Head: head, Method: m.method, Version: version, Client: m.params.meta.clientInfo, Trace: m.params.meta.trace,
		server: s, exchange: x, progressToken: m.params.meta.progressToken,
		// logging/setLevel is not remembered: without a level the choice is the server's.
		logLevel: severity("info"),
	}
}

// serveBatch answers an array of messages, which revisions up to 2025-03-26 allow. Each element is admitted by itself.
func (s *Server) serveBatch(ctx context.Context, head *Head, t *taken, x Exchange, sc *scanner) {
	invalid := func(what string) {
		s.invalid(ctx, t, x, nil, &Error{Code: CodeInvalidRequest, Message: what})
	}
	if s.charge(ctx, t, x, nil) {
		return
	}
	if v := head.Version; v != "" && v != Version20250326 && v != Version20241105 {
		// Validate first: what is not JSON at all should be called so.
		if _, err := sc.raw(0); err != nil {
			s.invalid(ctx, t, x, nil, &Error{Code: CodeParse, Message: "not JSON: " + err.Error()})
			return
		}
		invalid("protocol revision " + quote(v) + " has no batches: send one message in a request")
		return
	}
	type element struct {
		m   *message
		err *invalidError
	}
	var elements []element
	err := sc.array(func() error {
		if len(elements) == mostInBatch {
			return errBatch
		}
		m, err := sc.message()
		var bad *invalidError
		if err != nil && !errors.As(err, &bad) {
			return err
		}
		elements = append(elements, element{m, bad})
		return nil
	})
	if err == nil {
		err = sc.end()
	}
	if err == errBatch || err == nil && len(elements) == 0 {
		invalid(errBatch.Error())
		return
	}
	if err != nil {
		s.invalid(ctx, t, x, nil, &Error{Code: CodeParse, Message: "not JSON: " + err.Error()})
		return
	}
	p := getBuffer()
	defer putBuffer(p)
	b := append(*p, '[')
	for _, el := range elements {
		mark := len(b)
		// invalid answers an element that is not run.
		invalid := func(id []byte, method, what string) {
			told := t.message(Invalid)
			if refusal := s.opts.Gate.Invalid(ctx, t.ticket, &Call{Head: head, Method: method}); refusal != nil {
				told.Outcome, told.Refusal = Refused, refusal
				b = s.appendRefusal(b, asked{id: id, method: method}, refusal)
			} else {
				told.Error = &Error{Code: CodeInvalidRequest, Message: what}
				b = AppendError(b, id, told.Error)
			}
			x.Tell(ctx, told)
		}
		switch {
		case el.err != nil:
			invalid(el.err.id, "", "not a JSON-RPC 2.0 message: "+el.err.what)
		case el.m.id == nil || el.m.response:
			continue
		case el.m.method == methodInitialize || el.m.params.meta.version.set:
			invalid(el.m.id, el.m.method, "this must be sent by itself, not in a batch")
		default:
			b = s.serveElement(ctx, s.legacyCall(head, x, el.m), t, x, el.m, b, mark)
		}
		b = append(b, ',')
	}
	*p = b
	if len(b) == 1 {
		x.Accept()
		return
	}
	b[len(b)-1] = ']'
	s.reply(x, asked{}, head, b)
}

func (s *Server) serveElement(ctx context.Context, c *Call, t *taken, x Exchange, m *message, b []byte, mark int) []byte {
	c.caller, c.Believed = t.ticket.Caller(), t.ticket.Believed()
	wrong := c.read(m)
	ctx = s.opts.Begin(ctx, c)
	told := t.message(Panicked)
	told.Began = s.opts.Now()
	defer func() { x.Tell(ctx, told.of(c)) }()
	b, outcome, e, refusal := s.run(ctx, c, t, m, appendEnvelope(b, m.id), wrong)
	told.ended(c, outcome, e, refusal)
	c.end()
	if refusal != nil {
		return s.appendRefusal(b[:mark], asked{id: m.id, method: m.method}, refusal)
	}
	if e != nil {
		return AppendError(b[:mark], m.id, e)
	}
	return append(b, '}')
}

// negotiated is the version that initialize agrees on: the one that is asked for, if it has that method.
func negotiated(m *message) string {
	if v := m.params.version.value; legacyVersion(v) {
		return v
	}
	return Version20251125
}

func (s *Server) dispatchLegacy(ctx context.Context, c *Call, m *message, b []byte) ([]byte, *Error) {
	switch m.method {
	case methodInitialize:
		b = append(b, `{"protocolVersion":"`...)
		b = append(b, negotiated(m)...)
		b = append(b, `","capabilities":`...)
		b = append(b, s.capabilities...)
		b = append(b, `,"serverInfo":`...)
		b = append(append(b, s.opts.Info.json()...), ',')
		return closeObject(appendMember(b, "instructions", s.opts.Info.Instructions)), nil
	case methodPing:
		return append(b, "{}"...), nil
	case methodSetLevel:
		if severity(m.params.level.value) < 0 {
			return b, invalidParams("unknown log level %s: use one of %v", quote(m.params.level.value), levels)
		}
		return append(b, "{}"...), nil
	case methodSubscribe, methodUnsubscribe:
		if !m.params.uri.set {
			return b, invalidParams("params.uri is missing")
		}
		// The catalog is fixed while the process lives, so no update is ever owed: the capability is not advertised, and
		// a client that asks all the same is not broken by it.
		switch r, _, err := s.opts.Catalog.Resource(ctx, c.Name); {
		case r == nil:
			return b, resourceNotFound(c)
		case err != nil:
			return b, invalidParams("params.uri: %v", err)
		}
		return append(b, "{}"...), nil
	}
	return b, errMethod
}
