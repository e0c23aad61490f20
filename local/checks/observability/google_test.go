package observability

import (
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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
// Beside it is the metadata server, whose tokens are good for some seconds.
type api struct {
	mu       sync.Mutex
	tokens   map[string]time.Time // until when they are good
	refused  []string
	last     map[string]uint64 // time of the last point, by series
	series   map[string]map[string]bool
	targets  map[string]bool
	spans    []string
	requests int
	away     bool // answers 503
}

// metadata gives tokens as https://docs.cloud.google.com/compute/docs/access/authenticate-workloads has it. They are good for 4 s, and said to be
// good for as long as the library keeps one in reserve beside that.
func (a *api) metadata(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Metadata-Flavor", "Google")
	if r.Header.Get("Metadata-Flavor") != "Google" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	switch r.URL.Path {
	case "/computeMetadata/v1/instance/service-accounts/default/token":
		a.mu.Lock()
		defer a.mu.Unlock()
		token := fmt.Sprintf("ya29.%d", len(a.tokens))
		a.tokens[token] = time.Now().Add(10 * time.Second)
		json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 225 + 4})
	case "/computeMetadata/v1/project/project-id":
		io.WriteString(w, "another-project")
	case "/computeMetadata/v1/universe/universe-domain", "/computeMetadata/v1/universe/universe_domain":
		io.WriteString(w, "googleapis.com")
	default:
		w.WriteHeader(http.StatusNotFound)
	}
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
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if until := a.tokens[token]; !time.Now().Before(until) {
		refuse(http.StatusUnauthorized, "the token %q is not good, or no more", token)
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

// serve has it answer for Google's host: a proxy leads there, and its certificate is that of an authority which processes are told to trust.
func (a *api) serve(t *testing.T) (env []string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{telemetryAPI}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	authority := filepath.Join(t.TempDir(), "authority.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	secure := httptest.NewUnstartedServer(a)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != telemetryAPI+":443" {
			http.Error(w, "there is nothing but "+telemetryAPI, http.StatusBadGateway)
			return
		}
		there, err := net.Dial("tcp", secure.Listener.Addr().String())
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		here, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			there.Close()
			return
		}
		io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() { io.Copy(there, here); there.Close() }()
		go func() { io.Copy(here, there); here.Close() }()
	}))
	t.Cleanup(proxy.Close)
	metadata := httptest.NewServer(http.HandlerFunc(a.metadata))
	t.Cleanup(metadata.Close)
	return []string{"HTTPS_PROXY=" + proxy.URL, "NO_PROXY=127.0.0.1", "SSL_CERT_FILE=" + authority, "GCE_METADATA_HOST=" + strings.TrimPrefix(metadata.URL, "http://"),
		"GOOGLE_APPLICATION_CREDENTIALS=", "HOME=" + t.TempDir()}
}

// TestStraightToGoogle has a server send metrics and spans to Google's endpoint itself, as the sizes without a collector do: what queries use
// arrives under the names in the queries and for the right target, within all that the endpoint refuses, over the life of several tokens, after
// a time in which the endpoint was away, and at the end.
func TestStraightToGoogle(t *testing.T) {
	a := &api{tokens: map[string]time.Time{}, last: map[string]uint64{}, series: map[string]map[string]bool{}, targets: map[string]bool{}}
	env := append(a.serve(t), world.Anonymous()...)
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
	before := len(a.tokens)
	a.away, a.series = false, map[string]map[string]bool{}
	a.mu.Unlock()
	until("no metrics arrive with the token of later", func() bool { return len(a.tokens) > before+1 && a.series["tools_called_total"] != nil })
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
