package function

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/edge"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/redisdb"
)

// routes is every path and what stands before it.
func (s *Server) routes(endpoint http.Handler) http.Handler {
	mux := http.NewServeMux()
	resource := map[string]http.HandlerFunc{"": s.protectedResource(""), "/mcp": s.protectedResource("/mcp")}
	mux.Handle("/mcp", endpoint)
	for path, about := range resource {
		mux.HandleFunc(metadataPath+path, about)
	}
	if prefix := s.config.Callers.PublicPath; prefix != "" { // a gateway may take it away, or leave it
		mux.Handle(prefix+"/mcp", endpoint)
		for path, about := range resource {
			mux.HandleFunc(metadataPath+prefix+path, about)
			mux.HandleFunc(prefix+metadataPath+path, about)
		}
	}
	mux.HandleFunc("/", s.elsewhere)
	return s.watched(mux, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux would redirect what has slashes too many, and clients make a GET of a POST then.
		if plain := plainPath(r.URL.Path); plain != r.URL.Path {
			r.URL.Path, r.URL.RawPath = plain, ""
		}
		mux.ServeHTTP(w, r)
	}))
}

// plainPath is a path without slashes that mean nothing: doubled ones, and those at the end.
func plainPath(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	if path != "/" {
		path = strings.TrimSuffix(path, "/")
	}
	return path
}

// controlRoutes is the same for the control plane, which has a table of its own.
func (s *Server) controlRoutes(plane http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set(requestID, w.Header().Get(requestID)) // and not what the caller says
		plane.ServeHTTP(w, r)
	})
	return s.watched(mux, mux)
}

// watched adds what platforms and operators look at, and what stands before every path.
func (s *Server) watched(mux *http.ServeMux, all http.Handler) http.Handler {
	mux.HandleFunc("GET "+s.config.Health, s.health)
	mux.HandleFunc("GET "+s.config.Ready, s.ready)
	mux.HandleFunc("GET /startup", s.startup)
	mux.Handle("GET /metrics", edge.FromThisMachine(s.seen.Handler()))
	if s.loopback {
		all = edge.LoopbackOnly(all)
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
	}{"up", !s.draining.Load(), s.governs(), s.version})
}

// ready says whether requests should be sent here.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		answer(w, http.StatusServiceUnavailable, map[string]string{"status": "draining"})
		return
	}
	ctx, done := context.WithTimeout(r.Context(), readyPatience)
	defer done()
	if s.redis != nil && s.governor != nil && (!s.governs() || len(s.gate.Degraded()) > 0) {
		// Whether it is still so: without calls nobody else asks. Anyone may ask for /ready, so one probe a second does.
		if now, last := time.Now().UnixNano(), s.warmed.Load(); now-last >= int64(time.Second) && s.warmed.CompareAndSwap(last, now) {
			s.governor.Warm()
		}
	}
	degraded := func() []string {
		if edge.OfThisMachine(r) {
			return s.degraded()
		}
		return subjectsOf(s.degraded())
	}
	if s.gate != nil && !s.gate.Informed(ctx) {
		answer(w, http.StatusServiceUnavailable, map[string]any{"status": unheard, "degraded": degraded()})
		return
	}
	s.entitled.warm(0)
	answer(w, http.StatusOK, map[string]any{"status": "ready", "scope": s.scope(), "degraded": degraded()})
}

const (
	// readyPatience is how long a probe of /ready waits for news: less than platforms wait for its answer.
	readyPatience = 700 * time.Millisecond
	// unheard is the status of an instance that refuses all calls.
	unheard = "starting, or cut off: neither the store nor Redis tells what operators have ordered, or the store not what tenants are entitled to"
)

// canServe tells whether requests should be sent here.
func (s *Server) canServe() bool { return !s.draining.Load() && s.governs() }

// governs tells whether it is known what operators have ordered; the control plane need not know.
func (s *Server) governs() bool { return s.gate == nil || s.gate.Ready() }

// subjects are what words about what is degraded begin with, and all that others than operators are told: words may name files and hosts,
// and quote what is wrong in them.
var subjects = []string{"governor", "orders", "Redis", "tenants", "API keys", "authentication", "receipts", "files", "telemetry"}

func subjectsOf(degraded []string) []string {
	out := []string{}
	for _, words := range degraded {
		subject, _, _ := strings.Cut(words, ": ")
		if !slices.Contains(subjects, subject) {
			subject = "other"
		}
		if !slices.Contains(out, subject) {
			out = append(out, subject)
		}
	}
	return out
}

// degraded lists what does not work as it should, in words for operators.
func (s *Server) degraded() []string {
	var gate []string
	if s.gate != nil {
		gate = s.gate.Degraded()
	}
	return append([]string{}, slices.Concat(gate, s.redisDegraded(), s.callers.degraded(), s.callers.authenticator.Degraded(), s.entitled.degraded(), s.recorder.degraded(), s.seen.Degraded())...)
}

// redisDegraded says what is wrong with Redis.
func (s *Server) redisDegraded() (out []string) {
	if s.redis == nil {
		return nil
	}
	if s.governor != nil {
		fault := s.governor.Fault()
		if why := redisdb.Explain(fault); why != "" && !errors.Is(fault, governor.ErrEpoch) {
			out = append(out, "Redis: "+why)
		}
	}
	if policy, _ := s.evicts.Load().(string); policy != "" {
		out = append(out, "Redis: it throws keys away where its memory is full (maxmemory-policy "+policy+"): "+redisdb.AtStake(policy)+"; set noeviction")
	}
	return out
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
			status := "starting: no answer from Redis yet"
			if why := redisdb.Explain(err); why != "" && edge.OfThisMachine(r) {
				status += ": " + why
			}
			answer(w, http.StatusServiceUnavailable, map[string]string{"status": status})
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

// elsewhere answers what there is not, to pages of any origin: clients in browsers look for sign-in in several places.
func (s *Server) elsewhere(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", "*")
	if r.Method == http.MethodOptions {
		header.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
		header.Set("Access-Control-Allow-Headers", "*, Authorization")
		header.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	s.nothing(w, "nothing at "+shortened(r.URL.Path)+"; the MCP endpoint is /mcp")
}

// nothing answers what there is not, and says how one is signed in: who reads it has often looked for that, by OAuth, whose clients show
// the description.
func (s *Server) nothing(w http.ResponseWriter, what string) {
	text := what + "; " + s.signIn
	answer(w, http.StatusNotFound, struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{text, text})
}

// shortened keeps what a caller wrote from filling an answer.
func shortened(path string) string {
	const most = 200
	if len(path) > most {
		return strings.ToValidUTF8(path[:most], "") + "…"
	}
	return path
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}
