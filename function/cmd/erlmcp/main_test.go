package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.com/erlmcp/function"
)

func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "erlmcp")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// run runs the command and returns its exit status and what it said.
func run(t *testing.T, binary string, env []string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func TestCommands(t *testing.T) {
	binary := build(t)
	serve := exec.Command(binary)
	serve.Env = append(os.Environ(), "LOG_OUTPUT=stderr", "PORT=0", "DRAIN_TIMEOUT=0s", "AUTHENTICATION=anonymous")
	log, err := serve.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	defer serve.Process.Kill()
	var line struct{ URL string }
	if err := json.NewDecoder(log).Decode(&line); err != nil {
		t.Fatal(err)
	}
	port := "PORT=" + strings.TrimSuffix(line.URL[strings.LastIndex(line.URL, ":")+1:], "/mcp")

	for _, c := range []struct {
		env    []string
		args   string
		status int
		want   string
	}{
		{[]string{port}, "probe", 0, ""},
		{[]string{port, "HEALTH_ENDPOINT=/elsewhere"}, "probe", 1, "not healthy"},
		{nil, "probe " + strings.TrimSuffix(line.URL, "/mcp"), 0, "2025-11-25: 4 tools"},
		{nil, "probe -version v" + function.Version + " " + strings.TrimSuffix(line.URL, "/mcp"), 0, "2026-07-28: 4 tools"},
		{nil, "probe -version v9.9.9 " + strings.TrimSuffix(line.URL, "/mcp"), 1, "want v9.9.9"},
		{nil, "probe -v", 2, "not defined: -v"},
		{[]string{port, "AUTHENTICATION=anonymous"}, "serve", 1, "something else listens on port"},
		{[]string{"PORT=x", "LOG_LEVEL=y"}, "serve", 1, "LOG_LEVEL"},
		{[]string{"PORT=x"}, "probe", 1, "PORT"},
		{[]string{"FUNCTION_TARGET=other"}, "serve", 1, "there is erlmcp"},
		{[]string{"K_SERVICE=erlmcp"}, "serve", 1, "ERLMCP_KEYS: is not set"},
		{nil, "serve", 1, "AUTHENTICATION: is not set"},
		{nil, "keys", 0, "erlmcp keys add"},
		{nil, "version", 0, function.Version},
		{nil, "settings", 0, "ALLOWED_ORIGINS"},
		{nil, "help", 0, "Usage"},
		{nil, "sevre", 2, `unknown command "sevre"`},
		{nil, "version now", 1, "takes no arguments"},
	} {
		status, out := run(t, binary, c.env, strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(out, c.want) {
			t.Errorf("%v erlmcp %s: status %d, want %d with %q: %s", c.env, c.args, status, c.status, c.want, out)
		}
	}
	serve.Process.Signal(syscall.SIGTERM)
	if err := serve.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if status, _ := run(t, binary, []string{port}, "probe"); status != 1 {
		t.Errorf("probe of a stopped server: status %d", status)
	}
}

func TestReadmeListsTheSettings(t *testing.T) {
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range function.Settings() {
		if !bytes.Contains(readme, []byte("| `"+s.Name+"` |")) {
			t.Errorf("README.md lacks the setting %s", s.Name)
		}
	}
}
