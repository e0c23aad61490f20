package function

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/agenttools"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/config"
)

// TestLintOfTheGovernorsTools wants none that an interface refuses: every server lists them beside its own.
func TestLintOfTheGovernorsTools(t *testing.T) {
	cfg := &config.Config{AgentTools: config.AgentTools}
	entries := (&agenttools.Tools{}).Entries(cfg, true)
	built, err := catalog.Build(entries...)
	if err != nil || len(entries) != len(cfg.AgentTools) {
		t.Fatal(len(entries), err)
	}
	for _, finding := range built.Lint() {
		t.Error(finding)
	}
}

// TestStartsWarn of what no client of an interface mends; the command shows all.
func TestStartsWarn(t *testing.T) {
	long := strings.Repeat("long", 15)
	tools := WithTools(
		NewTool(long, "Has a name that Cursor has no room for.", func(context.Context, None) (string, error) { return "", nil }),
		NewTool("loose", "Takes anything.", func(context.Context, struct{ Value any }) (string, error) { return "", nil }),
		NewTool("grade", "Takes a number.", func(context.Context, struct {
			Grade int `enum:"1,2"`
		}) (string, error) {
			return "", nil
		}),
	)
	var log strings.Builder
	s, err := assemble(t.Context(), tools, WithLoopback(), WithMemory(NewInMemoryStore()), WithGetenv(env()), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if said := log.String(); strings.Count(said, "refuse a tool") != 1 || !strings.Contains(said, "tool grade: input.Grade: its enum has 1, and must have texts alone: refused by Google") {
		t.Error(said)
	}
	if findings, err := catalogOf(tools).Lint(); err != nil || len(findings) != 3 || !strings.HasPrefix(findings[1], "tool "+long+": its name has 60 characters") || !strings.HasPrefix(findings[2], "tool loose: input.Value: it has no type: refused by Fireworks") {
		t.Errorf("%q %v", findings, err)
	}
	if _, err := catalogOf(WithTools(NewTool("mute", "", func(context.Context, None) (string, error) { return "", nil }))).Lint(); err == nil {
		t.Error("a tool without a description is linted")
	}
}
