package observability

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"gopkg.in/yaml.v3"
)

const otelcol = root + "/.tools/otelcol"

// A cloud stands for Cloud Monitoring and the Telemetry API.
type cloud struct {
	monitoringpb.UnimplementedMetricServiceServer
	mu     sync.Mutex
	series []*monitoringpb.TimeSeries
	spans  []*collectorpb.ExportTraceServiceRequest
	metric string // address
	trace  string // URL
}

func (c *cloud) CreateTimeSeries(_ context.Context, r *monitoringpb.CreateTimeSeriesRequest) (*emptypb.Empty, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.GetName() != "projects/my-project" || len(r.GetTimeSeries()) > 200 {
		return nil, fmt.Errorf("%d series for %s", len(r.GetTimeSeries()), r.GetName())
	}
	c.series = append(c.series, r.GetTimeSeries()...)
	return &emptypb.Empty{}, nil
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	text, err := io.ReadAll(body)
	in := new(collectorpb.ExportTraceServiceRequest)
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(text, in) != nil {
		http.Error(w, "not traces", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans = append(c.spans, in)
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := new(cloud)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	monitoringpb.RegisterMetricServiceServer(s, c)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	h := httptest.NewServer(c)
	t.Cleanup(h.Close)
	c.metric, c.trace = l.Addr().String(), h.URL
	return c
}

// cut takes from the configuration what only a Google account can start, and says what that was.
func cut(t *testing.T) (configuration map[string]any, out []any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, "infra/observability/collector.yaml")), &configuration); err != nil {
		t.Fatal(err)
	}
	at := func(keys ...string) map[string]any {
		m := configuration
		for _, k := range keys {
			m, _ = m[k].(map[string]any)
		}
		return m
	}
	service := at("service")
	out = []any{at("extensions")["googleclientauth"], at("exporters", "otlp_http")["auth"], at("exporters", "otlp_http")["endpoint"], service["extensions"]}
	delete(at("extensions"), "googleclientauth")
	delete(at("exporters", "otlp_http"), "auth")
	service["extensions"] = []string{"health_check"}
	return configuration, out
}

// TestWhatIsCut holds the lines that the collector of the checks does not read: Google's extension can't be built from the
// registries everywhere.
func TestWhatIsCut(t *testing.T) {
	_, got := cut(t)
	want := []any{map[string]any{}, map[string]any{"authenticator": "googleclientauth"}, "https://telemetry.googleapis.com", []any{"googleclientauth", "health_check"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
}

var place = map[string]string{"NAME": "erlmcp-staging", "LOCATION": "us-central1", "CLUSTER": "__run__", "NAMESPACE": "erlmcp-staging", "GOOGLE_CLOUD_PROJECT": "my-project"}

// start runs the collector on the configuration that is deployed, given as it is there, in a variable; what differs is where it
// listens and sends to. It returns where to push, and what ends it as a platform does.
func start(t *testing.T, c *cloud) (url string, stop func()) {
	t.Helper()
	if _, err := os.Stat(otelcol); err != nil {
		t.Fatalf("%v: make .tools/otelcol builds it", err)
	}
	configuration, _ := cut(t)
	text, err := yaml.Marshal(configuration)
	if err != nil {
		t.Fatal(err)
	}
	here, health := free(t), free(t)
	file := filepath.Join(t.TempDir(), "here.yaml")
	os.WriteFile(file, fmt.Appendf(nil, `
extensions: {health_check: {endpoint: %q}}
receivers: {otlp: {protocols: {http: {endpoint: %q}}}}
exporters:
  googlemanagedprometheus: {metric: {endpoint: %q, use_insecure: true}}
  otlp_http: {endpoint: %q}
`, health, here, c.metric, c.trace), 0o644)
	// The gate is what the entry point of Google's image sets.
	cmd := exec.Command(otelcol, "--feature-gates=exporter.googlemanagedprometheus.intToDouble", "--config=env:CONFIG", "--config="+file)
	cmd.Env = []string{"CONFIG=" + string(text)}
	for k, v := range place {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = sync.OnceFunc(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil || log.Len() > 0 {
				t.Errorf("the collector: %v\n%s", err, log.String())
			}
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			t.Error("the collector is still there 10 s after SIGTERM")
		}
	})
	t.Cleanup(stop)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if r, err := http.Get("http://" + health); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return "http://" + here, stop
			}
		}
		if time.Now().After(end) {
			t.Fatalf("the collector is not healthy\n%s", log.String())
		}
	}
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// inImage are those of what Google's image has:
// https://github.com/GoogleCloudPlatform/opentelemetry-operations-collector, google-built-opentelemetry-collector/manifest.yaml of 0.156.1.
var inImage = regexp.MustCompile(`^(otlp|memory_limiter|batch|resource|googlemanagedprometheus|otlp_http|health_check|googleclientauth)(/\w+)?$`)

func TestCollectorConfiguration(t *testing.T) {
	var configuration map[string]map[string]any
	if err := yaml.Unmarshal([]byte(read(t, "infra/observability/collector.yaml")), &configuration); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"extensions", "receivers", "processors", "exporters"} {
		for name := range configuration[kind] {
			if !inImage.MatchString(name) {
				t.Errorf("%s: Google's image may have no %s", kind, name)
			}
		}
	}
	cloudrun, gke := read(t, "infra/cloudrun/main.tf"), read(t, "infra/gke/workload/kustomization.yaml")+read(t, "infra/gke/workload/deployment.yaml")
	for _, v := range regexp.MustCompile(`\$\{env:(\w+)\}`).FindAllStringSubmatch(read(t, "infra/observability/collector.yaml"), -1) {
		is := regexp.MustCompile(`\b` + v[1] + `\b`)
		if !is.MatchString(cloudrun) || !is.MatchString(gke) || place[v[1]] == "" {
			t.Errorf("not everyone sets %s", v[1])
		}
	}
	// Kubernetes and Cloud Run name the same image.
	image := regexp.MustCompile(`us-docker\.pkg\.dev/[\w./-]+:[\w.-]+`)
	want := image.FindString(read(t, "infra/cloudrun/variables.tf"))
	for _, file := range []string{"infra/gke/variables.tf", "infra/gke/workload/deployment.yaml"} {
		if got := image.FindString(read(t, file)); got != want || want == "" {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
}

// TestAllArrives runs the server with the collector beside it, and ends both one after the other, as a platform does. All metrics
// that queries use must have reached Cloud Monitoring by then, under the names in the queries and for the right target, and all
// spans the Telemetry API.
func TestAllArrives(t *testing.T) {
	c := newCloud(t)
	push, stopCollector := start(t, c)
	url, stopServer := serve(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": push, "OTEL_TRACES_SAMPLER_ARG": "1"})
	ask(t, url)
	stopServer()
	stopCollector()

	got, labels, instances := map[string]bool{}, map[string][]string{}, map[string]bool{}
	for _, s := range c.series {
		name, kind, _ := strings.Cut(strings.TrimPrefix(s.GetMetric().GetType(), "prometheus.googleapis.com/"), "/")
		got[name] = true
		labels[name] = slices.Sorted(maps.Keys(s.GetMetric().GetLabels()))
		if kind == "histogram" {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				got[name+suffix] = true
			}
		}
		target := maps.Clone(s.GetResource().GetLabels())
		instances[target["instance"]] = true
		delete(target, "instance")
		want := map[string]string{"job": "erlmcp-staging", "location": "us-central1", "cluster": "__run__", "namespace": "erlmcp-staging"}
		if s.GetResource().GetType() != "prometheus_target" || !maps.Equal(target, want) {
			t.Fatalf("%s is of %v", name, s.GetResource())
		}
	}
	for name, where := range named(t) {
		if !got[name] {
			t.Errorf("%s does not arrive (%s)", name, where[0])
		}
	}
	if len(instances) != 1 || instances[""] {
		t.Errorf("instances %v: series of two would be taken for one", instances)
	}
	for name, want := range map[string][]string{
		"erlmcp_requests_total": {"method", "outcome"}, "erlmcp_governor_degraded": {"limit", "rule"}, "erlmcp_request_overhead_seconds": {},
	} {
		if !slices.Equal(labels[name], want) {
			t.Errorf("%s has labels %v, want %v", name, labels[name], want)
		}
	}

	var spans []string
	for _, message := range c.spans {
		for _, r := range message.GetResourceSpans() {
			about := map[string]string{}
			for _, a := range r.GetResource().GetAttributes() {
				about[a.GetKey()] = a.GetValue().GetStringValue()
			}
			if about["service.name"] != "erlmcp-staging" || about["gcp.project_id"] != "my-project" || !instances[about["service.instance.id"]] || about["location"] != "" {
				t.Errorf("spans are of %v", about)
			}
			for _, scope := range r.GetScopeSpans() {
				for _, s := range scope.GetSpans() {
					spans = append(spans, s.GetName())
				}
			}
		}
	}
	for _, want := range []string{"tools/call hello", "tools/call panic"} {
		if !slices.Contains(spans, want) {
			t.Errorf("no span %q among %q", want, spans)
		}
	}
}
