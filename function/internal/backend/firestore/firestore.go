// Package firestore offers a Firestore collection as tools that read it: one document by its id, and those with given values of some fields,
// in pages. What a caller may read is decided by a condition on the caller, which is part of every query, and is checked once more on every
// document that comes back.
package firestore

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/backend/firestore/documents"
	"example.com/erlmcp/function/internal/catalog"
)

// A Source is what an operator says of a collection.
type Source struct {
	Name       string // letters, digits, '_' and '-'. Names of its tools begin with it and '_'.
	Collection string // the path, such as orders or shops/main/orders
	Database   string // "" for the default one
	// Own says which documents are a caller's own: FIELD == principal.tenant, or subject, issuer, or claims.NAME in place of tenant; several
	// are joined with &&. Of a document that is another's no tool lets out that there is one.
	Own    string
	Shared bool // in place of Own: every caller may read every document
	Tools  []Tool
	Terms  catalog.Terms // of each tool. Upstream is Name by default, and Timeout 10 s
	Logger *slog.Logger  // is told why a call failed; nil discards
}

// What a tool reads.
const (
	Get  = "get"  // one document by the argument id
	Find = "find" // documents with values that arguments give
)

// A Tool reads a collection.
type Tool struct {
	Read               string   // [Get] or [Find]
	Name               string   // after the source's and '_'; default Read
	Title, Description string   // a default is made of the rest
	Fields             []string // paths of the fields that are shown; nil for all
	MaxBytes           int      // of an answer; default 64 KiB. A page ends where it would be longer
	// Of Find alone: which values arguments may give, what is ordered by, with " desc" behind a path for the greatest first, and how many
	// documents an answer has at most, default 20.
	Where []Condition
	Order []string
	Max   int
}

// A Condition is an argument that a field must be equal to. Where it is not given, any value will do.
type Condition struct {
	Field       string
	Argument    string // default: Field with '_' for dots
	Type        string // one of [Types]; default string
	Description string
	Required    bool
}

// Bounds of a tool, which keep an answer and its schema in a size that a model can use.
const (
	defaultDocuments = 20
	maxDocuments     = 200
	defaultBytes     = 64 << 10
	maxBytes         = 4 << 20
	maxConditions    = 20
	maxOrders        = 4
	defaultTimeout   = 10 * time.Second
)

var (
	validName     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
	validArgument = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)
)

// A plan is a checked source.
type plan struct {
	*Source
	own   []ownership
	tools []*tool
}

// A tool is a checked [Tool].
type tool struct {
	*Tool
	*plan
	order []documents.Order
	shows [][]string // Fields, by their names; nil for all
}

// check returns the source as it is used, and every fault, each after where it is.
func (s *Source) check() (*plan, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	p := &plan{Source: s}
	if !validName.MatchString(s.Name) {
		fault("name: %q is not 1 to 64 letters, digits, '_' and '-'", s.Name)
	}
	parts := strings.Split(s.Collection, "/")
	for _, part := range parts {
		if err := documents.CheckID(part); err != nil || len(parts)%2 == 0 {
			fault("collection: %q is not the path of a collection, such as orders or shops/main/orders", s.Collection)
			break
		}
	}
	switch {
	case s.Own == "" && !s.Shared:
		fault("own: it is missing: say whose documents a caller may read, such as tenant == principal.tenant, or write shared: true where every caller may read all")
	case s.Own != "" && s.Shared:
		fault("shared: own says whose the documents are: leave one of them out")
	case s.Own != "":
		var err error
		if p.own, err = parseOwn(s.Own); err != nil {
			fault("own: %w", err)
		}
	}
	if len(s.Tools) == 0 {
		fault("tools: there are none: name get or find")
	}
	names := map[string]bool{}
	for i := range s.Tools {
		t := &tool{Tool: &s.Tools[i], plan: p}
		at := fmt.Sprintf("tools[%d]", i)
		for _, err := range t.check() {
			fault("%s.%w", at, err)
		}
		if name := t.name(); names[name] {
			fault("%s.name: another tool is %s, too: give one of them another name", at, name)
		} else {
			names[name] = true
		}
		p.tools = append(p.tools, t)
	}
	return p, errors.Join(faults...)
}

func (t *tool) name() string { return t.plan.Name + "_" + cmp.Or(t.Tool.Name, t.Read) }

func (t *tool) check() (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if n := cmp.Or(t.Tool.Name, t.Read); !validName.MatchString(n) {
		fault("name: %q is not 1 to 64 letters, digits, '_' and '-'", n)
	}
	if t.MaxBytes < 0 || t.MaxBytes > maxBytes {
		fault("maxBytes: %d are not between 1 and %d", t.MaxBytes, maxBytes)
	}
	for i, path := range t.Fields {
		if err := documents.CheckPath(path); err != nil {
			fault("fields[%d]: %w", i, err)
		}
		for _, other := range t.Fields[:i] {
			if within(path, other) || within(other, path) {
				fault("fields[%d]: %s and %s have the same in them: leave one out", i, other, path)
			}
		}
		t.shows = append(t.shows, strings.Split(path, "."))
	}
	switch {
	case t.Read == Get && (len(t.Where) > 0 || len(t.Order) > 0 || t.Max != 0):
		fault("where, order and max: they are of find alone, and get has the argument id")
	case t.Read == Find:
		faults = append(faults, t.checkFind()...)
	case t.Read != Get:
		fault("read: %q is neither get nor find", t.Read)
	}
	return faults
}

func (t *tool) checkFind() (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if t.Max < 0 || t.Max > maxDocuments {
		fault("max: %d documents are not between 1 and %d", t.Max, maxDocuments)
	}
	if len(t.Where) > maxConditions {
		fault("where: there are more than %d", maxConditions)
	}
	arguments := map[string]bool{argumentLimit: true, argumentCursor: true}
	for i, c := range t.Where {
		at := fmt.Sprintf("where[%d]", i)
		if err := documents.CheckPath(c.Field); err != nil {
			fault("%s: %w", at, err)
		}
		if _, known := kinds[c.kind()]; !known {
			fault("%s: the type %q is none of %s", at, c.Type, strings.Join(Types, ", "))
		}
		switch name := c.argument(); {
		case !validArgument.MatchString(name):
			fault("%s: the argument %q is not a name of letters, digits and '_'", at, name)
		case arguments[name]:
			fault("%s: there is another argument %s: name it by argument:", at, name)
		default:
			arguments[name] = true
		}
		if slices.ContainsFunc(t.own, func(o ownership) bool { return o.field == c.Field }) {
			fault("%s: %s is what own says, and can't be chosen: leave it out", at, c.Field)
		}
		if slices.ContainsFunc(t.Where[:i], func(other Condition) bool { return other.Field == c.Field }) {
			fault("%s: %s is there already: leave one out", at, c.Field)
		}
	}
	if len(t.Order) > maxOrders {
		fault("order: there are more than %d fields", maxOrders)
	}
	for i, text := range t.Order {
		path, direction, _ := strings.Cut(text, " ")
		at := fmt.Sprintf("order[%d]", i)
		if err := documents.CheckPath(path); err != nil {
			fault("%s: %w", at, err)
		}
		if direction != "" && direction != "asc" && direction != "desc" {
			fault("%s: %q is neither asc nor desc", at, direction)
		}
		if slices.ContainsFunc(t.order, func(o documents.Order) bool { return o.Path == path }) {
			fault("%s: %s is there already: leave one out", at, path)
		}
		if len(t.Fields) > 0 && !slices.ContainsFunc(t.Fields, func(f string) bool { return within(path, f) }) {
			fault("%s: the order, and the cursor that continues it, tell of %s, which is not shown: add it to fields, or order by another", at, path)
		}
		t.order = append(t.order, documents.Order{Path: path, Descending: direction == "desc"})
	}
	return faults
}

// within tells whether what is at a path is part of what is at another.
func within(path, of string) bool { return path == of || strings.HasPrefix(path, of+".") }

func (c *Condition) kind() string { return cmp.Or(c.Type, "string") }

func (c *Condition) argument() string {
	return cmp.Or(c.Argument, strings.ReplaceAll(c.Field, ".", "_"))
}

// Entries returns a tool for each of the source's, over the collection. Its error lists every fault, one a line, each after where it is in the
// source, such as tools[0].where[1].
func (s *Source) Entries(collection documents.Collection) ([]catalog.Entry, error) {
	p, err := s.check()
	if err != nil {
		return nil, err
	}
	yes, no := true, false
	terms := s.Terms
	terms.Upstream = cmp.Or(terms.Upstream, s.Name)
	terms.Timeout = cmp.Or(terms.Timeout, defaultTimeout)
	terms.Formerly = ""
	var entries []catalog.Entry
	for _, t := range p.tools {
		r := &reader{tool: t, collection: collection, logger: cmp.Or(s.Logger, slog.New(slog.DiscardHandler))}
		entry := &catalog.Tool{
			Name: t.name(), Title: t.Title, Description: cmp.Or(t.Description, t.describe()), Input: t.input(), Lenient: true, Terms: terms,
			Hints: catalog.Hints{ReadOnly: &yes, Destructive: &no, Idempotent: &yes, OpenWorld: &no},
			Call:  r.get,
		}
		if t.Read == Find {
			entry.Call = r.find
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

func (t *tool) describe() string {
	if t.Read == Get {
		return fmt.Sprintf("Reads one document of %s by its id.", t.plan.Name)
	}
	text := fmt.Sprintf("Finds documents of %s", t.plan.Name)
	var by []string
	for _, c := range t.Where {
		by = append(by, c.Field)
	}
	if len(by) > 0 {
		text += " by " + strings.Join(by, ", ")
	}
	if len(t.Order) > 0 {
		text += ", ordered by " + strings.Join(t.Order, ", ")
	}
	return text + ". Where there are more than it answers with, its cursor gets the next ones."
}

func (t *tool) max() int { return cmp.Or(t.Max, defaultDocuments) }

func (t *tool) maxBytes() int { return cmp.Or(t.MaxBytes, defaultBytes) }

// input is the schema of the tool's arguments.
func (t *tool) input() json.RawMessage {
	properties := map[string]any{}
	required := []string{}
	if t.Read == Get {
		properties[argumentID] = map[string]any{"type": "string", "minLength": 1, "maxLength": 1500, "description": "The document's id."}
		required = append(required, argumentID)
	} else {
		for _, c := range t.Where {
			schema := kinds[c.kind()].schema(cmp.Or(c.Description, fmt.Sprintf("What %s is equal to.", c.Field)))
			properties[c.argument()] = schema
			if c.Required {
				required = append(required, c.argument())
			}
		}
		properties[argumentLimit] = map[string]any{"type": "integer", "minimum": 1, "maximum": t.max(), "description": fmt.Sprintf("How many documents at most; %d if it is not given.", t.max())}
		properties[argumentCursor] = map[string]any{"type": "string", "maxLength": maxCursor, "description": "That of the last answer, to continue behind it with the same other arguments."}
	}
	schema := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		schema["required"] = required
	}
	raw, err := json.Marshal(schema)
	if err != nil {
		panic(err) // of texts and numbers
	}
	return raw
}
