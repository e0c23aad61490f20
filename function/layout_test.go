package function

import (
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
)

const module = "example.com/erlmcp"

// mayImport is the house: each room and the rooms that it may import. The composition above them may import all.
var mayImport = map[string][]string{
	"config":                {},
	"seal":                  {},
	"strictjson":            {},
	"identity":              {"outbound", "strictjson"},
	"telemetry":             {},
	"governor":              {},
	"redisdb":               {"governor"},
	"firestoredb":           {"governor", "receipt", "tenant", "identity", "control"},
	"memdb":                 {"governor", "receipt", "tenant", "identity", "control"},
	"governor/governortest": {"governor"},
	"receipt":               {},
	"tenant":                {"governor", "strictjson"},
	"tenant/tenanttest":     {"tenant"},
	"identity/identitytest": {"identity"},
	"control":               {"governor", "receipt", "tenant", "catalog", "identity", "strictjson"},
	"control/controltest":   {"control"},
	"receipt/receipttest":   {"receipt"},
	"mcp":                   {"seal"},
	"edge":                  {"mcp"},
	"value":                 {"mcp", "strictjson"},
	"catalog":               {"mcp", "policy", "value"},
	"outbound":              {},
	"policy":                {"identity"},
	"gcp":                   {},
	"gcp/gcptest":           {},
	"mounted":               {},
	"fresh":                 {},
	"memnet":                {},
	"stdio":                 {"mcp"},
	"client":                {},
	"command":               {"client", "config", "control", "governor", "identity", "receipt"},
	"admission":             {"identity", "governor", "policy", "catalog", "receipt", "tenant", "mcp", "strictjson"},
}

// onlyIn names modules that belong to one room each.
var onlyIn = map[string]string{
	"github.com/redis/go-redis":              "redisdb",
	"github.com/go-redis/redis_rate":         "redisdb",
	"cloud.google.com/go":                    "firestoredb gcp telemetry",
	"github.com/prometheus":                  "telemetry",
	"go.opentelemetry.io/otel/sdk":           "telemetry",
	"go.opentelemetry.io/otel/exporters":     "telemetry",
	"go.opentelemetry.io/contrib":            "telemetry",
	"github.com/DeRuina":                     "telemetry",
	"github.com/go-jose":                     "identity",
	"cel.dev":                                "policy",
	"go.yaml.in/yaml":                        "policy",
	"google.golang.org":                      "firestoredb gcp memnet telemetry",
	"github.com/modelcontextprotocol/go-sdk": "backend/upstream",
	"github.com/yosida95/uritemplate":        "catalog",
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
	const rooms = "function/internal/"
	all := imports(t)
	if len(all[rooms+"mcp"]) == 0 {
		t.Fatal("no imports found: the test looks in the wrong place")
	}
	for dir, list := range all {
		room, inside := strings.CutPrefix(dir, rooms)
		if inside {
			if _, ok := mayImport[room]; !ok {
				t.Errorf("%s has no place in the house: add it to mayImport with what it may import", dir)
			}
		}
		for _, p := range list {
			if other, ok := strings.CutPrefix(p, module+"/"+rooms); ok {
				switch {
				case inside && !slices.Contains(mayImport[room], other):
					t.Errorf("%s may not import %s", room, other)
				case !inside && dir != "function" && dir != "function/cmd/erlmcp":
					t.Errorf("%s may not import %s: use the exported function package", dir, other)
				}
			} else if inside && strings.HasPrefix(p, module) {
				t.Errorf("%s may not import %s", room, p)
			}
			if dir != ".." && strings.HasPrefix(p, "github.com/GoogleCloudPlatform/functions") {
				t.Errorf("%s may not import %s: by reflection it keeps every method of everything in the binary", dir, p)
			}
			for prefix, where := range onlyIn {
				if inside && strings.HasPrefix(p, prefix) && !slices.Contains(strings.Fields(where), room) {
					t.Errorf("%s may not import %s", room, p)
				}
			}
		}
	}
	// The engine has no network and no storage.
	for _, p := range all[rooms+"mcp"] {
		if slices.Contains([]string{"net", "os", "database/sql"}, p) {
			t.Errorf("mcp may not import %s", p)
		}
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
	for _, s := range Settings() {
		if strings.HasSuffix(s.Name, "_ENDPOINT") && strings.HasSuffix(s.Default, "z") {
			t.Errorf("%s ends in z, which Cloud Run keeps for itself", s.Default)
		}
	}
}
