package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Bounds of what is read, since documents come from others. Those of bytes and nodes hold for all files of a document together.
const (
	maxBytes   = 16 << 20
	maxDepth   = 200
	maxNodes   = 2_000_000
	maxAliases = 10 // times the nodes of a file, which aliases may make of them
)

type kind uint8

const (
	null kind = iota
	boolean
	number
	text
	list
	object
)

// A node is a value of a document, of JSON or of YAML, with the line that it stands at. In YAML an alias is the node that it stands for.
type node struct {
	kind kind
	line int32
	in   *file
	text string   // of a text; of a number and a boolean as JSON has them
	keys []string // of an object
	kids []*node  // of an object and a list
}

// get returns a member of an object, or nil. A nil node has none.
func (n *node) get(key string) *node {
	if n == nil || n.kind != object {
		return nil
	}
	for i := len(n.keys) - 1; i >= 0; i-- { // of a name that is there twice the last counts
		if n.keys[i] == key {
			return n.kids[i]
		}
	}
	return nil
}

// str returns the text of a member, which may be written as a number or as a boolean, or "".
func (n *node) str(key string) string {
	if m := n.get(key); m != nil && m.kind != null && m.kind < list {
		return m.text
	}
	return ""
}

// is tells whether a member is true.
func (n *node) is(key string) bool {
	m := n.get(key)
	return m != nil && m.kind == boolean && m.text == "true"
}

// elements are those of a list; of anything else there are none.
func (n *node) elements() []*node {
	if n == nil || n.kind != list {
		return nil
	}
	return n.kids
}

func (n *node) place() Place { return Place{File: n.in.name, Line: int(n.line)} }

// A file is one of those that a document is made of.
type file struct {
	name string // as it is shown
	at   string // a path below the document's directory, or a URL
	root *node
	err  error
}

// A parser makes nodes of a file's text.
type parser struct {
	in    *file
	nodes *int // left
	// Of JSON:
	text   []byte
	tokens *json.Decoder
	line   int32
	offset int64
	// Of YAML:
	made map[*yaml.Node]*node
	size map[*yaml.Node]int
	open map[*yaml.Node]bool
	own  int // nodes without those of aliases
	more int // nodes that aliases stand for
}

var (
	errDeep  = fmt.Errorf("it is nested more than %d deep", maxDepth)
	errNodes = fmt.Errorf("it has more than %d values", maxNodes)
)

// parse reads JSON, and what is none as YAML. Control characters that neither takes become spaces: they stand in texts.
func parse(in *file, raw []byte, nodes *int) (*node, error) {
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(raw) {
		raw = bytes.ToValidUTF8(raw, []byte("\uFFFD"))
	}
	raw = bytes.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 && r != 0x85 || r == 0xFFFE || r == 0xFFFF {
			return ' '
		}
		return r
	}, raw)
	p := &parser{in: in, nodes: nodes, text: raw, line: 1}
	var notJSON error
	if start := bytes.TrimLeft(raw, " \t\r\n"); len(start) > 0 && start[0] == '{' {
		left := *nodes
		root, err := p.json()
		if err == nil || errors.Is(err, errDeep) || errors.Is(err, errNodes) {
			return root, err
		}
		notJSON, *nodes = fmt.Errorf("line %d: %w", p.line, err), left
	}
	root, err := p.yaml()
	if err != nil && notJSON != nil {
		return nil, fmt.Errorf("it is neither JSON (%w) nor YAML (%w)", notJSON, err)
	}
	return root, err
}

func (p *parser) json() (*node, error) {
	p.tokens = json.NewDecoder(bytes.NewReader(p.text))
	p.tokens.UseNumber()
	root, err := p.jsonValue(0)
	if err != nil {
		return nil, err
	}
	if _, err := p.tokens.Token(); err != io.EOF {
		return nil, errors.New("there is more after the value")
	}
	return root, nil
}

func (p *parser) token() (json.Token, error) {
	t, err := p.tokens.Token()
	at := p.tokens.InputOffset()
	p.line += int32(bytes.Count(p.text[p.offset:at], []byte("\n")))
	p.offset = at
	return t, err
}

func (p *parser) jsonValue(depth int) (*node, error) {
	t, err := p.token()
	if err != nil {
		return nil, err
	}
	return p.jsonOf(t, depth)
}

func (p *parser) jsonOf(t json.Token, depth int) (*node, error) {
	if depth > maxDepth {
		return nil, errDeep
	}
	n, err := p.node(p.line)
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case nil:
	case bool:
		n.kind, n.text = boolean, strconv.FormatBool(t)
	case json.Number:
		n.kind, n.text = number, t.String()
	case string:
		n.kind, n.text = text, t
	case json.Delim:
		n.kind = list
		if t == '{' {
			n.kind = object
		}
		for p.tokens.More() {
			if n.kind == object {
				key, err := p.token()
				if err != nil {
					return nil, err
				}
				n.keys = append(n.keys, key.(string))
			}
			kid, err := p.jsonValue(depth + 1)
			if err != nil {
				return nil, err
			}
			n.kids = append(n.kids, kid)
		}
		_, err = p.token()
	}
	return n, err
}

func (p *parser) node(line int32) (*node, error) {
	if *p.nodes--; *p.nodes < 0 {
		return nil, errNodes
	}
	return &node{in: p.in, line: line}, nil
}

func (p *parser) yaml() (*node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(p.text, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 {
		return nil, errors.New("it is empty")
	}
	p.made, p.size, p.open = map[*yaml.Node]*node{}, map[*yaml.Node]int{}, map[*yaml.Node]bool{}
	return p.yamlOf(doc.Content[0], 0)
}

func (p *parser) yamlOf(y *yaml.Node, depth int) (*node, error) {
	if depth > maxDepth {
		return nil, errDeep
	}
	if y.Kind == yaml.AliasNode {
		return p.alias(y, depth)
	}
	before := p.own + p.more
	p.own++
	n, err := p.node(int32(y.Line))
	if err != nil {
		return nil, err
	}
	if y.Anchor != "" {
		p.open[y] = true
		defer func() { p.open[y], p.made[y], p.size[y] = false, n, p.own+p.more-before }()
	}
	switch y.Kind {
	case yaml.SequenceNode:
		n.kind = list
		for _, e := range y.Content {
			kid, err := p.yamlOf(e, depth+1)
			if err != nil {
				return nil, err
			}
			n.kids = append(n.kids, kid)
		}
	case yaml.MappingNode:
		return n, p.mapping(n, y, depth)
	default:
		n.kind, n.text = scalar(y)
	}
	return n, nil
}

// alias returns the node that an alias stands for. It counts as often as it is used: what walks the document walks it again.
func (p *parser) alias(y *yaml.Node, depth int) (*node, error) {
	if p.open[y.Alias] {
		return nil, fmt.Errorf("line %d: the alias *%s stands within its own anchor", y.Line, y.Value)
	}
	n := p.made[y.Alias]
	if n == nil {
		return p.yamlOf(y.Alias, depth)
	}
	if p.more += p.size[y.Alias]; p.more > 1000 && p.more > maxAliases*p.own {
		return nil, fmt.Errorf("line %d: aliases make more than %d times as much of it as is written", y.Line, maxAliases)
	}
	return n, nil
}

func (p *parser) mapping(n *node, y *yaml.Node, depth int) error {
	n.kind = object
	var merged []*node
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		kid, err := p.yamlOf(v, depth+1)
		if err != nil {
			return err
		}
		if v.Kind != yaml.AliasNode && kid.kind >= list {
			kid.line = int32(k.Line) // a block begins below its key
		}
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge" {
			merged = append(merged, kid)
			continue
		}
		n.put(k.Value, kid)
	}
	for _, m := range merged {
		all := m.elements()
		if m.kind == object {
			all = []*node{m}
		}
		for _, from := range all {
			for i, key := range from.keys {
				if n.get(key) == nil {
					n.put(key, from.kids[i])
				}
			}
		}
	}
	return nil
}

func (n *node) put(key string, kid *node) {
	n.keys, n.kids = append(n.keys, key), append(n.kids, kid)
}

// scalar returns a scalar of YAML as JSON has it.
func scalar(y *yaml.Node) (kind, string) {
	switch y.ShortTag() {
	case "!!null":
		return null, ""
	case "!!bool":
		return boolean, strings.ToLower(y.Value)
	case "!!int", "!!float":
		if json.Valid([]byte(y.Value)) {
			return number, y.Value
		}
		plain := strings.ReplaceAll(y.Value, "_", "")
		if i, err := strconv.ParseInt(plain, 0, 64); err == nil {
			return number, strconv.FormatInt(i, 10)
		}
		if f, err := strconv.ParseFloat(plain, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return number, strconv.FormatFloat(f, 'g', -1, 64)
		}
	}
	return text, y.Value
}
