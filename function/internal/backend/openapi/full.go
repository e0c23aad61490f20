package openapi

import (
	"bytes"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"example.com/erlmcp/function/internal/strictjson"
)

func quoted(s string) string { return string(strictjson.AppendString(nil, s)) }

// full writes the schema that arguments are checked against. Schemas that stand in more than one place, which those that are parts of themselves do, are
// written once below $defs.
type full struct {
	visits map[*schema]int
	order  []*schema
	names  map[*schema]string
	notes  *notes
	wide   int // patterns that were left out
	buf    bytes.Buffer
}

// maxSchemas bounds what one operation's arguments may be made of, and maxFull the bytes of their schema.
const (
	maxSchemas = 20_000
	maxFull    = 2 << 20
)

var errLarge = errors.New("its schema is too large: leave it out, or have the document say less of it")

// notes are what of an operation's schemas is not checked.
type notes struct{ all []string }

const maxNotes = 20

func (n *notes) add(text string) {
	switch {
	case slices.Contains(n.all, text) || len(n.all) > maxNotes:
	case len(n.all) == maxNotes:
		n.all = append(n.all, "there are more such notes")
	default:
		n.all = append(n.all, text)
	}
}

// written returns a schema of JSON Schema 2020-12 that is complete in itself.
func (s *schema) written(n *notes) ([]byte, error) {
	w := &full{visits: map[*schema]int{}, names: map[*schema]string{}, notes: n}
	if err := w.visit(s, 0); err != nil {
		return nil, err
	}
	taken := map[string]bool{}
	for _, s := range w.order {
		if w.visits[s] < 2 || s.small() {
			continue
		}
		name := cleaned(s.name, 40)
		if name == "" {
			name = "part"
		}
		for i := 2; taken[name]; i++ {
			name = cleaned(s.name, 40) + "_" + strconv.Itoa(i)
		}
		taken[name], w.names[s] = true, name
	}
	w.body(s, func() {
		if len(taken) == 0 {
			return
		}
		w.buf.WriteString(`,"$defs":{`)
		first := true
		for _, s := range w.order {
			if name := w.names[s]; name != "" {
				if !first {
					w.buf.WriteByte(',')
				}
				first = false
				w.buf.WriteString(quoted(name) + ":")
				w.body(s, nil)
			}
		}
		w.buf.WriteByte('}')
	})
	if w.buf.Len() > maxFull {
		return nil, errLarge
	}
	return w.buf.Bytes(), nil
}

// visit counts in how many places each schema stands.
func (w *full) visit(s *schema, depth int) error {
	if w.visits[s]++; w.visits[s] > 1 {
		return nil
	}
	if len(w.visits) > maxSchemas || depth > 4*maxDepth {
		return errLarge
	}
	if s.look(); s.err != nil {
		return s.err
	}
	for _, text := range s.notes {
		w.notes.add(text)
	}
	w.order = append(w.order, s)
	for _, child := range s.children() {
		if err := w.visit(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// broken returns an error where a reference of the schema, at whatever depth, leads nowhere.
func (s *schema) broken() error {
	return (&full{visits: map[*schema]int{}, notes: &notes{}}).visit(s, 0)
}

func (s *schema) children() (out []*schema) {
	for _, p := range s.properties {
		out = append(out, p.is)
	}
	if s.items != nil {
		out = append(out, s.items)
	}
	if s.others != nil {
		out = append(out, s.others)
	}
	return append(out, s.alternatives...)
}

// small tells whether a schema is as short as a reference to it.
func (s *schema) small() bool {
	return s.properties == nil && s.others == nil && s.items == nil && s.alternatives == nil && len(s.enum) < 6
}

func (w *full) write(s *schema) {
	if name := w.names[s]; name != "" {
		w.buf.WriteString(`{"$ref":` + quoted("#/$defs/"+name) + `}`)
		return
	}
	w.body(s, nil)
}

func (w *full) body(s *schema, last func()) {
	b := &w.buf
	b.WriteByte('{')
	start := b.Len()
	key := func(name string) {
		if b.Len() > start {
			b.WriteByte(',')
		}
		b.WriteString(`"` + name + `":`)
	}
	if b.Len() > maxFull {
		b.WriteByte('}')
		return
	}
	if s.alternatives != nil {
		before := w.wide
		mark := b.Len()
		key("oneOf")
		w.writeAll(s.alternatives)
		if !s.one || w.wide > before { // what has become wider may fit beside another
			rest := bytes.Clone(b.Bytes()[mark+len(`"oneOf":`):])
			b.Truncate(mark)
			key("anyOf")
			b.Write(rest)
		}
	} else {
		w.scalars(s, key)
		w.members(s, key)
	}
	if last != nil {
		last()
	}
	b.WriteByte('}')
}

func (w *full) writeAll(all []*schema) {
	w.buf.WriteByte('[')
	for i, s := range all {
		if i > 0 {
			w.buf.WriteByte(',')
		}
		w.write(s)
	}
	w.buf.WriteByte(']')
}

func (w *full) scalars(s *schema, key func(string)) {
	b := &w.buf
	switch {
	case len(s.types) == 1:
		key("type")
		b.WriteString(quoted(s.types[0]))
	case len(s.types) > 1:
		key("type")
		b.WriteString(listed(s.types))
	}
	if s.enum != nil {
		key("enum")
		b.WriteString("[" + strings.Join(s.enum, ",") + "]")
	}
	if s.format != "" {
		key("format")
		b.WriteString(quoted(s.format))
	}
	if s.binary {
		key("contentEncoding")
		b.WriteString(`"base64"`)
	}
	if s.pattern != "" {
		if _, err := regexp.Compile(s.pattern); err == nil && !s.binary {
			key("pattern")
			b.WriteString(quoted(s.pattern))
		} else {
			w.wide++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.bounds)) {
		if s.binary { // which are of the bytes
			w.wide++
			continue
		}
		key(name)
		b.WriteString(s.bounds[name])
	}
	if s.unique {
		key("uniqueItems")
		b.WriteString("true")
	}
	if s.notes != nil {
		w.wide++
	}
}

func listed(texts []string) string {
	var out []string
	for _, t := range texts {
		out = append(out, quoted(t))
	}
	return "[" + strings.Join(out, ",") + "]"
}

func (w *full) members(s *schema, key func(string)) {
	b := &w.buf
	if s.items != nil {
		key("items")
		w.write(s.items)
	}
	if s.properties != nil {
		key("properties")
		b.WriteByte('{')
		for i, p := range s.properties {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(quoted(p.name) + ":")
			w.write(p.is)
		}
		b.WriteByte('}')
	}
	if len(s.required) > 0 {
		key("required")
		b.WriteString(listed(s.required))
	}
	switch {
	case s.closed:
		key("additionalProperties")
		b.WriteString("false")
	case s.others != nil:
		key("additionalProperties")
		w.write(s.others)
	}
}
