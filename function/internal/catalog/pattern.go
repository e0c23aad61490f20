package catalog

import "strings"

// unportable returns what a regular expression of Go has that JavaScript (whose validators set the flag u) or Python does not take, or "".
func unportable(pattern string) string {
	const perl = "dDsSwW"
	class := false
	for i := 0; i < len(pattern); i++ {
		rest := pattern[i:]
		switch c := pattern[i]; {
		case c == '\\' && len(rest) > 1:
			i++
			switch n := rest[1]; {
			case strings.IndexByte(perl, n) >= 0:
				if class && strings.HasPrefix(rest[2:], "-") && !strings.HasPrefix(rest[2:], "-]") {
					return rest[:3] + " in a class"
				}
			case strings.IndexByte("fnrtv", n) >= 0, !class && (n == 'b' || n == 'B'), class && n == '-':
			case n == 'x' && !strings.HasPrefix(rest, `\x{`):
			case strings.IndexByte(`^$\.*+?()[]{}|/`, n) >= 0:
			default:
				return rest[:2]
			}
		case class:
			if strings.HasPrefix(rest, "[:") {
				return "[: in a class"
			}
			class = c != ']'
		case c == '[':
			class = true
			if strings.HasPrefix(rest, "[^") {
				i++
			}
			if i+1 < len(pattern) && pattern[i+1] == ']' {
				return "] first in a class"
			}
		case strings.HasPrefix(rest, "(?") && !strings.HasPrefix(rest, "(?:"):
			return "(?" + rest[2:min(3, len(rest))]
		case c == '{':
			n := times(rest)
			if n == 0 {
				return "{ without a backslash"
			}
			i += n - 1
		case c == ']' || c == '}':
			return string(c) + " without a backslash"
		}
	}
	return ""
}

// times is the length of a count such as {2,3} that a text begins with.
func times(text string) int {
	inner, _, ok := strings.Cut(text[1:], "}")
	least, most, _ := strings.Cut(inner, ",")
	if !ok || least == "" || strings.Trim(least+most, "0123456789") != "" {
		return 0
	}
	return len(inner) + 2
}
