package telemetry

import (
	"log/slog"
	"strconv"
	"strings"
)

// appendLine renders an entry for a person at a terminal.
func appendLine(b []byte, e *entry) []byte {
	if !e.time.IsZero() {
		b = e.time.Local().AppendFormat(b, "15:04:05.000 ")
	}
	level := severity(e.level)
	b = append(b, level...)
	for range len("WARNING ") - len(level) {
		b = append(b, ' ')
	}
	b = append(b, printable(e.message)...)
	if e.request != nil {
		b = e.request.appendWords(b)
	}
	for _, a := range e.nested() {
		b = appendWord(b, "", a)
	}
	return b
}

func appendWord(b []byte, prefix string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, member := range v.Group() {
			b = appendWord(b, prefix, member)
		}
		return b
	}
	if a.Key == "stack_trace" { // as the runtime prints it
		return append(append(b, '\n'), strings.TrimSpace(v.String())...)
	}
	text := v.String()
	if text == "" || strings.ContainsAny(text, " \"=\n\r\t") || text != printable(text) {
		text = strconv.Quote(text)
	}
	b = append(b, ' ')
	b = append(append(b, prefix...), a.Key...)
	return append(append(b, '='), text...)
}

// printable keeps control characters off the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
