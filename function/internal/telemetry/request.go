package telemetry

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/trace"

	"example.com/erlmcp/function/internal/strictjson"
)

// A Request is what became of one message, or of an HTTP request that held none. What a caller writes is in it only where it
// can be neither an argument nor a credential: names that are not in the catalog are left out.
type Request struct {
	ID       string
	Begun    time.Time
	Duration time.Duration
	Handled  time.Duration // of it, in the handler: the tool, prompt or resource
	Quiet    bool          // a probe: recorded at the level debug alone

	// Of the message; Method is "" where there was none.
	Method  string // that the protocol knows, or "other"
	Kind    string // of the catalog's entry: tool, prompt, resource; "" for none
	Name    string // of the entry
	Era     string // protocol revision
	Client  string // that the client gives itself
	Tenant  string
	Outcome string
	Error   string // error.type: a JSON-RPC code, the reason of a refusal, tool_error, …; "" for none
	Code    int    // of the JSON-RPC error; 0 for none
	Fault   Fault
	// Of a refusal.
	Reason, Scope, Limit string

	// Of the HTTP request.
	HTTPMethod, Path, Protocol, UserAgent string
	Status                                int
	RequestSize, ResponseSize             int64
}

// Fault says whose affair it is how a request ended.
type Fault int

// Faults, by who should look.
const (
	None Fault = iota
	Theirs
	Refused
	Upstreams // of what a tool calls, or of the tool
	Ours
)

func (f Fault) level() slog.Level {
	switch f {
	case Ours:
		return slog.LevelError
	case Refused, Upstreams:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// Record writes the record of a request and counts it. The context carries its span.
func (t *Telemetry) Record(ctx context.Context, r *Request) {
	span := trace.SpanContextFromContext(ctx)
	t.metrics.record(r, span)
	level := r.Fault.level()
	if r.Quiet {
		level = slog.LevelDebug
	}
	if r.Fault == None && t.opts.Sample > 0 && t.opts.Sample < 1 && rand.Float64() >= t.opts.Sample {
		return
	}
	if t.opts.Logger != nil {
		t.hand(ctx, level, r)
		return
	}
	if level < t.log.level.Level() {
		return
	}
	t.log.put(&entry{time: r.Begun.Add(r.Duration), level: level, message: r.message(), span: span, request: r})
}

// hand gives the record to a logger of someone else's.
func (t *Telemetry) hand(ctx context.Context, level slog.Level, r *Request) {
	if !t.opts.Logger.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 20)
	r.each(func(name, text string) { attrs = append(attrs, slog.String(name, text)) },
		func(name string, n float64) { attrs = append(attrs, slog.Float64(name, n)) })
	t.opts.Logger.LogAttrs(ctx, level, r.message(), attrs...)
}

func (r *Request) message() string {
	switch {
	case r.Method == "":
		return r.HTTPMethod + " " + r.Path
	case r.Name != "":
		return r.Method + " " + r.Name
	}
	return r.Method
}

func (r *Request) decision() string {
	switch {
	case r.Reason != "":
		return "refused"
	case r.Method == "" || r.Outcome == "invalid":
		return "" // nothing was asked
	}
	return "admitted"
}

// each lists the members that are there.
func (r *Request) each(text func(name, value string), number func(name string, value float64)) {
	texts := [...]struct{ name, value string }{
		{"request_id", r.ID}, {"client", r.Client}, {"method", r.Method}, {r.Kind, r.Name}, {"tenant", r.Tenant}, {"era", r.Era},
		{"decision", r.decision()}, {"reason", r.Reason}, {"scope", r.Scope}, {"limit", r.Limit}, {"outcome", r.Outcome}, {"error_type", r.Error},
	}
	for _, m := range texts {
		if m.value != "" {
			text(m.name, m.value)
		}
	}
	number("duration_ms", milliseconds(r.Duration))
	if r.Handled > 0 {
		number("handler_ms", milliseconds(r.Handled))
	}
	if r.Code != 0 {
		number("code", float64(r.Code))
	}
	if r.Status != 0 {
		number("status", float64(r.Status))
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// appendMembers appends the members as JSON, each with a comma before it.
func (r *Request) appendMembers(b []byte) []byte {
	r.each(func(name, value string) {
		b = append(append(append(b, `,"`...), name...), `":`...)
		b = strictjson.AppendString(b, value)
	}, func(name string, value float64) {
		b = append(append(append(b, `,"`...), name...), `":`...)
		b = strconv.AppendFloat(b, value, 'f', -1, 64)
	})
	return b
}

// appendHTTP appends the member httpRequest as Google Cloud reads it.
func (r *Request) appendHTTP(b []byte) []byte {
	b = append(b, `,"httpRequest":{"requestMethod":`...)
	b = strictjson.AppendString(b, r.HTTPMethod)
	b = strictjson.AppendString(append(b, `,"requestUrl":`...), r.Path)
	b = strictjson.AppendString(append(b, `,"protocol":`...), r.Protocol)
	if r.UserAgent != "" {
		b = strictjson.AppendString(append(b, `,"userAgent":`...), r.UserAgent)
	}
	if r.Status != 0 {
		b = strconv.AppendInt(append(b, `,"status":`...), int64(r.Status), 10)
	}
	b = strconv.AppendInt(append(b, `,"requestSize":"`...), r.RequestSize, 10)
	b = strconv.AppendInt(append(b, `","responseSize":"`...), r.ResponseSize, 10)
	b = strconv.AppendFloat(append(b, `","latency":"`...), r.Duration.Seconds(), 'f', 6, 64)
	return append(b, `s"}`...)
}

// appendWords appends what a person at a terminal wants to know.
func (r *Request) appendWords(b []byte) []byte {
	b = append(b, ": "...)
	outcome := r.Outcome
	if outcome == "" {
		outcome = strconv.Itoa(r.Status)
	}
	b = append(b, outcome...)
	b = append(b, " in "...)
	b = append(b, r.Duration.Round(10*time.Microsecond).String()...)
	for _, m := range [...]struct{ name, value string }{{"reason", r.Reason}, {"scope", r.Scope}, {"error", r.Error}, {"tenant", r.Tenant}, {"client", r.Client}, {"request_id", r.ID}} {
		if m.value != "" && !(m.name == "error" && m.value == r.Reason) {
			b = appendWord(b, "", slog.String(m.name, m.value))
		}
	}
	return b
}
