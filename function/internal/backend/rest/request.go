// Package rest calls HTTP APIs. A [Request] says for each argument of a tool where it stands in the HTTP request and how it is written there;
// package openapi makes requests of a document's operations, and an operator's catalog names them by hand.
package rest

import "context"

// A Request is the form of an HTTP request, into which a call's arguments are put.
type Request struct {
	Method string
	// Server is an absolute URL of scheme, host and perhaps a path, without a slash at its end. Path is a template below it: each {name} in it is
	// the parameter of that name with In [Path].
	Server, Path string
	Parameters   []Parameter
	Body         *Body // nil for none
	// Accept is what the header of that name says where neither a parameter nor the API's headers do. Without it JSON is preferred, and all is taken.
	Accept string
	// Idempotent says that the request may be sent twice, though its method is not idempotent: a POST that only reads, say.
	Idempotent bool
}

// A Place is a part of a request that parameters stand in.
type Place uint8

// Places, as OpenAPI has them.
const (
	Path Place = iota
	Query
	Header
	Cookie
)

// A Style is how a list or an object is written as text: OpenAPI 3.1, section 4.8.12.3.
type Style uint8

// Styles. Each place has one that is its default: form of query and cookie, simple of path and header.
const (
	DefaultStyle Style = iota
	Matrix
	Label
	Simple
	Form
	SpaceDelimited
	PipeDelimited
	DeepObject
	TabDelimited // collectionFormat tsv of OpenAPI 2.0
)

// A Parameter is an argument, or a fixed value, in the path, the query, a header or a cookie.
type Parameter struct {
	Argument string // of the tool: "" where Fixed says the value
	Name     string // on the wire
	In       Place
	Encoding
	// Slashes lets a value in the path have slashes, each part between them being encoded by itself.
	Slashes bool
	// Fixed returns the value in place of an argument's; nil is not sent.
	Fixed func(context.Context) (any, error)
}

// Encoding is how a value is written into a query, path, header, cookie or form.
type Encoding struct {
	Style   Style
	Explode bool // as it is said: no style implies it here
	// AllowReserved leaves reserved characters (RFC 3986, section 2.2) as they are in queries and forms, but for those that would end the value: & + # [ ] ;
	AllowReserved bool
	// ContentType, where it is set, has the value written as a document of that media type, such as application/json, in place of a style.
	// In a multipart body it is the part's.
	ContentType string
}

// A Body is what a request carries.
type Body struct {
	// MediaType is application/json or one that ends in +json, application/x-www-form-urlencoded, multipart/form-data, or any other, of which
	// the value is text, or bytes in base64 where Binary is set.
	MediaType string
	// Argument is the tool's argument that is the whole body. Members are arguments that are members of it each, where it is "".
	Argument string
	Members  []Member
	Binary   bool
	Required bool // a body is sent though no member of it is given
	// Encodings are those of a form's or a multipart body's members, by their names on the wire. Of a form's others form and explode hold, and
	// objects are JSON, as OpenAPI has them by default.
	Encodings map[string]Encoding
	// Files are the members of a multipart body whose text is bytes in base64.
	Files map[string]bool
}

// A Member is an argument that is a member of a body that is an object.
type Member struct {
	Argument, Name string
	Fixed          func(context.Context) (any, error) // in place of an argument's value, as in [Parameter]
	// Null sends an argument that is null as null: its schema has it. Without it null is like an argument that is absent.
	Null bool
}
