// Package openapi holds what the server makes of public OpenAPI documents against readers and validators that are not ours.
package openapi

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"example.com/erlmcp/local/checks/instances"
)

// documents is the folder of the public documents, beside the checkout or where OPENAPI_DOCUMENTS says.
func documents(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("OPENAPI_DOCUMENTS")
	if dir == "" {
		dir = filepath.FromSlash("../../../../shared/openapi")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "SOURCES.md")); err != nil {
		t.Skipf("NOTHING IS CHECKED: there are no public documents in %s; OPENAPI_DOCUMENTS names their folder", dir)
	}
	return dir
}

// An operation is what the reader made of one, as function/internal/backend/openapi writes it.
type operation struct {
	ID, Method, Path, Name, File string
	Line                         int
	Input, Shown, Output         json.RawMessage
	Parameters, Withheld         []string
	Arguments                    map[string]string
	values                       []map[string]any // that fit Input
	MediaType                    string
	Members                      []string
	Whole                        bool
	Notes                        []string
}

type document struct {
	name       string
	Operations []operation
	LeftOut    []struct{ ID, Method, Path, Reason string }
}

// made reads the documents by the reader's own test, which holds their schemas and requests against what only it can import.
func made(t *testing.T) []document {
	t.Helper()
	from, to := documents(t), t.TempDir()
	c := exec.Command("go", "test", "-count=1", "-v", "-run", "^TestDocuments$", "./function/internal/backend/openapi")
	c.Dir = filepath.FromSlash("../../..")
	c.Env = append(os.Environ(), "OPENAPI_DOCUMENTS="+from, "OPENAPI_DUMP="+to)
	out, err := c.CombinedOutput()
	t.Log("| document | operations | tools | left out | bytes of the schemas shown | ms |\n|---|---|---|---|---|---|")
	for line := range bytes.Lines(out) {
		if bytes.HasPrefix(line, []byte("| ")) {
			t.Logf("%s", bytes.TrimSpace(line))
		}
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(to, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []document
	for _, at := range files {
		d := document{name: strings.TrimSuffix(filepath.Base(at), ".json")}
		raw, err := os.ReadFile(at)
		if err == nil {
			err = json.Unmarshal(raw, &d)
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

// TestDocuments holds what was made of the 25 documents against their published counts, two other readers and another validator.
func TestDocuments(t *testing.T) {
	from := documents(t)
	all := made(t)
	published := counts(t, filepath.Join(from, "SOURCES.md"))
	if len(all) != 25 {
		t.Errorf("%d documents were read, of 25", len(all))
	}
	tools, instances, oracles := 0, 0, 0
	for _, d := range all {
		t.Run(d.name, func(t *testing.T) {
			if want, ok := published[d.name]; ok && len(d.Operations)+len(d.LeftOut) != want {
				t.Errorf("%d operations and %d left out, of %d", len(d.Operations), len(d.LeftOut), want)
			}
			for _, l := range d.LeftOut {
				if l.Reason == "" {
					t.Errorf("%+v is left out for no reason", l)
				}
			}
			file := unpacked(t, from, d.name)
			for i := range d.Operations {
				if d.Operations[i].Line <= 0 {
					t.Errorf("%s has no line", d.Operations[i].Name)
				}
				instances += d.Operations[i].hold(t)
			}
			oracles += d.againstLibopenapi(t, file) + d.againstKin(t, file)
			tools += len(d.Operations)
		})
	}
	t.Logf("%d tools; %d operations were found by another reader too; %d values that fit an input schema fit what is shown", tools, oracles, instances)
}

// counts reads the operations of each document from the table of the sources.
func counts(t *testing.T, at string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^\| (\S+) \| \d+ \| [0-9.]+ \| (\d+) \|`).FindAllSubmatch(text, -1) {
		out[string(m[1])], _ = strconv.Atoi(string(m[2]))
	}
	if len(out) != 24 {
		t.Fatalf("%d counts of 24 in %s", len(out), at)
	}
	return out
}

const wanted = 8 // values of each tool

// hold compiles the schemas with another validator, makes values that fit the full one, and holds them against the shown one.
func (o *operation) hold(t *testing.T) int {
	input, shown := compiled(t, o.Name+" input", o.Input), compiled(t, o.Name+" shown", o.Shown)
	if o.Output != nil {
		compiled(t, o.Name+" output", o.Output)
	}
	if input == nil || shown == nil {
		return 0
	}
	var root map[string]any
	if err := json.Unmarshal(o.Input, &root); err != nil {
		t.Fatal(err)
	}
	g := instances.New(root, rand.New(rand.NewPCG(1, uint64(len(o.Input)))))
	fit := 0
	for range 20 * wanted {
		v := g.Value()
		if input.Validate(v) != nil {
			continue
		}
		if err := shown.Validate(v); err != nil {
			text, _ := json.Marshal(v)
			t.Errorf("%s: %.300s fits the input schema, and not what is shown: %.600v", o.Name, text, err)
			return fit
		}
		o.values = append(o.values, v.(map[string]any))
		if fit++; fit == wanted {
			return fit
		}
	}
	if fit == 0 {
		t.Errorf("%s: none of %d values fits the input schema %.300s", o.Name, 20*wanted, o.Input)
	}
	return fit
}

func compiled(t *testing.T, what string, raw json.RawMessage) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err == nil {
		err = c.AddResource("schema.json", v)
	}
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return nil
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	return s
}

// TestCost reads GitHub's document, and Stripe's, each in a process of its own.
func TestCost(t *testing.T) {
	from := documents(t)
	program := filepath.Join(t.TempDir(), "openapi.test")
	c := exec.Command("go", "test", "-c", "-o", program, "./function/internal/backend/openapi")
	c.Dir = filepath.FromSlash("../../..")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"github-rest-3.0.json", "stripe-3.0.yaml"} {
		file := unpacked(t, from, name)
		run := exec.Command(program, "-test.run", "^TestOne$", "-test.v")
		run.Env = append(os.Environ(), "OPENAPI_DOCUMENT="+file)
		start := time.Now()
		out, err := run.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS: TestOne")) {
			t.Fatalf("%v\n%s", err, out)
		}
		took, peak := time.Since(start), 0
		if m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(out); m != nil {
			peak, _ = strconv.Atoi(string(m[1]))
			peak >>= 10
		}
		t.Logf("%s: read and made tools of in %v, by a process of at most %d MiB", name, took.Round(time.Millisecond), peak)
		if took > 3*time.Second || peak == 0 || peak > 300 {
			t.Errorf("%s: %v and %d MiB: more than 3 s or 300 MiB", name, took, peak)
		}
	}
}

// unpacked returns the path of a document.
func unpacked(t *testing.T, from, name string) string {
	t.Helper()
	dir := t.TempDir()
	script := `gunzip -c "$1" > "$2"`
	if strings.HasSuffix(name, ".tar") {
		script = `cd "$(dirname "$2")" && tar -xzf "$1"`
	}
	out, err := exec.Command("sh", "-c", script, "sh", filepath.Join(from, name+".gz"), filepath.Join(dir, name)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.HasSuffix(name, ".tar") {
		found, err := filepath.Glob(filepath.Join(dir, "*", "openapi.yaml"))
		if err != nil || len(found) != 1 {
			t.Fatalf("%v, %v", found, err)
		}
		return found[0]
	}
	return filepath.Join(dir, name)
}

func sorted(all []string) []string {
	all = slices.Clone(all)
	slices.Sort(all)
	return slices.Compact(all)
}
