// Package texts offers a directory of texts as resources or prompts. Which files there are is read when the entries are made; what is in one
// is read when it is asked for, so that an edited text is served at once, and a new one with the next catalog.
//
// A directory of resources looks like this: each file is at a URI that a template makes of its path, and its title and description are those
// of its front matter, or its first heading is the title.
//
//	---
//	title: Travel
//	description: How trips are booked and paid.
//	---
//	Book at least a week ahead.
//
// A prompt has its arguments in the front matter, and {{name}} in the text where the value of one is put:
//
//	---
//	name: greeting
//	description: Greets a person.
//	arguments:
//	- name: who
//	  description: The person.
//	  required: true
//	- name: tone
//	  values: [warm, formal]    # proposed while it is typed; others may be given
//	---
//	Write a {{tone}} greeting to {{who}}.
package texts

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"

	"example.com/erlmcp/function/internal/catalog"
)

// What the files of a directory are offered as.
const (
	AsResources = "resources"
	AsPrompts   = "prompts"
)

// A Directory is what an operator says of a directory of texts.
type Directory struct {
	Name string // of the source: letters, digits, '_' and '-'. Names of its prompts and of its tool begin with it and '_'.
	// Dir is the directory. Files and folders whose names begin with a dot are left out, and links are followed within it alone. There may be
	// [maxFiles] files of [maxFileBytes] each, [maxBytes] in all, [maxDepth] folders deep.
	Dir string
	As  string // [AsResources] or [AsPrompts]
	// URI is the RFC 6570 template that makes a file's URI of its path, of resources alone. Its one variable is {path}, in which slashes are
	// encoded, or {+path}, in which they stand for themselves, such as in handbook:///{+path}. What stands where a URI has its host, as in
	// handbook://{path}, is in small letters. Up to [maxListed] files are listed as a resource each; of more the template is listed, and their
	// paths are proposed for its variable. The URIs are the same either way.
	URI                string
	Title, Description string // of the whole, for people and models; a default is made of the name
	// Search adds the tool NAME_search, of resources alone: it answers a query with links and excerpts, of texts that the caller may read.
	// It ranks by what the texts were when the entries were made.
	Search bool
	// Index is how the texts are ranked; nil for [Words].
	Index Indexer
	Terms catalog.Terms // of each entry
	// Reads is told of each file that is looked at, by its path below Dir, and what it has; of a folder or what can't be read nil.
	Reads func(path string, text []byte)
}

// Bounds on what one directory may hold. A text is read into memory when it is asked for, and all are while the entries are made.
const (
	maxFiles     = 2000
	maxFileBytes = 1 << 20
	maxBytes     = 64 << 20
	maxDepth     = 16
	// maxListed is how many resources a list may hold that a model is given whole: some 10 kB.
	maxListed = 50
)

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// Entries returns a prompt for each text; or a resource for each, or a template, and with Search a tool. Its error lists every fault, one a
// line, each of a file after the file's place in the form file:line.
func (d *Directory) Entries() ([]catalog.Entry, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !validName.MatchString(d.Name) {
		fault("name: %q is not 1 to 64 letters, digits, '_' and '-'", d.Name)
	}
	template, err := parseTemplate(d.URI)
	switch {
	case d.As == AsResources && err != nil:
		fault("uri: %w", err)
	case d.As != AsResources && d.As != AsPrompts:
		fault("as: %q is neither resources nor prompts", d.As)
	}
	if d.As == AsPrompts && d.URI != "" {
		fault("uri: prompts have none: leave it out, or write as: resources")
	}
	if d.As == AsPrompts && d.Search {
		fault("search: prompts are picked by a person, and only resources are searched: leave it out, or write as: resources")
	}
	files, err := scan(d.Dir, d.Reads)
	faults = append(faults, err)
	var entries []catalog.Entry
	if d.As == AsPrompts {
		entries, err = d.prompts(files)
	} else {
		entries, err = d.resources(cmp.Or(template, &anyTemplate), files)
	}
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	return entries, nil
}

// anyTemplate has the files be looked at where the operator's template can't be used.
var anyTemplate = template{before: "texts:///", reserved: true}

// place names a line of a file in a fault.
func (d *Directory) place(path string, line int) string {
	return fmt.Sprintf("%s:%d", filepath.Join(d.Dir, filepath.FromSlash(path)), line)
}
