package catalogfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"

	"go.yaml.in/yaml/v3"
)

// Parse reads the form of a file. Its error lists each [Fault].
func Parse(text []byte) (*File, error) {
	if len(text) > maxBytes {
		return nil, fmt.Errorf("a catalog file has at most %d MiB, and this one has %d bytes", maxBytes>>20, len(text))
	}
	var document, another yaml.Node
	documents := yaml.NewDecoder(bytes.NewReader(text))
	if err := documents.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("it is neither YAML nor JSON: %w", err)
	}
	if err := documents.Decode(&another); !errors.Is(err, io.EOF) {
		return nil, &Fault{Line: max(1, another.Line), Text: "there is another document behind ---, which would not be read: a catalog is one, so put its sources to the first one's"}
	}
	if len(document.Content) == 0 {
		return nil, errors.New("it is empty: begin with catalog: 1, and sources below it")
	}
	root := document.Content[0]
	if nodes := 0; !bounded(root, maxDepth, &nodes) {
		return nil, fmt.Errorf("it is more than %d levels deep, or its aliases make more than %d values of it", maxDepth, maxAliased)
	}
	var f File
	d := &decoder{}
	d.decode(root, "", reflect.ValueOf(&f).Elem())
	if len(d.faults) == 0 && f.Catalog != version {
		d.fault(root.Line, "catalog is %d, and this program knows version %d of the form", f.Catalog, version)
	}
	f.check(d)
	return &f, errors.Join(d.faults...)
}

// version of the form.
const version = 1

// bounded tells whether a value and those that its aliases repeat are within the bounds.
func bounded(n *yaml.Node, depth int, nodes *int) bool {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if *nodes++; depth == 0 || *nodes > maxAliased {
		return false
	}
	for _, e := range n.Content {
		if !bounded(e, depth-1, nodes) {
			return false
		}
	}
	return true
}
