package openapi

import (
	"slices"
	"strings"
)

// A union is an anyOf or a oneOf with more than one alternative.
type union struct {
	of    part
	one   bool
	nodes []*node
}

func (s *schema) unions(parts []part) (out []union) {
	for _, p := range parts {
		if p.noted {
			continue
		}
		for _, keyword := range []string{"anyOf", "oneOf"} {
			one := keyword == "oneOf"
			nodes := p.n.get(keyword).elements()
			if len(nodes) < 2 || one && p.noOne || !one && p.noAny {
				continue
			}
			if names := requirements(nodes); names != "" {
				s.note(p.n, "that one of these must be given is not checked: %s", names)
				s.description = strings.TrimSpace(s.description + "\nGive one of: " + names + ".")
				continue
			}
			out = append(out, union{p, one, nodes})
		}
	}
	return out
}

// requirements returns the names that alternatives require which do nothing else, or "".
func requirements(nodes []*node) string {
	var out []string
	for _, n := range nodes {
		var names []string
		for _, key := range n.keys {
			switch key {
			case "required":
				for _, name := range n.get(key).elements() {
					names = append(names, name.text)
				}
			case "title", "description", "type":
			default:
				return ""
			}
		}
		if n.kind != object {
			return ""
		}
		if len(names) > 0 {
			out = append(out, strings.Join(names, " and "))
		}
	}
	return strings.Join(out, "; ")
}

// distribute makes of a schema with alternatives the alternatives alone, each with all else that the schema says: nothing stands beside
// alternatives. That is the same, since a conjunction distributes over both kinds of union.
func (s *schema) distribute(f *flat, u union) {
	c := s.in
	if c.unions == 0 {
		c.spent = 0
	}
	if c.unions++; c.unions > maxUnions || c.spent > maxAlternatives {
		c.unions--
		s.note(u.of.n, "there are too many alternatives within alternatives for them to be checked")
		return
	}
	defer func() { c.unions-- }()
	base, plain := beside(f, u)
	nullable := f.nullable || (u.of.n.is("nullable") || u.of.n.is("x-nullable"))
	s.one = u.one
	for i, n := range u.nodes {
		if c.spent++; c.spent > maxAlternatives {
			s.alternatives, s.one = nil, false
			s.note(u.of.n, "there are too many alternatives within alternatives for them to be checked")
			return
		}
		parts := []part{{n: n, within: u.of.within}}
		if tag := s.tag(u, i); tag != nil {
			parts = append(parts, part{n: tag})
		}
		if !plain {
			parts = append(parts, base...)
		}
		b := c.conjunction("", parts...)
		if b.state == filling {
			if b != s {
				s.alternatives, s.one = nil, false
				s.note(u.of.n, "alternatives that lead back to themselves are not checked")
				return
			}
			continue
		}
		if b.look(); b.err != nil {
			s.err = b.err
			return
		}
		if b.never {
			continue
		}
		nullable = nullable && !b.takes("null")
		if !slices.Contains(s.alternatives, b) {
			s.alternatives = append(s.alternatives, b)
		} else if s.one {
			s.one = false
		}
	}
	if nullable {
		s.alternatives = append(s.alternatives, &schema{state: filled, in: c, types: []string{"null"}})
	}
	s.never = len(s.alternatives) == 0
}

// beside are the parts of a schema without the alternatives of a union, and whether they say nothing of values.
func beside(f *flat, u union) (base []part, plain bool) {
	plain = true
	for _, p := range f.parts {
		if p == u.of {
			p.noOne, p.noAny = p.noOne || u.one, p.noAny || !u.one
		}
		p.only = true
		base = append(base, p)
		plain = plain && !constrains(p)
	}
	return base, plain
}

// takes tells whether values of a type may fit.
func (s *schema) takes(kind string) bool {
	if s.alternatives != nil {
		return slices.ContainsFunc(s.alternatives, func(a *schema) bool { return a.state == filled && a.takes(kind) })
	}
	return !s.never && (s.types == nil || slices.Contains(s.types, kind))
}

// constrains tells whether a part says anything of values.
func constrains(p part) bool {
	if p.noted || p.n.kind != object {
		return p.n.kind == boolean && p.n.text == "false"
	}
	for _, key := range p.n.keys {
		switch {
		case strings.HasPrefix(key, "x-"):
		case key == "anyOf" && (p.noAny || len(p.n.get(key).elements()) < 2), key == "oneOf" && (p.noOne || len(p.n.get(key).elements()) < 2), key == "allOf":
		case slices.Contains(silent, key):
		default:
			return true
		}
	}
	return false
}

var silent = []string{"title", "description", "default", "example", "examples", "deprecated", "nullable", "readOnly", "writeOnly", "discriminator", "xml", "externalDocs",
	"$comment", "$schema", "$id", "$anchor", "$defs", "definitions"}

// tag returns a schema that tells the alternative from the others by the member that the discriminator names, or nil.
func (s *schema) tag(u union, i int) *node {
	member := u.of.n.get("discriminator").str("propertyName")
	if !u.one || member == "" {
		return nil
	}
	ref := u.nodes[i].str("$ref")
	if ref == "" {
		return nil
	}
	var values []string
	mapping := u.of.n.get("discriminator").get("mapping")
	if mapping != nil {
		for j, key := range mapping.keys {
			if to := mapping.kids[j].text; to == ref || nameOf(to) == nameOf(ref) {
				values = append(values, key)
			}
		}
	}
	switch {
	case len(values) > 0:
	case mapping != nil: // which leaves open how this one is told from the others
		s.one = false
		return nil
	default:
		values = []string{nameOf(ref)}
	}
	key := "tag " + ref + " " + member + " " + strings.Join(values, "\x00")
	if made := s.in.made[key]; made != nil {
		return made.parts[0].n
	}
	of := s.in.conjunction("", part{n: u.nodes[i], within: u.of.within}).look()
	for _, p := range of.properties {
		if p.name == member && p.is.look().enum != nil {
			return nil // which tells it already
		}
	}
	if of.alternatives != nil || of.err != nil {
		return nil
	}
	in := u.of.n.in
	enum := &node{kind: list, in: in, line: u.of.n.line}
	for _, v := range values {
		enum.kids = append(enum.kids, &node{kind: text, text: v, in: in})
	}
	is := &node{kind: object, in: in, keys: []string{"enum"}, kids: []*node{enum}}
	members := &node{kind: object, in: in, keys: []string{member}, kids: []*node{is}}
	n := &node{kind: object, in: in, line: u.of.n.line, keys: []string{"properties"}, kids: []*node{members}}
	s.in.made[key] = &schema{parts: []part{{n: n}}, state: filled}
	return n
}
