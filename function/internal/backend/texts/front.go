package texts

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFront bounds front matter, in bytes.
const maxFront = 64 << 10

// errFront is of front matter that is none.
var errFront = errors.New("the front matter is not a mapping in YAML, such as title: Travel")

var yamlLine = regexp.MustCompile(`line (\d+)`)

// split cuts the front matter off, which stands between a first line of --- and the next of --- or ...; body is the text after it, and line the
// line that it begins at. Front is nil where there is none: a first line of --- may be a rule across the page.
func split(text []byte) (front, body []byte, line int) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	isMark := func(line []byte, marks ...string) bool {
		for _, m := range marks {
			if string(bytes.TrimRight(line, " \t\r\n")) == m {
				return true
			}
		}
		return false
	}
	line = 1
	for rest := text; len(rest) > 0; line++ {
		end := bytes.IndexByte(rest, '\n') + 1
		if end == 0 {
			end = len(rest)
		}
		this := rest[:end]
		rest = rest[end:]
		switch from := len(text) - len(rest); {
		case line == 1 && !isMark(this, "---"), from > maxFront:
			return nil, text, 1
		case line > 1 && isMark(this, "---", "..."):
			first := bytes.IndexByte(text, '\n') + 1
			return text[first : from-len(this)], rest, line + 1
		}
	}
	return nil, text, 1
}

// A fault of a text.
type lineFault struct {
	line int
	err  error
}

// mapping returns the mapping of front matter, or a fault with the line in the file.
func mapping(front []byte) (*yaml.Node, *lineFault) {
	var doc yaml.Node
	if err := yaml.Unmarshal(front, &doc); err != nil {
		line := 1
		if at := yamlLine.FindStringSubmatch(err.Error()); at != nil {
			line, _ = strconv.Atoi(at[1])
		}
		text := yamlLine.ReplaceAllString(strings.TrimPrefix(err.Error(), "yaml: "), "")
		return nil, &lineFault{line + 1, fmt.Errorf("the front matter is not YAML: %s: text with a colon or a sign in it needs quotes", strings.Trim(text, ": "))}
	}
	if len(doc.Content) == 0 {
		return &yaml.Node{Kind: yaml.MappingNode, Line: 1}, nil
	}
	if doc.Content[0].Kind != yaml.MappingNode {
		return nil, &lineFault{2, errFront}
	}
	return doc.Content[0], nil
}

// members visits the members of a mapping in the order in which they are written. Lines are those of the file.
func members(n *yaml.Node, visit func(key string, value *yaml.Node, line int) error) (faults []lineFault) {
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value, line := n.Content[i], n.Content[i+1], n.Content[i].Line+1
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if seen[key.Value] {
			faults = append(faults, lineFault{line, fmt.Errorf("%s is written twice: remove one", key.Value)})
			continue
		}
		seen[key.Value] = true
		if err := visit(key.Value, value, line); err != nil {
			faults = append(faults, lineFault{line, fmt.Errorf("%s: %w", key.Value, err)})
		}
	}
	return faults
}

// scalar returns a text, or a number or date as it is written; null is "".
func scalar(n *yaml.Node) (string, error) {
	switch {
	case n.Kind != yaml.ScalarNode:
		return "", errors.New("it is a text, and no list and no mapping")
	case n.Tag == "!!null":
		return "", nil
	}
	return strings.TrimSpace(n.Value), nil
}

var (
	heading = regexp.MustCompile(`^ {0,3}#{1,6}[ \t]+(.*?)(?:[ \t]+#+)?[ \t\r]*$`)
	fence   = regexp.MustCompile("^ {0,3}(```+|~~~+)")
)

// headings returns the ATX headings of a Markdown text (CommonMark 0.31.2, section 4.2) that are not in fenced blocks.
func headings(body []byte) (found []string) {
	open := ""
	for line := range strings.Lines(string(body)) {
		line = strings.TrimRight(line, "\n")
		if mark := fence.FindStringSubmatch(line); mark != nil {
			switch {
			case open == "":
				open = mark[1]
			case strings.HasPrefix(mark[1], open) && strings.TrimSpace(line) == mark[1]:
				open = ""
			}
			continue
		}
		if h := heading.FindStringSubmatch(line); open == "" && h != nil && strings.Trim(h[1], "#") != "" {
			found = append(found, h[1])
		}
	}
	return found
}
