package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// build makes the program once.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "local")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// command runs the program with settings of the test's own.
func command(t *testing.T, program string, args ...string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	cmd = exec.CommandContext(t.Context(), program, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PORT=0", "DRAIN_TIMEOUT=400ms"}
	stderr = &bytes.Buffer{}
	cmd.Stderr = stderr
	return cmd, stderr
}

func TestLocal(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("the commands that are printed need curl")
		}
		t.Skip("NOT TESTED: the commands that are printed need curl")
	}
	program := build(t)
	for _, c := range []struct {
		name string
		args []string
		want []string // in the answers to the printed commands
	}{
		{"with the sample", nil, []string{`"name":"meeting_times"`, `"slots":[{`, `"longestDay":{"date":`}},
		{"without the sample", []string{"-sample=false"}, []string{`"name":"time_in_zone"`, `+09:00`, `"resultType":"complete"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd, stderr := command(t, program, c.args...)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			var printed strings.Builder
			lines := bufio.NewScanner(stdout)
			for lines.Scan() {
				printed.WriteString(lines.Text() + "\n")
				if lines.Text() == "Ctrl-C stops it." {
					break
				}
			}
			commands := curls(printed.String())
			if len(commands) != len(c.want) {
				t.Fatalf("%d commands are printed, want %d:\n%s%s", len(commands), len(c.want), printed.String(), stderr)
			}
			for i, command := range commands {
				answer, text := ask(t, command)
				if answer.Result == nil || answer.Error != nil || !strings.Contains(text, c.want[i]) {
					t.Errorf("%s\nanswers\n%s\nwant %s", command, text, c.want[i])
				}
			}
			if strings.Contains(printed.String(), "meeting_times") != (c.args == nil) {
				t.Errorf("-sample is not followed:\n%s", printed.String())
			}
			_, after, _ := strings.Cut(printed.String(), "taiea, is at ")
			taiea, _, _ := strings.Cut(after, " ")
			for path, want := range map[string]string{"/v1/fleet": `"ready":true`, "/v1/receipts/verify": `"ok":true`, "/openapi.json": `"/v1/tenants/{id}"`} {
				if out, err := exec.Command("curl", "-s", taiea+path).Output(); err != nil || !strings.Contains(string(out), want) {
					t.Errorf("the control plane at %q: %s: %v %.300s", taiea, path, err, out)
				}
			}
			cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil {
				t.Errorf("after SIGTERM: %v\n%s", err, stderr)
			}
		})
	}
}

// TestPublic: others are let in by credentials alone.
func TestPublic(t *testing.T) {
	cmd, stderr := command(t, build(t), "-public")
	if err := cmd.Run(); err == nil || !strings.Contains(stderr.String(), "AUTHENTICATION: is not set") {
		t.Errorf("%v\n%s", err, stderr)
	}
}

// curls finds the commands in what was printed, each up to the first line that does not go on.
func curls(printed string) []string {
	var commands []string
	var current string
	for line := range strings.Lines(printed) {
		if current == "" && !strings.HasPrefix(line, "curl ") {
			continue
		}
		current += line
		if !strings.HasSuffix(line, "\\\n") {
			commands = append(commands, current)
			current = ""
		}
	}
	return commands
}

type answer struct {
	Result json.RawMessage
	Error  json.RawMessage
}

// ask runs a printed command and returns the JSON-RPC answer, which is the last event where there are several.
func ask(t *testing.T, command string) (a answer, text string) {
	t.Helper()
	sh := exec.CommandContext(t.Context(), "sh", "-c", command)
	sh.Env = []string{"PATH=" + os.Getenv("PATH")} // no proxy of the developer's
	out, err := sh.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	text = string(out)
	last := text
	if i := strings.LastIndex(text, "data: "); i >= 0 {
		last = text[i+len("data: "):]
	}
	if err := json.Unmarshal([]byte(last), &a); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return a, text
}

func TestCommandLine(t *testing.T) {
	program := build(t)
	for _, c := range []struct {
		name string
		args []string
		env  string
		code int
		want string
	}{
		{"help", []string{"-h"}, "", 0, "DRAIN_TIMEOUT"},
		{"unknown flag", []string{"-samples"}, "", 2, "-samples"},
		{"argument", []string{"serve"}, "", 2, "takes no arguments"},
		{"bad setting", nil, "PORT=http", 1, `PORT: "http" is not a whole number`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd, stderr := command(t, program, c.args...)
			cmd.Env = append(cmd.Env, c.env)
			err := cmd.Run()
			if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(stderr.String(), c.want) {
				t.Errorf("status %d (%v), want %d and %q:\n%s", code, err, c.code, c.want, stderr)
			}
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Error(err)
			}
		})
	}
}

func TestNextWednesday(t *testing.T) {
	for day, want := range map[string]string{"2026-11-24": "2026-11-25", "2026-11-25": "2026-12-02", "2026-11-26": "2026-12-02"} {
		now, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		if got := nextWednesday(now).Format(time.DateOnly); got != want {
			t.Errorf("after %s: %s, want %s", day, got, want)
		}
	}
}
