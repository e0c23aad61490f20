package openapi

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

const (
	maxName        = 48
	maxArgument    = 64
	maxDescription = 1000 // bytes
)

// cleaned keeps letters, digits and _ of a name, and makes one _ of all else between them. A name longer than most is cut, and ends
// with a hash of the whole.
func cleaned(name string, most int) string {
	return cleanedBut(name, "", most)
}

func cleanedBut(name, kept string, most int) string {
	var b strings.Builder
	gap := false
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r < utf8.RuneSelf && strings.ContainsRune(kept, r):
			if gap && b.Len() > 0 {
				b.WriteByte('_')
			}
			gap = false
			b.WriteRune(r)
		default:
			gap = true
		}
	}
	return cut(b.String(), name, most)
}

// cut shortens a name that was made of the whole.
func cut(name, whole string, most int) string {
	if len(name) <= most {
		return name
	}
	return strings.TrimRight(name[:most-9], "_") + "_" + hash(whole)
}

// hash is 8 hexadecimal digits.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}

// nameFromID is a tool's name made of an operationId, or "".
func nameFromID(id string) string {
	return begun(cleaned(id, maxName))
}

// nameFromPath is a tool's name made of method and path.
func nameFromPath(method, path string) string {
	words := cleaned(strings.ToLower(method)+" "+path, 1<<16)
	return cut(words, method+" "+path, maxName)
}

// begun has a name begin with a letter or _, as one provider's interface wants it.
func begun(name string) string {
	if name != "" && name[0] >= '0' && name[0] <= '9' {
		name = cut("_"+name, name, maxName)
	}
	return name
}

// argumentName is the name of an argument: what has a meaning among the characters that names can't have becomes a word.
func argumentName(wire string) string {
	words := strings.NewReplacer("<=", "_lte", ">=", "_gte", "!=", "_not", "<", "_lt", ">", "_gt", "!", "_not").Replace(wire)
	name := cleanedBut(words, ".-", maxArgument)
	if strings.Trim(name, "._-") == "" {
		return "arg_" + hash(wire)
	}
	return strings.TrimLeft(name, ".-")
}

// sentences cuts a text to at most so many bytes, at the end of a sentence or else of a word.
func sentences(text string, most int) string {
	if len(text) <= most {
		return text
	}
	end := most
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	head := text[:end]
	for _, mark := range []string{". ", ".\n", "! ", "? ", "\n\n"} {
		if i := strings.LastIndex(head, mark); i >= most/3 {
			return strings.TrimSpace(head[:i+1])
		}
	}
	const more = "…"
	if most <= len(more) {
		return ""
	}
	head = head[:max(0, len(head)-len(more))]
	for len(head) > 0 && !utf8.ValidString(head) {
		head = head[:len(head)-1]
	}
	if i := strings.LastIndexAny(head, " \n"); i >= most/2 {
		head = head[:i]
	}
	return strings.TrimSpace(head) + more
}

// plain drops what marks up a text as HTML, and blank lines and spaces that are many.
func plain(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		i := strings.IndexByte(text, '<')
		if i < 0 {
			b.WriteString(text)
			break
		}
		b.WriteString(text[:i])
		text = text[i:]
		if end := strings.IndexByte(text, '>'); end > 1 && end < 200 && isTag(text[1:end]) {
			if name := strings.Trim(text[1:end], "/ "); name == "p" || name == "br" || name == "li" {
				b.WriteByte('\n')
			}
			text = text[end+1:]
			continue
		}
		b.WriteByte('<')
		text = text[1:]
	}
	var lines []string
	for line := range strings.SplitSeq(b.String(), "\n") {
		line = strings.TrimRight(line, " \t\r")
		if line == "" && (len(lines) == 0 || lines[len(lines)-1] == "") {
			continue
		}
		lines = append(lines, line)
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

var tags = map[string]bool{"a": true, "b": true, "br": true, "code": true, "div": true, "em": true, "h1": true, "h2": true, "h3": true, "h4": true, "i": true, "li": true, "ol": true,
	"p": true, "pre": true, "span": true, "strong": true, "sup": true, "table": true, "tbody": true, "td": true, "th": true, "thead": true, "tr": true, "ul": true}

func isTag(inner string) bool {
	name, _, _ := strings.Cut(strings.Trim(inner, "/ "), " ")
	return tags[strings.ToLower(name)]
}
