package serve

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/streamhttp"
)

// A Status is what probes ask for.
type Status interface {
	// Governs tells whether calls can be decided.
	Governs() bool
	// Unready says why no requests should be sent here, or "".
	Unready(context.Context) string
	// Unreachable says what a start still waits for, or nil.
	Unreachable(context.Context) error
	// Scope says where limits hold: fleet, instance or none.
	Scope() string
	// Degraded lists what does not work as it should, in words for operators that begin with one of the subjects.
	Degraded() []string
}

// Probes answer what platforms ask of a server.
type Probes struct {
	Server  *Server
	Status  Status
	Version string
	Start   time.Time          // of the process
	Explain func(error) string // says what an error of the start's means, or ""
}

// Register adds the routes.
func (p *Probes) Register(mux *http.ServeMux, c *config.Config) {
	mux.HandleFunc("GET "+c.Health, p.health)
	mux.HandleFunc("GET "+c.Ready, p.ready)
	mux.HandleFunc("GET /startup", p.startup)
}

// health says whether the process is alive, and what it can do.
func (p *Probes) health(w http.ResponseWriter, _ *http.Request) {
	Answer(w, http.StatusOK, struct {
		Status  string `json:"status"`
		Ready   bool   `json:"erlmcp_ready"`
		Governs bool   `json:"taiea_ready"`
		Version string `json:"version"`
	}{"up", !p.Server.Draining(), p.Status.Governs(), p.Version})
}

const (
	// readyTimeout is how long a probe of /ready waits for news: less than platforms wait for its answer.
	readyTimeout = 700 * time.Millisecond
	// startTimeout is how long an instance waits for Redis before it serves without. Direct VPC egress may take a minute to
	// connect.
	startTimeout = 90 * time.Second
)

// ready says whether requests should be sent here.
func (p *Probes) ready(w http.ResponseWriter, r *http.Request) {
	if p.Server.Draining() {
		Answer(w, http.StatusServiceUnavailable, map[string]string{"status": "draining"})
		return
	}
	ctx, done := context.WithTimeout(r.Context(), readyTimeout)
	defer done()
	why := p.Status.Unready(ctx)
	degraded := p.Status.Degraded()
	if !streamhttp.OfThisMachine(r) {
		degraded = Subjects(degraded)
	}
	if why != "" {
		Answer(w, http.StatusServiceUnavailable, map[string]any{"status": why, "degraded": degraded})
		return
	}
	Answer(w, http.StatusOK, map[string]any{"status": "ready", "scope": p.Status.Scope(), "degraded": degraded})
}

// startup is ready, after a round trip to Redis: an instance that can't reach it yet is not sent calls that it would refuse. A
// Redis that stays away does not keep instances from starting.
func (p *Probes) startup(w http.ResponseWriter, r *http.Request) {
	if time.Since(p.Start) < startTimeout {
		ctx, done := context.WithTimeout(r.Context(), time.Second)
		defer done()
		if err := p.Status.Unreachable(ctx); err != nil {
			p.Server.opts.Logger.Warn("no answer from Redis yet", "error", err)
			status := "starting: no answer from Redis yet"
			if why := p.Explain(err); why != "" && streamhttp.OfThisMachine(r) {
				status += ": " + why
			}
			Answer(w, http.StatusServiceUnavailable, map[string]string{"status": status})
			return
		}
	}
	p.ready(w, r)
}

// subjects are what words about what is degraded begin with, and all that others than operators are told: words may name files and hosts,
// and quote what is wrong in them.
var subjects = []string{"governor", "orders", "Redis", "tenants", "API keys", "authentication", "receipts", "files", "catalog", "telemetry"}

// Subjects are what words of [Status.Degraded] are about, each once.
func Subjects(degraded []string) []string {
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

// Answer writes JSON that nobody keeps.
func Answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}
