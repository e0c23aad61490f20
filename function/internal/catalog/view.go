package catalog

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/policy"
)

// An Object is what decides who may see and call an entry.
type Object struct {
	policy.Object
	Scopes []string    // that a caller needs
	Policy *policy.Set // of the entry itself, or nil
	Strict bool        // it is not called before the receipt of the intent is stored
	Pack   string      // that a tenant needs, or ""
	Finds  bool        // it is a tool by which others are found, and looks at the catalog
}

// In tells whether a toolset has the entry: what is of it has, and of what is of none all but tools, which tools of it may lead to.
func (o *Object) In(toolset string) bool {
	return o.Pack == toolset || o.Finds || o.Pack == "" && o.Kind != "tool"
}

// Sees tells whether the caller sees an entry.
type Sees func(*Object) bool

type viewKey struct{}

// NewContext returns a context in which only what the function lets through is in the catalog.
func NewContext(ctx context.Context, sees Sees) context.Context {
	return context.WithValue(ctx, viewKey{}, sees)
}

func viewOf(ctx context.Context) Sees {
	sees, _ := ctx.Value(viewKey{}).(Sees)
	return sees
}

func (c *Catalog) sees(ctx context.Context, kind mcp.Kind, key string) bool {
	sees := viewOf(ctx)
	return sees == nil || sees(c.objects[kind][key])
}

// Object returns what a message of the method is about, by its name or URI, or nil where there is no such entry.
func (c *Catalog) Object(method, name string) *Object {
	switch method {
	case "tools/call":
		return c.objects[mcp.Tools][name]
	case "prompts/get":
		return c.objects[mcp.Prompts][name]
	case "resources/read", "resources/subscribe", "resources/unsubscribe":
		o, _ := c.At(name)
		return o
	case "completion/complete": // no prompt is named like a template, which has braces
		if o := c.objects[mcp.Prompts][name]; o != nil {
			return o
		}
		return c.objects[mcp.Templates][name]
	}
	return nil
}

// Entry implements [mcp.Catalog].
func (c *Catalog) Entry(method, name string) (kind, entry string) {
	if o := c.Object(method, name); o != nil {
		return o.Kind, o.Name
	}
	return "", ""
}

// Lists tells whether there is such an entry, of the kind and the name that [Catalog.Entry] returns.
func (c *Catalog) Lists(kind, name string) bool {
	switch kind {
	case "tool":
		return c.objects[mcp.Tools][name] != nil
	case "prompt":
		return c.objects[mcp.Prompts][name] != nil
	}
	return c.objects[mcp.Resources][name] != nil || c.objects[mcp.Templates][name] != nil
}

// At returns what there is at a URI in normal form, or nil, and the decoded variables of the template that it matches.
func (c *Catalog) At(uri string) (*Object, map[string]string) {
	r, t, vars := c.find(uri)
	switch {
	case r != nil:
		return c.objects[mcp.Resources][r.URI], nil
	case t != nil:
		return c.objects[mcp.Templates][t.URI], vars
	}
	return nil, nil
}

// Renamed are the tools that had other names.
func (c *Catalog) Renamed() (tools []*Object) {
	for _, old := range slices.Sorted(maps.Keys(c.former)) {
		tools = append(tools, c.objects[mcp.Tools][c.former[old]])
	}
	return tools
}

// Ruled tells whether any entry has rules of its own.
func (c *Catalog) Ruled() bool {
	for _, objects := range c.objects {
		for _, o := range objects {
			if o.Policy != nil {
				return true
			}
		}
	}
	return false
}

// Packed tells whether any entry is of a pack.
func (c *Catalog) Packed() bool {
	for _, objects := range c.objects {
		for _, o := range objects {
			if o.Pack != "" {
				return true
			}
		}
	}
	return false
}

// Toolset tells whether there are entries of a toolset.
func (c *Catalog) Toolset(name string) bool {
	return c.toolsets[name]
}

// Strict lists the entries that are not called unrecorded, as in "tool pay".
func (c *Catalog) Strict() []string {
	var all []string
	for _, objects := range c.objects {
		for _, o := range objects {
			if o.Strict {
				all = append(all, o.Kind+" "+o.Name)
			}
		}
	}
	slices.Sort(all)
	return all
}

// Scopes lists every scope that an entry demands.
func (c *Catalog) Scopes() map[string]bool {
	all := map[string]bool{}
	for _, objects := range c.objects {
		for _, o := range objects {
			for _, s := range o.Scopes {
				all[s] = true
			}
		}
	}
	return all
}

func (c *Catalog) describe(kind mcp.Kind, key string, terms *Terms, o policy.Object) error {
	o.Upstream = terms.Upstream
	object := &Object{Object: o, Scopes: terms.Scopes, Strict: terms.Strict, Pack: terms.Pack}
	if len(terms.Rules) > 0 {
		var err error
		if object.Policy, err = policy.Compile(terms.Rules, policy.Allow); err != nil {
			return fmt.Errorf("its policy: %w", err)
		}
	}
	c.objects[kind][key] = object
	if terms.Pack != "" {
		c.toolsets[terms.Pack] = true
	}
	return nil
}

// LimitScopes lists what kill switches and overrides may name of the catalog.
func (c *Catalog) LimitScopes() []string {
	var out []string
	c.EachTool(func(name string, terms Terms) error {
		out = append(out, "tool:"+name)
		if u := "upstream:" + terms.Upstream; terms.Upstream != "" && !slices.Contains(out, u) {
			out = append(out, u)
		}
		return nil
	})
	return out
}

// FormerScopes are those that tools had, and those that they have.
func (c *Catalog) FormerScopes() map[string]string {
	former := map[string]string{}
	for _, t := range c.Renamed() {
		former["tool:"+t.Formerly] = "tool:" + t.Name
	}
	return former
}
