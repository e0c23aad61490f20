package telemetry

import (
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// TestCounts records one request of each kind, and reads the metrics as Prometheus does.
func TestCounts(t *testing.T) {
	call := Request{Method: "tools/call", Kind: "tool", Name: "add", Era: "2026-07-28", Outcome: "completed", Duration: 30 * time.Millisecond, Handled: 20 * time.Millisecond}
	with := func(r Request, change func(*Request)) Request { change(&r); return r }
	for _, c := range []struct {
		name    string
		request Request
		want    []string // lines of what is served
		not     []string // beginnings of lines that are not there
	}{
		{"a call", call, []string{
			`erlmcp_requests_total{method="tools/call",outcome="completed"} 1`, `erlmcp_era_requests_total{era="2026-07-28",outcome="completed"} 1`, `tools_called_total{outcome="completed",tool="add"} 1`,
			`erlmcp_request_duration_seconds_sum{method="tools/call"} 0.03`, `erlmcp_request_overhead_seconds_sum 0.01`,
			`mcp_server_operation_duration_seconds_count{error_type="",gen_ai_tool_name="add",mcp_method_name="tools/call"} 1`}, []string{"resources_accessed_total"}},
		{"a refusal was not called", with(call, func(r *Request) { r.Outcome, r.Error, r.Reason = "refused", "rate", "rate" }), []string{
			`erlmcp_requests_total{method="tools/call",outcome="refused"} 1`, `erlmcp_errors_total{type="rate"} 1`, `erlmcp_request_overhead_seconds_count 0`}, []string{`tools_called_total{outcome="refused"} 1`}},
		{"a resource", Request{Method: "resources/read", Kind: "resource", Name: "note://{x}", Outcome: "completed"}, []string{`resources_accessed_total{outcome="completed",resource="note://{x}"} 1`}, []string{"tools_called_total"}},
		{"what was never a request", Request{Error: "-32700", Outcome: "invalid"}, []string{`erlmcp_errors_total{type="-32700"} 1`}, []string{"erlmcp_requests_total", "erlmcp_era_requests_total"}},
		{"a probe", probe, []string{`erlmcp_errors_total{type="panic"} 0`}, []string{"erlmcp_requests_total", "erlmcp_era_requests_total"}},
	} {
		seen := open(t, Options{Output: io.Discard, Version: "1.2.3"})
		seen.Record(t.Context(), &c.request)
		text := served(seen, "")
		for _, want := range append(c.want, `erlmcp_build_info{version="1.2.3"} 1`) {
			if !strings.Contains(text, "\n"+want+"\n") {
				t.Errorf("%s: %s is missing", c.name, want)
			}
		}
		for _, not := range c.not {
			if strings.Contains(text, "\n"+not) {
				t.Errorf("%s: there is %s", c.name, not)
			}
		}
	}
}

// served is what a scraper gets.
func served(seen *Telemetry, accept string) string {
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	seen.Handler().ServeHTTP(w, r)
	return w.Body.String()
}

// TestMetricsAreWellNamed holds all metrics to Prometheus' own linter.
func TestMetricsAreWellNamed(t *testing.T) {
	seen := open(t, Options{Output: io.Discard})
	seen.Record(t.Context(), &success)
	seen.Register(Metric{Name: "erlmcp_test_total", Help: "Counts.", Kind: Counter, Labels: []string{"what"}, Read: func(emit func(float64, ...string)) { emit(2, "a"); emit(3, "b") }})
	seen.Histogram("erlmcp_test_seconds", "Takes time.")(0.3)
	families, err := seen.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if !strings.HasPrefix(p.Metric, "go_") { // the library's own
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for _, want := range []string{`erlmcp_test_total{what="a"} 2`, `erlmcp_test_total{what="b"} 3`, `erlmcp_test_seconds_bucket{le="0.25"} 0`, `erlmcp_test_seconds_bucket{le="0.5"} 1`} {
		if !strings.Contains(served(seen, ""), "\n"+want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
}

// TestErrorsMakeNoSeriesWithoutEnd has tools that fail in thousands of ways: all are counted, in few series.
func TestErrorsMakeNoSeriesWithoutEnd(t *testing.T) {
	seen := open(t, Options{Output: io.Discard})
	const n = 5 * maxSeries
	for i := range n {
		seen.Record(t.Context(), &Request{Method: "tools/call", Kind: "tool", Name: "add", Outcome: "failed", Error: fmt.Sprint("code", i)})
	}
	families, err := seen.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	total, series := 0.0, 0
	for _, f := range families {
		if f.GetName() == "erlmcp_errors_total" {
			series = len(f.Metric)
			for _, m := range f.Metric {
				total += m.Counter.GetValue()
			}
		}
	}
	if total != n || series > maxSeries+len(faults)+1 || len(seen.metrics.known) > 2*maxSeries {
		t.Errorf("%v errors in %d series, %d are known", total, series, len(seen.metrics.known))
	}
}

// TestExemplars has a traced request be an exemplar, for Prometheus and for a collector, which wants ids as bytes.
func TestExemplars(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := newCollector(t)
		seen := to.open(t, Options{Sampler: "always_off"})
		seen.Record(traced(t.Context()), &success)
		const ids = `trace_id="0102030405060708090a0b0c0d0e0f10"`
		if text := served(seen, "application/openmetrics-text; version=1.0.0"); !strings.Contains(text, ids) || !strings.HasSuffix(text, "# EOF\n") {
			t.Error("no exemplar for Prometheus")
		}
		to.take(t, seen)
		m := to.metrics["mcp.server.operation.duration"]
		if m == nil || m.Unit != "s" || len(m.GetHistogram().GetDataPoints()) != 1 {
			t.Fatalf("%v", m)
		}
		p := m.GetHistogram().DataPoints[0]
		if len(p.Exemplars) != 1 || len(p.Exemplars[0].TraceId) != 16 || len(p.Exemplars[0].SpanId) != 8 || p.Exemplars[0].TraceId[15] != 16 {
			t.Errorf("exemplars: %v", p.Exemplars)
		}
		var names []string
		for _, a := range p.Attributes {
			names = append(names, a.Key)
		}
		if got := strings.Join(names, " "); got != "gen_ai.tool.name mcp.method.name" { // no error, and no name for that
			t.Errorf("attributes %s", got)
		}
	})
}
