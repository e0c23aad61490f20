// Package weigh holds what the cost table in Terraform takes a call to weigh against a server that serves 10 000 of them: bytes of its log,
// of receipts as Firestore bills them, reads and writes of the store, samples of metrics, spans.
package weigh

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"example.com/erlmcp/local/checks/world"
)

const root = "../../../"

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// calls are how many are weighed.
const calls = 10000

func TestWeigh(t *testing.T) {
	emulator := world.StartEmulator(t)
	store := newMeter(t, emulator.Address())
	spans := newSpans(t)
	keys := filepath.Join(t.TempDir(), "keys.json")
	w := world.New(t, emulator, "weigh", "FIRESTORE_EMULATOR_HOST="+store.address, "LOG_OUTPUT=stdout", "LOG_SAMPLE=1", "TENANT_CALLS_PER_DAY=1000000",
		"AUTHENTICATION=keys", "API_KEYS_FILE="+keys,
		"OTEL_EXPORTER_OTLP_ENDPOINT="+spans.url, "OTEL_TRACES_SAMPLER_ARG=0.05")
	key := w.NewKey(keys, "acme", "ci", "")
	s := w.Serve("n")
	s.Serves(t, key, "note", "pay", "ration")
	time.Sleep(1500 * time.Millisecond) // what these wrote is stored

	log := len(s.Log())
	readsBefore, before := store.counts()
	begin := time.Now()
	slow := s.Load(key, "note", 5, 100*time.Millisecond)
	time.Sleep(10 * time.Second)
	slow.End()
	fast := s.Load(key, "note", 8, 15*time.Millisecond)
	for slow.Ran.Load()+fast.Ran.Load() < calls {
		if time.Since(begin) > 5*time.Minute {
			t.Fatalf("%d calls in 5 minutes", slow.Ran.Load()+fast.Ran.Load())
		}
		time.Sleep(50 * time.Millisecond)
	}
	fast.End()
	took := time.Since(begin)
	refused := float64(slow.Refused.Load() + fast.Refused.Load())
	ran := float64(slow.Ran.Load()+fast.Ran.Load()) + refused
	if refused > 0.05*ran { // on a busy machine some are; these weigh about as much
		t.Fatalf("%.0f of %.0f calls were refused", refused, ran)
	}
	series := samples(t, s.URL+"/metrics")
	logged := len(s.Log()) - log
	reads, written := store.counts()
	reads -= readsBefore
	for end := time.Now().Add(90 * time.Second); ; time.Sleep(100 * time.Millisecond) { // the first root comes after a minute
		if _, all := store.counts(); len(of("erlmcp-receipt-roots", all)) > 0 || time.Now().After(end) {
			break
		}
	}
	s.Signal(syscall.SIGTERM)
	<-s.Done
	_, all := store.counts()
	draws := float64(len(of("erlmcp-quotas", written[len(before):])))

	x := declared(t)
	var fixed, each share
	segments := of("erlmcp-receipts", all[len(before):])
	for _, d := range segments {
		f, e := weight(d, x, "receipts", "calls")
		fixed.stored, fixed.indexed = fixed.stored+f.stored, fixed.indexed+f.indexed
		each.stored, each.indexed = each.stored+e.stored, each.indexed+e.indexed
	}
	roots := of("erlmcp-receipt-roots", all)
	if len(segments) < 10 || len(roots) == 0 {
		t.Fatalf("%d segments and %d roots", len(segments), len(roots))
	}
	root, _ := weight(roots[len(roots)-1], x)
	place := t.TempDir()
	w.Operate(0, "backup", place)
	n, seconds := float64(len(segments)), took.Seconds()
	t.Logf("%.0f calls in %.0f s: %d segments of %.0f bytes and %.0f bytes of index entries, and for each call %.0f and %.0f; %.0f draws of a quota; %d reads",
		ran, seconds, len(segments), float64(fixed.stored)/n, float64(fixed.indexed)/n, float64(each.stored)/ran, float64(each.indexed)/ran, draws, reads)
	hold(t, took > time.Minute, map[string]float64{
		"log_bytes":       float64(logged) / ran,
		"receipt_bytes":   float64(each.total()) / ran,
		"segment_bytes":   float64(fixed.total()) / n,
		"segments_second": n / seconds,
		"root_bytes":      float64(root.total()),
		"archive_bytes":   float64(archived(t, segments)) / ran,
		"backup_bytes":    float64(backedUp(t, place)) / ran,
		"reads_second":    (float64(reads) - draws) / seconds,
		"draws_second":    draws / seconds,
		"samples":         series,
		"spans":           spans.each(t),
	})
}

// hold compares what was weighed with the defaults of the cost module's variable weight. On a machine that was so busy that calls came slowly,
// what is done once in a while is done more seldom.
func hold(t *testing.T, busy bool, weighed map[string]float64) {
	t.Helper()
	content, err := os.ReadFile(root + "infra/modules/cost/variables.tf")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]float64{}
	for _, m := range regexp.MustCompile(`(?m)^ +(\w+) += optional\(number, ([0-9.]+)\)`).FindAllStringSubmatch(string(content), -1) {
		said[m[1]], _ = strconv.ParseFloat(m[2], 64)
	}
	for name, got := range weighed {
		want, ok := said[name]
		switch {
		case !ok:
			t.Errorf("infra/modules/cost/variables.tf has no %s; weighed: %.3g", name, got)
		case busy && got < 0.8*want && strings.HasSuffix(name, "_second"):
			t.Logf("%s: weighed %.4g of %g while the machine was busy", name, got, want)
		case got < 0.8*want || got > 1.2*want:
			t.Errorf("%s: weighed %.4g, and infra/modules/cost/variables.tf says %g: change it there, and the table in infra/README.md", name, got, want)
		default:
			t.Logf("%s: weighed %.4g of %g", name, got, want)
		}
	}
}

// archived is how many bytes segments have in the archive: what they say, compressed, one after another.
func archived(t *testing.T, segments []*pb.Document) int {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	for _, d := range segments {
		for _, field := range []string{"certificate", "header", "receipts"} {
			if _, err := zip.Write(d.GetFields()[field].GetBytesValue()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Len()
}

// backedUp is how many bytes segments have in a backup.
func backedUp(t *testing.T, place string) (n int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(place, "backups", "*", "segments-*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no segments in the backup: %v", err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

// TestSettings holds the defaults of settings that the cost module takes against those that are documented, which are the code's.
func TestSettings(t *testing.T) {
	read := func(file string) string {
		content, err := os.ReadFile(root + file)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	documented := read("infra/docs/settings.md")
	taken := regexp.MustCompile(`lookup\(var\.settings, "(\w+)", "([^"]*)"\)`).FindAllStringSubmatch(read("infra/modules/cost/main.tf"), -1)
	if len(taken) < 3 {
		t.Fatalf("settings that cost: %q", taken)
	}
	for _, m := range taken {
		if want := "| `" + m[1] + "` | `" + m[2] + "` |"; !strings.Contains(documented, want) {
			t.Errorf("infra/modules/cost takes %s as the default of %s, and infra/docs/settings.md does not", m[2], m[1])
		}
	}
}

var line = regexp.MustCompile(`(?m)^(\w+)(?:\{(.*)\})? (\S+)$`)

// samples counts what Managed Service for Prometheus bills of a scrape: one for each number, and of a histogram the sum, the count and each
// bucket that is not empty.
func samples(t *testing.T, url string) float64 {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	content, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	n, buckets := 0.0, map[string][]float64{}
	bound := regexp.MustCompile(`,?le="[^"]*"`)
	for _, m := range line.FindAllStringSubmatch(string(content), -1) {
		if !strings.HasSuffix(m[1], "_bucket") {
			n++
			continue
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Fatalf("%s: %v", m[0], err)
		}
		of := m[1] + bound.ReplaceAllString(m[2], "")
		buckets[of] = append(buckets[of], v)
	}
	for _, cumulative := range buckets {
		slices.Sort(cumulative)
		n += float64(len(slices.Compact(append([]float64{0}, cumulative...))) - 1)
	}
	if len(buckets) < 3 || n < 50 {
		t.Fatalf("%v samples of %d histograms:\n%.2000s", n, len(buckets), content)
	}
	return n
}

// spans takes what a collector would.
type spans struct {
	url    string
	mu     sync.Mutex
	n      int
	traces map[string]bool
}

func newSpans(t *testing.T) *spans {
	c := &spans{traces: map[string]bool{}}
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	c.url = s.URL
	return c
}

func (c *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	content, err := io.ReadAll(body)
	if err != nil || r.URL.Path != "/v1/traces" {
		return // metrics
	}
	in := new(collectorpb.ExportTraceServiceRequest)
	if proto.Unmarshal(content, in) != nil {
		http.Error(w, "not traces", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range in.ResourceSpans {
		for _, s := range r.ScopeSpans {
			for _, span := range s.Spans {
				c.n++
				c.traces[string(span.TraceId)] = true
			}
		}
	}
}

// each is how many there are of a request that is traced.
func (c *spans) each(t *testing.T) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.traces) < 50 {
		t.Fatalf("%d traces", len(c.traces))
	}
	return float64(c.n) / float64(len(c.traces))
}
