package openapi

import (
	"regexp"
	"strings"
)

// portable tells whether a pattern means the same to Go, to JavaScript with the flag u and to Python. It knows the plain constructs alone.
func portable(pattern string) bool {
	if _, err := regexp.Compile(pattern); err != nil {
		return false
	}
	class := false
	for i := 0; i < len(pattern); i++ {
		rest := pattern[i:]
		switch c := pattern[i]; {
		case c == '\\':
			if len(rest) < 2 {
				return false
			}
			i++
			if e := rest[1]; strings.IndexByte(`dDsSwW`, e) >= 0 {
				if class && strings.HasPrefix(rest[2:], "-") && !strings.HasPrefix(rest[2:], "-]") {
					return false
				}
			} else if strings.IndexByte(`fnrt^$\.*+?()[]{}|/`, e) < 0 && !(class && e == '-') && !(!class && (e == 'b' || e == 'B')) {
				return false
			}
		case class:
			if c == '[' {
				return false
			}
			class = c != ']'
		case c == '[':
			class = true
			if strings.HasPrefix(rest, "[^") {
				i++
			}
			if i+1 < len(pattern) && pattern[i+1] == ']' {
				return false
			}
		case strings.HasPrefix(rest, "(?") && !strings.HasPrefix(rest, "(?:"):
			return false
		case c == '{':
			n := len(counted.FindString(rest))
			if n == 0 {
				return false
			}
			i += n - 1
		case c == ']' || c == '}':
			return false
		}
	}
	return true
}

var counted = regexp.MustCompile(`^\{[0-9]+(,[0-9]*)?\}`)
