package mcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"example.com/erlmcp/function/internal/strictjson"
)

const (
	methodDiscover      = "server/discover"
	methodInitialize    = "initialize"
	methodPing          = "ping"
	methodToolsList     = "tools/list"
	methodToolsCall     = "tools/call"
	methodPromptsList   = "prompts/list"
	methodPromptsGet    = "prompts/get"
	methodResourcesList = "resources/list"
	methodResourcesRead = "resources/read"
	methodTemplatesList = "resources/templates/list"
	methodSubscribe     = "resources/subscribe"
	methodUnsubscribe   = "resources/unsubscribe"
	methodComplete      = "completion/complete"
	methodSetLevel      = "logging/setLevel"
)

// methods are those of the protocol; others are callers' inventions.
var methods = map[string]bool{
	methodDiscover: true, methodInitialize: true, methodPing: true, methodToolsList: true, methodToolsCall: true, methodPromptsList: true, methodPromptsGet: true,
	methodResourcesList: true, methodResourcesRead: true, methodTemplatesList: true, methodSubscribe: true, methodUnsubscribe: true,
	methodComplete: true, methodSetLevel: true, "subscriptions/listen": true, "tasks/get": true, "tasks/update": true, "tasks/cancel": true,
	"notifications/initialized": true, "notifications/cancelled": true, "notifications/progress": true, "notifications/roots/list_changed": true,
}

// Known tells whether a method is one of the protocol's, in any of its revisions.
func Known(method string) bool { return methods[method] }

// quietTime is how long a call may be silent before its client hears a sign of life: proxies on the way drop
// connections that carry nothing for a minute.
const quietTime = 15 * time.Second

var errMethod = &Error{Code: CodeMethodNotFound, Message: "method not found"}

// dispatch runs an admitted request and appends its result to b.
func (s *Server) dispatch(ctx context.Context, c *Call, m *message, b []byte) ([]byte, Outcome, *Error) {
	var e *Error
	switch m.method {
	case methodToolsCall:
		return s.callTool(ctx, c, b)
	case methodPromptsGet:
		return s.getPrompt(ctx, c, b)
	case methodResourcesRead:
		return s.readResource(ctx, c, b)
	case methodToolsList:
		b, e = s.list(ctx, c, m.params.cursor.value, b, Tools)
	case methodPromptsList:
		b, e = s.list(ctx, c, m.params.cursor.value, b, Prompts)
	case methodResourcesList:
		b, e = s.list(ctx, c, m.params.cursor.value, b, Resources)
	case methodTemplatesList:
		b, e = s.list(ctx, c, m.params.cursor.value, b, Templates)
	case methodComplete:
		return s.complete(ctx, c, b)
	default:
		if c.Modern {
			b, e = s.dispatchModern(c, m, b)
		} else {
			b, e = s.dispatchLegacy(ctx, c, m, b)
		}
	}
	if e != nil {
		return b, Failed, e
	}
	return b, Completed, nil
}

// open begins a result, close ends it; in between come members, each with a comma after it.
func (s *Server) open(c *Call, b []byte) []byte {
	if c.Modern {
		return append(b, `{"resultType":"complete",`...)
	}
	return append(b, '{')
}

func (s *Server) close(c *Call, b []byte) []byte {
	if c.Modern {
		b = append(b, s.resultMeta...)
	}
	return closeObject(b)
}

func appendCacheHints(b []byte, ttl time.Duration, private bool) []byte {
	b = append(b, `"ttlMs":`...)
	b = appendInt(b, ttl.Milliseconds())
	if private {
		return append(b, `,"cacheScope":"private",`...)
	}
	return append(b, `,"cacheScope":"public",`...)
}

func (s *Server) callTool(ctx context.Context, c *Call, b []byte) ([]byte, Outcome, *Error) {
	t := s.opts.Catalog.Tool(ctx, c.Name)
	if text := c.lost(t); text != "" { // a model must read it, which has written the name or the cursor
		return s.appendResult(c, b, &Result{Content: []Content{Text(text)}, IsError: true}), ToolFailed, nil
	}
	if t == nil {
		return b, Failed, s.unknown(Tools, "tool", c.Name)
	}
	if c.Modern && !c.indirect { // no header mirrors what is within arguments
		for _, h := range t.Headers {
			if err := h.check(c.Head.Header, c.Arguments); err != nil {
				return b, Failed, &Error{Code: CodeHeaderMismatch, Message: "header mismatch: " + err.Error()}
			}
		}
	}
	if t.Check != nil {
		if err := t.Check(c.Arguments); err != nil {
			text := clip(fmt.Sprintf("The arguments do not fit the input schema of %s: %v", c.Name, err), maxMessage)
			return s.appendResult(c, b, &Result{Content: []Content{Text(text)}, IsError: true}), ToolFailed, nil
		}
	}
	c.strict = t.Strict
	var result *Result
	outcome, err := s.guard(ctx, c, t.Timeout, func(ctx context.Context) (err error) {
		if result, err = t.Call(ctx, c); err != nil {
			return err
		}
		return t.fits(result, c.From != nil)
	})
	switch {
	case outcome == InputRequired:
		return s.inputRequired(c, b)
	case outcome == Panicked || outcome == Cancelled:
		return b, outcome, err.(*Error)
	case outcome == Failed:
		var e *Error
		if errors.As(err, &e) {
			return b, Failed, e
		}
		if text := err.Error(); !nothingToRead(text) {
			result = &Result{Content: []Content{Text(text)}, IsError: true}
		} else { // a model must read something
			result = &Result{Content: []Content{Text("the tool failed, and does not say why")}, IsError: true}
		}
		if outcome = ToolFailed; errors.Is(err, ErrUnavailable) {
			outcome = Unavailable
		}
	case outcome == TimedOut:
		result = &Result{Content: []Content{Text(err.Error())}, IsError: true}
	case result == nil:
		result = &Result{}
	case result.IsError:
		outcome = ToolFailed
	case result.More != nil && t.ReadsOn:
		result = s.offerMore(c, result)
	}
	return s.appendResult(c, b, result), outcome, nil
}

// fits returns a [Breach] for a result that clients would throw away. The output schema is of a whole answer, and not of what follows a part.
func (t *Tool) fits(r *Result, follows bool) error {
	if r == nil {
		r = &Result{}
	}
	for i := range r.Content {
		if err := r.Content[i].check(); err != nil {
			return &Breach{fmt.Errorf("content[%d]: %w", i, err)}
		}
	}
	if t.Fits == nil || r.IsError || follows {
		if r.Structured == nil {
			return nil
		}
		if _, err := DecodeAnswer(r.Structured); err != nil {
			return &Breach{fmt.Errorf("the structured content: %w", err)}
		}
		return nil
	}
	if err := t.Fits(r); err != nil {
		return &Breach{err}
	}
	return nil
}

func (s *Server) appendResult(c *Call, b []byte, r *Result) []byte {
	b = s.open(c, b)
	b = append(b, `"content":`...)
	b = append(appendContents(b, r.Content, c.Version), ',')
	// Before 2026-07-28 structured content is an object, and clients refuse anything else.
	if r.Structured != nil {
		before := len(b)
		b = appendLine(append(b, `"structuredContent":`...), r.Structured)
		if !c.Modern && b[before+len(`"structuredContent":`)] != '{' {
			b = b[:before]
		} else {
			b = append(b, ',')
		}
	}
	if r.IsError {
		b = append(b, `"isError":true,`...)
	}
	if r.cursor == "" {
		return s.close(c, b)
	}
	b = append(b, `"_meta":{`...)
	if c.Modern {
		b = append(append(b, s.serverInfo...), ',')
	}
	return append(strictjson.AppendString(append(b, metaMore...), r.cursor), "}}"...)
}

func (s *Server) getPrompt(ctx context.Context, c *Call, b []byte) ([]byte, Outcome, *Error) {
	p := s.opts.Catalog.Prompt(ctx, c.Name)
	if p == nil {
		return b, Failed, s.unknown(Prompts, "prompt", c.Name)
	}
	args, e := texts("params.arguments", c.Arguments)
	if e != nil {
		return b, Failed, e
	}
	for _, name := range p.Required {
		if _, ok := args[name]; !ok {
			return b, Failed, invalidParams("prompt %s needs the argument %q", c.Name, name)
		}
	}
	var result *PromptResult
	outcome, err := s.guard(ctx, c, p.Timeout, func(ctx context.Context) (err error) {
		if result, err = p.Get(ctx, c, args); err != nil {
			return err
		}
		return result.check()
	})
	if outcome == InputRequired {
		return s.inputRequired(c, b)
	}
	if outcome != Completed {
		return b, outcome, c.complaint(outcome, err, len(args) > 0)
	}
	b = s.open(c, b)
	b = appendMember(b, "description", result.Description)
	b = append(b, `"messages":[`...)
	for i := range result.Messages {
		msg := &result.Messages[i]
		if msg.Content.Type == "text" && nothingToRead(msg.Content.Text) {
			continue // which models' interfaces refuse
		}
		if b[len(b)-1] != '[' {
			b = append(b, ',')
		}
		b = append(b, `{"role":`...)
		b = strictjson.AppendString(b, msg.Role)
		b = append(b, `,"content":`...)
		b = append(msg.Content.in(c.Version).append(b), '}')
	}
	return s.close(c, append(b, "],"...)), Completed, nil
}

func (s *Server) readResource(ctx context.Context, c *Call, b []byte) ([]byte, Outcome, *Error) {
	r, vars, err := s.opts.Catalog.Resource(ctx, c.Name)
	switch {
	case r == nil && !s.opts.Catalog.Has(Resources) && !s.opts.Catalog.Has(Templates):
		return b, Failed, errMethod
	case r == nil:
		return b, Failed, resourceNotFound(c)
	case err != nil:
		return b, Failed, invalidParams("params.uri: %v", err)
	}
	var result *ReadResult
	outcome, err := s.guard(ctx, c, r.Timeout, func(ctx context.Context) (err error) {
		if result, err = r.Read(ctx, c, c.Name, vars); err == nil && result == nil {
			return &Breach{errors.New("there is no result")}
		}
		return err
	})
	switch {
	case outcome == InputRequired:
		return s.inputRequired(c, b)
	case errors.Is(err, ErrUnknown):
		return b, Failed, resourceNotFound(c)
	case outcome != Completed:
		return b, outcome, c.complaint(outcome, err, len(vars) > 0)
	}
	b = s.open(c, b)
	b = append(b, `"contents":[`...)
	for i := range result.Contents {
		if i > 0 {
			b = append(b, ',')
		}
		one := result.Contents[i]
		one.URI = cmp.Or(one.URI, c.Name) // it is of what was asked for
		b = one.append(b)
	}
	b = append(b, "],"...)
	if c.Modern {
		ttl := result.TTL
		if len(c.accepted) > 0 {
			ttl = 0 // depends on answers that are not part of a cache's key
		}
		b = appendCacheHints(b, ttl, result.Private)
	}
	return s.close(c, b), Completed, nil
}

func resourceNotFound(c *Call) *Error {
	data := append(appendMember([]byte("{"), "uri", clip(c.Name, maxQuoted)), '}')
	data = closeObject(data[:len(data)-1])
	code := CodeInvalidParams
	if !c.Modern {
		code = CodeResourceNotFound
	}
	return &Error{code, "resource not found: " + quote(c.Name), data}
}

// unknown is the answer for a name that is not in the catalog; where the catalog has no such kind at all, the
// capability was never offered.
func (s *Server) unknown(kind Kind, what, name string) *Error {
	if !s.opts.Catalog.Has(kind) {
		return errMethod
	}
	return invalidParams("unknown %s: %s", what, quote(name))
}

// complaint is the error of a prompt or resource. What one that was given arguments says is about these, but for what a person answered,
// and for what it calls that is away.
func (c *Call) complaint(o Outcome, err error, arguments bool) *Error {
	var e *Error
	if _, breach := errors.AsType[*Breach](err); breach || o != Failed || !arguments || errors.As(err, &e) {
		return protocolError(err)
	}
	for _, other := range []error{ErrUnavailable, ErrNoPerson, context.DeadlineExceeded, context.Canceled, c.declined} {
		if other != nil && errors.Is(err, other) {
			return protocolError(err)
		}
	}
	return invalidParams("%v", err)
}

func protocolError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Message: err.Error()}
}

func (s *Server) inputRequired(c *Call, b []byte) ([]byte, Outcome, *Error) {
	b, err := c.appendInputRequired(b)
	if err != nil {
		return b, Failed, protocolError(err)
	}
	return b, InputRequired, nil
}

// guard runs a handler under its time limit and turns how it ended into an outcome. With Failed, the error is the
// handler's; with another outcome it is fit for the client.
func (s *Server) guard(ctx context.Context, c *Call, limit time.Duration, handle func(context.Context) error) (outcome Outcome, err error) {
	if limit == 0 {
		limit = s.opts.Timeout
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if limit > quietTime {
		defer time.AfterFunc(quietTime, c.signOfLife).Stop()
	}
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		s.opts.Logger.ErrorContext(ctx, "panic in a handler", "method", c.Method, "name", c.Name,
			"request_id", c.Head.RequestID, "panic", PanicText(v), "stack_trace", string(debug.Stack()))
		outcome, err = Panicked, &Error{Code: CodeInternal, Message: "internal error; the operator finds it in the log under request " + c.Head.RequestID}
	}()
	if err = c.satisfy(limited); err == nil {
		began := time.Now()
		defer func() { c.handled = time.Since(began) }()
		c.entered = true
		if err = handle(limited); err != nil {
			_, misfit := errors.AsType[*Misfit](err)
			c.entered = !misfit
		}
		if breach, ok := errors.AsType[*Breach](err); ok {
			s.opts.Logger.ErrorContext(ctx, "an answer is not what the protocol and its own description admit, and is not passed on",
				"method", c.Method, "name", c.Name, "request_id", c.Head.RequestID, "error", breach.Err)
			err = fmt.Errorf("%w under request %s", err, c.Head.RequestID)
		}
	}
	switch {
	case err == nil:
		return Completed, nil
	case c.pending != nil:
		return InputRequired, nil
	case ctx.Err() != nil:
		what := "the call was cancelled"
		if cause := context.Cause(ctx); cause != context.Canceled {
			what += ": " + cause.Error()
		}
		return Cancelled, &Error{Code: CodeInternal, Message: what}
	case limited.Err() != nil:
		return TimedOut, fmt.Errorf("%s took longer than its limit of %v", c.Name, limit)
	}
	return Failed, err
}

// PanicText says what a panic was about without what it may quote: a value's text can hold arguments.
func PanicText(v any) string {
	var fault runtime.Error
	if err, ok := v.(error); ok && errors.As(err, &fault) {
		return fault.Error()
	}
	return fmt.Sprintf("%T", v)
}

func (c *Call) signOfLife() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.exchange.Stream(nil)
	}
}

// texts demands that every value of an object is a string; null is none.
func texts(what string, object map[string]any) (map[string]string, *Error) {
	out := make(map[string]string, len(object))
	for name, v := range object {
		if v == nil {
			continue
		}
		text, ok := v.(string)
		if !ok {
			return nil, invalidParams("%s: %q must be a string", what, name)
		}
		out[name] = text
	}
	return out, nil
}
