package function

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"example.com/erlmcp/function/internal/edge"
)

// routes is every path and what stands before it.
func (s *Server) routes(endpoint http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/mcp", endpoint)
	mux.HandleFunc(metadataPath, s.protectedResource(""))
	mux.HandleFunc(metadataPath+"/mcp", s.protectedResource("/mcp"))
	mux.HandleFunc("/", s.elsewhere)
	return s.watched(mux)
}

// controlRoutes is the same for the control plane, which has a table of its own.
func (s *Server) controlRoutes(plane http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set(requestID, w.Header().Get(requestID)) // and not what the caller says
		plane.ServeHTTP(w, r)
	})
	return s.watched(mux)
}

// watched adds what platforms and operators look at, and what stands before every path.
func (s *Server) watched(mux *http.ServeMux) http.Handler {
	mux.HandleFunc("GET "+s.config.Health, s.health)
	mux.HandleFunc("GET "+s.config.Ready, s.ready)
	mux.HandleFunc("GET /startup", s.startup)
	mux.Handle("GET /metrics", edge.FromThisMachine(s.seen.Handler()))
	var all http.Handler = mux
	if s.loopback {
		all = edge.LoopbackOnly(mux)
	}
	return edge.Observe(all, s.observer, s.recorder.newID(), s.logger)
}

// health says whether the process is alive, and what it can do.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, struct {
		Status  string `json:"status"`
		Ready   bool   `json:"erlmcp_ready"`
		Governs bool   `json:"taiea_ready"`
		Version string `json:"version"`
	}{"up", !s.draining.Load(), s.governs(), Version})
}

// ready says whether requests should be sent here.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.draining.Load() {
		answer(w, http.StatusServiceUnavailable, map[string]string{"status": "draining"})
		return
	}
	if s.redis != nil && s.governor != nil && (!s.governs() || len(s.gate.Degraded()) > 0) {
		s.governor.Warm() // whether it is still so: without calls nobody else asks
	}
	s.entitled.warm(0)
	if !s.governs() {
		answer(w, http.StatusServiceUnavailable, map[string]string{"status": "starting: neither the store nor Redis has told yet what operators have ordered, or the store what tenants are entitled to"})
		return
	}
	answer(w, http.StatusOK, map[string]any{"status": "ready", "scope": s.scope(), "degraded": s.degraded()})
}

// canServe tells whether requests should be sent here.
func (s *Server) canServe() bool { return !s.draining.Load() && s.governs() }

// governs tells whether it is known what operators have ordered; the control plane need not know.
func (s *Server) governs() bool { return s.gate == nil || s.gate.Ready() }

// degraded lists what does not work as it should.
func (s *Server) degraded() []string {
	var gate []string
	if s.gate != nil {
		gate = s.gate.Degraded()
	}
	return append([]string{}, slices.Concat(gate, s.callers.degraded(), s.entitled.degraded(), s.recorder.degraded())...)
}

// startPatience is how long an instance waits for Redis before it serves without. Direct VPC egress may take a minute to
// connect.
const startPatience = 90 * time.Second

// startup is ready, after a round trip to Redis: an instance that can't reach it yet is not sent calls that it would refuse. A
// Redis that stays away does not keep instances from starting.
func (s *Server) startup(w http.ResponseWriter, r *http.Request) {
	if s.redis != nil && s.governor != nil && time.Since(s.begun) < startPatience {
		ctx, done := context.WithTimeout(r.Context(), time.Second)
		defer done()
		if err := s.redis.Ping(ctx); err != nil {
			s.logger.Warn("no answer from Redis yet", "error", err)
			answer(w, http.StatusServiceUnavailable, map[string]string{"status": "starting: no answer from Redis yet"})
			return
		}
	}
	s.ready(w, r)
}

// scope says where the limits hold.
func (s *Server) scope() string {
	switch {
	case s.governor == nil:
		return "none"
	case s.config.Alone:
		return "instance"
	}
	return "fleet"
}

func (s *Server) elsewhere(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusNotFound, map[string]string{"error": "nothing at " + r.URL.Path + "; the MCP endpoint is /mcp"})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}
