package mcp

import (
	"context"
	"encoding/json"
	"time"
)

// A Kind is what a list lists.
type Kind int

// The four lists of the protocol.
const (
	Tools Kind = iota
	Prompts
	Resources
	Templates
)

// A Catalog is what can be called. The context carries who asks; what the caller can't see is unknown to it.
type Catalog interface {
	// Has tells whether there can be any entry of the kind, whoever asks: the server's capabilities follow from it.
	Has(Kind) bool
	// List returns the entries that the caller sees, in the order of their keys.
	List(context.Context, Kind) Listing
	// Named returns the name of a tool that is called by one that it had.
	Named(tool string) string
	// Indirect tells of the name of a tool whether a call by it is one of another tool.
	Indirect(tool string) Indirection
	// Settle makes of a tool's arguments what they stand for: nulls what is not set, and what is absent its default. Without nulls there
	// are none.
	Settle(tool string, arguments map[string]any, nulls bool)
	// Tool returns nil for a name that the caller can't see, and so do the others.
	Tool(ctx context.Context, name string) *Tool
	Prompt(ctx context.Context, name string) *Prompt
	// Resource finds a resource by its URI in normal form, or a template that the URI matches, with the template's variables decoded.
	// The error says why they may not be used.
	Resource(ctx context.Context, uri string) (*Resource, map[string]string, error)
	// Completer returns how arguments are completed: of the prompt name or the resource template uri. It is nil where there is no such.
	Completer(ctx context.Context, kind Kind, name string) *Completer
	// Completes tells whether anything can be completed.
	Completes() bool
	// Entry returns what a message of the method is about, whoever sees it: "tool", "prompt" or "resource", and the entry's own name. Both
	// are empty where there is no such.
	Entry(method, name string) (kind, entry string)
}

// Indirection is how the arguments of a tool say which other one is called.
type Indirection int

// Indirections.
const (
	Direct   Indirection = iota // the tool itself is
	ByName                      // with the arguments beside the name
	ByCursor                    // which an answer of it had: see [ReadMore]
)

// A Listing is one list as one caller sees it.
type Listing struct {
	Items   []Item
	TTL     time.Duration // how long a client may keep it
	Private bool          // the list depends on who asks
}

// An Item is one entry of a list, marshalled when it was loaded.
type Item struct {
	Key    string // the name, or the URI; unique in its list
	JSON   []byte
	Legacy []byte // for revisions before 2026-07-28
}

// A Tool is what the engine needs of a tool.
type Tool struct {
	Headers []HeaderParam              // x-mcp-header bindings
	Check   func(map[string]any) error // the arguments against the input schema; nil for no check
	Fits    func(*Result) error        // a result against the output schema; nil for no check
	Timeout time.Duration              // 0 for the server's default
	Strict  bool                       // it is not called on a guess
	ReadsOn bool                       // it changes nothing, and heeds [Call.From]: what is left of its answers is read by [ReadMore]
	Call    func(context.Context, *Call) (*Result, error)
}

// A Prompt is what the engine needs of a prompt.
type Prompt struct {
	Required []string // names of the arguments that must be there
	Timeout  time.Duration
	Get      func(context.Context, *Call, map[string]string) (*PromptResult, error)
}

// A Resource is what the engine needs of a resource or of a template.
type Resource struct {
	Timeout time.Duration
	Read    func(ctx context.Context, call *Call, uri string, vars map[string]string) (*ReadResult, error)
}

// A Completer proposes values for an argument whose text so far is value; known are the other arguments.
type Completer struct {
	Arguments []string // that there are
	// Complete is nil where nothing is proposed.
	Complete func(ctx context.Context, argument, value string, known map[string]string) ([]string, error)
}

// Info is how the server presents itself.
type Info struct {
	Name         string `json:"name"`
	Title        string `json:"title,omitempty"`
	Version      string `json:"version"`
	WebsiteURL   string `json:"websiteUrl,omitempty"`
	Instructions string `json:"-"` // for the model, on how to use the server
}

func (i Info) json() []byte {
	b, err := json.Marshal(i)
	if err != nil {
		panic(err) // strings only
	}
	return b
}
