package command

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// odd tells what a terminal must not get of a text of others': control characters, those that change the direction of writing, and what
// can't be seen. They could move the cursor, hide a line or feign another one.
func odd(r rune) bool {
	return r == utf8.RuneError || !unicode.IsGraphic(r) || r != ' ' && unicode.Is(unicode.Zs, r) ||
		unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// shown is a text of others' with what is odd written as in JSON.
func shown(text string) string {
	if !strings.ContainsFunc(text, odd) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case !odd(r):
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		}
	}
	return b.String()
}

// shownLines is the same of a text that has lines of its own. Of JSON it is the same JSON: what is odd stands in its strings alone.
func shownLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = shown(lines[i])
	}
	return strings.Join(lines, "\n")
}

// row is a line of a table.
func row(cells ...string) string {
	for i := range cells {
		cells[i] = shown(cells[i])
	}
	return strings.Join(cells, "\t")
}
