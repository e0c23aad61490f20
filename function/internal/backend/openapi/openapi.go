// Package openapi reads OpenAPI documents of versions 2.0, 3.0 and 3.1. Each [Operation] of a document becomes what a tool is made of, or is
// left out for a reason, with the line that it stands at; one operation never costs the document.
package openapi

import (
	"context"
	"encoding/json"
	"fmt"

	"example.com/erlmcp/function/internal/backend/rest"
)

// Options are what a document is read with. Its zero value will do for a file.
type Options struct {
	// Server takes the place of the servers that the document names: an absolute URL. Variables are those of the document's servers; those that are
	// not given have their defaults.
	Server    string
	Variables map[string]string
	// Fetch returns what is at a URL. It is asked for the document, where that is at one, and for what it refers to on the same host.
	Fetch func(ctx context.Context, url string) ([]byte, error)
	// Reads is told of each file that is read, by its path from the document's folder on or its URL, and what it has; nil where it can't be read.
	Reads func(at string, content []byte)
	// Sets tells whether a parameter is set by what calls the API, such as its credential: no argument is made of it.
	Sets func(in rest.Place, name string) bool
	// Outputs has the schemas of answers read too.
	Outputs bool
}

// Read reads the document in a file or at a URL. What a file refers to is read too if it is in the file's directory or below, and what a
// document at a URL refers to if it is on the same host. There is an error where nothing can be read; what is wrong with an operation leaves that one out.
func Read(ctx context.Context, at string, options Options) (*Document, error) {
	r := &reader{ctx: ctx, options: options}
	defer r.close()
	if err := r.open(at); err != nil {
		return nil, err
	}
	d, err := r.document()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.main.name, err)
	}
	return d, nil
}

// A Document is what was read.
type Document struct {
	Title, Version string // of info
	Operations     []Operation
	LeftOut        []LeftOut
}

// A LeftOut is an operation of which no tool can be made, and why.
type LeftOut struct {
	ID           string // as in [Operation], and so the next three
	Method, Path string
	Tags         []string
	Place        Place
	Reason       string // with what to do about it
}

// A Place is where something stands in a file.
type Place struct {
	File string
	Line int // from 1
}

func (p Place) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// An Operation is one that a tool can be made of.
type Operation struct {
	ID           string // operationId as written, or ""
	Method, Path string // GET and /users/{id}, as written
	Tags         []string
	Place        Place
	Deprecated   bool

	// Name is made of letters, digits and _, is at most 48 long, and is a function of the operation alone: of its ID, or of method and path where that is missing
	// or another operation has it too.
	Name        string
	Title       string // the summary, where there is a description beside it
	Description string // at most 1000 bytes, cut at a sentence
	// Input is the JSON Schema 2020-12 of the arguments, complete in itself. Shown is a shorter one for models: what fits Input fits Shown.
	Input, Shown json.RawMessage
	// Output is the schema of a successful answer in JSON, as short as Shown, or nil.
	Output  json.RawMessage
	Request rest.Request
	// Withheld are parameters that are no arguments, since they are cookies or credentials. The catalog may set them.
	Withheld []rest.Parameter
	// ReadOnly and Idempotent follow from the method (RFC 9110, section 9.2).
	ReadOnly, Idempotent bool
	// Notes say what of the document is not checked or not offered, such as a pattern that Go can't compile.
	Notes []string
}
