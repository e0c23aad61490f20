// Package documents makes of public OpenAPI documents as much of tools as searching them takes: names, descriptions and the names of
// arguments.
package documents

import (
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Dir is where the documents are, seen from the package of the check.
const Dir = "../../../../shared/openapi"

// An Operation is one of a document.
type Operation struct {
	Source                   string // the first word of the document's name
	ID                       string // operationId, or method and path
	Name, Title, Description string // of the tool
	Arguments                []string
}

// Schema is one that has the arguments' names.
func (o *Operation) Schema() string {
	properties := map[string]struct{}{}
	for _, name := range o.Arguments {
		properties[name] = struct{}{}
	}
	text, err := json.Marshal(map[string]any{"type": "object", "properties": properties})
	if err != nil {
		panic(err) // text only
	}
	return string(text)
}

// Read returns the operations of all documents in a directory, in the order of their names.
func Read(dir string) ([]Operation, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.gz"))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("no documents in %s: %v", dir, err)
	}
	var all []Operation
	for _, path := range paths {
		if strings.HasSuffix(path, ".tar.gz") {
			continue
		}
		of, err := read(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, of...)
	}
	slices.SortFunc(all, func(a, b Operation) int { return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID)) })
	return slices.CompactFunc(all, func(a, b Operation) bool { return a.Name == b.Name }), nil
}

func read(path string) (all []Operation, _ error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	zipped, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(zipped)
	if err != nil {
		return nil, err
	}
	d := document{source: source(filepath.Base(path))}
	if strings.HasSuffix(path, ".json.gz") {
		err = json.Unmarshal(text, &d.root)
	} else {
		var node yaml.Node
		if err = yaml.Unmarshal(text, &node); err == nil {
			d.root = plain(&node)
		}
	}
	if err != nil {
		return nil, err
	}
	for path, item := range object(member(d.root, "paths")) {
		item := d.resolved(item)
		for _, method := range []string{"get", "put", "post", "delete", "patch", "head", "options"} {
			if operation := item[method]; operation != nil {
				all = append(all, d.operation(method, path, item, object(operation)))
			}
		}
	}
	return all, nil
}

// source is the first word of a file's name; the petstores differ by more than that.
func source(file string) string {
	if strings.HasPrefix(file, "petstore") {
		file, _, _ = strings.Cut(file, ".")
		return strings.ReplaceAll(file, "-", "")
	}
	first, _, _ := strings.Cut(file, "-")
	return first
}

type document struct {
	source string
	root   any
}

var (
	unfit = regexp.MustCompile(`[^A-Za-z0-9]+`)
	tags  = regexp.MustCompile(`<[^>]*>`)
)

const (
	maxName        = 64
	maxDescription = 1000
)

func (d *document) operation(method, path string, item, o map[string]any) Operation {
	text := func(name string) string { s, _ := o[name].(string); return tags.ReplaceAllString(s, "") }
	id := cmp.Or(text("operationId"), method+" "+path)
	out := Operation{Source: d.source, ID: id, Title: text("summary"), Description: text("description")}
	out.Name = clip(d.source+"_"+strings.Trim(unfit.ReplaceAllString(id, "_"), "_"), maxName)
	if out.Description == "" {
		out.Description, out.Title = cmp.Or(out.Title, strings.ToUpper(method)+" "+path), ""
	}
	out.Description = clip(out.Description, maxDescription)
	names := map[string]bool{}
	add := func(schema any) {
		for name := range object(d.resolved(schema)["properties"]) {
			names[name] = true
		}
	}
	for _, p := range append(list(item["parameters"]), list(o["parameters"])...) {
		p := d.resolved(p)
		if name, ok := p["name"].(string); ok && p["in"] != "body" {
			names[name] = true
		}
		add(p["schema"])
	}
	for _, content := range object(d.resolved(o["requestBody"])["content"]) {
		add(member(content, "schema"))
	}
	out.Arguments = slices.Sorted(maps.Keys(names))
	return out
}

func clip(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}

// maxHops bounds how many references lead to each other.
const maxHops = 10

// resolved is the object that a value is, or refers to within the document; else nothing.
func (d *document) resolved(v any) map[string]any {
	for range maxHops {
		ref, ok := member(v, "$ref").(string)
		if !ok {
			return object(v)
		}
		v = d.root
		for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			v = member(v, strings.NewReplacer("~1", "/", "~0", "~", "%7B", "{", "%7D", "}").Replace(part))
		}
	}
	return nil
}

func member(v any, name string) any { return object(v)[name] }

func object(v any) map[string]any { m, _ := v.(map[string]any); return m }

// plain is what a node of YAML holds, as of JSON, all scalars as text. A key that comes twice, as they do, is the last.
func plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.DocumentNode:
		return plain(n.Content[0])
	case yaml.AliasNode:
		return plain(n.Alias)
	case yaml.SequenceNode:
		var out []any
		for _, element := range n.Content {
			out = append(out, plain(element))
		}
		return out
	case yaml.MappingNode:
		out := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			out[n.Content[i].Value] = plain(n.Content[i+1])
		}
		return out
	}
	return n.Value
}

func list(v any) []any { l, _ := v.([]any); return slices.Clip(l) }
