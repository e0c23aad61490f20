// Package streamhttp is where HTTP ends: it bounds what comes in, holds browsers to the allowed origins, gives each request an id
// and carries the protocol engine's answers out, as one JSON body or as server-sent events. It knows nothing of tools or
// limits.
//
// The transport is Streamable HTTP: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http.
package streamhttp

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/mcp"
)

// Options configure a [Handler].
type Options struct {
	Engine      func() *mcp.Server // in force: each request is served by one, to its end
	Origins     Origins
	MaxBody     int64         // bytes of a request's body; default 1 MiB
	BodyTimeout time.Duration // for reading it; default 30 s
	KeepAlive   time.Duration // between signs of life on a silent stream; default 15 s
	SignIn      string        // how one is signed in, for who reads an answer
	Memory      int64         // bytes that requests and answers under way may take; default 64 MiB
}

// A Handler serves the MCP endpoint, below [Observe].
type Handler struct {
	opts    Options
	memory  *memory
	overdue sync.Pool // of timers that are not used
}

// NewHandler returns the handler of the MCP endpoint.
func NewHandler(opts Options) *Handler {
	if opts.MaxBody == 0 {
		opts.MaxBody = 1 << 20
	}
	if opts.BodyTimeout == 0 {
		opts.BodyTimeout = 30 * time.Second
	}
	if opts.KeepAlive == 0 {
		opts.KeepAlive = 15 * time.Second
	}
	if opts.Memory == 0 {
		opts.Memory = 64 << 20
	}
	return &Handler{opts: opts, memory: newMemory(opts.Memory, opts.MaxBody)}
}

// Held is how many bytes of requests and answers are under way, of how many there may be.
func (h *Handler) Held() (held, most int64) { return h.memory.held() }

// Toolset is what routes call the part of a path that names a toolset.
const Toolset = "toolset"

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
	x := &exchange{w: w, r: r, handler: h, observed: observed}
	defer x.close()

	if origin := r.Header.Get("Origin"); origin != "" {
		if err := h.opts.Origins.Allow(origin); err != nil {
			fail(w, http.StatusForbidden, err.Error())
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
		head := mcp.ReadRequestHeader(r.Header, observed.RequestID, r.RemoteAddr, observed.Begun)
		head.Toolset = r.PathValue(Toolset)
		if !h.opts.Engine().Identify(r.Context(), head, x) {
			return
		}
		header["Allow"] = allowed
		fail(w, http.StatusMethodNotAllowed, strings.TrimSuffix("send JSON-RPC messages by POST; there are no sessions and no stream to GET; "+h.opts.SignIn, "; "))
		return
	}
	if !jsonBody(r.Header) {
		fail(w, http.StatusUnsupportedMediaType, "send the header Content-Type: application/json, and the body without Content-Encoding")
		return
	}
	head := mcp.ReadRequestHeader(r.Header, observed.RequestID, r.RemoteAddr, observed.Begun)
	head.Size, head.Toolset = r.ContentLength, r.PathValue(Toolset)
	h.opts.Engine().Serve(r.Context(), head, x)
}

// shown is what a caller wrote, for an answer: in ASCII, and not all of it.
func shown(text string) string {
	const most = 200
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strconv.QuoteToASCII(text)
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
