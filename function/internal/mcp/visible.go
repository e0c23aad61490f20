package mcp

import (
	"fmt"
	"strings"
	"unicode"
)

// AppendVisible appends a character as a person sees it, and escapes what can't be seen, is a space that looks like another, or turns text
// around.
func AppendVisible(b []byte, r rune) []byte {
	switch {
	case unicode.IsPrint(r) && !blank(r):
		return append(b, string(r)...)
	case r == '\n':
		return append(b, `\n`...)
	case r == '\t':
		return append(b, `\t`...)
	case r > 0xffff:
		return fmt.Appendf(b, `\u{%x}`, r)
	}
	return fmt.Appendf(b, `\u%04x`, r)
}

// blank tells of letters and symbols that look like nothing.
func blank(r rune) bool {
	switch r {
	case 0x115f, 0x1160, 0x17b4, 0x17b5, 0x2800, 0x3164, 0xffa0, 0x034f:
		return true
	}
	return unicode.Is(unicode.Variation_Selector, r)
}

// Visible escapes in a text for a person what turns it around or can't be seen, but for new lines and what joins letters.
func Visible(text string) string {
	keep := func(r rune) bool {
		return r == '\n' || r == '\t' || r == 0x200c || r == 0x200d || r == 0xa0 || unicode.Is(unicode.Variation_Selector, r) || unicode.IsPrint(r)
	}
	if strings.IndexFunc(text, func(r rune) bool { return !keep(r) }) < 0 {
		return text
	}
	var b []byte
	for _, r := range text {
		if keep(r) {
			b = append(b, string(r)...)
		} else {
			b = AppendVisible(b, r)
		}
	}
	return string(b)
}
