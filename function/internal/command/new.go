package command

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

const newUsage = `erlmcp new makes a repository of your own, which runs, is tested and is deployed by itself.

  erlmcp new DIR -module NAME [-source DIR]

NAME is the path of its module, such as github.com/acme/shop. The source of erlmcp becomes a part of it, as the folder erlmcp, because
its module can't be fetched from anywhere; it is copied from -source, or from the checkout in which the command is run.

`

// erlmcp is the path of erlmcp's own module.
const erlmcp = "example.com/erlmcp"

//go:embed repository
var repository embed.FS

// placed is where each file of a repository goes.
var placed = map[string]string{
	"root.go": "{{.Package}}.go", "tools.go": "tools/tools.go", "tools_test.go": "tools/tools_test.go", "main.go": "cmd/{{.Name}}/main.go",
	"local.go": "local/main.go", "Makefile": "Makefile", "README.md": "README.md", "project.toml": "project.toml", "ko.yaml": ".ko.yaml",
	"gcloudignore": ".gcloudignore", "gitignore": ".gitignore",
}

// copied are the folders of erlmcp's source that a repository needs.
var copied = []string{"function", "local/embedded", "local/run", "local/watch"}

// needless is what it does not need of them: tests, documents, and what serves erlmcp's own tools.
var needless = regexp.MustCompile(`_test\.go$|\.md$|/testdata/|^function/(cmd|tools)/|^function/internal/.*test/`)

// framework is the module that Google's buildpack looks for.
const framework = "github.com/GoogleCloudPlatform/functions-framework-go"

// made names the parts of a repository.
type made struct {
	Module, Name, Package string
	Erlmcp, Product       string
}

var (
	// The first element needs a dot for Google's buildpack, and for go get.
	modulePath = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+(/[A-Za-z0-9][A-Za-z0-9._~-]*)+$`)
	major      = regexp.MustCompile(`^v[0-9]+$`)
	noLetter   = regexp.MustCompile(`[^a-z0-9]+`)
)

func nameParts(module string) (made, error) {
	if !modulePath.MatchString(module) || strings.HasSuffix(module, ".") || module == erlmcp || strings.HasPrefix(module, erlmcp+"/") {
		return made{}, fmt.Errorf("%w: -module %q is no path of a module of your own, such as github.com/acme/shop, whose first part has a dot", errUsage, module)
	}
	name := path.Base(module)
	if parent := path.Base(path.Dir(module)); major.MatchString(name) && parent != "." {
		name = parent
	}
	pkg := noLetter.ReplaceAllString(strings.ToLower(name), "")
	if pkg == "" || pkg[0] <= '9' || token.IsKeyword(pkg) || pkg == "main" || pkg == "tools" || pkg == "function" || pkg == "functions" {
		pkg = "app" + pkg
	}
	return made{Module: module, Name: name, Package: pkg, Erlmcp: erlmcp}, nil
}

func (p *Program) newRepository(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("new", flag.ContinueOnError)
	module := flags.String("module", "", "")
	source := flags.String("source", "", "")
	dir, err := p.parse(flags, newUsage, args)
	if err != nil {
		return err
	}
	if dir == "" {
		return fmt.Errorf("%w: which folder, and which -module?", errUsage)
	}
	r, err := nameParts(*module)
	if err != nil {
		return err
	}
	r.Product = p.Product
	from, err := sourceOf(ctx, *source)
	if err != nil {
		return err
	}
	if files, err := os.ReadDir(dir); err == nil && len(files) > 0 {
		return fmt.Errorf("%s is not empty: name a new folder", dir)
	}
	if err := errors.Join(r.write(dir), r.writeModule(dir, from), copySource(filepath.Join(dir, "erlmcp"), from)); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is %s. Next:\n\n  cd %[1]s\n  make run     # serve it; its tools are in tools/tools.go\n  make test\n", dir, r.Module)
	return nil
}

// sourceOf finds the source of erlmcp: in the folder that is named, or by the module of the folder at hand.
func sourceOf(ctx context.Context, named string) (string, error) {
	const want = "name a checkout of erlmcp with -source, or run this in one: go run ./function/cmd/erlmcp new"
	if named == "" {
		cmd := exec.CommandContext(ctx, "go", "list", "-mod=mod", "-m", "-f", "{{.Dir}}", erlmcp)
		cmd.Env = append(os.Environ(), "GOFLAGS=", "GOPROXY=off")
		found, err := cmd.Output()
		if named = strings.TrimSpace(string(found)); err != nil || named == "" {
			return "", fmt.Errorf("the source of erlmcp is not here: %s", want)
		}
	}
	mod, err := os.ReadFile(filepath.Join(named, "go.mod"))
	if err != nil || !strings.HasPrefix(string(mod), "module "+erlmcp+"\n") {
		return "", fmt.Errorf("%s is not the source of %s: %s", named, erlmcp, want)
	}
	return named, nil
}

// write writes the files of the repository's own.
func (r made) write(dir string) error {
	for name, place := range placed {
		text, err := repository.ReadFile("repository/" + name + ".tmpl")
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, r.fill(place)), []byte(r.fill(string(text)))); err != nil {
			return err
		}
	}
	return nil
}

// fill puts the names in. It is no template of the library's, whose methods by name would keep every exported method in each binary, a
// third more.
func (r made) fill(text string) string {
	return strings.NewReplacer("{{.Name}}", r.Name, "{{.Module}}", r.Module, "{{.Package}}", r.Package, "{{.Erlmcp}}", r.Erlmcp, "{{.Product}}", r.Product).Replace(text)
}

var requirement = regexp.MustCompile(`(?m)^\t(\S+ v\S+)`)

// writeModule writes go.mod and go.sum: what erlmcp requires, and erlmcp itself, from the folder erlmcp.
func (r made) writeModule(dir, from string) error {
	mod, err := os.ReadFile(filepath.Join(from, "go.mod"))
	if err != nil {
		return err
	}
	sum, err := os.ReadFile(filepath.Join(from, "go.sum"))
	if err != nil {
		return err
	}
	direct, indirect := "\t"+erlmcp+" v"+r.Product+"\n", ""
	for _, m := range requirement.FindAllStringSubmatch(string(mod), -1) {
		if strings.HasPrefix(m[1], framework+" ") {
			direct = "\t" + m[1] + "\n" + direct
		} else {
			indirect += "\t" + m[1] + " // indirect\n"
		}
	}
	goLine := regexp.MustCompile(`(?m)^go .*$`).FindString(string(mod))
	text := fmt.Sprintf("module %s\n\n%s\n\nrequire (\n%s)\n\nrequire (\n%s)\n\n// Its module can't be fetched from anywhere.\nreplace %s => ./erlmcp\n",
		r.Module, goLine, direct, indirect, erlmcp)
	return errors.Join(writeFile(filepath.Join(dir, "go.mod"), []byte(text)), writeFile(filepath.Join(dir, "go.sum"), sum))
}

// copySource copies what a repository needs of erlmcp's source.
func copySource(to, from string) error {
	for _, name := range append([]string{"go.mod", "go.sum"}, copied...) {
		err := filepath.WalkDir(filepath.Join(from, name), func(file string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			name, err := filepath.Rel(from, file)
			if err != nil || needless.MatchString(filepath.ToSlash(name)) {
				return err
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			return writeFile(filepath.Join(to, name), text)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func writeFile(name string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o644)
}
