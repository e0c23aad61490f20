package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
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

// command runs the program with settings of the test's own.
func command(t *testing.T, args ...string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.CommandContext(t.Context(), program, args...)
	// An embedded Redis may be late on a machine that is busy, and calls are not refused for it.
	cmd.Env = []string{asProgram + "=1", "PATH=" + os.Getenv("PATH"), "PORT=0", "DRAIN_TIMEOUT=400ms", "CONCURRENT_CALLS_ON_REDIS_FAILURE=open"}
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
	for _, c := range []struct {
		name string
		args []string
		want []string // in the answers to the printed commands
	}{
		{"with the sample", nil, []string{`"name":"meeting_times"`, `Pride and Prejudice`, `"slots":[{`, `"longestDay":{"date":`}},
		{"without the sample", []string{"-sample=false"}, []string{`"tools":[`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd, stderr := command(t, c.args...)
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
			// An instance says how it is every two seconds by its own process's clock, at first perhaps before it is ready.
			for begin := time.Now(); !strings.Contains(get(t, taiea+"/v1/fleet"), `"ready":true`); time.Sleep(50 * time.Millisecond) { // real time: programs run
				if time.Since(begin) > time.Minute {
					t.Fatalf("no instance is ready: %s", get(t, taiea+"/v1/fleet"))
				}
			}
			for path, want := range map[string]string{"/v1/receipts/verify": `"ok":true`, "/openapi.json": `"/v1/tenants/{id}"`} {
				if text := get(t, taiea+path); !strings.Contains(text, want) {
					t.Errorf("the control plane at %q: %s: %.300s", taiea, path, text)
				}
			}
			cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil {
				t.Errorf("after SIGTERM: %v\n%s", err, stderr)
			}
		})
	}
}

// get returns what a URL answers.
func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestPublic: others are let in by credentials alone.
func TestPublic(t *testing.T) {
	cmd, stderr := command(t, "-public")
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

// TestControlPort: the port after PORT is said to be the control plane's.
func TestControlPort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	cmd, stderr := command(t)
	cmd.Env = append(cmd.Env, fmt.Sprint("PORT=", port-1))
	want := fmt.Sprintf("the control plane listens on the port after PORT, %d here, and can't", port)
	if err := cmd.Run(); err == nil || !strings.Contains(stderr.String(), want) {
		t.Errorf("%v\n%s", err, stderr)
	}
}

func TestCommandLine(t *testing.T) {
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
			cmd, stderr := command(t, c.args...)
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
