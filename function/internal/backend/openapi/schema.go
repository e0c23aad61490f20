package openapi

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A schema is what a value must fit: the conjunction of some schemas of the document, with references followed, allOf merged, and the
// differences between OpenAPI's versions and JSON Schema 2020-12 made up. It is made when it is first looked at, since schemas are parts of themselves.
// What is dropped makes it wider, never narrower, and is noted.
type schema struct {
	parts []part
	name  string // of the schema that was referred to
	in    *schemas
	state state
	err   error // a reference that leads nowhere

	description  string
	types        []string // nil is any
	enum         []string // of JSON; nil is any
	format       string
	pattern      string
	bounds       map[string]string // minimum, maxLength and so on: JSON by keyword
	unique       bool
	fallback     *node // the default
	properties   []property
	required     []string
	closed, open bool    // additionalProperties is false; or it is true or a schema
	others       *schema // additionalProperties
	items        *schema
	one          bool // exactly one of the alternatives
	alternatives []*schema
	never        bool
	notes        []string
	readOnlys    []string // members that are not sent
	binary       bool     // text that stands for bytes
}

type state uint8

const (
	untouched state = iota
	filling
	filled
)

type property struct {
	name        string
	description string // in place of the schema's
	is          *schema
}

// A part is a schema of the document without some of it.
type part struct {
	n      *node
	within *node // the schema that references are within, where they lead nowhere in the file
	// Alternatives that have been dealt with.
	noAny, noOne bool
	only         bool // its references and allOf have been dealt with too
	noted        bool // of what stands beside $ref only what is about no value counts: OpenAPI 3.0 ignores the rest
}

// schemas are those that are sent, or those that are received: they differ in the members that are read-only or write-only.
type schemas struct {
	r        *reader
	received bool
	beside   bool // what stands beside $ref counts: OpenAPI 3.1
	made     map[string]*schema
	ids      map[*node]int
	unions   int // that are being filled within each other
	spent    int // alternatives that have been filled for the outermost of them
}

// Bounds of alternatives within alternatives, which multiply.
const (
	maxUnions       = 40
	maxAlternatives = 1000
)

func (c *schemas) of(n *node) *schema {
	if n == nil {
		return c.conjunction("")
	}
	return c.conjunction("", part{n: n, within: n})
}

// conjunction returns the schema of values that fit all parts. Equal parts make the same schema, so that there are finitely many.
func (c *schemas) conjunction(name string, parts ...part) *schema {
	var key []byte
	var kept []part
	for _, p := range parts {
		if slices.Contains(kept, p) {
			continue
		}
		kept = append(kept, p)
		id, ok := c.ids[p.n]
		if !ok {
			id = len(c.ids)
			c.ids[p.n] = id
		}
		key = strconv.AppendInt(key, int64(id), 36)
		for _, flag := range []struct {
			is bool
			c  byte
		}{{p.noAny, 'A'}, {p.noOne, 'O'}, {p.noted, 'N'}, {p.only, 'L'}} {
			if flag.is {
				key = append(key, flag.c)
			}
		}
		key = append(key, ' ')
	}
	if s := c.made[string(key)]; s != nil {
		return s
	}
	s := &schema{parts: kept, in: c, name: name}
	c.made[string(key)] = s
	return s
}

// look fills the schema.
func (s *schema) look() *schema {
	if s.state == untouched {
		s.state = filling
		s.fill()
		s.state = filled
	}
	return s
}

func (s *schema) note(n *node, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if n != nil {
		text = fmt.Sprintf("line %d: %s", n.line, text)
	}
	if !slices.Contains(s.notes, text) {
		s.notes = append(s.notes, text)
	}
}

// flat is a conjunction without references and allOf.
type flat struct {
	s        *schema
	parts    []part
	seen     map[part]bool
	nullable bool // said of what is elsewhere: null fits too
}

func (f *flat) add(p part, depth int) error {
	if f.seen[p] || depth > maxDepth {
		return nil
	}
	f.seen[p] = true
	n := p.n
	if n.kind != object {
		f.parts = append(f.parts, p)
		return nil
	}
	if ref := n.get("$ref"); ref != nil && ref.kind == text && !p.noted && !p.only {
		rest := p
		rest.noted = !f.s.in.beside
		if len(n.keys) > 1 {
			f.elsewhere(n)
			if err := f.rest(rest, depth); err != nil {
				return err
			}
		}
		to, err := f.s.in.r.follow(ref, p.within)
		if err != nil {
			return err
		}
		if f.s.name == "" && len(f.seen) == 1 {
			f.s.name = nameOf(ref.text)
		}
		within := p.within
		if strings.Count(ref.text, "/") <= 3 { // a schema of its own
			within = to
		}
		return f.add(part{n: to, within: within, noAny: p.noAny, noOne: p.noOne}, depth+1)
	}
	return f.rest(p, depth)
}

func (f *flat) elsewhere(n *node) {
	if (n.is("nullable") || n.is("x-nullable")) && n.get("type") == nil {
		f.nullable = true
	}
}

// rest adds a part and what its allOf has, and its alternatives where there is but one.
func (f *flat) rest(p part, depth int) error {
	f.parts = append(f.parts, p)
	if p.noted || p.only {
		return nil
	}
	all := p.n.get("allOf").elements()
	if len(all) > 0 {
		f.elsewhere(p.n)
	}
	for _, keyword := range []string{"anyOf", "oneOf"} {
		if one := p.n.get(keyword).elements(); len(one) == 1 && !(keyword == "anyOf" && p.noAny) && !(keyword == "oneOf" && p.noOne) {
			all = append(all[:len(all):len(all)], one[0])
			f.elsewhere(p.n)
		}
	}
	for _, n := range all {
		if err := f.add(part{n: n, within: p.within}, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// nameOf is the last part of a reference that may name a schema.
func nameOf(ref string) string {
	at, pointer, _ := strings.Cut(ref, "#")
	if pointer == "" || pointer == "/" {
		name := path.Base(at)
		return strings.TrimSuffix(name, path.Ext(name))
	}
	return path.Base(pointer)
}

func (s *schema) fill() {
	f := &flat{s: s, seen: map[part]bool{}}
	for _, p := range s.parts {
		if s.err = f.add(p, 0); s.err != nil {
			return
		}
	}
	for _, p := range f.parts {
		s.annotate(p.n)
	}
	if unions := s.unions(f.parts); len(unions) > 0 {
		s.distribute(f, unions[0])
		return
	}
	for _, p := range f.parts {
		switch {
		case p.noted:
		case p.n.kind == boolean && p.n.text == "false":
			s.never = true
		case p.n.kind == boolean:
		case p.n.kind != object:
			s.note(p.n, "what stands here is no schema, so that it is not checked")
		default:
			s.merge(p)
		}
	}
	s.settle(f.nullable)
}

// annotate takes what is about the reader. The outermost counts.
func (s *schema) annotate(n *node) {
	if s.description == "" {
		s.description = n.str("description")
	}
	if s.fallback == nil {
		s.fallback = n.get("default")
	}
}
