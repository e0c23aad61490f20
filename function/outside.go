package function

import (
	"context"
	"net/http"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/outbound"
	"example.com/erlmcp/function/internal/telemetry"
)

// Client is the way out for a tool, prompt or resource: an HTTP client that reaches public addresses over https, and of others those that
// OUTBOUND_ALLOW names. Every address is checked when it is dialed, that of a redirect too, so that a caller's argument leads to no
// metadata server and nothing inside your network. A GET or HEAD that gets no answer, or 502, 503 or 504, is sent again, twice at most.
//
// Hand the context to the requests: they end with the call, and are spans of its trace, of which nothing is recorded of a URL but its
// host. Outside of a call, as in a test, the client reaches public addresses alone.
func Client(ctx context.Context) *http.Client {
	if c := mcp.FromContext(ctx); c != nil && c.HTTPClient() != nil {
		return c.HTTPClient()
	}
	return publicClient()
}

// toolsTimeout is for a request without a deadline of its own.
const toolsTimeout = time.Minute

var publicClient = sync.OnceValue(func() *http.Client { return toolsClient(outbound.Options{}) })

func toolsClient(o outbound.Options) *http.Client {
	o.Timeout = toolsTimeout
	c := outbound.NewClient(o).HTTP()
	c.Transport = telemetry.Transport{Base: outbound.Retry{Next: c.Transport}}
	return c
}
