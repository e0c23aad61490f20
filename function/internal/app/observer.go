package app

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/erlmcp/function/internal/account"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/streamhttp"
	"example.com/erlmcp/function/internal/telemetry"
)

// openTelemetry opens what the settings name.
func openTelemetry(ctx context.Context, o *Options, cfg *config.Config, instance string) (*telemetry.Telemetry, error) {
	seen := &cfg.Seen
	output := io.Writer(os.Stdout)
	if seen.LogOutput == "stderr" {
		output = os.Stderr
	}
	if o.Output != nil {
		output = o.Output
	}
	var authorize func(*http.Request) error
	if seen.Google {
		authorize = account.Authorizer(nil, "https://www.googleapis.com/auth/cloud-platform")
	}
	return telemetry.New(ctx, telemetry.Options{
		Service: Target, Version: o.Info.Version, Instance: instance, Project: cfg.Project,
		Level: seen.LogLevel, LevelFile: seen.LevelFile, Output: output, LogAPI: seen.LogOutput == "api", File: seen.LogFile, Sample: seen.LogSample,
		Endpoint: seen.Endpoint, Headers: headers(string(seen.Headers)), Sampler: seen.Sampler, SampleRatio: seen.SamplerRatio, Interval: seen.Interval, Logger: o.Logger,
		Authorize: authorize, Dial: o.Stand.Dial,
	})
}

// headers reads OTEL_EXPORTER_OTLP_HEADERS, whose values are escaped as in URLs.
func headers(list string) map[string]string {
	out := map[string]string{}
	for pair := range strings.SplitSeq(list, ",") {
		if name, value, ok := strings.Cut(pair, "="); ok {
			if plain, err := url.PathUnescape(strings.TrimSpace(value)); err == nil {
				value = plain
			}
			out[strings.TrimSpace(name)] = value
		}
	}
	return out
}

// An Observer tells telemetry of requests, and puts nothing into it that a caller wrote, but for what can be neither an argument
// nor a credential.
type Observer struct {
	silent    bool
	telemetry *telemetry.Telemetry
	probes    map[string]bool // paths
	listening atomic.Int64    // subscriptions/listen that run

	mu      sync.RWMutex
	clients map[string]string // by clientInfo as it came
}

// Observe has telemetry be told of requests.
func (a *App) Observe() {
	probes := map[string]bool{a.Config.Health: true, a.Config.Ready: true, "/startup": true, "/metrics": true}
	a.Observer = &Observer{silent: a.Options.WithoutTelemetry, telemetry: a.Telemetry, probes: probes}
}

// Listening is how many streams of subscriptions/listen are open.
func (o *Observer) Listening() int64 { return o.listening.Load() }

// Begin implements [streamhttp.Observer].
func (o *Observer) Begin(ctx context.Context, x *streamhttp.Exchange) context.Context {
	if o.silent {
		return ctx
	}
	return o.telemetry.StartHTTP(ctx, verb(x.Request.Method), x.Request.Header, x.Begun)
}

// Believe has a request belong to the trace that its caller named.
func (o *Observer) Believe(ctx context.Context) context.Context {
	if o.silent {
		return ctx
	}
	return o.telemetry.Believe(ctx)
}

// Operation opens the span of a request that is decoded.
func (o *Observer) Operation(ctx context.Context, c *mcp.Call) context.Context {
	if o.silent {
		return ctx
	}
	method := known(c.Method)
	if method == methodListen {
		o.listening.Add(1)
	}
	kind, name := c.Entry()
	return o.telemetry.StartOperation(ctx, telemetry.Operation{
		Method: method, Kind: kind, Name: name, Era: c.Version, Parent: c.Trace.Parent, State: c.Trace.State, Believed: c.Believed, Begun: c.Head.Began,
	})
}

// Message implements [streamhttp.Observer].
func (o *Observer) Message(ctx context.Context, x *streamhttp.Exchange, m *mcp.Message) {
	if o.silent {
		return
	}
	if m.Call != nil && m.Method == methodListen {
		o.listening.Add(-1)
	}
	r := o.request(x)
	if r.Begun = m.Began; r.Begun.IsZero() {
		r.Begun = x.Begun
	}
	r.Duration, r.Handled = time.Since(r.Begun), m.Handled
	r.Method, r.Outcome, r.Tenant, r.Era = known(m.Method), m.Outcome.String(), m.Tenant, era(m)
	r.Kind, r.Name = m.Entry()
	r.Client = o.client(m.Client, x.Request.UserAgent())
	if m.Method == "" && m.Outcome != mcp.Invalid {
		r.Method = "unread" // refused before it was known
	}
	switch {
	case m.Refusal != nil:
		r.Error, r.Code, r.Fault = m.Refusal.Reason.Name, m.Refusal.Reason.Code, telemetry.Refused
		r.Reason, r.Scope, r.Limit = m.Refusal.Reason.Name, m.Refusal.Scope, m.Refusal.Limit
	case m.Error != nil:
		r.Code = m.Error.Code
		r.Error, r.Fault = strconv.Itoa(r.Code), telemetry.Theirs
		if r.Code == mcp.CodeInternal {
			r.Fault = telemetry.Ours
		}
	}
	switch m.Outcome {
	case mcp.ToolFailed:
		r.Error = "tool_error"
	case mcp.Unavailable:
		r.Error, r.Fault = "unavailable", telemetry.Upstreams
	case mcp.TimedOut:
		r.Error, r.Fault = "timeout", telemetry.Upstreams
	case mcp.Cancelled:
		r.Error, r.Fault = "cancelled", telemetry.Theirs
	case mcp.Panicked:
		r.Error, r.Fault = "panic", telemetry.Ours
	}
	if m.Call == nil { // its span was not opened
		ctx = o.telemetry.StartOperation(ctx, telemetry.Operation{Method: r.Method, Kind: r.Kind, Name: r.Name, Era: r.Era, Begun: r.Begun})
	}
	o.telemetry.EndOperation(ctx, r)
	o.telemetry.Record(ctx, r)
}

// End implements [streamhttp.Observer].
func (o *Observer) End(ctx context.Context, x *streamhttp.Exchange) {
	if o.silent {
		return
	}
	r := o.request(x)
	o.telemetry.EndHTTP(ctx, r.Path, x.Status)
	if x.Messages > 0 {
		return // each has its record
	}
	r.Begun, r.Duration = x.Begun, time.Since(x.Begun)
	r.Quiet = o.probes[r.Path] && x.Status < 400
	r.Client = o.client(nil, x.Request.UserAgent())
	if x.Status >= 400 {
		r.Error, r.Fault = "http_"+strconv.Itoa(x.Status), telemetry.Theirs
		if x.Panicked {
			r.Error, r.Fault = "panic", telemetry.Ours
		}
	}
	o.telemetry.Record(ctx, r)
}

// request is what there is to say of every request.
func (o *Observer) request(x *streamhttp.Exchange) *telemetry.Request {
	path := x.Request.Pattern // of the routes: what stands in a URL beyond it can be anything
	if _, after, ok := strings.Cut(path, " "); ok {
		path = after
	}
	if path == "/" || path == "" { // not routed, or not let that far
		path = "elsewhere"
	}
	return &telemetry.Request{
		ID: x.RequestID, HTTPMethod: verb(x.Request.Method), Path: path, Protocol: x.Request.Proto, Status: x.Status,
		RequestSize: max(0, x.Request.ContentLength), ResponseSize: x.Size, UserAgent: product(x.Request.UserAgent()),
	}
}

var verbs = map[string]bool{http.MethodGet: true, http.MethodHead: true, http.MethodPost: true, http.MethodPut: true, http.MethodDelete: true, http.MethodOptions: true, http.MethodPatch: true}

func verb(method string) string {
	if verbs[method] {
		return method
	}
	return "OTHER"
}

const methodListen = "subscriptions/listen"

// known is a method of the protocol, or one for all that callers invent.
func known(method string) string {
	if method == "" || mcp.Known(method) {
		return method
	}
	return "other"
}

var eras = map[string]bool{"2024-11-05": true, "2025-03-26": true, "2025-06-18": true, "2025-11-25": true, "2026-07-28": true}

func era(m *mcp.Message) string {
	switch {
	case eras[m.Version]:
		return m.Version
	case m.Version != "":
		return "unknown"
	}
	return ""
}

const maxClients = 1000

// client is what the client calls itself: by clientInfo, or else by the product of its User-Agent.
func (o *Observer) client(info json.RawMessage, userAgent string) string {
	if info == nil {
		return product(userAgent)
	}
	o.mu.RLock()
	name, ok := o.clients[string(info)]
	o.mu.RUnlock()
	if ok {
		return name
	}
	var c struct{ Name, Version string }
	if json.Unmarshal(info, &c) != nil {
		return ""
	}
	if name = tidy(c.Name); c.Version != "" {
		name += "/" + tidy(c.Version)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.clients) >= maxClients || o.clients == nil {
		o.clients = map[string]string{}
	}
	if len(info) <= 1024 {
		o.clients[string(info)] = name
	}
	return name
}

// product is the first of a User-Agent.
func product(userAgent string) string {
	first, _, _ := strings.Cut(userAgent, " ")
	return tidy(first)
}

// tidy keeps what names and versions are made of.
func tidy(s string) string {
	const most = 64
	clean := len(s) <= most
	for i := 0; clean && i < len(s); i++ {
		clean = plain(rune(s[i]))
	}
	if clean {
		return s
	}
	return strings.Map(func(r rune) rune {
		if plain(r) {
			return r
		}
		return '_'
	}, s[:min(len(s), most)])
}

func plain(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._/@: ", r)
}
