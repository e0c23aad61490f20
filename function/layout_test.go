package function

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/config"
)

const module = "example.com/erlmcp"

// rooms is the house, from the ground up: each room, its job, and the rooms that it may import. What a room imports stands above it in the
// list. What is not in the list has no place.
var rooms = []struct {
	name, job string
	imports   string
}{
	{"config", "reads every setting", ""},
	{"seal", "protects what travels through a client", ""},
	{"strictjson", "has JSON mean the same to every reader of it", ""},
	{"refresh", "keeps what was read elsewhere and reads it again when it is used", ""},
	{"egress", "is the way out for everything that leaves the server", ""},
	{"telemetry", "is what an operator sees of the server from outside", "strictjson"},
	{"account", "is whom the process runs as at Google Cloud", ""},
	{"cloudkms", "signs with keys that never leave Cloud KMS", "account"},
	{"cloudkms/cloudkmstest", "stands in for Cloud KMS", ""},
	{"memnet", "is a network in memory, for tests", ""},
	{"client", "speaks to an MCP server, as much as commands need", ""},
	{"effect", "has a change happen once", ""},
	{"effect/effecttest", "is the suite of its stores", "effect"},
	{"loadshed", "keeps one instance from more than it can carry", ""},
	{"directives", "is what operators order while the fleet runs", ""},
	{"directives/directivestest", "is the suite of its stores", "directives"},
	{"governor", "decides whether a call may proceed under limits that hold over the fleet", "directives"},
	{"governor/governortest", "is the suite of its stores", "governor"},
	{"fleet", "is what instances say of themselves", "governor"},
	{"receipt", "is the form of the record", ""},
	{"receipt/journal", "writes the record", "fleet receipt refresh"},
	{"receipt/verify", "reads the record and proves it", "receipt"},
	{"receipt/receipttest", "is the suite of its stores", "receipt receipt/journal receipt/verify"},
	{"backup", "copies a store to objects and back", "receipt"},
	{"receipt/archive", "keeps older receipts in objects", "backup receipt"},
	{"identity", "says who calls", "strictjson"},
	{"identity/identitytest", "is the suite of its stores", "identity"},
	{"policy", "decides by rules that operators write", "identity"},
	{"entitlement", "says who is entitled to what", "directives identity receipt strictjson"},
	{"entitlement/entitlementtest", "is the suite of its stores", "directives entitlement"},
	{"backup/backuptest", "is the suite of its stores", "backup directives entitlement identity receipt"},
	{"store/redis", "keeps counters in Redis", "directives fleet governor"},
	{"backend/firestore/documents", "is a collection of documents as tools read it", ""},
	{"store/firestore", "keeps in Firestore what outlives the counters", "backend/firestore/documents backup directives effect entitlement identity receipt"},
	{"store/memory", "keeps in the process what outlives the counters", "backup directives effect entitlement identity receipt"},
	{"store/objects", "keeps backups in a folder or in Cloud Storage", "account backup"},
	{"store/objects/objectstest", "stands in for Cloud Storage", "backup"},
	{"recovery", "brings back what was ordered since a backup", "backup directives entitlement identity receipt receipt/verify"},
	{"mcp", "is the protocol engine", "strictjson"},
	{"stdio", "serves a client that has started the program", "mcp"},
	{"streamhttp", "is where HTTP ends", "mcp"},
	{"value", "has one description of a Go type, from which its JSON follows", "mcp strictjson"},
	{"catalog/search", "ranks tools by a question", ""},
	{"catalog", "is what can be called", "catalog/search governor mcp policy value"},
	{"backend/rest", "calls HTTP APIs", "egress mcp"},
	{"backend/openapi", "reads OpenAPI documents", "backend/rest strictjson"},
	{"backend/firestore", "offers a Firestore collection as tools", "backend/firestore/documents catalog identity mcp"},
	{"backend/firestore/firestoretest", "is the suite of its stores", "backend/firestore backend/firestore/documents catalog identity mcp"},
	{"backend/texts", "offers a directory of texts as resources or prompts", "catalog mcp"},
	{"catalogfile", "reads the operator's catalog file", "backend/firestore backend/firestore/documents backend/openapi backend/rest backend/texts catalog governor identity mcp policy"},
	{"admission", "stands before every message", "catalog config directives entitlement governor identity loadshed mcp policy receipt strictjson"},
	{"serve", "is the process around a handler", "config streamhttp"},
	{"agenttools", "has the tools by which agents ask the governor", "catalog config entitlement governor identity mcp receipt/verify refresh serve"},
	{"controlapi", "is the control plane over HTTP", "directives effect entitlement fleet governor identity receipt receipt/verify strictjson"},
	{"judge", "decides by metrics whether a new version may have more traffic", "client"},
	{"rotation", "brings a new sealing key into a fleet", "seal"},
	{"command", "is the program's command line", "account backend/openapi backup catalog catalogfile client config directives identity judge mcp receipt receipt/archive receipt/verify recovery rotation"},
	{"app", "has what both functions are made of", "account backup catalog cloudkms config directives effect egress entitlement fleet governor identity mcp policy receipt receipt/archive receipt/journal " +
		"receipt/verify recovery refresh seal serve store/firestore store/memory store/objects store/redis streamhttp telemetry"},
	{"app/dataplane", "is the function erlmcp", "account admission agenttools app backend/firestore/documents backend/rest catalog catalogfile config directives egress entitlement fleet " +
		"governor identity loadshed mcp refresh serve store/firestore store/memory store/redis streamhttp telemetry"},
	{"app/controlplane", "is the function taiea", "admission app catalog config controlapi directives egress entitlement fleet governor identity receipt seal serve store/redis"},
}

// faces are the packages that others import, and that may import the rooms.
var faces = []string{"function", "function/ask", "function/functiontest", "function/cmd/erlmcp"}

// maxFloors is how long the longest chain of imports below function/ may be. It is nine, and one for what makes entries of the operator's catalog:
// backends stand over the catalog, the file over the backends, and both functions over the file.
const maxFloors = 10

// onlyIn names modules that belong to some rooms each.
var onlyIn = map[string]string{
	"github.com/redis/go-redis":          "store/redis",
	"github.com/go-redis/redis_rate":     "store/redis",
	"cloud.google.com/go":                "store/firestore account telemetry",
	"github.com/prometheus":              "telemetry",
	"go.opentelemetry.io/otel/sdk":       "telemetry",
	"go.opentelemetry.io/otel/exporters": "telemetry",
	"go.opentelemetry.io/contrib":        "telemetry",
	"github.com/DeRuina":                 "telemetry",
	"github.com/go-jose":                 "identity",
	"cel.dev":                            "policy",
	"go.yaml.in/yaml":                    "policy backend/openapi backend/texts catalogfile",
	"google.golang.org":                  "store/firestore cloudkms memnet telemetry",
	"github.com/yosida95/uritemplate":    "catalog",
	"go.etcd.io/bbolt":                   "store/memory",
}

// imports lists the import paths of each package below the root, tests left out.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "node_modules" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir := strings.TrimPrefix(path.Dir(filepath.ToSlash(file)), "../")
		for _, imp := range f.Imports {
			p, _ := strconv.Unquote(imp.Path.Value)
			found[dir] = append(found[dir], p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestImportRules(t *testing.T) {
	const below = "function/internal/"
	all := imports(t)
	if len(all[below+"mcp"]) == 0 {
		t.Fatal("no imports found: the test looks in the wrong place")
	}
	may := map[string][]string{}
	for _, r := range rooms {
		may[r.name] = strings.Fields(r.imports)
		for _, other := range may[r.name] {
			if _, above := may[other]; !above {
				t.Errorf("%s may import %s, which stands below it in the list", r.name, other)
			}
		}
		if len(all[below+r.name]) == 0 {
			t.Errorf("%s is in the list, and there is no such room", r.name)
		}
	}
	for dir, list := range all {
		room, inside := strings.CutPrefix(dir, below)
		if _, listed := may[room]; inside && !listed {
			t.Errorf("%s has no place in the house: add it to rooms with its job and what it may import", dir)
		}
		for _, p := range list {
			other, ours := strings.CutPrefix(p, module+"/"+below)
			switch {
			case ours && inside && !slices.Contains(may[room], other):
				t.Errorf("%s may not import %s: rooms in layout_test.go does not list it there", room, other)
			case ours && !inside && !slices.Contains(faces, dir):
				t.Errorf("%s may not import %s: use the exported function package", dir, other)
			case !ours && inside && strings.HasPrefix(p, module):
				t.Errorf("%s may not import %s", room, p)
			}
			if dir != ".." && strings.HasPrefix(p, "github.com/GoogleCloudPlatform/functions") {
				t.Errorf("%s may not import %s: by reflection it keeps every method of everything in the binary", dir, p)
			}
			for prefix, where := range onlyIn {
				if inside && strings.HasPrefix(p, prefix) && !slices.Contains(strings.Fields(where), room) {
					t.Errorf("%s may not import %s: by onlyIn in layout_test.go it is for %q", room, p, where)
				}
			}
		}
	}
	// The engine has no network and no storage.
	for _, p := range all[below+"mcp"] {
		if slices.Contains([]string{"net", "os", "database/sql"}, p) {
			t.Errorf("mcp may not import %s", p)
		}
	}
}

// TestRoomsAreDocumented wants each room with its job in infra/docs/architecture.md, in the order of the list; suites are left out.
func TestRoomsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../infra/docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	for _, r := range rooms {
		if !strings.HasSuffix(r.name, "test") {
			fmt.Fprintf(&rows, "| `%s` | %s |\n", r.name, r.job)
		}
	}
	if table := "| room | job |\n|---|---|\n" + rows.String(); !strings.Contains(string(b), table) {
		t.Errorf("infra/docs/architecture.md has not this table of the rooms:\n%s", table)
	}
}

// TestPlanesApart has the data plane link none of the control plane's routes, and no floor be above the last one.
func TestPlanesApart(t *testing.T) {
	all := imports(t)
	within := func(dir string) (out []string) {
		for _, p := range all[dir] {
			if other, ok := strings.CutPrefix(p, module+"/"); ok && strings.HasPrefix(other, "function") {
				out = append(out, other)
			}
		}
		return out
	}
	floors := map[string]int{}
	var floor func(dir string) int
	floor = func(dir string) int {
		if floors[dir] == 0 {
			floors[dir] = 1
			for _, other := range within(dir) {
				floors[dir] = max(floors[dir], 1+floor(other))
			}
		}
		return floors[dir]
	}
	for dir := range all {
		if strings.HasPrefix(dir, "function") && floor(dir) > maxFloors {
			t.Errorf("%s is on floor %d, and there are to be %d", dir, floor(dir), maxFloors)
		}
	}
	seen := map[string]bool{}
	var walk func(dir string)
	walk = func(dir string) {
		if !seen[dir] {
			seen[dir] = true
			for _, other := range within(dir) {
				walk(other)
			}
		}
	}
	walk("function/internal/app/dataplane")
	if seen["function/internal/controlapi"] || !seen["function/internal/admission"] {
		t.Errorf("the data plane imports %v", slices.Sorted(maps.Keys(seen)))
	}
}

// TestSourceDeployment holds the rules by which Google's buildpack finds and builds the function.
func TestSourceDeployment(t *testing.T) {
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	clauses := map[string]int{}
	for _, e := range entries {
		if e.Name() == "Dockerfile" {
			t.Error("a Dockerfile at the root makes gcloud ignore --function")
		}
		if !strings.HasSuffix(e.Name(), ".go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", e.Name()), nil, parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		clauses[f.Name.Name]++
	}
	if !maps.Equal(clauses, map[string]int{"erlmcp": 1}) {
		t.Errorf("package clauses at the root: %v; the buildpack wants one package, not main, and takes a test for a second", clauses)
	}
	root := imports(t)[".."]
	for _, want := range []string{"github.com/GoogleCloudPlatform/functions-framework-go/functions", module + "/function"} {
		if !slices.Contains(root, want) {
			t.Errorf("erlmcp.go must import %s", want)
		}
	}
	mod := read("go.mod")
	if !regexp.MustCompile(`(?m)^module [^/\s]+\.[^/\s]+/`).MatchString(mod) {
		t.Error("the first element of the module's path needs a dot")
	}
	if !strings.Contains(mod, "\ngo 1.26.0\n") || strings.Contains(mod, "\ntoolchain ") {
		t.Error("go.mod must say go 1.26.0 and no toolchain: the builder's Go lags behind")
	}
	if !strings.Contains(read("project.toml"), "name = \"GOOGLE_BUILDABLE\"\nvalue = \"./function/cmd/erlmcp\"\n") {
		t.Error("project.toml must name the one main to build")
	}
	if strings.Contains(read(".gcloudignore"), "function") {
		t.Error(".gcloudignore leaves the function behind")
	}
	for _, s := range config.Settings {
		if strings.HasSuffix(s.Name, "_ENDPOINT") && strings.HasSuffix(s.Default, "z") {
			t.Errorf("%s ends in z, which Cloud Run keeps for itself", s.Default)
		}
	}
}
