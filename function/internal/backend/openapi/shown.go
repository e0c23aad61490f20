package openapi

import (
	"bytes"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// maxShown is how many bytes a schema for models has at most.
const maxShown = 8 << 10

// A detail is how much a schema for models says.
type detail struct {
	depth        int // of schemas within schemas; deeper ones are opened: their type alone is said
	top, inner   int // bytes of a description of an argument, and of a member of one
	values       int // of an enum
	alternatives int
}

// details are tried from the first on until the schema fits.
var details = []detail{{12, 600, 300, 100, 30}, {8, 400, 160, 60, 20}, {6, 300, 120, 40, 12}, {5, 250, 90, 30, 10}, {4, 200, 70, 20, 8}, {3, 200, 50, 16, 6}, {3, 150, 0, 12, 6}, {2, 150, 40, 12, 6}, {2, 120, 0, 10, 4}, {1, 120, 0, 10, 0}, {1, 60, 0, 6, 0}, {1, 0, 0, 0, 0}}

// brief writes the schema that models are shown. It takes all that the full one takes, and has nothing but what the interfaces of models
// and the validators of clients know: one type, anyOf, enums of texts, no references.
type brief struct {
	detail
	buf  bytes.Buffer
	open []*schema // those that are being written: at the second visit one is opened
	full bool
}

// shown returns the schema for models, which is of the most detail that there is room for.
func (s *schema) shown() []byte {
	for _, d := range details {
		w := &brief{detail: d}
		w.write(s, "", 0)
		if w.buf.Len() <= maxShown {
			return w.buf.Bytes()
		}
	}
	// There are hundreds of arguments: those that are required are shown, and of the others as many as there is room for.
	least, most := 0, len(s.properties)
	var best []byte
	for least <= most {
		n := (least + most) / 2
		w := &brief{detail: detail{depth: 1}}
		w.object(s, "", 0, n)
		if w.buf.Len() <= maxShown || n == 0 {
			best, least = w.buf.Bytes(), n+1
		} else {
			most = n - 1
		}
	}
	return best
}

// room tells whether it is worth going on.
func (w *brief) room() bool {
	w.full = w.full || w.buf.Len() > maxShown
	return !w.full
}

// anything is a schema of any value, with a type at each place that wants one.
const anything = `"anyOf":[{"type":"string"},{"type":"number"},{"type":"boolean"},{"type":"object","properties":{}},{"type":"array","items":{"anyOf":[{}]}},{"type":"null"}]`

func (w *brief) write(s *schema, description string, depth int) {
	s.look()
	if description == "" {
		description = s.description
	}
	if !w.room() {
		w.buf.WriteString("{}")
		return
	}
	if slices.Contains(w.open, s) {
		w.opened(s, w.said("As the one that it stands in.", description, depth))
		return
	}
	w.open = append(w.open, s)
	defer func() { w.open = w.open[:len(w.open)-1] }()
	switch {
	case s.never, s.alternatives == nil && s.types == nil:
		w.brace(w.said(w.extra(s), description, depth), anything)
	case s.alternatives != nil && (depth >= w.depth || len(s.alternatives) > w.alternatives):
		w.opened(s, w.said("", description, depth))
	case s.alternatives != nil:
		w.anyOf(w.said("", description, depth), len(s.alternatives), func(i int) { w.write(s.alternatives[i], "", depth+1) })
	case len(s.types) == 1:
		w.typed(s, s.types[0], description, depth)
	default:
		w.anyOf(w.said("", description, depth), len(s.types), func(i int) { w.typed(s, s.types[i], " ", depth) })
	}
}

// said is the description of a schema: what is added, and as much of its own as there is room for.
func (w *brief) said(added, own string, depth int) string {
	most := w.inner
	if depth <= 1 {
		most = w.top
	}
	own = plain(own)
	if added != "" && own != "" {
		own = sentences(own, max(0, most-min(len(added), most/2)))
		if own == "" {
			return sentences(added, most)
		}
		if !strings.HasSuffix(own, ".") {
			own += "."
		}
		return own + " " + sentences(added, max(most/2, most-len(own)))
	}
	return sentences(own+added, most)
}

func (w *brief) brace(description, rest string) {
	w.buf.WriteByte('{')
	if description != "" {
		w.buf.WriteString(`"description":` + quoted(description))
		if rest != "" {
			w.buf.WriteByte(',')
		}
	}
	w.buf.WriteString(rest + "}")
}

func (w *brief) anyOf(description string, n int, each func(int)) {
	w.buf.WriteByte('{')
	if description != "" {
		w.buf.WriteString(`"description":` + quoted(description) + ",")
	}
	w.buf.WriteString(`"anyOf":[`)
	for i := range n {
		if i > 0 {
			w.buf.WriteByte(',')
		}
		each(i)
	}
	w.buf.WriteString("]}")
}

// opened writes the types of a schema alone.
func (w *brief) opened(s *schema, description string) {
	kinds := s.kinds(0)
	if kinds == nil {
		w.brace(description, anything)
		return
	}
	bare := func(kind string) string {
		if kind == "array" {
			return `"type":"array","items":{` + anything + `}`
		}
		return `"type":"` + kind + `"`
	}
	if len(kinds) == 1 {
		w.brace(description, bare(kinds[0]))
		return
	}
	w.anyOf(description, len(kinds), func(i int) { w.buf.WriteString("{" + bare(kinds[i]) + "}") })
}

// kinds are the types that a schema takes, or nil for all.
func (s *schema) kinds(depth int) []string {
	if s.look(); depth > maxUnions {
		return nil
	}
	if s.alternatives == nil {
		return s.types
	}
	var out []string
	for _, a := range s.alternatives {
		of := a.kinds(depth + 1)
		if of == nil {
			return nil
		}
		for _, kind := range of {
			if !slices.Contains(out, kind) {
				out = append(out, kind)
			}
		}
	}
	slices.Sort(out)
	return out
}

// extra puts into words what models' interfaces have no keywords for.
func (w *brief) extra(s *schema) string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if texts, _ := s.texts(); s.enum != nil && (texts == nil || len(texts) > w.values) && w.values > 0 {
		values := slices.DeleteFunc(slices.Clone(s.enum), func(v string) bool { return v == "null" })
		more := ""
		if n := len(values) - w.values; n > 0 {
			values, more = values[:w.values], fmt.Sprintf(" or one of %d others", n)
		}
		if len(values) > 0 {
			say("One of %s%s.", strings.Join(values, ", "), more)
		}
	}
	if s.format != "" && !slices.Contains(formats, s.format) && !s.binary {
		say("Format %s.", s.format)
	}
	if s.binary {
		say("Bytes in base64.")
	}
	if s.pattern != "" && !s.binary && !portable(s.pattern) {
		say("Pattern %s.", s.pattern)
	}
	for _, name := range []string{"exclusiveMinimum", "exclusiveMaximum", "multipleOf"} {
		if v := s.bounds[name]; v != "" {
			say("%s %s.", map[string]string{"exclusiveMinimum": "More than", "exclusiveMaximum": "Less than", "multipleOf": "A multiple of"}[name], v)
		}
	}
	if s.unique {
		say("No element twice.")
	}
	return strings.Join(out, " ")
}

var formats = []string{"date-time", "double", "float", "int32", "int64"}

// texts are the values of an enum of texts and perhaps null, or nil.
func (s *schema) texts() (out []string, nulls bool) {
	for _, v := range s.enum {
		switch kindOf(v) {
		case "string":
			out = append(out, v)
		case "null":
			nulls = true
		default:
			return nil, false
		}
	}
	return out, nulls
}

// typed writes a schema of one type.
func (w *brief) typed(s *schema, kind, description string, depth int) {
	added := w.extra(s)
	if kind == "object" {
		w.object(s, w.said(added, strings.TrimSpace(description), depth), depth, len(s.properties))
		return
	}
	if kind == "null" {
		added = ""
	}
	b := &w.buf
	b.WriteByte('{')
	if text := w.said(added, strings.TrimSpace(description), depth); text != "" {
		b.WriteString(`"description":` + quoted(text) + ",")
	}
	b.WriteString(`"type":"` + kind + `"`)
	switch kind {
	case "string":
		w.text(s)
	case "integer", "number":
		w.number(s, kind)
	case "boolean":
		if d := s.fallback; d != nil && d.kind == boolean && s.enum == nil && w.values > 0 {
			b.WriteString(`,"default":` + d.text)
		}
	case "array":
		w.bounds(s, "minItems", "maxItems")
		b.WriteString(`,"items":`)
		switch {
		case s.items == nil:
			b.WriteString("{" + anything + "}")
		case depth >= w.depth:
			w.opened(s.items, "")
		default:
			w.write(s.items, "", depth+1)
		}
	}
	b.WriteByte('}')
}

func (w *brief) bounds(s *schema, names ...string) {
	for _, name := range names {
		if v := s.bounds[name]; v != "" && !s.binary {
			w.buf.WriteString(`,"` + name + `":` + v)
		}
	}
}

func (w *brief) text(s *schema) {
	texts, _ := s.texts()
	if texts != nil && len(texts) <= w.values {
		w.buf.WriteString(`,"enum":[` + strings.Join(texts, ",") + `]`)
	}
	if s.format == "date-time" {
		w.buf.WriteString(`,"format":"date-time"`)
	}
	if s.pattern != "" && portable(s.pattern) && !s.binary {
		w.buf.WriteString(`,"pattern":` + quoted(s.pattern))
	}
	w.bounds(s, "minLength", "maxLength")
	if d := s.fallback; d != nil && d.kind == text && s.enum == nil && s.pattern == "" && s.bounds == nil || d != nil && d.kind == text && texts != nil && slices.Contains(texts, quoted(d.text)) && s.pattern == "" && s.bounds == nil {
		if w.values > 0 && len(d.text) < 100 {
			w.buf.WriteString(`,"default":` + quoted(d.text))
		}
	}
}

func (w *brief) number(s *schema, kind string) {
	if slices.Contains(formats, s.format) && s.format != "date-time" {
		w.buf.WriteString(`,"format":"` + s.format + `"`)
	}
	w.bounds(s, "minimum", "maximum")
	d := s.fallback
	if d == nil || d.kind != number || s.enum != nil || w.values == 0 || len(d.text) > 20 {
		return
	}
	v, ok := new(big.Rat).SetString(d.text)
	if !ok || kind == "integer" && !v.IsInt() {
		return
	}
	if _, exact := v.Float64(); v.IsInt() && !exact {
		return
	}
	for name, sign := range map[string]int{"minimum": -1, "maximum": 1} {
		if bound, ok := new(big.Rat).SetString(s.bounds[name]); ok && v.Cmp(bound) == sign {
			return
		}
	}
	w.buf.WriteString(`,"default":` + d.text)
}

// object writes an object with at most so many of its members, and those that are required.
func (w *brief) object(s *schema, description string, depth, most int) {
	s.look()
	b := &w.buf
	var kept []property
	var named, required []string
	for i, p := range s.properties {
		needed := slices.Contains(s.required, p.name)
		if !validArgument(p.name) || i >= most && !needed {
			named = append(named, p.name)
			continue
		}
		kept = append(kept, p)
		if needed {
			required = append(required, p.name)
		}
	}
	if depth >= w.depth && depth > 0 {
		kept, required, named = nil, nil, nil
	}
	if len(named) > 0 {
		also := sentences("It may also have "+strings.Join(named, ", "), 300) + "."
		if description != "" {
			also = description + " " + also
		}
		description = also
	}
	b.WriteByte('{')
	if description != "" {
		b.WriteString(`"description":` + quoted(description) + ",")
	}
	b.WriteString(`"type":"object","properties":{`)
	for i, p := range kept {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quoted(p.name) + ":")
		if p.is.look(); depth >= w.depth {
			w.opened(p.is, "")
		} else {
			w.write(p.is, p.description, depth+1)
		}
	}
	b.WriteByte('}')
	if len(required) > 0 {
		b.WriteString(`,"required":` + listed(required))
	}
	switch {
	case s.closed && len(kept) == len(s.properties):
		b.WriteString(`,"additionalProperties":false`)
	case s.others != nil && len(kept) == len(s.properties) && depth < w.depth:
		b.WriteString(`,"additionalProperties":`)
		w.write(s.others, "", depth+1)
	}
	b.WriteByte('}')
}

func validArgument(name string) bool {
	if len(name) == 0 || len(name) > maxArgument {
		return false
	}
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '.' || r == '-') {
			return false
		}
	}
	return true
}
