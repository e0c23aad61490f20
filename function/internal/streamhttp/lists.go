package streamhttp

import (
	"iter"
	"net/http"
	"strconv"
	"strings"
)

// HTTP's lists, as RFC 9110 section 5.6.1 has them: on any number of lines, elements separated by commas, empty ones ignored, and no
// comma inside of a quoted string separates.

// elements are those of a header's list, without white space around them.
func elements(values []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, value := range values {
			for more := true; more; {
				var element string
				if element, value, more = cutUnquoted(value, ','); element != "" && !yield(element) {
					return
				}
			}
		}
	}
}

// cutUnquoted cuts a text at a separator that is not in a quoted string, and takes white space away from before it.
func cutUnquoted(text string, separator byte) (before, after string, found bool) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"':
			quoted = !quoted
		case quoted && text[i] == '\\':
			i++
		case !quoted && text[i] == separator:
			return strings.Trim(text[:i], " \t"), text[i+1:], true
		}
	}
	return strings.Trim(text, " \t"), "", false
}

// parameter returns the value of a parameter, unquoted, among those that follow a media type; without it, "".
func parameter(params, name string) (value string) {
	for more := params != ""; more; {
		var p string
		p, params, more = cutUnquoted(params, ';')
		key, v, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimRight(key, " \t"), name) {
			v = strings.TrimLeft(v, " \t")
			if len(v) >= 2 && (v[0] == '"' || v[0] == '\'') && v[len(v)-1] == v[0] {
				v = v[1 : len(v)-1]
			}
			return v
		}
	}
	return ""
}

// jsonBody tells whether the body is said to be JSON in UTF-8, and not encoded.
func jsonBody(h http.Header) bool {
	isJSON := false
	if ct := h["Content-Type"]; len(ct) == 1 && ct[0] == "application/json" && h["Content-Encoding"] == nil {
		return true
	}
	for element := range elements(h["Content-Type"]) {
		media, params, _ := cutUnquoted(element, ';')
		if !strings.EqualFold(media, "application/json") || !utf8Named(parameter(params, "charset")) {
			return false
		}
		isJSON = true
	}
	for coding := range elements(h["Content-Encoding"]) {
		if !strings.EqualFold(coding, "identity") {
			return false
		}
	}
	return isJSON
}

// utf8Named tells whether a charset is UTF-8, or the part of it that is ASCII, under a name that programs give it.
func utf8Named(charset string) bool {
	if charset == "" || strings.EqualFold(charset, "utf-8") {
		return true
	}
	switch strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(charset)) {
	case "utf8", "csutf8", "unicode11utf8", "ascii", "usascii":
		return true
	}
	return false
}

// accepts tells whether the client takes the media type (RFC 9110, section 12.5.1). Without an Accept header it takes all; where it
// takes neither JSON nor events, JSON is what there is.
func accepts(h http.Header, media string) bool {
	values := h["Accept"]
	if len(values) == 0 || len(values) == 1 && values[0] == "application/json, text/event-stream" {
		return true
	}
	takesJSON, takesEvents := weighs(values, typeJSON[0]), weighs(values, typeEvents[0])
	if media == typeJSON[0] {
		return takesJSON || !takesEvents
	}
	return takesEvents
}

// weighs tells whether the range that names the media type most closely has a weight.
func weighs(accept []string, media string) bool {
	group, _, _ := strings.Cut(media, "/")
	closest, weighs := 0, false
	for element := range elements(accept) {
		named, params, _ := cutUnquoted(element, ';')
		var close int
		switch named := strings.ToLower(named); {
		case named == media:
			close = 3
		case named == group+"/*":
			close = 2
		case named == "*/*" || named == "*": // which some clients write
			close = 1
		}
		if close == 0 || close < closest {
			continue
		}
		q, err := strconv.ParseFloat(parameter(params, "q"), 64)
		has := err != nil || q != 0 // a weight that can't be read is none
		if close == closest {
			has = has || weighs
		}
		closest, weighs = close, has
	}
	return weighs
}
