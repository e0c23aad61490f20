package shipper

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/erlmcp/local/checks/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// documented is the configuration in the documents, with other paths and another address.
func documented(t *testing.T, replaced ...string) string {
	t.Helper()
	text, err := os.ReadFile("../../../infra/docs/landing-zone.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```conf\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(found) != 1 {
		t.Fatalf("the documents have %d configurations", len(found))
	}
	config := found[0][1]
	for i := 0; i < len(replaced); i += 2 {
		if !strings.Contains(config, replaced[i]) {
			t.Fatalf("the documents have no %s", replaced[i])
		}
		config = strings.ReplaceAll(config, replaced[i], replaced[i+1])
	}
	return config
}

// ship starts rsyslog with the documented configuration, for logs in a folder.
func ship(t *testing.T, dir, url string) (said *bytes.Buffer) {
	t.Helper()
	state, conf := filepath.Join(dir, "state"), filepath.Join(dir, "rsyslog.conf")
	config := documented(t, "https://elastic.example.com:9200", url, "/var/log/erlmcp/", dir+"/", "global(", `global(workDirectory="`+state+`" `)
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("rsyslogd", "-N1", "-f", conf).CombinedOutput(); err != nil {
		t.Fatalf("rsyslog does not take the configuration: %v (make packages installs rsyslog-elasticsearch)\n%s", err, out)
	}
	cmd := exec.Command("rsyslogd", "-n", "-f", conf, "-i", filepath.Join(dir, "pid"))
	said = &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return said
}

// logged waits for a number of files of the log, and returns the records in them, each with how often it is there.
func logged(t *testing.T, dir string, files int) (records map[string]int, n int) {
	t.Helper()
	var all []string
	for begin := time.Now(); len(all) < files; time.Sleep(100 * time.Millisecond) {
		if all, _ = filepath.Glob(filepath.Join(dir, "erlmcp*.log")); time.Since(begin) > 3*time.Minute {
			t.Fatalf("%d files, and %d are wanted", len(all), files)
		}
	}
	records = map[string]int{}
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			records[canonical(line)]++
			n++
		}
	}
	return records, n
}

// refused are the records in the file of what Elasticsearch did not take.
func refused(t *testing.T, file string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for decoder := json.NewDecoder(bytes.NewReader(text)); ; {
		var entry struct{ Request struct{ Postdata string } }
		if err := decoder.Decode(&entry); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(entry.Request.Postdata) {
			out[canonical(line)] = true
		}
	}
}

// TestElasticsearch has a server log more than one file. It moves the first aside by its size, and another one is moved as logrotate does. Each
// record is in Elasticsearch once, as it was written, or is among those that were refused.
func TestElasticsearch(t *testing.T) {
	for what, part := range map[string]float64{"all is taken": 0, "some is refused": 0.05} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			e := &elastic{draw: rand.New(rand.NewPCG(1, 2)), part: part, docs: map[string]map[string]string{}, counts: map[string]int{}}
			srv := httptest.NewServer(e)
			defer srv.Close()
			said := ship(t, dir, srv.URL)
			logs := filepath.Join(dir, "erlmcp.log")
			s := world.New(t, nil, "", append(world.Anonymous(), "STORE_FILE="+filepath.Join(dir, "store"), "LOG_FILE="+logs, "LOG_SAMPLE=1", "GOVERNOR_SCOPE=instance", "REDIS_URL=")...).Serve("one")
			load := s.Load("", "note", 8, 0)
			logged(t, dir, 2)
			load.End()
			time.Sleep(2 * time.Second) // logrotate comes while little is written
			if err := os.Rename(logs, filepath.Join(dir, "erlmcp.moved.log")); err != nil {
				t.Fatal(err)
			}
			s.Signal(syscall.SIGHUP)
			s.Serves(t, "", "note")
			s.Signal(syscall.SIGTERM)
			<-s.Done
			want, n := logged(t, dir, 3)
			if n < 10000 {
				t.Fatalf("%d records", n)
			}

			missing, twice, other := 0, 0, 0
			for begin := time.Now(); ; time.Sleep(time.Second) {
				got, out := e.all(), map[string]bool{}
				if part > 0 {
					out = refused(t, filepath.Join(dir, "refused.log"))
				}
				missing, twice, other = 0, 0, 0
				for record, times := range want {
					switch {
					case got[record] < times && !out[record]:
						missing++
					case got[record] > times:
						twice++
					}
				}
				for record := range got {
					if want[record] == 0 {
						other++
					}
				}
				if missing == 0 || time.Since(begin) > time.Minute {
					break
				}
			}
			t.Logf("%d records; %v", n, e.counts)
			if missing > 0 || twice > 0 || other > 0 {
				t.Errorf("of %d records %d are missing, %d are there again, and %d are others than were written\n%.1000s", n, missing, twice, other, said)
			}
			if len(e.faults) > 0 {
				t.Errorf("Elasticsearch does not take %d requests, the first as %s", len(e.faults), e.faults[0])
			}
			if part > 0 && (e.counts["refused"] == 0 || e.counts["lost"] == 0 || e.counts["no room"] == 0 || e.counts["there already"] == 0) {
				t.Errorf("that shows nothing: %v", e.counts)
			}
		})
	}
}
