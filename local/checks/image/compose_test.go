package image

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"example.com/erlmcp/local/checks/world"
)

const file = root + "/local/compose.yaml"

// TestComposeLoads reads the file with the loader that Docker's own command uses, which refuses what it does not know.
func TestComposeLoads(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{file}, cli.WithProfiles([]string{"green", "telemetry"}), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"blue-1", "blue-2", "green-1", "green-2", "taiea"} {
		s := p.Services[name]
		if s.HealthCheck == nil || s.Restart != "unless-stopped" || !s.ReadOnly || s.DependsOn["redis"].Condition != "service_healthy" || s.DependsOn["firestore"].Condition != "service_healthy" {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if b := p.Services["balancer"]; b.DependsOn["blue-1"].Condition != "service_healthy" || b.Ports[0].HostIP != "127.0.0.1" {
		t.Errorf("balancer: %+v", b)
	}
	taiea := p.Services["taiea"]
	if taiea.DependsOn["blue-1"].Condition != "service_healthy" || taiea.DependsOn["blue-2"].Condition != "service_healthy" ||
		taiea.Ports[0].HostIP != "127.0.0.1" || taiea.Ports[0].Published != "8081" {
		t.Errorf("taiea: %+v", taiea)
	}
	for name, want := range map[string]string{"FUNCTION_TARGET": "taiea", "PORT": "8081", "AUTHENTICATION": "keys"} {
		if v := taiea.Environment[name]; v == nil || *v != want {
			t.Errorf("taiea: %s is not %s", name, want)
		}
	}
	if slices.ContainsFunc(p.Services["blue-1"].Volumes, func(v types.ServiceVolumeConfig) bool { return strings.Contains(v.Source, "taiea") }) {
		t.Error("the data plane knows the control plane's keys")
	}
	if !slices.Contains(p.Services["green-1"].Profiles, "green") || !slices.Contains(p.Services["collector"].Profiles, "telemetry") {
		t.Error("profiles")
	}
}

// localKey is the key of the control plane that compose.yaml shows.
func localKey(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`erlmcp_[a-z0-9]+_[a-z0-9]+`).FindString(string(text))
}

// TestLocalKey holds that it is the one of the file of keys.
func TestLocalKey(t *testing.T) {
	list, err := os.ReadFile(root + "/local/taiea-keys.json")
	if err != nil {
		t.Fatal(err)
	}
	var keys struct {
		Keys []struct{ ID, Hash string }
	}
	if err := json.Unmarshal(list, &keys); err != nil || len(keys.Keys) != 1 {
		t.Fatalf("%v: %d keys", err, len(keys.Keys))
	}
	key := localKey(t)
	if k := keys.Keys[0]; !strings.HasPrefix(key, "erlmcp_"+k.ID+"_") || k.Hash != fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(key))) {
		t.Errorf("%s is not the key %s", key, k.ID)
	}
}

// standIn makes an image of some of this machine's programs and what they link to.
func standIn(t *testing.T, name string, files map[string]string, programs ...string) {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"tmp", "bin", "usr/bin", "usr/sbin", "etc", "var/lib", "data"} {
		os.MkdirAll(filepath.Join(dir, sub), 0o777)
	}
	copied := map[string]bool{}
	add := func(from, to string) {
		if copied[to] {
			return
		}
		copied[to] = true
		os.MkdirAll(filepath.Dir(filepath.Join(dir, to)), 0o755)
		run(t, ".", nil, "cp", "-L", from, filepath.Join(dir, to))
	}
	for _, p := range programs {
		path := p
		if !filepath.IsAbs(p) {
			var err error
			if path, err = exec.LookPath(p); err != nil {
				t.Fatal(err)
			}
		}
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			t.Fatal(err)
		}
		if to := filepath.Join("/usr/bin", filepath.Base(p)); !strings.Contains(p, "/lib/") {
			add(real, to)
		}
		out, _ := exec.Command("ldd", real).Output()
		for _, word := range strings.Fields(string(out)) {
			if strings.HasPrefix(word, "/") {
				add(word, word)
			}
		}
	}
	for to, text := range files {
		if err := os.WriteFile(filepath.Join(dir, to), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink("/usr/bin/dash", filepath.Join(dir, "bin/sh"))
	container := run(t, ".", nil, "buildah", "from", "scratch")
	run(t, ".", nil, "buildah", "add", "-q", container, dir, "/")
	run(t, ".", nil, "buildah", "config", "--env", "PATH=/usr/bin:/usr/sbin:/bin", container)
	run(t, ".", nil, "buildah", "commit", "-q", container, name)
	run(t, ".", nil, "buildah", "rm", container)
}

// services puts this machine's programs in the place of the images that compose.yaml names, and says how the file is to be
// overridden.
func services(t *testing.T) (override string) {
	t.Helper()
	standIn(t, "docker.io/library/redis:7.2", nil, "redis-server", "redis-cli")
	standIn(t, "docker.io/library/haproxy:3.0", nil, "haproxy")
	jar, home := emulator(t)
	standIn(t, "gcr.io/google.com/cloudsdktool/google-cloud-cli:emulators", map[string]string{
		"usr/bin/gcloud": "#!/bin/sh\nexec " + home + "/bin/java -Xmx512m -cp /emulator.jar com.google.cloud.datastore.emulator.firestore.CloudFirestore start --host=0.0.0.0 --port=8200\n",
	}, "dash", "curl", home+"/bin/java", home+"/lib/server/libjvm.so", home+"/lib/libnio.so", home+"/lib/libzip.so")
	mounts := []string{home + ":" + home + ":ro", jar + ":/emulator.jar:ro"}
	if debian := "/etc/" + strings.TrimSuffix(filepath.Base(home), "-amd64"); exists(debian) {
		mounts = append(mounts, debian+":"+debian+":ro")
	}
	list, _ := json.Marshal(mounts)
	return fmt.Sprintf("services:\n  balancer:\n    command: [haproxy, -f, /usr/local/etc/haproxy/haproxy.cfg]\n  firestore:\n    volumes: %s\n", list)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func emulator(t *testing.T) (jar, home string) {
	t.Helper()
	jar = world.EmulatorJar(t)
	java, err := exec.LookPath("java")
	if err != nil {
		t.Fatal("the emulator needs Java")
	}
	java, _ = filepath.EvalSymlinks(java)
	return jar, filepath.Dir(filepath.Dir(java))
}

// TestComposeUp brings the fleet up: both instances answer through the balancer, the control plane knows both, and green takes over
// without a failed call.
func TestComposeUp(t *testing.T) {
	compose := []string{"docker", "compose", "-f", file, "--profile", "green"} // each service is named below
	if offline {
		build(t)
		extra := filepath.Join(t.TempDir(), "override.yaml")
		if err := os.WriteFile(extra, []byte(services(t)), 0o644); err != nil {
			t.Fatal(err)
		}
		compose = []string{"podman-compose", "-p", "erlmcp", "-f", file, "-f", extra}
	}
	do := func(args ...string) { t.Helper(); run(t, ".", nil, compose[0], append(compose[1:], args...)...) }
	t.Cleanup(func() {
		if t.Failed() {
			for _, c := range []string{"blue-1", "blue-2", "green-1", "green-2", "taiea", "balancer", "firestore", "redis"} {
				logs, _ := exec.Command(engine(), "logs", "--tail", "10", "erlmcp_"+c+"_1").CombinedOutput()
				t.Logf("%s: %s", c, logs)
			}
		}
		exec.Command(compose[0], append(compose[1:], "down", "-t", "5")...).Run()
		exec.Command("sh", "-c", engine()+" rm -f -t 2 $("+engine()+" ps -aq --filter name=erlmcp_)").Run()
	})
	do("up", "-d", "redis", "firestore", "blue-1", "blue-2", "balancer", "taiea")
	const url = "http://127.0.0.1:8080"
	eventually(t, time.Minute, func() error { return ready(url, `"scope":"fleet"`, `"degraded":[]`) })
	eventually(t, time.Minute, func() error { _, err := call(url); return err })

	eventually(t, time.Minute, func() error { return ready("http://127.0.0.1:8081", `"ready"`) })
	eventually(t, time.Minute, func() error { return fleet("Bearer "+localKey(t), http.StatusOK, "blue-1", "blue-2") })
	for _, credential := range []string{"", "Bearer erlmcp_miv2ybui_" + strings.Repeat("a", 32)} {
		if err := fleet(credential, http.StatusUnauthorized); err != nil {
			t.Error(err)
		}
	}

	calls := func(name string) int {
		logs, _ := exec.Command(engine(), "exec", "erlmcp_"+name+"_1", "erlmcp", "probe").CombinedOutput()
		if len(logs) > 0 {
			t.Errorf("%s: %s", name, logs)
		}
		return served(t, name)
	}
	for range 20 {
		if err := admitted(url); err != nil {
			t.Errorf("blue alone: %v", err)
		}
	}
	for _, name := range []string{"blue-1", "blue-2"} {
		if n := calls(name); n < 5 {
			t.Errorf("%s answered %d calls", name, n)
		}
	}

	stop, failed := make(chan struct{}), make(chan error)
	go func() {
		var faults []error
		for {
			select {
			case <-stop:
				failed <- errors.Join(faults...)
				return
			default:
				if err := admitted(url); err != nil {
					faults = append(faults, fmt.Errorf("%s: %w", time.Now().UTC().Format("15:04:05.000"), err))
				}
			}
		}
	}()
	do("up", "-d", "green-1", "green-2")
	eventually(t, time.Minute, func() error { return ready("http://127.0.0.1:8082", `"ready"`) })
	eventually(t, time.Minute, func() error {
		if served(t, "green-2") == 0 {
			return errors.New("green-2 gets no calls")
		}
		return nil
	})
	do("stop", "-t", "30", "blue-1", "blue-2")
	time.Sleep(time.Second)
	close(stop)
	if err := <-failed; err != nil {
		t.Errorf("while green took over: %v", err)
	}
	if err := admitted(url); err != nil {
		t.Errorf("green alone: %v", err)
	}
}

// admitted makes a call. A refusal because Redis took more than 20 ms is by rule, and of a busy machine.
func admitted(url string) error {
	_, err := call(url)
	if err != nil && !*strict && strings.Contains(err.Error(), `"code":1005`) {
		return nil
	}
	return err
}

func ready(url string, wants ...string) error {
	resp, err := http.Get(url + "/ready")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	for _, w := range wants {
		if !strings.Contains(string(b), w) {
			return fmt.Errorf("%s: %s", resp.Status, b)
		}
	}
	return nil
}

// fleet asks the control plane for the instances.
func fleet(credential string, status int, wants ...string) error {
	req, err := http.NewRequest(http.MethodGet, "http://127.0.0.1:8081/v1/fleet", nil)
	if err != nil {
		return err
	}
	if credential != "" {
		req.Header.Set("Authorization", credential)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		return fmt.Errorf("%s: %s %v", resp.Status, b, err)
	}
	for _, w := range wants {
		if !strings.Contains(string(b), w) {
			return fmt.Errorf("no %s in %s", w, b)
		}
	}
	return nil
}

// served is how many decisions an instance's own metrics, open on its loopback alone, have counted.
func served(t *testing.T, name string) int {
	t.Helper()
	pid := run(t, ".", nil, engine(), "inspect", "--format", "{{.State.Pid}}", "erlmcp_"+name+"_1")
	out, err := exec.Command("nsenter", "-t", pid, "-n", "curl", "-s", "http://127.0.0.1:8080/metrics").Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	n := 0
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "erlmcp_governor_decisions_total{") && strings.Contains(line, "admitted") {
			var v float64
			fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &v)
			n += int(v)
		}
	}
	return n
}
