package catalog

import (
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"
)

// A matcher finds the variables of a URI that a template (RFC 6570) may have been expanded to. It takes what expanders write who encode less
// than the RFC says: encodeURIComponent leaves !'()* as they are, and some clients encode nothing. The variables of a query may come in any
// order, and some may be missing.
type matcher struct {
	path   *regexp.Regexp
	groups []variable // in the order of the path's groups
	query  []parameter
	open   bool // the path has the query
}

// A variable of a template.
type variable struct {
	name string
	list string // what separates the values of an exploded one; "" of a single value
}

// A parameter of a query is a variable, or a fixed value.
type parameter struct {
	key string
	variable
	value string
}

// newMatcher compiles a template in normal form, which is a valid one.
func newMatcher(template string) *matcher {
	m := &matcher{}
	path := template
	if at := queryOf(template); at >= 0 {
		if query, ok := parameters(template[at:]); ok {
			path, m.query = template[:at], query
		}
	}
	m.open = m.query == nil
	var pattern strings.Builder
	pattern.WriteString("^")
	for path != "" {
		literal, rest, found := strings.Cut(path, "{")
		pattern.WriteString(regexp.QuoteMeta(literal))
		path = rest
		if found {
			var expression string
			expression, path, _ = strings.Cut(path, "}")
			m.expression(&pattern, expression, strings.HasPrefix(path, "{."))
		}
	}
	pattern.WriteString("$")
	m.path = regexp.MustCompile(pattern.String())
	return m
}

// operators are what an expression begins with, between its values, and which characters delimit them there.
var operators = map[byte]struct{ first, between, delimit string }{
	'+': {"", ",", ""}, '#': {"#", ",", ""}, '.': {".", ".", ""}, '/': {"/", "/", ""}, ';': {";", ";", ";"}, '?': {"?", "&", "&"}, '&': {"&", "&", "&"},
}

// encodedLetter is a character of UTF-8, percent-encoded.
const encodedLetter = `%[0-7][0-9A-F]|%[CD][0-9A-F]%[0-9A-F]{2}|%E[0-9A-F](?:%[0-9A-F]{2}){2}|%F[0-9A-F](?:%[0-9A-F]{2}){3}`

// expression writes the pattern of an expression; a short one leaves dots to what follows.
func (m *matcher) expression(pattern *strings.Builder, text string, short bool) {
	var op byte
	if _, ok := operators[text[0]]; ok {
		op, text = text[0], text[1:]
	}
	o := operators[op]
	if op == 0 {
		o.between = ","
	}
	specs := strings.Split(text, ",")
	for i, spec := range specs {
		name, most, _ := strings.Cut(strings.TrimSuffix(spec, "*"), ":")
		v := variable{name: name}
		exploded := strings.HasSuffix(spec, "*")
		delimit := o.delimit
		if i < len(specs)-1 && op != '/' {
			delimit = o.between // of the last of several, what is left
		}
		one := `[^/?#` + regexp.QuoteMeta(delimit) + `]`
		if op == '+' || op == '#' {
			if one = `[^` + delimit + `]`; delimit == "" {
				one = `.`
			}
			if !m.open { // what begins the query
				one = `[^?` + delimit + `]`
			}
		}
		value := one + `*`
		if short {
			value += `?`
		}
		if most != "" && len(most) <= 3 { // a regexp repeats no more
			value = `(?:` + encodedLetter + `|` + one + `){0,` + most + `}`
		}
		before := regexp.QuoteMeta(o.between)
		if i == 0 {
			before = regexp.QuoteMeta(o.first)
		}
		named := op == ';' || op == '?' || op == '&'
		switch {
		case exploded && op != '+' && op != '#' && op != 0:
			v.list = o.between
			if named {
				pattern.WriteString(`((?:` + before + regexp.QuoteMeta(name) + `=` + value + `)*)`)
			} else {
				pattern.WriteString(`((?:` + before + value + `)*)`)
			}
		case named:
			pattern.WriteString(`(?:` + before + regexp.QuoteMeta(name) + `(?:=(` + value + `))?)?`)
		case before == "":
			pattern.WriteString(`(` + value + `)`)
		default:
			pattern.WriteString(`(?:` + before + `(` + value + `))?`)
		}
		m.groups = append(m.groups, v)
	}
}

// queryOf is where the query of a template begins, or -1.
func queryOf(template string) int {
	depth := 0
	for i := range len(template) {
		switch c := template[i]; {
		case c == '{':
			if depth++; strings.HasPrefix(template[i+1:], "?") {
				return i
			}
			if strings.HasPrefix(template[i+1:], "#") {
				return -1
			}
		case c == '}':
			depth--
		case depth == 0 && c == '?':
			return i
		case depth == 0 && c == '#':
			return -1
		}
	}
	return -1
}

// parameters reads the query of a template: fixed values, values that are a variable each, and expressions with ? and &. It is not ok
// where there is something else.
func parameters(query string) (out []parameter, ok bool) {
	for query != "" {
		switch {
		case strings.HasPrefix(query, "{?"), strings.HasPrefix(query, "{&"):
			var expression string
			if expression, query, ok = strings.Cut(query[2:], "}"); !ok {
				return nil, false
			}
			for spec := range strings.SplitSeq(expression, ",") {
				name, _, _ := strings.Cut(strings.TrimSuffix(spec, "*"), ":")
				v := variable{name: name}
				if strings.HasSuffix(spec, "*") {
					v.list = ","
				}
				out = append(out, parameter{key: name, variable: v})
			}
		case query[0] == '?' || query[0] == '&':
			text := query[1:]
			for _, next := range []string{"{&", "{?", "&"} {
				text, _, _ = strings.Cut(text, next)
			}
			query = query[1+len(text):]
			key, value, _ := strings.Cut(text, "=")
			switch name, is := strings.CutPrefix(value, "{"); {
			case strings.Contains(key, "{") || strings.ContainsAny(key+value, "#"):
				return nil, false
			case is && strings.IndexByte(name, '}') == len(name)-1 && !strings.ContainsAny(name[:1], "+#./;?&") && !strings.ContainsAny(name, ",*:"):
				out = append(out, parameter{key: key, variable: variable{name: name[:len(name)-1]}})
			case strings.Contains(value, "{"):
				return nil, false
			case key != "" || value != "":
				out = append(out, parameter{key: key, value: value})
			}
		default:
			return nil, false
		}
	}
	return out, len(out) > 0
}

// match returns the variables of a URI in normal form, decoded, or nil where the template is not expanded to it.
func (m *matcher) match(uri string) map[string]string {
	query := ""
	if !m.open {
		uri, query, _ = strings.Cut(uri, "?")
	}
	found := m.path.FindStringSubmatchIndex(uri)
	if found == nil {
		return nil
	}
	vars := map[string]string{}
	for i, v := range m.groups {
		from, to := found[2*i+2], found[2*i+3]
		if from < 0 || from == to && v.list != "" { // it is not set
			continue
		}
		value, ok := v.decode(uri[from:to])
		if old, twice := vars[v.name]; !ok || twice && old != value {
			return nil
		}
		vars[v.name] = value
	}
	if !m.open && !m.matchQuery(query, vars) {
		return nil
	}
	return vars
}

func (v *variable) decode(text string) (string, bool) {
	if v.list == "" {
		return unescaped(text)
	}
	var values []string
	for one := range strings.SplitSeq(text[1:], v.list) {
		if v.list == ";" || v.list == "&" {
			_, one, _ = strings.Cut(one, "=")
		}
		value, ok := unescaped(one)
		if !ok {
			return "", false
		}
		values = append(values, value)
	}
	return strings.Join(values, ","), true
}

func unescaped(text string) (string, bool) {
	value, err := url.PathUnescape(text)
	return value, err == nil && utf8.ValidString(value)
}

// matchQuery adds the variables of a query. It has each of the fixed values, none twice that is no list, and nothing else.
func (m *matcher) matchQuery(query string, vars map[string]string) bool {
	met := make([]bool, len(m.query)) // of the fixed values
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		text, encoded, _ := strings.Cut(pair, "=")
		key, ok := unescaped(text)
		value, ok2 := unescaped(encoded)
		if !ok || !ok2 {
			return false
		}
		known := false
		for i, p := range m.query {
			if name, _ := unescaped(p.key); name != key {
				continue
			}
			if p.name == "" {
				want, _ := unescaped(p.value)
				if met[i] || want != value {
					continue // another of the same key may be meant
				}
				met[i], known = true, true
				break
			}
			if old, twice := vars[p.name]; twice && p.list != "" {
				value = old + "," + value
			} else if twice && old != value {
				return false
			}
			vars[p.name], known = value, true
			break
		}
		if !known {
			return false
		}
	}
	for i, p := range m.query {
		if p.name == "" && !met[i] {
			return false
		}
	}
	return true
}
