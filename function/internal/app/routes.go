package app

import (
	"net/http"

	"example.com/erlmcp/function/internal/serve"
	"example.com/erlmcp/function/internal/store/redis"
	"example.com/erlmcp/function/internal/streamhttp"
)

// RequestID is the header that has the id of a request.
const RequestID = "X-Request-Id"

// Watch adds what platforms and operators look at, and what stands before every path.
func (a *App) Watch(status serve.Status, mux *http.ServeMux, all http.Handler) http.Handler {
	probes := serve.Probes{Server: a.Server, Status: status, Version: a.Options.Info.Version, Start: a.Start, Explain: redis.Explain}
	probes.Register(mux, a.Config)
	mux.Handle("GET /metrics", streamhttp.FromThisMachine(a.Telemetry.Handler()))
	if a.Options.Loopback {
		all = streamhttp.LoopbackOnly(all)
	}
	return streamhttp.Observe(all, a.Observer, a.Recorder.NewID, a.Logger)
}
