package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"example.com/erlmcp/function/internal/catalog/search"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/value"
)

// The tools that stand in place of a long list.
const (
	FindTools = "find_tools"
	CallTool  = "call_tool"
)

// Search is an entry with which a caller who sees more tools than Above has two in place of the list: find_tools, which finds tools by
// what they are for, and call_tool, which calls one by its name. Beside them the tools are listed that are [Tool.Listed]. All that the
// caller sees can be called by their own names too. A caller whom a rule hides find_tools from has the list.
type Search struct {
	Above int // 0: who sees any tool has no list
}

// what names the entry in a fault.
func (s *Search) what() string { return "search" }

func (s *Search) add(c *Catalog) error {
	switch {
	case c.searching != nil:
		return errors.New("it is set twice")
	case s.Above < 0:
		return fmt.Errorf("a list can't have more tools than %d: give a number from 0", s.Above)
	}
	c.searching = &searching{above: s.Above}
	return nil
}

// searching is how the tools of a catalog are found.
type searching struct {
	above  int
	pinned []mcp.Item                      // in the order of their names
	index  func() (*search.Index, []*Tool) // of the tools at its positions; made at the first search
}

// offerSearch puts into a catalog of all its entries by what they are found.
func (c *Catalog) offerSearch() error {
	s := c.searching
	if s == nil {
		return nil
	}
	for _, name := range []string{FindTools, CallTool} {
		if t := c.tools[name]; t != nil {
			return fmt.Errorf("%s: the name is that of a tool by which others are found: give this one another, or leave search out", t.what())
		}
	}
	found := make([]*Tool, 0, len(c.tools))
	for _, item := range c.listings[mcp.Tools].Items {
		found = append(found, c.tools[item.Key])
	}
	s.index = sync.OnceValues(func() (*search.Index, []*Tool) { return indexOf(found), found })
	item, err := itemOf(callTool)
	if err != nil {
		return err
	}
	find := c.findTools()
	if err := find.add(c); err != nil {
		return fmt.Errorf("%s: %w", find.what(), err)
	}
	c.objects[mcp.Tools][FindTools].Finds = true
	for _, item := range c.listings[mcp.Tools].Items {
		if c.tools[item.Key].Listed || item.Key == FindTools {
			s.pinned = append(s.pinned, item)
		}
	}
	s.pinned = append(s.pinned, item)
	slices.SortFunc(s.pinned, byKey)
	return nil
}

func indexOf(tools []*Tool) *search.Index {
	documents := make([]search.Document, len(tools))
	for i, t := range tools {
		documents[i] = search.Document{Name: t.Name, Title: t.Title, Description: t.Description}
		for name := range t.schema.Properties {
			documents[i].Arguments = append(documents[i].Arguments, name)
		}
	}
	return search.New(documents)
}

// itemOf is how a tool is listed that is no entry: what is called by it is decided and recorded as another tool.
func itemOf(d toolDescriptor) (mcp.Item, error) {
	text, err := json.Marshal(d)
	return mcp.Item{Key: d.Name, JSON: text, Legacy: text}, err
}

// Indirect implements [mcp.Catalog].
func (c *Catalog) Indirect(tool string) mcp.Indirection {
	switch {
	case tool == CallTool && c.searching != nil:
		return mcp.ByName
	case tool == mcp.ReadMore && c.readMore != nil:
		return mcp.ByCursor
	}
	return mcp.Direct
}

// listTools are the tools that a caller has a list of: all that there are to see, or those by which the others are found.
func (c *Catalog) listTools(sees Sees) []mcp.Item {
	visible := func(name string) bool { return name == CallTool || sees == nil || sees(c.objects[mcp.Tools][name]) }
	items := c.shortList(visible)
	if c.readMore == nil || !slices.ContainsFunc(c.listings[mcp.Tools].Items, func(i mcp.Item) bool { return c.tools[i.Key].ReadsOn && visible(i.Key) }) {
		return items
	}
	at, _ := slices.BinarySearchFunc(items, *c.readMore, byKey)
	return slices.Insert(items, at, *c.readMore)
}

// shortList is the list without what reads answers on.
func (c *Catalog) shortList(visible func(name string) bool) []mcp.Item {
	all, s := c.listings[mcp.Tools].Items, c.searching
	if s == nil {
		return filter(all, visible)
	}
	if visible(FindTools) {
		count := 0
		for _, item := range all {
			if item.Key != FindTools && visible(item.Key) {
				if count++; count > s.above {
					return filter(s.pinned, visible)
				}
			}
		}
	}
	return filter(all, func(name string) bool { return name != FindTools && visible(name) })
}

func filter(all []mcp.Item, visible func(name string) bool) []mcp.Item {
	items := make([]mcp.Item, 0, len(all))
	for _, item := range all {
		if visible(item.Key) {
			items = append(items, item)
		}
	}
	return items
}

// offerReading puts into a catalog of all its entries what reads their answers on.
func (c *Catalog) offerReading() error {
	if !slices.ContainsFunc(c.listings[mcp.Tools].Items, func(i mcp.Item) bool { return c.tools[i.Key].ReadsOn }) {
		return nil
	}
	if t := c.tools[mcp.ReadMore]; t != nil {
		return fmt.Errorf("%s: the name is that of the tool by which long answers are read on: give this one another", t.what())
	}
	item, err := itemOf(readMore)
	c.readMore = &item
	return err
}

var yes, no = true, false

// readMore is how read_more is listed. It is no entry, either: what it reads on is decided and recorded as the tool whose answer it is.
var readMore = toolDescriptor{
	Name: mcp.ReadMore, Title: "Read on",
	Description: "Reads on in an answer that was too long and was cut. Each part that is not the last has the cursor of the next one.",
	InputSchema: json.RawMessage(`{"type":"object","properties":{"cursor":{"type":"string","description":"as the part before has it, whole"}},` +
		`"required":["cursor"],"additionalProperties":false}`),
	Annotations: &Hints{ReadOnly: &yes, Idempotent: &yes},
}

// callTool is how call_tool is listed. It is no entry: what is called by it is decided and recorded as the tool that it names.
var callTool = toolDescriptor{
	Name: CallTool, Title: "Call a tool",
	Description: "Calls a tool that " + FindTools + " has found, by its name, with arguments that fit its inputSchema.",
	InputSchema: json.RawMessage(`{"type":"object","properties":{"name":{"type":"string","description":"of the tool, as ` + FindTools + ` gives it"},` +
		`"arguments":{"type":"object","description":"of the tool, by its inputSchema","additionalProperties":true}},"required":["name"],"additionalProperties":false}`),
}

type sought struct {
	Query string `json:"query" minLength:"1" maxLength:"1000" jsonschema:"what is to be done, in a few English words, such as: refund a payment"`
	Limit int    `json:"limit,omitempty" minimum:"1" maximum:"20" default:"5" jsonschema:"how many tools to return at most"`
}

// findTools makes the tool that looks for others.
func (c *Catalog) findTools() *Tool {
	t := FromFunc(FindTools, "Finds tools by what they do, and returns name, description and inputSchema of the best, to be called by "+CallTool+
		". Most tools of this server are not listed: look here before you say that something can't be done.",
		func(ctx context.Context, in sought) (*mcp.Result, error) { return c.found(ctx, in.Query, in.Limit) })
	t.Title = "Find tools"
	t.Hints = Hints{ReadOnly: &yes, Idempotent: &yes, OpenWorld: &no}
	return t
}

// found answers with the tools that the caller sees and that fit the query best.
func (c *Catalog) found(ctx context.Context, query string, limit int) (*mcp.Result, error) {
	index, tools := c.searching.index()
	sees := viewOf(ctx)
	answer := struct {
		Tools []toolDescriptor `json:"tools"`
	}{[]toolDescriptor{}}
	for _, at := range index.Find(query, limit, func(at int) bool { return sees == nil || sees(c.objects[mcp.Tools][tools[at].Name]) }) {
		t := tools[at]
		d := toolDescriptor{Name: t.Name, Title: t.Title, Description: t.Description, InputSchema: value.Published(t.shown())}
		if t.Hints != (Hints{}) {
			d.Annotations = &t.Hints
		}
		answer.Tools = append(answer.Tools, d)
	}
	if len(answer.Tools) == 0 {
		return &mcp.Result{
			Content:    []mcp.Content{mcp.Text("No tool fits these words. Say in other words what is to be done, or name the things that it is about.")},
			Structured: json.RawMessage(`{"tools":[]}`),
		}, nil
	}
	text, err := json.Marshal(&answer)
	if err != nil {
		return nil, err
	}
	return &mcp.Result{Content: []mcp.Content{mcp.Text(string(text))}, Structured: text}, nil
}
