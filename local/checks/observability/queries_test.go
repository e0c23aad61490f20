// Package observability holds what watches the server against the server: every query of the alerts, the dashboard and the
// runbooks is valid, names metrics that are there, and means what it says; and what the collector sends on, which is a real one,
// arrives at Cloud Monitoring by the names that the queries use.
package observability

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

const root = "../../.."

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A rule is one of a file of alerts.
type rule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

// files of alerts, on the server's own metrics and on the platform's.
var files = []string{"alerts", "platform"}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	for _, name := range files {
		var file struct{ Groups []struct{ Rules []rule } }
		if err := yaml.Unmarshal([]byte(read(t, "infra/observability/"+name+".yaml")), &file); err != nil {
			t.Fatal(err)
		}
		if len(file.Groups) != 1 {
			t.Fatalf("%s: %d groups: Terraform reads the first alone", name, len(file.Groups))
		}
		all = append(all, file.Groups[0].Rules...)
	}
	return all
}

func runbooks(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "infra/docs/runbooks/*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("runbooks: %v", err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".md")
	}
	return files
}

// A query is PromQL, and where it stands.
type query struct{ where, text string }

var promql = regexp.MustCompile("(?s)```promql\n(.*?)```")

// queries are all that an operator is shown or told by.
func queries(t *testing.T) []query {
	t.Helper()
	var out []query
	for _, r := range rules(t) {
		out = append(out, query{"alert " + r.Alert, r.Expr})
	}
	var dashboard any
	if err := json.Unmarshal([]byte(read(t, "infra/observability/dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	var title string
	var walk func(any)
	walk = func(v any) {
		switch x := v.(type) {
		case []any:
			for _, e := range x {
				walk(e)
			}
		case map[string]any:
			if s, ok := x["title"].(string); ok {
				title = s
			}
			if s, ok := x["prometheusQuery"].(string); ok {
				out = append(out, query{"dashboard, " + title, s})
			}
			for _, e := range x {
				walk(e)
			}
		}
	}
	walk(dashboard)
	documents := []string{"infra/docs/operating.md", "infra/docs/telemetry.md", "infra/docs/troubleshooting.md"}
	for _, name := range runbooks(t) {
		documents = append(documents, "infra/docs/runbooks/"+name+".md")
	}
	for _, d := range documents {
		for _, block := range promql.FindAllStringSubmatch(read(t, d), -1) {
			for line := range strings.Lines(block[1]) {
				out = append(out, query{d, strings.TrimSpace(line)})
			}
		}
	}
	if len(out) < 75 {
		t.Fatalf("only %d queries: they are not found", len(out))
	}
	return out
}

// A selector is a metric's name in a query, with the labels that choose among its series.
type selector struct {
	metric string
	labels map[string]string // with the operator before the value: ="x"
}

var (
	braces   = regexp.MustCompile(`\{(?:[^}"]|"(?:[^"\\]|\\.)*")*\}`)
	matcher  = regexp.MustCompile(`(\w+)(=~|!~|!=|=)("(?:[^"\\]|\\.)*")`)
	grouping = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right) *\([^)]*\)`)
	duration = regexp.MustCompile(`\[[^\]]*\]|\boffset +\w+`)
	name     = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*\b *(\(|\{\d+\})?`)
	words    = []string{"and", "or", "unless", "bool"}
)

// selectors finds the metrics of a query that is known to be valid.
func selectors(q string) []selector {
	var chosen []map[string]string
	q = braces.ReplaceAllStringFunc(q, func(s string) string {
		labels := map[string]string{}
		for _, m := range matcher.FindAllStringSubmatch(s, -1) {
			labels[m[1]] = m[2] + m[3]
		}
		chosen = append(chosen, labels)
		return "{" + strings.Repeat("1", len(chosen)) + "}"
	})
	q = duration.ReplaceAllString(grouping.ReplaceAllString(q, " "), " ")
	var out []selector
	for _, m := range name.FindAllString(q, -1) {
		switch {
		case strings.HasSuffix(m, "("), slices.Contains(words, strings.TrimSpace(m)): // a function, an operator
		case strings.HasSuffix(m, "}"):
			n, ones, _ := strings.Cut(m, "{")
			out = append(out, selector{strings.TrimSpace(n), chosen[len(ones)-2]})
		default:
			out = append(out, selector{strings.TrimSpace(m), nil})
		}
	}
	return out
}

func TestSelectors(t *testing.T) {
	got := selectors(`sum by (a, b) (rate(x_total{job="erlmcp",type=~"a|b{1}"}[5m])) / on (instance) max(y:z{q!="\""} offset 5m) > 0.5 and up or vector(0)`)
	want := []selector{{"x_total", map[string]string{"job": `="erlmcp"`, "type": `=~"a|b{1}"`}}, {"y:z", map[string]string{"q": `!="\""`}}, {"up", nil}}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i].metric != want[i].metric || len(got[i].labels) != len(want[i].labels) {
			t.Errorf("%d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

// platform are the metrics that others count, each with its labels and those of what it is measured on: of Google Cloud's as
// https://docs.cloud.google.com/monitoring/api/metrics_gcp and https://docs.cloud.google.com/monitoring/api/resources list them, under the names that
// https://docs.cloud.google.com/monitoring/promql/promql-mapping gives them. The name of a page follows.
var platform = map[string][]string{
	"firestore_googleapis_com:api_request_count":                         {"api_method", "database_id", "location", "response_code"},                            // _d_h
	"kubernetes_io:container_uptime":                                     {"cluster_name", "container_name", "location", "namespace_name", "pod_name"},          // metrics_kubernetes
	"monitoring_googleapis_com:uptime_check_time_until_ssl_cert_expires": {"check_id", "checker_location", "host"},                                              // _i_o
	"pubsub_googleapis_com:subscription_num_undelivered_messages":        {"subscription_id"},                                                                   // _p_z
	"redis_googleapis_com:stats_memory_usage_ratio":                      {"instance_id", "node_id", "region", "role"},                                          // _p_z
	"run_googleapis_com:job_completed_execution_count":                   {"job_name", "location", "result"},                                                    // _p_z
	"run_googleapis_com:request_count":                                   {"location", "response_code", "response_code_class", "revision_name", "service_name"}, // _p_z
	"up":                                                                 {"instance", "job"},                                                                   // Prometheus' own
}

// grouped are the labels by which a query groups.
var grouped = regexp.MustCompile(`\bby \(([^)]*)\)`)

// TestPlatformMetrics holds what queries ask of the platform against what it has.
func TestPlatformMetrics(t *testing.T) {
	asked := map[string]bool{}
	for _, q := range queries(t) {
		labels, ours := []string{}, false
		for _, s := range selectors(q.text) {
			known, ok := platform[s.metric]
			if !ok {
				if ours = true; strings.Contains(s.metric, ":") {
					t.Errorf("%s: the platform has no %s", q.where, s.metric)
				}
				continue
			}
			asked[s.metric], labels = true, append(labels, known...)
			for label := range s.labels {
				if !slices.Contains(known, label) && label != "monitored_resource" {
					t.Errorf("%s: %s has no label %s", q.where, s.metric, label)
				}
			}
		}
		for _, m := range grouped.FindAllStringSubmatch(q.text, -1) {
			for label := range strings.SplitSeq(m[1], ", ") {
				if !ours && !slices.Contains(labels, label) {
					t.Errorf("%s: nothing has a label %s", q.where, label)
				}
			}
		}
	}
	for name := range platform {
		if !asked[name] {
			t.Errorf("no query asks for %s", name)
		}
	}
}

var mentioned = regexp.MustCompile(`\b(?:erlmcp|tools|resources|subscriptions|mcp_server|go|process)_[a-z0-9_]+[a-z]\b`)

// families are what the server's metrics begin with that a document may speak of by name.
var families = regexp.MustCompile(`^(erlmcp_|tools_called|resources_accessed|subscriptions_active|mcp_server_|go_(gc|goroutines|info|memory|memstats|sched|sync|threads|cpu)|process_)`)

// named are the server's metrics that queries and documents name, each with where.
func named(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, q := range queries(t) {
		for _, s := range selectors(q.text) {
			if platform[s.metric] == nil {
				out[s.metric] = append(out[s.metric], q.where)
			}
		}
	}
	documents, err := filepath.Glob(filepath.Join(root, "infra/docs/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	more, _ := filepath.Glob(filepath.Join(root, "infra/docs/runbooks/*.md"))
	for _, folder := range []string{"", "function", "infra", "local"} {
		more = append(more, filepath.Join(root, folder, "README.md"))
	}
	for _, d := range append(documents, more...) {
		text, err := os.ReadFile(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mentioned.FindAllString(promql.ReplaceAllString(string(text), ""), -1) {
			if families.MatchString(m) {
				out[m] = append(out[m], filepath.Base(d))
			}
		}
	}
	return out
}
