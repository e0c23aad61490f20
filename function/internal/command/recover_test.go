package command

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/recovery"
)

// TestEnding asks a fleet which instances run: those of the data plane that have said so of late, each by a name that none before had.
func TestEnding(t *testing.T) {
	at := time.Date(2026, 1, 26, 10, 0, 0, 0, time.UTC)
	text, _ := json.Marshal(map[string]any{"at": at, "instances": []any{
		map[string]any{"name": "one", "began": at.Add(-time.Hour), "seen": at.Add(-2 * time.Second), "catalog": "c"},
		map[string]any{"name": "two", "began": at.Add(-time.Minute), "seen": at.Add(-9 * time.Second), "catalog": "c"},
		map[string]any{"name": "killed", "began": at.Add(-time.Hour), "seen": at.Add(-stillRuns), "catalog": "c"},
		map[string]any{"name": "taiea", "began": at.Add(-time.Hour), "seen": at},
	}})
	var errs bytes.Buffer
	p := &Program{errs: &errs}
	e := (&fleet{program: p, operator: operator{true, true, http.StatusOK, string(text)}}).ending("http://127.0.0.1:1", 3, time.Minute)
	running, err := e.Running(t.Context())
	if want := []recovery.Instance{{Name: "one of 2026-01-26T09:00:00Z", Seen: at.Add(-2 * time.Second)}, {Name: "two of 2026-01-26T09:59:00Z", Seen: at.Add(-9 * time.Second)}}; err != nil || !slices.Equal(running, want) {
		t.Errorf("%v run (%v), want %v", running, err, want)
	}
	if e.Tell(2); !strings.HasPrefix(errs.String(), "End all 2 instances now") {
		t.Errorf("it says %q", errs.String())
	}
	if err := e.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "not healthy") {
		t.Errorf("nobody answers, and the probe says %v", err)
	}
	e = (&fleet{program: p, operator: operator{true, true, http.StatusServiceUnavailable, `{"detail":"Redis is away"}`}}).ending("", 1, time.Minute)
	if running, err := e.Running(t.Context()); err == nil {
		t.Errorf("who can't be asked says that %v run", running)
	}
}
