// Package openapi reads OpenAPI documents of versions 2.0, 3.0 and 3.1. Each [Operation] of a document becomes what a tool is made of, or is
// left out for a reason, with the line that it stands at; one operation never costs the document.
package openapi

import (
	"encoding/json"
	"fmt"

	"example.com/erlmcp/function/internal/backend/rest"
)

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
	Reason       string
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
	// Output is the schema of a successful answer in JSON, or nil.
	Output  json.RawMessage
	Request rest.Request
	// ReadOnly and Idempotent follow from the method (RFC 9110, section 9.2).
	ReadOnly, Idempotent bool
	// Notes say what of the document is not checked or not offered, such as a pattern that Go can't compile.
	Notes []string
}
