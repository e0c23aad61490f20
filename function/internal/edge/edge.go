// Package edge is where HTTP ends: it bounds what comes in, holds browsers to the allowed origins, gives each request an id
// and carries the protocol engine's answers out, as one JSON body or as server-sent events. It knows nothing of tools or
// limits.
//
// The transport is Streamable HTTP: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http.
package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/mcp"
)

// Options configure a [Handler].
type Options struct {
	Engine      *mcp.Server
	Origins     Origins
	MaxBody     int64         // bytes of a request's body; default 4 MiB
	BodyTimeout time.Duration // for reading it; default 30 s
	KeepAlive   time.Duration // between signs of life on a silent stream; default 15 s
}

// A Handler serves the MCP endpoint, below [Observe].
type Handler struct{ opts Options }

// NewHandler returns the handler of the MCP endpoint.
func NewHandler(opts Options) *Handler {
	if opts.MaxBody == 0 {
		opts.MaxBody = 4 << 20
	}
	if opts.BodyTimeout == 0 {
		opts.BodyTimeout = 30 * time.Second
	}
	if opts.KeepAlive == 0 {
		opts.KeepAlive = 15 * time.Second
	}
	return &Handler{opts}
}

// Header values that are the same on every answer are shared.
var (
	typeJSON    = []string{"application/json"}
	typeEvents  = []string{"text/event-stream"}
	noStore     = []string{"no-store"}
	noBuffering = []string{"no"}
	allowed     = []string{"POST, OPTIONS"}
)

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	observed := w.(*Exchange)
	header := w.Header()
	header["Cache-Control"] = noStore
	x := &exchange{w: w, r: r, opts: &h.opts, observed: observed}
	defer x.close()

	if origin := r.Header.Get("Origin"); origin != "" {
		if !h.opts.Origins.Allow(origin) {
			fail(w, http.StatusForbidden, "requests from the origin "+strconv.QuoteToASCII(origin)+" are not allowed: name it in ALLOWED_ORIGINS")
			return
		}
		allowOrigin(header, origin)
	}
	switch r.Method {
	case http.MethodPost:
	case http.MethodOptions:
		header["Allow"] = allowed
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		header["Allow"] = allowed
		fail(w, http.StatusMethodNotAllowed, "send JSON-RPC messages by POST; there are no sessions and no stream to GET")
		return
	}
	if !jsonBody(r.Header) {
		fail(w, http.StatusUnsupportedMediaType, "send the header Content-Type: application/json, and the body without Content-Encoding")
		return
	}
	h.opts.Engine.Serve(r.Context(), mcp.ReadHead(r.Header, observed.RequestID, r.RemoteAddr, observed.Begun), x)
}

func jsonBody(h http.Header) bool {
	ct := h.Get("Content-Type")
	if ct != "application/json" {
		media, params, err := mime.ParseMediaType(ct)
		if err != nil || media != "application/json" {
			return false
		}
		if cs, ok := params["charset"]; ok && !strings.EqualFold(cs, "utf-8") {
			return false
		}
	}
	enc := h.Get("Content-Encoding")
	return enc == "" || enc == "identity"
}

// fail answers what never was a JSON-RPC request, still in JSON-RPC.
func fail(w http.ResponseWriter, status int, message string) {
	write(w, status, mcp.AppendError(nil, nil, &mcp.Error{Code: mcp.CodeInvalidRequest, Message: message}))
}

func write(w http.ResponseWriter, status int, body []byte) {
	header := w.Header()
	header["Content-Type"] = typeJSON
	header["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	w.Write(body)
}

// An exchange is one request and its answer, as the engine sees it.
type exchange struct {
	w        http.ResponseWriter
	r        *http.Request
	opts     *Options
	observed *Exchange

	mu        sync.Mutex // the keep-alive writes beside the call
	answered  bool
	streaming bool
	broken    bool
	alive     *time.Timer
}

// Body reads the body within the limits of size and time. The memory for it grows with what arrives, not with what is
// announced.
func (x *exchange) Body() ([]byte, error) { return x.read(x.opts.MaxBody) }

// glance is where an id is looked for, if the body is not to be read: at its begin.
const glance = 16 << 10

func (x *exchange) Glance() []byte {
	body, err := x.read(min(glance, x.opts.MaxBody))
	if err != nil {
		x.w.Header()["Connection"] = []string{"close"} // the rest of the body is not read
	}
	return body
}

func (x *exchange) read(limit int64) ([]byte, error) {
	announced := x.r.ContentLength
	if announced == 0 {
		return nil, nil
	}
	rc := http.NewResponseController(x.w)
	timed := rc.SetReadDeadline(time.Now().Add(x.opts.BodyTimeout)) == nil
	size := int64(512)
	if announced > 0 {
		size = min(announced+1, 64<<10, limit+1) // one more, so that the end is met without growing
	}
	body := make([]byte, 0, size)
	for {
		n, err := x.r.Body.Read(body[len(body):min(int64(cap(body)), limit+1)])
		body = body[:len(body)+n]
		if int64(len(body)) > limit {
			return body, fmt.Errorf("%w: the limit is %d bytes", mcp.ErrTooLarge, limit)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return body, errors.New("the connection failed or was too slow")
		}
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
	}
	if timed {
		rc.SetReadDeadline(time.Time{})
	}
	return body, nil
}

func (x *exchange) Reply(status int, body []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answered = true
	if x.streaming || status == http.StatusOK && !accepts(x.r.Header, "application/json") {
		x.event(body)
		return
	}
	write(x.w, status, body)
}

// Tell implements [mcp.Exchange].
func (x *exchange) Tell(ctx context.Context, m *mcp.Message) {
	x.observed.Messages++
	x.observed.observer.Message(ctx, x.observed, m)
}

func (x *exchange) Accept() {
	x.answered = true
	x.w.WriteHeader(http.StatusAccepted)
}

func (x *exchange) Refuse(r *mcp.Refusal, status int, body []byte) {
	if r.RetryAfter > 0 {
		// Jitter, so that those who were refused together don't come back together.
		wait := r.RetryAfter.Seconds() * (1 + 0.03*rand.Float64())
		x.w.Header()["Retry-After"] = []string{strconv.Itoa(max(1, int(math.Ceil(wait))))}
	}
	if r.RateLimit != "" {
		x.w.Header()["Ratelimit"] = []string{r.RateLimit}
		x.w.Header()["Ratelimit-Policy"] = []string{r.RateLimitPolicy}
	}
	if r.Challenge != "" {
		x.w.Header()["Www-Authenticate"] = []string{r.Challenge}
	}
	if r.Reason == mcp.TooLarge {
		x.w.Header()["Connection"] = []string{"close"}
	}
	if dropsReasons(x.r.UserAgent()) && (status == http.StatusTooManyRequests || status >= http.StatusInternalServerError) {
		status = http.StatusOK
	}
	x.Reply(status, body)
}

// dropsReasons tells whether the client may be the official Go SDK, which up to version 1.8 discards the body of a 429 or
// 5xx. The status gives way, so that the reason reaches the person; the headers stay.
func dropsReasons(userAgent string) bool { return strings.HasPrefix(userAgent, "Go-http-client/") }

func (x *exchange) Stream(event []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.answered || !accepts(x.r.Header, "text/event-stream") {
		return
	}
	x.event(event)
}

// event writes one server-sent event, or a comment where there is none, and opens the stream before the first.
func (x *exchange) event(data []byte) {
	if !x.streaming {
		x.streaming = true
		header := x.w.Header()
		header["Content-Type"] = typeEvents
		header["X-Accel-Buffering"] = noBuffering
		x.w.WriteHeader(http.StatusOK)
		x.alive = time.AfterFunc(x.opts.KeepAlive, x.keepAlive)
	}
	if x.broken {
		return
	}
	rc := http.NewResponseController(x.w)
	rc.SetWriteDeadline(time.Now().Add(x.opts.BodyTimeout)) // a client that does not read holds nothing up for longer
	b := make([]byte, 0, len(data)+32)
	if data == nil {
		b = append(b, ':')
	} else {
		b = append(b, "event: message\ndata: "...)
		for _, c := range data {
			if c == '\n' || c == '\r' { // white space between JSON tokens; inside strings it is escaped
				c = ' '
			}
			b = append(b, c)
		}
	}
	b = append(b, "\n\n"...)
	if _, err := x.w.Write(b); err != nil || rc.Flush() != nil {
		x.broken = true
	}
	rc.SetWriteDeadline(time.Time{}) // the connection outlives this event, and this request
	x.alive.Reset(x.opts.KeepAlive)
}

func (x *exchange) keepAlive() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.answered {
		x.event(nil)
	}
}

// close ends the keep-alive: after it nothing writes.
func (x *exchange) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answered = true
	if x.alive != nil {
		x.alive.Stop()
	}
}

// accepts tells whether the client takes the media type. Without an Accept header it takes all.
func accepts(h http.Header, media string) bool {
	values := h["Accept"]
	if len(values) == 0 {
		return true
	}
	group, _, _ := strings.Cut(media, "/")
	named := false
	for _, v := range values {
		if strings.Contains(v, media) || strings.Contains(v, "*/*") || strings.Contains(v, group+"/*") {
			return true
		}
		named = named || strings.Contains(v, "text/event-stream")
	}
	// Something else altogether, such as a browser's text/html: JSON is what there is.
	return media == "application/json" && !named
}
