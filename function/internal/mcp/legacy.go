package mcp

import (
	"context"
	"errors"
	"fmt"
)

const maxBatch = 100

var errBatch = fmt.Errorf("a batch has 1 to %d messages", maxBatch)

// negotiates tells whether a message is initialize of a legacy client, which is what agrees on a version, whatever its header says.
func negotiates(m *message) bool {
	return m.method == methodInitialize && m.id != nil && !m.params.meta.version.set
}

func (r *request) serveLegacy(ctx context.Context, m *message) {
	if m.id == nil || m.response {
		r.accept(ctx, m, false) // nothing waits here for notifications/cancelled, or for answers of another connection
		return
	}
	r.serveCall(ctx, r.legacyCall(m), m)
}

func (r *request) legacyCall(m *message) *Call {
	version := r.head.Version
	switch {
	case m.method == methodInitialize:
		version = negotiated(m)
	case version == "":
		version = Version20250326
	}
	return &Call{
		Head: r.head, Method: m.method, Version: version, Client: m.params.meta.clientInfo, Trace: m.params.meta.trace,
		server: r.Server, exchange: r, progressToken: m.params.meta.progressToken,
		// logging/setLevel is not remembered: without a level the choice is the server's.
		logLevel: severity("info"),
	}
}

// serveBatch answers an array of messages, which revisions up to 2025-03-26 allow. Each element is admitted by itself.
func (r *request) serveBatch(ctx context.Context, sc *scanner) {
	if r.charge(ctx, nil) {
		return
	}
	elements, e := readBatch(r.head.Version, sc)
	if e != nil {
		r.invalid(ctx, nil, e)
		return
	}
	p := getBuffer()
	defer putBuffer(p)
	b := append(*p, '[')
	for _, el := range elements {
		switch m := el.message; {
		case el.err != nil:
			b = r.refuseElement(ctx, b, asked{id: el.err.id}, notMessage(el.err.what))
		case m.id == nil || m.response:
			continue
		case m.method == methodInitialize || m.params.meta.version.set:
			b = r.refuseElement(ctx, b, asked{id: m.id, method: m.method}, &Error{Code: CodeInvalidRequest, Message: "this must be sent by itself, not in a batch"})
		default:
			b = r.serveElement(ctx, b, m)
		}
		b = append(b, ',')
	}
	*p = b
	if len(b) == 1 {
		r.Accept()
		return
	}
	b[len(b)-1] = ']'
	r.reply(asked{}, b)
}

// An element of a batch is a message, or says why it is none.
type element struct {
	message *message
	err     *invalidError
}

// readBatch decodes the array ahead.
func readBatch(version string, sc *scanner) (elements []element, _ *Error) {
	if version != "" && version != Version20250326 && version != Version20241105 {
		// Validate first: what is not JSON at all should be called so.
		if _, err := sc.raw(0); err != nil {
			return nil, notJSON(err)
		}
		return nil, &Error{Code: CodeInvalidRequest, Message: "protocol revision " + quote(version) + " has no batches: send one message in a request"}
	}
	err := sc.array(func() error {
		if len(elements) == maxBatch {
			return errBatch
		}
		m, err := sc.message()
		invalid, ok := errors.AsType[*invalidError](err)
		if err != nil && !ok {
			return err
		}
		elements = append(elements, element{m, invalid})
		return nil
	})
	if err == nil {
		err = sc.end()
	}
	switch {
	case err == errBatch || err == nil && len(elements) == 0:
		return nil, &Error{Code: CodeInvalidRequest, Message: errBatch.Error()}
	case err != nil:
		return nil, notJSON(err)
	}
	return elements, nil
}

// refuseElement appends the answer to an element that is not run.
func (r *request) refuseElement(ctx context.Context, b []byte, to asked, e *Error) []byte {
	told := r.told(Invalid)
	if refusal := r.admission.Invalid(ctx, &Call{Head: r.head, Method: to.method}); refusal != nil {
		told.Outcome, told.Refusal = Refused, refusal
		b = r.appendRefusal(b, to, refusal)
	} else {
		told.Error = e
		b = AppendError(b, to.id, e)
	}
	r.Observe(ctx, told)
	return b
}

// serveElement runs an element, and appends its answer.
func (r *request) serveElement(ctx context.Context, b []byte, m *message) []byte {
	mark, c := len(b), r.legacyCall(m)
	ctx, wrong := r.begin(ctx, c, m)
	told := r.told(Panicked)
	told.Began = r.opts.Now()
	defer func() { r.Observe(ctx, told.of(c)) }()
	b, outcome, e, refusal := r.run(ctx, c, m, appendEnvelope(b, m.id), wrong)
	told.ended(c, outcome, e, refusal)
	c.end()
	if refusal != nil {
		return r.appendRefusal(b[:mark], asked{id: m.id, method: m.method}, refusal)
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
		// Nothing is remembered of a client that could be told of an update: the capability is not advertised, and a client that
		// asks all the same is not broken by it.
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
