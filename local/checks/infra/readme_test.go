package infra

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"example.com/erlmcp/local/checks/tfplan"
)

// examples has the real providers' schemas, and the modules' variables, judge the example in each module's README.md. They are in one
// folder, since one names what another makes.
func (w *workspace) examples(t *testing.T) {
	modules, err := filepath.Glob(root + "infra/modules/*/main.tf")
	if err != nil || len(modules) < 15 {
		t.Fatal(len(modules), err)
	}
	block := regexp.MustCompile("(?ms)^```hcl\n(.*?)^```$")
	var all strings.Builder
	for _, m := range modules {
		name := filepath.Base(filepath.Dir(m))
		text, err := os.ReadFile(filepath.Join(filepath.Dir(m), "README.md"))
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.HasPrefix(string(text), "# "+name+"\n") {
			t.Errorf("%s/README.md has another title", name)
		}
		found := block.FindAllStringSubmatch(string(text), -1)
		if head := fmt.Sprintf("module %q {\n  source = \"../modules/%s\"\n", name, name); len(found) != 1 || !strings.HasPrefix(found[0][1], head) {
			t.Errorf("%s/README.md has no one example that begins with\n%s", name, head)
			continue
		}
		all.WriteString(found[0][1] + "\n")
	}
	dir := filepath.Join(w.dir, "infra/examples")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "main.tf"), []byte(strings.TrimSuffix(all.String(), "\n")))
	tfplan.Run(t, dir, "fmt", "-check", "-diff", "-no-color")
	tfplan.Run(t, dir, "init", "-input=false", "-no-color")
	tfplan.Run(t, dir, "validate", "-no-color")
}
