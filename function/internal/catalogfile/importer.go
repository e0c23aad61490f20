package catalogfile

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"example.com/erlmcp/function/internal/backend/openapi"
)

// Imported says of a document what it does not say itself.
type Imported struct {
	Name   string // of the source; "" for one that is made of the title
	From   string // path or URL of the document
	SHA256 string // of the content at a URL
	Server string // that stands for the one that the document does not name, to be edited
}

// Import writes a first catalog file of a document: its read-only operations as tools, and all others as comments, to be edited. Nothing that the
// document says is more of the file than a text or a comment, and no line selects another operation than its own.
func Import(d *openapi.Document, of Imported) ([]byte, error) {
	if len(d.Operations)+len(d.LeftOut) == 0 {
		return nil, fmt.Errorf("%s has no operations", of.From)
	}
	if of.Name != "" && !validSource.MatchString(of.Name) {
		return nil, fmt.Errorf("the name %q is none of a source: it begins with a letter, and has at most 32 letters, digits and underscores", of.Name)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Tools of %s. Each line offers an operation: delete those that agents need not have, and say in description what a tool is for.\n",
		oneLine(d.Title+" "+d.Version))
	b.WriteString("# erlmcp catalog check tells what models get; erlmcp catalog schema prints what a line may have.\ncatalog: 1\nsources:\n")
	fmt.Fprintf(&b, "- name: %s\n  openapi: %s\n", cmp.Or(of.Name, nameOf(d.Title)), quoted(of.From))
	if of.SHA256 != "" {
		fmt.Fprintf(&b, "  sha256: %s\n", of.SHA256)
	}
	if of.Server != "" {
		fmt.Fprintf(&b, "  server: %s # the document names none: write where the API is\n", of.Server)
	}
	b.WriteString("  # auth: {bearer: env:API_TOKEN}\n  tools:\n")
	offered := 0
	var others []string
	for i := range d.Operations {
		o := &d.Operations[i]
		switch selects, one := own(d, o); {
		case !one:
			others = append(others, fmt.Sprintf("  # not offered: %s %s: its path has *, which stands for any text, and it has no operationId of its own\n", o.Method, oneLine(o.Path)))
		case o.ReadOnly && !o.Deprecated:
			offered++
			b.WriteString(lines(o, selects, "  "))
		default:
			others = append(others, lines(o, selects, "  #"))
		}
	}
	b.WriteString(strings.Join(others, ""))
	for _, left := range d.LeftOut {
		fmt.Fprintf(&b, "  # not offered: %s %s, %s: %s\n", left.Method, oneLine(left.Path), oneLine(left.Place.String()), oneLine(left.Reason))
	}
	if offered == 0 {
		b.WriteString("  # No operation only reads. Take the # from those that agents may call.\n  - match: \"*\"\n    offer: false\n")
	}
	return b.Bytes(), nil
}

// own is a selector of an operation and of no other: there may be several with the same id, of which one only reads.
func own(d *openapi.Document, o *openapi.Operation) (selects string, one bool) {
	for _, s := range []string{o.ID, o.Method + " " + o.Path} {
		matches := 0
		for i := range d.Operations {
			if selector(s).matches(&d.Operations[i]) {
				matches++
			}
		}
		for _, left := range d.LeftOut { // which may be one another day
			if selector(s).matches(&openapi.Operation{ID: left.ID, Method: left.Method, Path: left.Path, Tags: left.Tags}) {
				matches++
			}
		}
		if s != "" && matches == 1 && selector(s).matches(o) && !strings.Contains(s, "*") {
			return s, true
		}
	}
	return "", false
}

// maxImported is how many bytes of a description are kept.
const maxImported = 200

// lines are those of an operation, each with a prefix.
func lines(o *openapi.Operation, selects, prefix string) string {
	text := fmt.Sprintf("%s- match: %s # %s %s\n", prefix, quoted(selects), o.Method, oneLine(o.Path))
	if short := shortened(o.Description); short != o.Description {
		text += fmt.Sprintf("%s  description: %s\n", prefix, quoted(short))
	}
	return text
}

// shortened keeps the first sentences of a text, as many as there is room for, or its first words.
func shortened(text string) string {
	text = oneLine(text)
	if len(text) <= maxImported {
		return text
	}
	cut := text[:maxImported]
	if i := strings.LastIndex(cut, ". "); i > 0 {
		return cut[:i+1]
	}
	if i := strings.LastIndexByte(cut, ' '); i > 0 { // which not all scripts have
		cut = cut[:i+1]
	}
	return strings.ToValidUTF8(cut, "") + "…"
}

// oneLine is a text without line breaks and without what YAML takes nowhere.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.Join(strings.Fields(text), " "))
}

var plainText = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./{}-]*( /[A-Za-z0-9_./{}-]*)?$`)

// quoted writes a text for YAML, with quotes where it may be read as something else.
func quoted(text string) string {
	switch strings.ToLower(text) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
	default:
		if plainText.MatchString(text) {
			return text
		}
	}
	return strconv.Quote(text) // whose escapes are all YAML's, too
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// nameOf makes a source's name of a title.
func nameOf(title string) string {
	name := strings.Trim(notInName.ReplaceAllString(strings.ToLower(title), "_"), "_")
	for _, word := range []string{"_api", "_rest", "_openapi", "_service"} {
		name = strings.TrimSuffix(name, word)
	}
	name = strings.Trim(name[:min(len(name), 20)], "_")
	if !validSource.MatchString(name) {
		return "api"
	}
	return name
}
