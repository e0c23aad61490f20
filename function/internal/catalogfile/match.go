package catalogfile

import (
	"strings"

	"example.com/erlmcp/function/internal/backend/openapi"
)

// A selector names operations of a document: METHOD /path, tag:NAME or an operationId, where * stands for any text. Letters are compared exactly,
// but those of a method.
type selector string

func (s selector) matches(o *openapi.Operation) bool {
	if tag, is := strings.CutPrefix(string(s), "tag:"); is {
		for _, t := range o.Tags {
			if glob(tag, t) {
				return true
			}
		}
		return false
	}
	if method, path, is := strings.Cut(string(s), " "); is && strings.HasPrefix(strings.TrimLeft(path, " "), "/") || is && strings.TrimLeft(path, " ") == "*" {
		return glob(strings.ToUpper(method), o.Method) && glob(strings.TrimLeft(path, " "), o.Path)
	}
	return glob(string(s), o.ID)
}

// glob compares a text with a pattern in which * stands for any text.
func glob(pattern, text string) bool {
	head, rest, found := strings.Cut(pattern, "*")
	if !found {
		return pattern == text
	}
	if !strings.HasPrefix(text, head) {
		return false
	}
	text = text[len(head):]
	for {
		part, more, found := strings.Cut(rest, "*")
		if !found {
			return strings.HasSuffix(text, part)
		}
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text, rest = text[i+len(part):], more
	}
}
