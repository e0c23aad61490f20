package infra

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/erlmcp/local/checks/tfplan"
)

// documented are the rows of the table in infra/README.md, each a run of tests/cost.tftest.hcl, whose assertions reckon its figures by hand.
var documented = []struct{ composition, run, text string }{
	{"cloudrun", "default", "Cloud Run, 0 to 100 instances, Redis with a replica, in production"},
	{"cloudrun", "sparse", "the same, where calls come one a second and instance"},
	{"cloudrun", "without_telemetry", "the same as the first without telemetry, `telemetry = false`"},
	{"cloudrun", "domain", "the same as the first with a domain behind a load balancer, API keys, rules and a key in Cloud KMS"},
	{"cloudrun", "staging", "Cloud Run in staging: Redis without a replica, no telemetry, `billing = \"request\"`, `RECEIPT_RETENTION_DAYS = 30`, `LOG_SAMPLE = 0.1`"},
	{"cloudrun", "try", "Cloud Run, `size = \"try\"`: one instance, no Redis"},
	{"cloudrun", "small", "Cloud Run, `size = \"small\"`: 0 to 10 instances, Redis without a replica"},
	{"gke", "autopilot", "GKE Autopilot, 3 pods, and 2 of the control plane, in production"},
	{"gke", "standard", "GKE Standard, 3 nodes n1-standard-2"},
}

// A bill is the output cost.
type bill struct {
	Idle    map[string]float64 `json:"idle_month"`
	Million map[string]float64 `json:"million_calls"`
	Release map[string]float64 `json:"release"`
}

// costs holds the tables of what it costs against what Terraform computes.
func (w *workspace) costs(t *testing.T) {
	bills := map[string]bill{}
	for _, c := range tfplan.Compositions {
		maps.Copy(bills, w.bills(t, c))
	}
	amount := func(v float64, there bool) string {
		if !there {
			return ""
		}
		return fmt.Sprintf("%.2f", v)
	}
	table := "| | idle, a month | per million calls |\n|---|---|---|\n"
	for _, d := range documented {
		b, ok := bills[d.composition+" "+d.run]
		if !ok {
			t.Fatalf("%s has no run %s in tests/cost.tftest.hcl", d.composition, d.run)
		}
		table += fmt.Sprintf("| %s | %.2f | %.2f |\n", d.text, b.Idle["total"], b.Million["total"])
	}
	first := bills[documented[0].composition+" "+documented[0].run]
	names := slices.Collect(maps.Keys(first.Idle))
	for name := range first.Million {
		if _, ok := first.Idle[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	parts := "| of the first | idle, a month | per million calls |\n|---|---|---|\n"
	for _, name := range names {
		idle, isIdle := first.Idle[name]
		million, isMillion := first.Million[name]
		if name != "total" {
			parts += fmt.Sprintf("| %s | %s | %s |\n", name, amount(idle, isIdle), amount(million, isMillion))
		}
	}

	written(t, "infra/README.md", table, parts)
	written(t, "infra/docs/sizes.md", sizesTable(t, bills))
	if text, err := os.ReadFile(root + "infra/README.md"); err != nil || !strings.Contains(string(text), fmt.Sprintf(" %.2f $", first.Release["total"])) {
		t.Errorf("infra/README.md does not say that a release costs %.2f $", first.Release["total"])
	}
}

// written wants a document to have tables, each in the place of the one that begins as it does.
func written(t *testing.T, document string, tables ...string) {
	t.Helper()
	content, err := os.ReadFile(root + document)
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	for _, want := range tables {
		head, _, _ := strings.Cut(want, "\n")
		is := regexp.MustCompile(regexp.QuoteMeta(head) + `\n(\|.*\n)+`)
		if got := is.FindString(text); got != want {
			t.Logf("%s says\n%s\nand Terraform\n%s", document, got, want)
			text = is.ReplaceAllLiteralString(text, want)
		}
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks the head of a table: %s", document, head)
		}
	}
	switch {
	case text == string(content):
	case os.Getenv("UPDATE") == "":
		t.Errorf("%s has other figures (UPDATE=1 writes them)", document)
	default:
		if err := os.WriteFile(root+document, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// bills are the output of each run of a composition's tests/cost.tftest.hcl.
func (w *workspace) bills(t *testing.T, composition string) map[string]bill {
	t.Helper()
	out := tfplan.Run(t, filepath.Join(w.dir, "infra", composition), "test", "-json", "-verbose", "-filter=tests/cost.tftest.hcl")
	bills := map[string]bill{}
	for line := range bytes.Lines(out) {
		var m struct {
			Run  string `json:"@testrun"`
			Plan struct {
				Outputs struct {
					Cost struct{ After *bill } `json:"cost"`
				} `json:"output_changes"`
			} `json:"test_plan"`
		}
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%v: %.300s", err, line)
		}
		b := m.Plan.Outputs.Cost.After
		if b == nil {
			continue
		}
		for kind, parts := range map[string]map[string]float64{"idle_month": b.Idle, "million_calls": b.Million, "release": b.Release} {
			sum := 0.0
			for name, v := range parts {
				if name != "total" {
					sum += v
				}
			}
			if d := parts["total"] - sum; len(parts) < 2 || d < -0.06 || d > 0.06 { // of rounded parts
				t.Errorf("%s %s: the parts of %s are %.2f, and their total %.2f", composition, m.Run, kind, sum, parts["total"])
			}
		}
		bills[composition+" "+m.Run] = *b
	}
	return bills
}
