package observability

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/monitoring/dashboard/apiv1/dashboardpb"
	"google.golang.org/protobuf/encoding/protojson"
	"gopkg.in/yaml.v3"
)

func promtool(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is not installed: apt-get install prometheus, or https://prometheus.io/download")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	return string(out), err
}

func TestAlertsAreValid(t *testing.T) {
	for _, name := range files {
		if out, err := promtool(t, "check", "rules", root+"/infra/observability/"+name+".yaml"); err != nil || strings.Contains(out, "FAILED") {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// TestAlertsFire lets time pass over series in which each alert should fire, and over others in which it should not.
func TestAlertsFire(t *testing.T) {
	if out, err := promtool(t, "test", "rules", "testdata/alerts_test.yaml"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	var file struct {
		Tests []struct {
			Alerts []struct {
				Alert string `yaml:"alertname"`
				Fires []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	text, err := os.ReadFile("testdata/alerts_test.yaml")
	if err != nil || yaml.Unmarshal(text, &file) != nil {
		t.Fatalf("%v", err)
	}
	fires, quiet := map[string]int{}, map[string]int{}
	for _, test := range file.Tests {
		for _, a := range test.Alerts {
			if len(a.Fires) > 0 {
				fires[a.Alert]++
			} else {
				quiet[a.Alert]++
			}
		}
	}
	for _, r := range rules(t) {
		if fires[r.Alert] == 0 || quiet[r.Alert] == 0 {
			t.Errorf("%s fires in %d tests and keeps quiet in %d", r.Alert, fires[r.Alert], quiet[r.Alert])
		}
	}
}

// TestAlertTestsCanFail changes one thing at a time in an alert: its tests must mind.
func TestAlertTestsCanFail(t *testing.T) {
	sources := read(t, "infra/observability/alerts.yaml") + "\x00" + read(t, "infra/observability/platform.yaml")
	for _, c := range []struct{ alert, old, new string }{
		{"AvailabilityBurnsFast", "14.4 * 0.005", "20 * 0.005"},
		{"AvailabilityBurnsFast", "panic|-32603|backpressure|shutting_down", "panic"},
		{"AvailabilityBurnsFast", `outcome!="invalid"`, `outcome!=""`},
		{"AvailabilityBurnsFast", "[1h]))\n        /", "[5m]))\n        /"},
		{"AvailabilityBurnsFast", "[5m]", "[1h]"},
		{"AvailabilityBurnsFast", "> 10\n", "> 0\n"},
		{"AvailabilityBurnsSlowly", "> 6 * 0.005", "> 12 * 0.005"},
		{"AvailabilityBurnsSlowly", "> 6 * 0.005", "> 3 * 0.005"},
		{"AvailabilityBurnsSlowly", "[30m]", "[6h]"},
		{"CallsUnheard", "> 10\n", "> 1\n"},
		{"CallsUnheard", "> 10\n", "> 100\n"},
		{"CallsUnheard", "sum(", "max("},
		{"CapacityNearLimit", "> 0.85", "> 0.95"},
		{"CapacityNearLimit", "> 0.85", "> 0.8"},
		{"CapacityNearLimit", " > 0)", ")"},
		{"CapacityNearLimit", "for: 300s", "for: 0s"},
		{"CredentialExpires", "< 7 *", "< 8 *"},
		{"CredentialExpires", "< 7 *", "< 6 *"},
		{"CredentialExpires", "min by (what)", "max by (what)"},
		{"CredentialExpires", "[1h]", "[5m]"},
		{"CredentialExpires", "[1h]", "[3h]"},
		{"CredentialExpires", "(-taiea|-webhook)?", ""},
		{"CredentialExpires", "(-taiea|-webhook)?", ".*"},
		{"CredentialExpires", "for: 300s", "for: 0s"},
		{"GovernorDegraded", "for: 120s", "for: 0s"},
		{"HandlerPanics", " offset 15m", ""},
		{"HandlerPanics", "or increase", "or 0 * increase"},
		{"MetricsMissing", "unless on () count", "and on () count"},
		{"MetricsMissing", `response_code_class="2xx"`, `response_code_class=~".xx"`},
		{"MetricsMissing", "}[15m]))\n    for: 300s", "}[5m]))\n    for: 300s"},
		{"MetricsMissing", "> 900", "> 0"},
		{"OrdersOld", "and on (instance)", "or on (instance)"},
		{"OrdersOld", "min_over_time", "max_over_time"},
		{"OverheadHigh", "0.99", "0.9"},
		{"OverheadHigh", "0.99", "0.999"},
		{"OverheadHigh", "> 0.5", "> 5"},
		{"ReceiptsLate", "max(", "min("},
		{"ReceiptsLate", "> 5", "> 1"},
		{"ReceiptsLate", "> 5", "> 1000"},
		{"ReceiptsLate", "for: 120s", "for: 0s"},
		{"ReceiptsLost", " offset 15m", ""},
		{"ReceiptsLost", "or increase", "or 0 * increase"},
		{"ReceiptsLost", `outcome="lost"`, `outcome=~"lost|counted"`},
		{"RedisRoundTripsLost", "> 0.01", "> 0.1"},
		{"RedisRoundTripsLost", "> 5\n", "> 0\n"},
		{"RedisSlow", "> 0.01", "> 0.1"},
		{"RefusalsHigh", "> 0.1\n", "> 0.5\n"},
		{"RefusalsHigh", "> 30\n", "> 0\n"},
		{"RefusalsHigh", "quota|concurrency", "quota|kill_switch"},
		{"RootsNotCopied", " offset 15m", ""},
		{"RootsNotCopied", "> 3\n", "> 0\n"},
		{"RootsNotCopied", "> 3\n", "> 30\n"},
		{"RootsNotCopied", `outcome="failed"`, `outcome=~"failed|ok"`},
		{"RootsNotCopied", "-taiea|", ""},
		{"RootsNotCopied", "|-webhook", ""},
		{"RootsNotCopied", "(-taiea|-webhook)?", ".*"},
		{"TelemetryLost", "(rate", "(0 * rate"},
		{"BackupsFail", " offset 1h", ""},
		{"BackupsFail", "or increase", "or 0 * increase"},
		{"BackupsFail", `result="failed"`, `result=~"failed|succeeded"`},
		{"BackupsOld", "[26h]", "[20h]"},
		{"BackupsOld", "[26h]", "[60h]"},
		{"BackupsOld", `result="succeeded"`, `result=~"failed|succeeded"`},
		{"CertificateExpires", "< 14", "< 7"},
		{"CertificateExpires", "< 14", "< 29"},
		{"ControlPlaneFails", "> 5\n", "> 100\n"},
		{"ControlPlaneFails", "> 5\n", "> 1\n"},
		{"ControlPlaneFails", "> 0.05", "> 0.5"},
		{"ControlPlaneFails", "> 0.05", "> 0.01"},
		{"ControlPlaneFails", "(taiea|webhook)", "taiea"},
		{"ControlPlaneFails", "(taiea|webhook)", "webhook"},
		{"ControlPlaneFails", "-(taiea|webhook)", ".*"},
		{"ControlPlaneFails", "sum by (service_name)", "sum"},
		{"EventsNotTaken", "> 0\n", "> 10\n"},
		{"EventsNotTaken", "for: 300s", "for: 0s"},
		{"EventsNotTaken", "-dead", ""},
		{"RedisFull", "> 0.8", "> 0.9"},
		{"RedisFull", "> 0.8", "> 0.6"},
		{"RedisFull", "for: 600s", "for: 0s"},
	} {
		t.Run(c.alert+" "+c.old, func(t *testing.T) {
			var source string
			for s := range strings.SplitSeq(sources, "\x00") {
				if strings.Contains(s, "- alert: "+c.alert+"\n") {
					source = s
				}
			}
			begin := strings.Index(source, "- alert: "+c.alert+"\n")
			end := begin + len("- alert: ") + strings.Index(source[begin+len("- alert: "):]+"- alert: ", "- alert: ")
			changed := strings.ReplaceAll(source[begin:end], c.old, c.new)
			if changed == source[begin:end] {
				t.Fatalf("the alert holds no %q", c.old)
			}
			dir := t.TempDir()
			os.WriteFile(filepath.Join(dir, "alerts.yaml"), []byte(source[:begin]+changed+source[end:]), 0o644)
			os.WriteFile(filepath.Join(dir, "test.yaml"), testsOf(t, c.alert), 0o644)
			if out, err := promtool(t, "check", "rules", filepath.Join(dir, "alerts.yaml")); err != nil {
				t.Fatalf("no longer valid: %s", out)
			}
			if _, err := promtool(t, "test", "rules", filepath.Join(dir, "test.yaml")); err == nil {
				t.Errorf("nobody minds %q in place of %q", c.new, c.old)
			}
		})
	}
}

// testsOf is the file of tests with those of one alert alone.
func testsOf(t *testing.T, alert string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/alerts_test.yaml")
	var file map[string]any
	if err != nil || yaml.Unmarshal(text, &file) != nil {
		t.Fatalf("%v", err)
	}
	file["rule_files"] = []string{"alerts.yaml"}
	file["tests"] = slices.DeleteFunc(file["tests"].([]any), func(v any) bool {
		test := v.(map[string]any)
		test["alert_rule_test"] = slices.DeleteFunc(test["alert_rule_test"].([]any), func(v any) bool { return v.(map[string]any)["alertname"] != alert })
		return len(test["alert_rule_test"].([]any)) == 0
	})
	out, err := yaml.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAlertsHaveRunbooks holds alerts and runbooks against each other, and both against what Cloud Monitoring takes.
func TestAlertsHaveRunbooks(t *testing.T) {
	have := runbooks(t)
	want := []string{"DoesNotAnswer", "ReleaseFailed", "ReleaseGoesOn"} // of the uptime check, and of Cloud Deploy's log
	for _, r := range rules(t) {
		want = append(want, r.Alert)
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Annotations["runbook"] != "infra/docs/runbooks/"+r.Alert+".md" {
			t.Errorf("%s: annotations are %v", r.Alert, r.Annotations)
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if strings.Contains(fmt.Sprint(r.Annotations), "{{") {
			t.Errorf("%s: Cloud Monitoring fills in no templates of Prometheus: %v", r.Alert, r.Annotations)
		}
		if s := r.For; s != "" && !regexp.MustCompile(`^\d+s$`).MatchString(s) {
			t.Errorf("%s: for %s: Cloud Monitoring takes seconds", r.Alert, s)
		}
	}
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("runbooks %v\nalerts   %v", have, want)
	}
	index := read(t, "infra/README.md") + read(t, "infra/docs/troubleshooting.md")
	for _, name := range have {
		text := read(t, "infra/docs/runbooks/"+name+".md")
		for _, part := range []string{"# " + name + "\n", "\n**Users see**", "\n**Look at**", "\n**Do**"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s.md lacks %q", name, strings.TrimSpace(part))
			}
		}
		// Documentation of a policy: https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.alertPolicies#documentation
		if len(text) > 7500 || strings.Contains(text, "${") {
			t.Errorf("%s.md: %d bytes of 8192 with the description, or a ${ that Cloud Monitoring would fill in", name, len(text))
		}
		if strings.Count(index, "runbooks/"+name+".md") < 2 {
			t.Errorf("%s.md is not linked from both infra/README.md and troubleshooting.md", name)
		}
	}
}

// TestObjectiveIsOne holds the numbers of the objective in alerts, dashboard and document against each other. Terraform reads those of the
// console from the alerts.
func TestObjectiveIsOne(t *testing.T) {
	all := map[string]map[string]int{"budget": {}, "faults": {}}
	for _, q := range queries(t) {
		if !strings.HasPrefix(q.where, "alert ") && !strings.HasPrefix(q.where, "dashboard, ") {
			continue
		}
		for what, form := range map[string]string{"budget": `[*/] (0\.00\d+)`, "faults": `type=~"(panic[^"]*)"`} {
			for _, m := range regexp.MustCompile(form).FindAllStringSubmatch(q.text, -1) {
				all[what][m[1]]++
			}
		}
	}
	if all["budget"]["0.005"] < 7 || len(all["budget"]) != 1 || len(all["faults"]) != 1 {
		t.Errorf("the objective is not one: %v", all)
	}
	text := read(t, "infra/docs/telemetry.md")
	for _, says := range []string{"99.5 % in 30 days", "99 % take less than 500 ms", "Of a million calls 5000 may fail"} {
		if !strings.Contains(text, says) {
			t.Errorf("telemetry.md does not say %q", says)
		}
	}
}

// TestQueriesAreValid has promtool parse all queries, and holds that each is of this server alone.
func TestQueriesAreValid(t *testing.T) {
	var all struct {
		Groups []map[string]any `yaml:"groups"`
	}
	var out []map[string]string
	for i, q := range queries(t) {
		out = append(out, map[string]string{"record": fmt.Sprintf("query:%d", i), "expr": q.text})
		found := selectors(q.text)
		if len(found) == 0 {
			t.Errorf("%s: no metric in %s", q.where, q.text)
		}
		for _, s := range found {
			// Terraform puts the environment's name into these two.
			if ours := slices.Contains([]string{`="erlmcp"`, `=~"erlmcp(-taiea|-webhook)?"`}, s.labels["job"]); !ours && !strings.HasPrefix(s.metric, "kubernetes_io:") && !strings.Contains(s.metric, "_googleapis_com:") {
				t.Errorf("%s: %s is not of job erlmcp, nor of erlmcp and erlmcp-taiea", q.where, s.metric)
			}
		}
		if rate := regexp.MustCompile(`\[([1-4]m|\d+s)\]`).FindString(q.text); rate != "" {
			t.Errorf("%s: %s holds too few of what comes once a minute", q.where, rate)
		}
	}
	all.Groups = []map[string]any{{"name": "queries", "rules": out}}
	text, err := yaml.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "queries.yaml")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if text, err := promtool(t, "check", "rules", file); err != nil || !strings.Contains(text, fmt.Sprintf("%d rules found", len(out))) {
		t.Errorf("%v\n%s", err, text)
	}
}

// TestDashboardIsOne reads the dashboard as Cloud Monitoring does, which refuses what it does not know, and holds what its API
// would answer otherwise than it was sent: each plan would then change it again.
func TestDashboardIsOne(t *testing.T) {
	text := read(t, "infra/observability/dashboard.json")
	var d dashboardpb.Dashboard
	if err := protojson.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	if zero := regexp.MustCompile(`"\w+": (0|""|\[\]|\{\}|false)[,}\n]`).FindString(text); zero != "" {
		t.Errorf("%s: the API leaves out what is nothing", zero)
	}
	mosaic := d.GetMosaicLayout()
	taken := map[[2]int32]string{}
	for _, tile := range mosaic.GetTiles() {
		w := tile.GetWidget()
		if w.GetTitle() == "" || w.GetXyChart() == nil && w.GetScorecard() == nil {
			t.Errorf("%v", w)
		}
		for x := tile.GetXPos(); x < tile.GetXPos()+tile.GetWidth(); x++ {
			for y := tile.GetYPos(); y < tile.GetYPos()+tile.GetHeight(); y++ {
				if other := taken[[2]int32{x, y}]; other != "" || x >= mosaic.GetColumns() {
					t.Fatalf("%s lies on %q, or beyond the edge", w.GetTitle(), other)
				}
				taken[[2]int32{x, y}] = w.GetTitle()
			}
		}
	}
	if n := len(mosaic.GetTiles()); n < 20 {
		t.Errorf("%d tiles", n)
	}
}
