// Package mcp is the protocol engine: it decodes a Model Context Protocol message once, asks the gate, dispatches to the
// catalog and encodes the answer. It speaks both eras on one endpoint, the modern one (2026-07-28, every request complete
// in itself) and the legacy ones (2024-11-05 to 2025-11-25, which begin with initialize), and remembers nothing between
// two requests, so that any instance answers any of them.
//
// It does no input or output of its own: an [Exchange] brings the body and takes the answer, a [Gate] decides, a [Catalog]
// holds what can be called, and a Sealer protects what travels through the client. The wire is described by the
// specification at https://modelcontextprotocol.io/specification/2026-07-28.
package mcp

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// An Exchange is one HTTP request and its answer. The engine calls exactly one of Reply, Accept and Refuse, once, last;
// Stream may be called before Reply, from any goroutine but not at the same time.
type Exchange interface {
	// Body reads the whole body, into memory of the owner's share. With an error it returns what was read before; the error is a
	// [*BodyError] where there may be no such body. If the body is long in coming, it says so, once and from another goroutine.
	Body(owner string, late Late) ([]byte, error)
	// Peek reads no more of the body than an answer without it needs, to find the request's id.
	Peek() []byte
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
	// Observe tells what became of a message, once for each, after the answer to one that has an exchange to itself. The
	// context is the call's.
	Observe(context.Context, *Message)
}

// Late is told that a body is long in coming.
type Late interface{ Late() }

// A BodyError is why [Exchange.Body] does not read a body.
type BodyError struct {
	Reason                Reason
	Message, Scope, Limit string // as a [Refusal] has them
}

func (e *BodyError) Error() string { return e.Message + ": the limit is " + e.Limit }

func (e *BodyError) refusal(message string, head *RequestHeader) *Refusal {
	r := &Refusal{Reason: e.Reason, Message: message, Scope: e.Scope, Limit: e.Limit, Receipt: head.RequestID}
	if e.Reason != TooLarge {
		r.RetryAfter = time.Second
	}
	return r
}

// A Sealer protects what travels through a client, as a seal.Ring does. Open returns what Seal was given for the same purpose and binding.
type Sealer interface {
	Seal(purpose string, binding, plaintext []byte, expires time.Time) string
	Open(purpose string, binding []byte, sealed string, now time.Time) ([]byte, error)
}

// Options configure a [Server]. The zero value of each field is a default, but for Catalog, Gate and Keys, which must be
// there.
type Options struct {
	Catalog Catalog
	Gate    Gate
	Keys    Sealer
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

// A Server is the engine, for one catalog. It is safe for concurrent use, and keeps nothing: that of another catalog takes its place between
// two requests.
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
