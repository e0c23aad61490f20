package app

import (
	"net/http"
	"time"

	"example.com/erlmcp/function/internal/egress"
	"example.com/erlmcp/function/internal/telemetry"
)

// toolsTimeout is for a request without a deadline of its own.
const toolsTimeout = time.Minute

// ToolsClient is the way out for tools.
func ToolsClient(o egress.Options) *http.Client {
	o.Timeout = toolsTimeout
	c := egress.NewClient(o).HTTP()
	c.Transport = telemetry.Transport{Base: egress.NewRetry(c.Transport)}
	return c
}
