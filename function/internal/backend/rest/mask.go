package rest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Mask is what of an answer is kept. See [ParseMask].
type Mask struct {
	whole   bool             // all below
	any     *Mask            // of members of any name
	members map[string]*Mask // by name
}

// ParseMask reads paths such as items.id and next: names of members with points between them. Lists are walked through: items.id is the id
// of each item. * stands for members of all names, and \ before a point of a name keeps it one, as in @odata\.nextLink. The error has all faults.
func ParseMask(fields []string) (*Mask, error) {
	root := &Mask{}
	var faults []error
	for _, field := range fields {
		path := splitPath(field)
		if slices.Contains(path, "") {
			faults = append(faults, fmt.Errorf("the field %q has an empty name in it", field))
			continue
		}
		m := root
		for _, name := range path {
			if name == "*" {
				if m.any == nil {
					m.any = &Mask{}
				}
				m = m.any
				continue
			}
			if m.members == nil {
				m.members = map[string]*Mask{}
			}
			if m.members[name] == nil {
				m.members[name] = &Mask{}
			}
			m = m.members[name]
		}
		m.whole = true
	}
	if len(fields) == 0 {
		faults = append(faults, errors.New("there are no fields to keep"))
	}
	return root, errors.Join(faults...)
}

// splitPath takes a path apart at its points.
func splitPath(path string) []string {
	var out []string
	var name strings.Builder
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '\\' && i+1 < len(path):
			i++
			name.WriteByte(path[i])
		case path[i] == '.':
			out = append(out, name.String())
			name.Reset()
		default:
			name.WriteByte(path[i])
		}
	}
	return append(out, name.String())
}

// append appends what is kept of a value, and whether anything is. Members stay in their order, and values as they came.
func (m *Mask) append(out, raw []byte, depth int) ([]byte, bool) {
	raw = trim(raw)
	switch {
	case m.whole:
		return append(out, raw...), true
	case depth == maxNesting:
	case raw[0] == '[':
		before := len(out) + 1
		out = append(out, '[')
		for i := range items(raw) {
			start := len(out)
			if len(out) > before {
				out = append(out, ',')
			}
			kept := false
			if out, kept = m.append(out, i.value, depth+1); !kept {
				out = out[:start]
			}
		}
		return append(out, ']'), true
	case raw[0] == '{':
		before := len(out) + 1
		out = append(out, '{')
		for i := range items(raw) {
			start := len(out)
			if len(out) > before {
				out = append(out, ',')
			}
			out = append(append(out, i.key...), ':')
			kept := false
			if below := m.below(i.name()); below != nil {
				out, kept = below.append(out, i.value, depth+1)
			}
			if !kept {
				out = out[:start]
			}
		}
		return append(out, '}'), true
	}
	return out, false
}

// below is the mask of a member, or nil. One that is named both by itself and by * has what either keeps.
func (m *Mask) below(name string) *Mask {
	named := m.members[name]
	switch {
	case m.any == nil:
		return named
	case named == nil:
		return m.any
	case named.whole || m.any.whole:
		return &Mask{whole: true}
	}
	both := &Mask{any: m.any.any, members: map[string]*Mask{}}
	for _, from := range []*Mask{m.any, named} {
		for name := range from.members {
			both.members[name] = (&Mask{any: m.any.members[name], members: map[string]*Mask{name: named.members[name]}}).below(name)
		}
	}
	if named.any != nil {
		both.any = (&Mask{any: m.any.any, members: map[string]*Mask{"": named.any}}).below("")
	}
	return both
}
