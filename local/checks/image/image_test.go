// Package image builds the container's image in both ways, starts it locked down, releases it from a tag, and brings up the
// fleet of local/compose.yaml.
//
// It needs podman, or Docker. Where CONTAINERS_STORAGE_CONF is set, base images come from there and nothing is pulled; services
// that compose.yaml names are stood in for by this machine's own programs.
package image

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const root = "../../.."

// offline says that base images are at hand.
var offline = os.Getenv("CONTAINERS_STORAGE_CONF") != ""

var strict = flag.Bool("strict", false, "hold times as they are published; without it a busy machine gets leeway")

// soon is how long a start may take.
func soon() time.Duration {
	if *strict {
		return 100 * time.Millisecond
	}
	return 500 * time.Millisecond
}

func engine() string {
	if _, err := exec.LookPath("podman"); err == nil {
		return "podman"
	}
	return "docker"
}

func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), 6*time.Minute)
	defer done()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return strings.TrimSpace(string(out))
}

const built = "localhost/erlmcp:dev"

func build(t *testing.T) {
	t.Helper()
	if !offline {
		run(t, root, nil, engine(), "build", "-t", built, "-f", "local/Dockerfile", ".")
		return
	}
	run(t, root, nil, "buildah", "bud", "--format", "docker", "--pull-never", "--network", "host", "-v", "/etc/ssl/certs:/etc/ssl/certs:ro",
		"-v", run(t, ".", nil, "go", "env", "GOMODCACHE")+":/go/pkg/mod", "-v", run(t, ".", nil, "go", "env", "GOCACHE")+":/root/.cache/go-build",
		"-t", built, "-f", "local/Dockerfile", ".")
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}

// call calls a tool and returns what it says.
func call(url string) (string, error) {
	req, err := http.NewRequest(http.MethodPost, url+"/mcp", strings.NewReader(
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"taiea_health_check"}}`))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || !strings.Contains(string(b), `"structuredContent"`)) {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	return string(b), err
}

func eventually(t *testing.T, within time.Duration, try func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", within, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestImage(t *testing.T) {
	build(t)
	port := freePort(t)
	id := run(t, ".", nil, engine(), "run", "-d", "--network", "host", "--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges",
		"--memory", "128m", "-e", "PORT="+port, "-e", "AUTHENTICATION=anonymous", built)
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := exec.Command(engine(), "logs", id).CombinedOutput()
			t.Logf("%s", logs)
		}
		exec.Command(engine(), "rm", "-f", id).Run()
	})
	eventually(t, 10*time.Second, func() error { _, err := call("http://127.0.0.1:" + port); return err })
	run(t, ".", nil, engine(), "exec", id, "erlmcp", "probe")

	var inspected []struct {
		State      struct{ Pid int }
		HostConfig struct{ ReadonlyRootfs bool }
		Config     struct {
			User        string
			Healthcheck struct{ Test []string }
		}
	}
	if err := json.Unmarshal([]byte(run(t, ".", nil, engine(), "inspect", id)), &inspected); err != nil {
		t.Fatal(err)
	}
	in := inspected[0]
	if in.Config.User != "65532:65532" || !in.HostConfig.ReadonlyRootfs || strings.Join(in.Config.Healthcheck.Test, " ") != "CMD erlmcp probe" {
		t.Errorf("%+v", in)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", in.State.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t65532\t65532\t65532\t65532", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("the process lacks %q", want)
		}
	}
	if took := untilServing(t, in.State.Pid, run(t, ".", nil, "sh", "-c", engine()+" logs "+id+" 2>&1")); took > soon() {
		t.Errorf("exec to serving took %v", took)
	} else {
		t.Logf("exec to serving: %v", took)
	}
	begin := time.Now()
	run(t, ".", nil, engine(), "stop", "-t", "20", id)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}

	oci := t.TempDir()
	if offline {
		run(t, ".", nil, "buildah", "push", "-q", built, "oci:"+oci)
	} else {
		run(t, ".", nil, "sh", "-c", engine()+" save "+built+" | gzip >"+filepath.Join(oci, "image"))
	}
	var size int64
	filepath.Walk(oci, func(_ string, f os.FileInfo, err error) error {
		if err == nil && !f.IsDir() {
			size += f.Size()
		}
		return err
	})
	t.Logf("compressed: %.1f MB", float64(size)/1e6)
	if size < 1e6 || size > 20e6 {
		t.Errorf("the compressed image has %d bytes", size)
	}
}

// untilServing is the time from a process's start, which the kernel knows to 10 ms, to its log's record that it serves.
func untilServing(t *testing.T, pid int, logs string) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
	ticks, _ := strconv.ParseInt(fields[19], 10, 64)
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	up, _ := strconv.ParseFloat(strings.Fields(string(uptime))[0], 64)
	started := time.Now().Add(-time.Duration((up - float64(ticks)/100) * float64(time.Second)))
	for line := range strings.Lines(logs) {
		var record struct {
			Time    time.Time
			Message string
		}
		if json.Unmarshal([]byte(line), &record) == nil && record.Message == "serving" {
			return record.Time.Sub(started)
		}
	}
	t.Fatalf("no record of serving:\n%s", logs)
	return 0
}

// TestRelease releases a tag of a clone, by ko, with the list of parts.
func TestRelease(t *testing.T) {
	clone := filepath.Join(t.TempDir(), "clone")
	run(t, ".", nil, "git", "clone", "-q", "--no-hardlinks", root, clone)
	version := run(t, clone, nil, "go", "run", "./function/cmd/erlmcp", "version")
	env := []string{"BINARIES=linux/amd64", "PLATFORMS=linux/amd64", "PORT=" + freePort(t)}
	if offline {
		registry := "localhost:" + freePort(t)
		serve := exec.Command("crane", "registry", "serve", "--address", registry)
		if err := serve.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { serve.Process.Kill(); serve.Wait() })
		eventually(t, 10*time.Second, func() error { _, err := http.Get("http://" + registry + "/v2/"); return err })
		run(t, ".", nil, "buildah", "push", "-q", "--tls-verify=false", "gcr.io/distroless/static-debian12:nonroot", "docker://"+registry+"/static:nonroot")
		env = append(env, "KO_DEFAULTBASEIMAGE="+registry+"/static:nonroot")
	}
	try := func(args ...string) (string, error) {
		cmd := exec.Command("local/release", args...)
		cmd.Dir, cmd.Env = clone, append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for name, args := range map[string][]string{"has no tag": nil, "is not what is checked out": {"v0.0.1"}} {
		if out, err := try(args...); err == nil || !strings.Contains(out, name) {
			t.Errorf("%v: %v, want %q\n%s", args, err, name, out)
		}
	}
	run(t, clone, nil, "git", "tag", "v9.9.9")
	if out, err := try("v9.9.9"); err == nil || !strings.Contains(out, "the source says v"+version) {
		t.Errorf("another version: %v\n%s", err, out)
	}
	run(t, clone, nil, "git", "tag", "-d", "v9.9.9")
	run(t, clone, nil, "git", "tag", "v"+version)
	digest := func() string {
		out, err := try()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		_, rest, ok := strings.Cut(out, "\nimage sha256:")
		if !ok || !strings.Contains(out, "started and probed") || !strings.Contains(out, "spdx.json") {
			t.Fatalf("%s", out)
		}
		return rest[:64]
	}
	if a, b := digest(), digest(); a != b {
		t.Errorf("released twice, the image is %s and %s", a, b)
	}
	os.WriteFile(filepath.Join(clone, "function/function.go"), []byte("package function\n"), 0o644)
	if out, err := try(); err == nil || !strings.Contains(out, "has changes") {
		t.Errorf("a changed checkout: %v\n%s", err, out)
	}
}
