package function

import (
	"context"
	"net/http"
	"sync"

	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/egress"
	"example.com/erlmcp/function/internal/mcp"
)

// Client is the way out for a tool, prompt or resource: an HTTP client that reaches public addresses over https, and of others those that
// EGRESS_ALLOW names. Every address is checked when it is dialed, that of a redirect too, so that a caller's argument leads to no
// metadata server and nothing inside your network. A GET or HEAD that gets no answer, or 502, 503 or 504, is sent again, twice at most, as long as
// no more than a tenth of all requests are.
//
// Hand the context to the requests: they end with the call, and are spans of its trace, of which nothing is recorded of a URL but its
// host. Outside of a call, as in a test, the client reaches public addresses alone.
func Client(ctx context.Context) *http.Client {
	if c := mcp.FromContext(ctx); c != nil && c.HTTPClient() != nil {
		return c.HTTPClient()
	}
	return publicClient()
}

var publicClient = sync.OnceValue(func() *http.Client { return app.ToolsClient(egress.Options{}) })
