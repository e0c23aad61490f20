package observability

import (
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"example.com/erlmcp/local/checks/hosts"
	"example.com/erlmcp/local/checks/world"
)

const telemetryAPI = "telemetry.googleapis.com"

// An api plays Google's endpoint for OTLP by its documents, with the names of resources and the form of messages from OpenTelemetry:
//
//   - https://docs.cloud.google.com/stackdriver/docs/reference/telemetry/v1.metrics: the target's labels, of which location and instance are demanded
//   - https://docs.cloud.google.com/stackdriver/docs/otlp-metrics/overview: the names that are let through
//   - https://docs.cloud.google.com/stackdriver/quotas: 200 points at once; https://docs.cloud.google.com/monitoring/quotas: 5 s from one to the next
//   - https://opentelemetry.io/docs/specs/otlp/#otlphttp-request: the content type
//
// Who has a token is known by the metadata server.
type api struct {
	metadata hosts.Metadata
	mu       sync.Mutex
	refused  []string
	last     map[string]uint64 // time of the last point, by series
	series   map[string]map[string]bool
	targets  map[string]bool
	spans    []string
	requests int
	away     bool // answers 503
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	refuse := func(status int, format string, args ...any) {
		a.refused = append(a.refused, fmt.Sprintf(format, args...))
		w.WriteHeader(status)
	}
	a.requests++
	if a.away {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if !a.metadata.Knows(r) {
		refuse(http.StatusUnauthorized, "the token %q is not good, or no more", r.Header.Get("Authorization"))
		return
	}
	if got := r.Header.Get("Content-Type"); r.Method != http.MethodPost || got != "application/x-protobuf" {
		refuse(http.StatusUnsupportedMediaType, "%s of %q", r.Method, got)
		return
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			refuse(http.StatusBadRequest, "%v", err)
			return
		}
		body = unzipped
	}
	text, err := io.ReadAll(body)
	points, spans := new(collectormetrics.ExportMetricsServiceRequest), new(collectortrace.ExportTraceServiceRequest)
	var answer proto.Message
	switch r.URL.Path {
	case "/v1/metrics":
		if err == nil {
			err = proto.Unmarshal(text, points)
		}
		if err == nil {
			err = a.takeMetrics(points)
		}
		answer = &collectormetrics.ExportMetricsServiceResponse{}
	case "/v1/traces":
		if err == nil {
			err = proto.Unmarshal(text, spans)
		}
		if err == nil {
			err = a.takeSpans(spans)
		}
		answer = &collectortrace.ExportTraceServiceResponse{}
	default:
		refuse(http.StatusNotFound, "%s", r.URL.Path)
		return
	}
	if err != nil {
		refuse(http.StatusBadRequest, "%s: %v", r.URL.Path, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	text, _ = proto.Marshal(answer)
	w.Write(text)
}

var (
	metricName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_:./]*$`)
	labelKey   = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_.]*$`)
)

func about(r *resource.Resource) (map[string]string, error) {
	out := map[string]string{}
	for _, a := range r.GetAttributes() {
		out[a.GetKey()] = a.GetValue().GetStringValue()
	}
	if out["gcp.project_id"] != "my-project" {
		return nil, fmt.Errorf("the account may write into my-project alone, and this is of %q", out["gcp.project_id"])
	}
	return out, nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func (a *api) takeMetrics(in *collectormetrics.ExportMetricsServiceRequest) error {
	if n := len(in.GetResourceMetrics()); n > 200 {
		return fmt.Errorf("%d resources, and at most 200 are let through", n)
	}
	count := 0
	for _, rm := range in.GetResourceMetrics() {
		of, err := about(rm.GetResource())
		if err != nil {
			return err
		}
		location, instance := first(of["location"], of["cloud.availability_zone"], of["cloud.region"]), first(of["instance"], of["service.instance.id"])
		if location == "" || instance == "" {
			return fmt.Errorf("a target without location or instance: %v", of)
		}
		target := strings.Join([]string{location, of["cluster"], of["namespace"], first(of["job"], of["service.name"])}, " ")
		a.targets[target] = true
		for _, sm := range rm.GetScopeMetrics() {
			for _, m := range sm.GetMetrics() {
				if !metricName.MatchString(m.GetName()) {
					return fmt.Errorf("the name %q", m.GetName())
				}
				for _, p := range pointsOf(m) {
					count++
					key := instance + " " + m.GetName()
					if a.series[m.GetName()] == nil {
						a.series[m.GetName()] = map[string]bool{}
					}
					for _, l := range p.labels {
						if !labelKey.MatchString(l.GetKey()) {
							return fmt.Errorf("the label %q", l.GetKey())
						}
						a.series[m.GetName()][l.GetKey()] = true
						key += fmt.Sprintf(" %s=%s", l.GetKey(), l.GetValue().GetStringValue())
					}
					if last := a.last[key]; last != 0 && p.at-last < uint64(5*time.Second) {
						return fmt.Errorf("%s comes %v after the last", key, time.Duration(p.at-last))
					}
					a.last[key] = p.at
				}
			}
		}
	}
	if count > 200 {
		return fmt.Errorf("%d points, and at most 200 are let through", count)
	}
	return nil
}

type pointOf struct {
	at     uint64
	labels []*common.KeyValue
}

func pointsOf(m *metrics.Metric) (out []pointOf) {
	for _, p := range slices.Concat(m.GetGauge().GetDataPoints(), m.GetSum().GetDataPoints()) {
		out = append(out, pointOf{p.GetTimeUnixNano(), p.GetAttributes()})
	}
	for _, p := range m.GetHistogram().GetDataPoints() {
		out = append(out, pointOf{p.GetTimeUnixNano(), p.GetAttributes()})
	}
	for _, p := range m.GetSummary().GetDataPoints() {
		out = append(out, pointOf{p.GetTimeUnixNano(), p.GetAttributes()})
	}
	return out
}

func (a *api) takeSpans(in *collectortrace.ExportTraceServiceRequest) error {
	for _, rs := range in.GetResourceSpans() {
		if _, err := about(rs.GetResource()); err != nil {
			return err
		}
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				if len(s.GetTraceId()) != 16 || len(s.GetSpanId()) != 8 {
					return fmt.Errorf("a span with the ids %x and %x", s.GetTraceId(), s.GetSpanId())
				}
				a.spans = append(a.spans, s.GetName())
			}
		}
	}
	return nil
}

// TestStraightToGoogle has a server send metrics and spans to Google's endpoint itself, as the sizes without a collector do: what queries use
// arrives under the names in the queries and for the right target, within all that the endpoint refuses, over the life of several tokens, after
// a time in which the endpoint was away, and at the end.
func TestStraightToGoogle(t *testing.T) {
	// Tokens are said to be good for 4 s more than the time for which the library keeps one in reserve.
	a := &api{metadata: hosts.Metadata{Good: 10 * time.Second, Said: 229 * time.Second}, last: map[string]uint64{}, series: map[string]map[string]bool{}, targets: map[string]bool{}}
	env := slices.Concat(hosts.Play(t, map[string]http.Handler{telemetryAPI: a}), a.metadata.Serve(t), world.Anonymous())
	env = append(env, "OTEL_EXPORTER_OTLP_ENDPOINT=https://"+telemetryAPI, "OTEL_TRACES_SAMPLER_ARG=1", "OTEL_METRIC_EXPORT_INTERVAL=6000",
		"OTEL_SERVICE_NAME=erlmcp-staging", "OTEL_RESOURCE_ATTRIBUTES=cluster=__run__,location=us-central1,namespace=erlmcp-staging")
	s := world.New(t, world.StartEmulator(t), "my-project", env...).Serve("one")
	s.Serves(t, "", "note")
	until := func(what string, done func() bool) {
		t.Helper()
		for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
			a.mu.Lock()
			ok := done()
			a.mu.Unlock()
			if ok {
				return
			}
			if time.Since(begin) > time.Minute {
				t.Fatalf("%s, after a minute; refused: %q", what, a.refused)
			}
		}
	}
	until("the first metrics do not arrive", func() bool { return a.series["tools_called_total"] != nil && len(a.spans) > 0 })
	a.mu.Lock()
	a.away, a.requests = true, 0
	a.mu.Unlock()
	s.Serves(t, "", "note") // whatever the endpoint does
	until("nothing is sent", func() bool { return a.requests > 0 })
	a.mu.Lock()
	before := a.metadata.Given()
	a.away, a.series = false, map[string]map[string]bool{}
	a.mu.Unlock()
	until("no metrics arrive with the token of later", func() bool { return a.metadata.Given() > before+1 && a.series["tools_called_total"] != nil })
	a.mu.Lock()
	a.spans = nil
	a.mu.Unlock()
	s.Serves(t, "", "note")
	s.Signal(syscall.SIGTERM)
	<-s.Done

	a.mu.Lock()
	defer a.mu.Unlock()
	// The values at the end come sooner after those before than Google takes them, which loses nothing but them.
	for _, why := range a.refused {
		if !strings.Contains(why, "after the last") {
			t.Errorf("refused: %s", why)
		}
	}
	if want := []string{"us-central1 __run__ erlmcp-staging erlmcp-staging"}; !slices.Equal(slices.Collect(maps.Keys(a.targets)), want) {
		t.Errorf("targets %v", a.targets)
	}
	if !slices.Contains(a.spans, "tools/call note") {
		t.Errorf("what is sent last is not there: %q", a.spans)
	}
	for name, labels := range map[string][]string{
		"erlmcp_requests_total": {"method", "outcome"}, "tools_called_total": {"outcome", "tool"}, "erlmcp_request_overhead_seconds": {},
		"mcp_server_operation_duration_seconds": {"error_type", "gen_ai_tool_name", "mcp_method_name"},
	} {
		if got := slices.Sorted(maps.Keys(a.series[name])); a.series[name] == nil || !slices.Equal(got, labels) {
			t.Errorf("%s has the labels %v, want %v", name, got, labels)
		}
	}
}
