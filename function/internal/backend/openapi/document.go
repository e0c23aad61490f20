package openapi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// An offer is an operation of the document before anything is made of it.
type offer struct {
	id, method, path string
	item, op         *node // the path's, and the operation
	line             *node
	err              error
	name             string
}

// methods are those that have operations, in their order in listings.
var methods = []string{"get", "head", "post", "put", "patch", "delete", "options", "trace"}

// document makes operations of what was read.
func (r *reader) document() (*Document, error) {
	root := r.main.root
	if root.kind != object {
		return nil, errors.New("it is no OpenAPI document: it is not an object")
	}
	switch v := root.str("swagger") + root.str("openapi"); {
	case v == "2.0" || v == "2":
		r.v2 = true
	case v == "3" || strings.HasPrefix(v, "3."):
		r.v31 = v != "3" && !strings.HasPrefix(v, "3.0")
	case v == "":
		return nil, errors.New("it is no OpenAPI document: it has neither openapi nor swagger, which say the version")
	default:
		return nil, fmt.Errorf("it is of version %s, and 2.0, 3.0 and 3.1 are read", v)
	}
	if err := r.checkOptions(); err != nil {
		return nil, err
	}
	d := &Document{Title: root.get("info").str("title"), Version: root.get("info").str("version")}
	r.sent = &schemas{r: r, beside: r.v31, made: map[string]*schema{}, ids: map[*node]int{}}
	r.received = &schemas{r: r, beside: r.v31, received: true, made: map[string]*schema{}, ids: map[*node]int{}}
	offers := r.offers(root)
	nameAll(offers)
	for _, o := range offers {
		op, err := r.operation(o)
		if err != nil {
			d.LeftOut = append(d.LeftOut, LeftOut{ID: o.id, Method: o.method, Path: o.path, Tags: o.tags(), Place: o.line.place(), Reason: err.Error()})
			continue
		}
		d.Operations = append(d.Operations, *op)
	}
	return d, nil
}

// offers are the operations in the order of the document.
func (r *reader) offers(root *node) (out []offer) {
	paths := root.get("paths")
	if paths == nil || paths.kind != object {
		return nil
	}
	for i, path := range paths.keys {
		item := paths.kids[i]
		if strings.HasPrefix(path, "x-") || item.kind != object {
			continue
		}
		item, err := r.item(item)
		if err != nil {
			out = append(out, offer{path: path, line: paths.kids[i], op: paths.kids[i], err: err})
			continue
		}
		for _, method := range item.keys {
			if op := item.get(method); slices.Contains(methods, method) && op.kind == object {
				out = append(out, offer{id: op.str("operationId"), method: strings.ToUpper(method), path: path, item: item, op: op, line: op})
			}
		}
	}
	return out
}

// item returns a path's item with what it refers to. What stands beside the reference counts.
func (r *reader) item(n *node) (*node, error) {
	if n.get("$ref") == nil {
		return n, nil
	}
	to, err := r.deref(n)
	if err != nil {
		return nil, err
	}
	both := &node{kind: object, in: to.in, line: to.line}
	both.keys, both.kids = slices.Clone(to.keys), slices.Clone(to.kids)
	for i, key := range n.keys {
		if key != "$ref" {
			both.put(key, n.kids[i])
		}
	}
	return both, nil
}

func (o *offer) tags() (out []string) {
	for _, t := range o.op.get("tags").elements() {
		if t.kind == text {
			out = append(out, t.text)
		}
	}
	return out
}

// nameAll names the operations by their ids. Those without, and those whose ids make the same name, are named by method and path, and where that is
// the same too, with a hash of them.
func nameAll(offers []offer) {
	count := func() map[string]int {
		n := map[string]int{}
		for _, o := range offers {
			n[o.name]++
		}
		return n
	}
	for i := range offers {
		offers[i].name = nameFromID(offers[i].id)
	}
	byID := count()
	for i := range offers {
		if o := &offers[i]; o.name == "" || byID[o.name] > 1 {
			o.name = nameFromPath(o.method, o.path)
		}
	}
	all := count()
	for i := range offers {
		if o := &offers[i]; all[o.name] > 1 {
			o.name = strings.TrimRight(o.name[:min(len(o.name), maxName-9)], "_") + "_" + hash(o.method+" "+o.path)
		}
	}
}
