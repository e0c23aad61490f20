package main

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// asProgram is set in the environment of a process that is to be the program, and not its tests.
const asProgram = "TEST_AS_PROGRAM"

// TestMain makes the tests' own binary the program where one of them starts it: to build another takes longer than all of them.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// command is the program with an environment of the test's own beside that of the test.
func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = append(append(os.Environ(), asProgram+"=1"), env...)
	return cmd
}

// run runs the command and returns its exit status and what it said.
func run(t *testing.T, env []string, args ...string) (int, string) {
	t.Helper()
	cmd := command(t, env, args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// exported are receipts as an earlier version exported them, and root is the last root among them.
const (
	exported = "../../internal/receipt/verify/testdata/export.jsonl"
	root     = "2:5bcf04719296ffd2654f9743c1a424d7eacca4857cc6e72fe758ba64a8bc69c0"
)

func TestCommands(t *testing.T) {
	serve := command(t, []string{"LOG_OUTPUT=stderr", "PORT=0", "DRAIN_TIMEOUT=0s", "AUTHENTICATION=anonymous"})
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

	_, version := run(t, nil, "version") // the catalog's, and else the product's
	version = strings.TrimSpace(version)

	for _, c := range []struct {
		env    []string
		args   string
		status int
		want   string
	}{
		{[]string{port}, "probe", 0, ""},
		{[]string{port, "HEALTH_ENDPOINT=/elsewhere"}, "probe", 1, "not healthy"},
		{nil, "probe " + strings.TrimSuffix(line.URL, "/mcp"), 0, " 2025-11-25: "},
		{nil, "probe -version v" + version + " " + strings.TrimSuffix(line.URL, "/mcp"), 0, " 2026-07-28: "},
		{nil, "probe -version v9.9.9 " + strings.TrimSuffix(line.URL, "/mcp"), 1, "want v9.9.9"},
		{nil, "probe -v", 2, "not defined: -v"},
		{nil, "help verify", 0, "erlmcp.test verify -offline FILE"},
		{nil, "help probe", 0, "Usage: erlmcp.test probe"},
		{nil, "help serve", 0, "serve until SIGTERM"},
		{nil, "--version", 0, version},
		{nil, "-version", 0, version},
		{[]string{port, "AUTHENTICATION=anonymous"}, "serve", 1, "something else listens on port"},
		{[]string{"PORT=x", "LOG_LEVEL=y"}, "serve", 1, "LOG_LEVEL"},
		{[]string{"PORT=x"}, "probe", 1, "PORT"},
		{[]string{"FUNCTION_TARGET=other"}, "serve", 1, "there is erlmcp"},
		{[]string{"K_SERVICE=erlmcp"}, "serve", 1, "SEALING_KEYS: is not set"},
		{nil, "serve", 1, "AUTHENTICATION: is not set"},
		{nil, "verify -offline " + exported, 0, "the last root is " + root},
		{[]string{"STORE_FILE=" + filepath.Join(t.TempDir(), "store")}, "restore " + t.TempDir(), 1, "there is no backup in"},
		{nil, "version", 0, version},
		{nil, "settings", 0, "ALLOWED_ORIGINS"},
		{nil, "settings -markdown", 0, "\n| `PORT` | `8080` | port"},
		{nil, "help", 0, "Usage"},
		{nil, "sevre", 2, "erlmcp.test: unknown command \"sevre\"\n\nerlmcp.test "},
		{nil, "version now", 2, "takes no arguments"},
		{nil, "-port 80", 2, `unknown command "-port"`},
	} {
		status, out := run(t, c.env, strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(out, c.want) {
			t.Errorf("%v erlmcp %s: status %d, want %d with %q: %s", c.env, c.args, status, c.status, c.want, out)
		}
	}
	serve.Process.Signal(syscall.SIGTERM)
	if err := serve.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if status, _ := run(t, []string{port}, "probe"); status != 1 {
		t.Errorf("probe of a stopped server: status %d", status)
	}
}

var update = flag.Bool("update", false, "write the table of infra/docs/settings.md anew")

// TestSettingsDocument wants of infra/docs/settings.md, between its markers, what erlmcp settings -markdown prints.
func TestSettingsDocument(t *testing.T) {
	const (
		document = "../../../infra/docs/settings.md"
		begin    = "<!-- begin: erlmcp settings -markdown -->\n"
		end      = "<!-- end -->\n"
	)
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begun := strings.Cut(string(text), begin)
	have, after, ended := strings.Cut(rest, end)
	if !begun || !ended {
		t.Fatalf("%s has no table between %q and %q", document, begin, end)
	}
	status, table := run(t, nil, "settings", "-markdown")
	switch {
	case status != 0:
		t.Fatalf("status %d: %s", status, table)
	case have == table:
	case *update:
		if err := os.WriteFile(document, []byte(before+begin+table+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the table of infra/docs/settings.md is not that of the settings: go test ./function/cmd/erlmcp -run TestSettingsDocument -update")
	}
}
