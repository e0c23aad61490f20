package openapi

import (
	"math/big"
	"regexp"
	"slices"
)

func (s *schema) mergeMembers(p part) {
	n := p.n
	if members := n.get("properties"); members != nil && members.kind == object {
		if s.properties == nil {
			s.properties = []property{} // which says that it is an object
		}
		for i, name := range members.keys {
			if members.get(name) != members.kids[i] || members.kids[i].kind != object && members.kids[i].kind != boolean {
				if members.kids[i].kind != object {
					s.note(members.kids[i], "the member %s has no schema, so that it is not checked", name)
				}
				if members.get(name) != members.kids[i] {
					continue
				}
			}
			s.member(name, part{n: members.kids[i], within: p.within})
		}
	}
	for _, name := range n.get("required").elements() {
		if name.kind == text && !slices.Contains(s.required, name.text) {
			s.required = append(s.required, name.text)
		}
	}
	switch more := n.get("additionalProperties"); {
	case more == nil:
	case more.kind == boolean && more.text == "false":
		s.closed = n.get("patternProperties") == nil
	case more.kind == object && len(more.keys) > 0:
		s.open = true
		parts := []part{{n: more, within: p.within}}
		if s.others != nil {
			parts = append(slices.Clone(s.others.parts), parts...)
		}
		s.others = s.in.conjunction("", parts...)
	default:
		s.open = true
	}
}

func (s *schema) member(name string, p part) {
	for i := range s.properties {
		if old := &s.properties[i]; old.name == name {
			old.is = s.in.conjunction("", append(slices.Clone(old.is.parts), p)...)
			return
		}
	}
	s.properties = append(s.properties, property{name: name, is: s.in.conjunction("", p)})
}

// settle brings together what has been merged.
func (s *schema) settle(nullable bool) {
	if s.types == nil && s.enum == nil && !s.never {
		switch { // which is what is meant where no type is said
		case s.properties != nil || s.others != nil:
			s.types = []string{"object"}
		case s.items != nil:
			s.types = []string{"array"}
		}
	}
	if nullable {
		if s.types != nil && !slices.Contains(s.types, "null") {
			s.types = append(slices.Clone(s.types), "null")
		}
		if s.enum != nil && !slices.Contains(s.enum, "null") {
			s.enum = append(slices.Clone(s.enum), "null")
		}
	}
	s.settleEnum()
	s.settleMembers()
	if s.never && s.in.unions == 0 {
		s.never = false
		s.note(s.first(), "what is said here contradicts itself, so that it is not checked")
		s.types, s.enum, s.properties, s.required, s.items, s.bounds, s.pattern = nil, nil, nil, nil, nil, nil, ""
	}
	if s.pattern != "" {
		if _, err := regexp.Compile(s.pattern); err != nil {
			s.note(s.first(), "the pattern %s is not checked: Go can't compile it", s.pattern)
		}
	}
}

func (s *schema) first() *node {
	if len(s.parts) > 0 && s.parts[0].n.in != nil {
		return s.parts[0].n
	}
	return nil
}

func (s *schema) settleEnum() {
	if s.enum == nil {
		return
	}
	kinds := []string{}
	fit := []string{}
	for _, text := range s.enum {
		kind := kindOf(text)
		if s.types == nil || slices.Contains(s.types, kind) || kind == "integer" && slices.Contains(s.types, "number") {
			fit = append(fit, text)
			if !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
	}
	if len(fit) == 0 {
		s.note(s.first(), "the enum is not checked: none of its values is of the type")
		s.enum = nil
		return
	}
	s.enum = fit
	if s.types == nil {
		slices.Sort(kinds)
		s.types = kinds
	}
}

// kindOf is the type of a value of JSON.
func kindOf(text string) string {
	switch text[0] {
	case '"':
		return "string"
	case '{':
		return "object"
	case '[':
		return "array"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	if r, ok := new(big.Rat).SetString(text); ok && r.IsInt() {
		return "integer"
	}
	return "number"
}

// settleMembers drops members that go the other way only, and has a schema for each that is required.
func (s *schema) settleMembers() {
	drop := func(of *schema) bool {
		return !s.in.received && of.flagged("readOnly") || s.in.received && of.flagged("writeOnly")
	}
	s.properties = slices.DeleteFunc(s.properties, func(p property) bool {
		if !drop(p.is) {
			return false
		}
		s.required = slices.DeleteFunc(s.required, func(name string) bool { return name == p.name })
		if s.in.received {
			return true
		}
		s.readOnlys = append(s.readOnlys, p.name)
		return true
	})
	for _, name := range s.required {
		if !slices.ContainsFunc(s.properties, func(p property) bool { return p.name == name }) {
			s.properties = append(s.properties, property{name: name, is: s.in.conjunction("")})
		}
	}
}

// flagged tells whether a schema, or one that it refers to or has in its allOf, is read-only or write-only.
func (s *schema) flagged(keyword string) bool {
	var is func(n *node, depth int) bool
	is = func(n *node, depth int) bool {
		if n == nil || n.kind != object || depth > 10 {
			return false
		}
		if n.is(keyword) {
			return true
		}
		if to, err := s.in.r.deref(n); err == nil && to != n && is(to, depth+1) {
			return true
		}
		return slices.ContainsFunc(n.get("allOf").elements(), func(n *node) bool { return is(n, depth+1) })
	}
	return slices.ContainsFunc(s.parts, func(p part) bool { return is(p.n, 0) })
}
