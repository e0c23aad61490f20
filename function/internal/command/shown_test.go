package command

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestShown(t *testing.T) {
	for text, want := range map[string]string{
		"":         "",
		"it leaks": "it leaks",
		"Ünïcode, 日本語, 🙂 and العربية": "Ünïcode, 日本語, 🙂 and العربية",
		"\x1b[2Jgone":                     `\u001b[2Jgone`,
		"one\ntool:x is stopped":          `one\u000atool:x is stopped`,
		"back\rto the start":              `back\u000dto the start`,
		"a\tb":                            `a\u0009b`,
		"a\u202etxt.exe":                  `a\u202etxt.exe`,
		"\u2066isolated\u2069":            `\u2066isolated\u2069`,
		"\u200fmark\u200e\u061c":          `\u200fmark\u200e\u061c`,
		"zero\u200bwidth\u200d\ufeff":     `zero\u200bwidth\u200d\ufeff`,
		"c1\u009b31m":                     `c1\u009b31m`,
		"del\x7f":                         `del\u007f`,
		"line\u2028paragraph\u2029":       `line\u2028paragraph\u2029`,
		"no-break\u00a0space\u3000":       `no-break\u00a0space\u3000`,
		"tags\U000e0041 and fill\u3164":   `tags\udb40\udc41 and fill\u3164`,
		"variant\ufe0f":                   `variant\ufe0f`,
		"broken \xff\xfe":                 `broken \ufffd\ufffd`,
		"a soft\u00adhyphen":              `a soft\u00adhyphen`,
		`a backslash \u001b stays itself`: `a backslash \u001b stays itself`,
	} {
		if got := shown(text); got != want {
			t.Errorf("%q is shown as %s, want %s", text, got, want)
		}
	}
}

// FuzzShown wants nothing odd of any text, and the same value of JSON.
func FuzzShown(f *testing.F) {
	f.Add("\u202e\x1b[0m")
	f.Fuzz(func(t *testing.T, text string) {
		if got := shown(text); strings.ContainsFunc(got, odd) {
			t.Errorf("%q is shown as %q", text, got)
		}
		if !utf8.ValidString(text) || strings.Contains(text, "\ufffd") {
			return
		}
		b, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var back string
		if err := json.Unmarshal([]byte(shownLines(string(b))), &back); err != nil || back != text {
			t.Errorf("%q comes back as %q, %v", text, back, err)
		}
	})
}
