// Package judge decides whether a new version may have more traffic, by comparing its metrics with those of the version before in the same
// minutes.
package judge

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// A Sample is a value of a series.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// A Source answers queries in PromQL with the values that series have at a time.
type Source interface {
	Query(ctx context.Context, query string, at time.Time) ([]Sample, error)
}

// A process is one of the server's, as its collector or who scrapes it names it.
type process struct{ job, instance string }

// A key is a series of a side, over its processes. What first and second are is for the metric to say.
type key struct {
	metric        string
	first, second string
	le            string // the bound of a bucket
}

// A metric is one that is looked at, with the labels that tell its series apart.
type metric struct {
	name, only    string // only: matchers
	first, second string
	gauge         bool
}

const (
	requests  = "erlmcp_requests_total"
	eras      = "erlmcp_era_requests_total"
	failures  = "erlmcp_errors_total"
	tools     = "tools_called_total"
	resources = "resources_accessed_total"
	overhead  = "erlmcp_request_overhead_seconds"
	duration  = "erlmcp_request_duration_seconds"
	operation = "mcp_server_operation_duration_seconds"
	memory    = "erlmcp_capacity_used"
	started   = "process_start_time_seconds"
)

var metrics = []metric{
	{name: requests, first: "method", second: "outcome"},
	{name: eras, first: "era", second: "outcome"},
	{name: failures, first: "type"},
	{name: tools, first: "tool", second: "outcome"},
	{name: resources, first: "resource", second: "outcome"},
	{name: overhead + "_bucket"},
	{name: duration + "_bucket", first: "method"},
	{name: duration + "_sum", first: "method"},
	// Of what did not fail: a version that fails fast is not quick.
	{name: operation + "_bucket", only: `{mcp_method_name="tools/call",error_type=""}`, first: "gen_ai_tool_name"},
	{name: operation + "_sum", only: `{mcp_method_name="tools/call",error_type=""}`, first: "gen_ai_tool_name"},
	{name: memory, only: `{what="memory_bytes",scope="instance"}`, gauge: true},
	{name: started, gauge: true},
}

// A value is that of a series of one process.
type value struct {
	process process
	key     key
	value   float64
}

// A Reading is what all series have at a time.
type reading struct {
	at       time.Time
	sides    map[process]Side
	versions [2]map[string]bool
	values   []value
	gauges   map[string]map[process]float64 // by metric
}

// A selection says which processes are whose: matchers for the labels of erlmcp_build_info, which every process has.
type selection [2]string

func (s selection) info(side Side) string { return "erlmcp_build_info{" + s[side] + "}" }

// OverlapError is that processes are both canary and baseline.
type OverlapError struct{ Instance string }

func (e *OverlapError) Error() string {
	return fmt.Sprintf("the instance %s is both canary and baseline: the matchers of -canary and -baseline must not match the same series of erlmcp_build_info", e.Instance)
}

// read asks for all metrics at a time. No query names more than one metric, and none by a pattern, which Cloud Monitoring does not take.
func (s selection) read(ctx context.Context, from Source, at time.Time) (*reading, error) {
	r := &reading{at: at, sides: map[process]Side{}, versions: [2]map[string]bool{{}, {}}, gauges: map[string]map[process]float64{}}
	for _, side := range []Side{Canary, Baseline} {
		found, err := from.Query(ctx, s.info(side), at)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			p := processOf(f.Labels)
			if other, is := r.sides[p]; is && other != side {
				return nil, &OverlapError{p.instance}
			}
			r.sides[p] = side
			r.versions[side][f.Labels["version"]] = true
		}
	}
	if len(r.sides) == 0 {
		return r, nil
	}
	sums := map[value]float64{} // series that differ in other labels alone are one
	for _, m := range metrics {
		query := fmt.Sprintf("%s%s and on (job, instance) (%s or %s)", m.name, m.only, s.info(Canary), s.info(Baseline))
		found, err := from.Query(ctx, query, at)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			p := processOf(f.Labels)
			if _, is := r.sides[p]; !is {
				continue // it came between two queries
			}
			if m.gauge {
				if r.gauges[m.name] == nil {
					r.gauges[m.name] = map[process]float64{}
				}
				r.gauges[m.name][p] = f.Value
				continue
			}
			k := key{metric: m.name, first: f.Labels[m.first], second: f.Labels[m.second]}
			if strings.HasSuffix(m.name, "_bucket") {
				k.le = f.Labels["le"]
			}
			sums[value{process: p, key: k}] += f.Value
		}
	}
	for v, sum := range sums {
		v.value = sum
		r.values = append(r.values, v)
	}
	return r, nil
}

func processOf(labels map[string]string) process { return process{labels["job"], labels["instance"]} }
