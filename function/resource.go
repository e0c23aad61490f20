package function

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/mcp"
)

// ErrNotFound is what a [ReadFunc] returns when there is nothing at the URI.
var ErrNotFound = mcp.ErrUnknown

// A ReadFunc returns the contents at uri, which is in normal form (RFC 3986, section 6.2.2), as rules see it. In a resource template, vars
// holds the values of its variables, decoded; what stands where a URI has its host, as in city://{name}, is in small letters.
type ReadFunc func(ctx context.Context, uri string, vars map[string]string) ([]ResourceContents, error)

// BadArgument is the error of a prompt or resource whose arguments can't be used; the client gets it as -32602. So it gets any other error
// of one that was given arguments, but for [ErrUnavailable].
func BadArgument(format string, args ...any) error {
	return &mcp.Error{Code: mcp.CodeInvalidParams, Message: fmt.Sprintf(format, args...)}
}

// A Resource is something that a client can read, or a template of such.
type Resource struct{ entry catalog.Entry }

// ResourceOptions say more about a resource or a template; the zero value is a good one.
type ResourceOptions struct {
	Title       string
	Description string
	MIMEType    string
	Timeout     time.Duration // for one read; default a minute
	// TTL is how long clients may keep what they read, and Public says that the contents are the same for every caller.
	TTL    time.Duration
	Public bool
	// Complete proposes values for a variable of a template.
	Complete CompleteFunc
	// DotSegments lets a template's variables have the segment "..", which leads elsewhere where they are taken for a path.
	DotSegments bool
}

// A CompleteFunc proposes values for an argument whose text so far is value; known holds the other arguments' values.
type CompleteFunc func(ctx context.Context, argument, value string, known map[string]string) ([]string, error)

// NewResource makes a resource at a fixed URI.
func NewResource(uri, name string, read ReadFunc, o ResourceOptions) Resource {
	return Resource{&catalog.Resource{
		URI: uri, Name: name, Title: o.Title, Description: o.Description, MIMEType: o.MIMEType,
		Terms: catalog.Terms{Timeout: o.Timeout}, Read: o.reader(read),
	}}
}

// NewTemplate makes a family of resources whose URIs fit an RFC 6570 template, such as city://{name}.
func NewTemplate(uri, name string, read ReadFunc, o ResourceOptions) Resource {
	return Resource{&catalog.Template{
		URI: uri, Name: name, Title: o.Title, Description: o.Description, MIMEType: o.MIMEType, Complete: catalog.Complete(o.Complete),
		Terms: catalog.Terms{Timeout: o.Timeout}, Read: o.reader(read), DotSegments: o.DotSegments,
	}}
}

func (o ResourceOptions) reader(read ReadFunc) catalog.Read {
	return func(ctx context.Context, uri string, vars map[string]string) (*mcp.ReadResult, error) {
		contents, err := read(ctx, uri, vars)
		if err != nil {
			return nil, err
		}
		result := &mcp.ReadResult{TTL: o.TTL, Private: !o.Public}
		for _, c := range contents {
			result.Contents = append(result.Contents, mcp.ResourceContents(c))
		}
		return result, nil
	}
}

// Read reads a resource of the server that runs the call, as the caller of it may: what policy hides from the caller is [ErrNotFound], and
// another refusal is an error that says so.
func Read(ctx context.Context, uri string) ([]ResourceContents, error) {
	return read(ctx, func(c *mcp.Call) (*mcp.ReadResult, error) { return c.Read(ctx, uri) })
}

// ReadAsServer is [Read] of whatever the server has, whoever calls. What of it reaches the caller is the tool's to decide.
func ReadAsServer(ctx context.Context, uri string) ([]ResourceContents, error) {
	return read(ctx, func(c *mcp.Call) (*mcp.ReadResult, error) { return c.ReadAny(catalog.NewContext(ctx, nil), uri) })
}

func read(ctx context.Context, by func(*mcp.Call) (*mcp.ReadResult, error)) ([]ResourceContents, error) {
	c := mcp.FromContext(ctx)
	if c == nil {
		return nil, mcp.ErrNoCall
	}
	r, err := by(c)
	if err != nil {
		return nil, err
	}
	out := make([]ResourceContents, len(r.Contents))
	for i, c := range r.Contents {
		out[i] = ResourceContents(c)
	}
	return out, nil
}

// A Prompt is a set of messages that a person picks, often with arguments.
type Prompt struct{ entry catalog.Entry }

// PromptOptions say more about a prompt; the zero value is a good one.
type PromptOptions struct {
	Title     string
	Arguments []Argument
	Timeout   time.Duration // default a minute
	Complete  CompleteFunc  // proposes values for an argument
}

// An Argument of a prompt is a string.
type Argument struct {
	Name, Description string
	Required          bool
}

// A Message of a prompt has the role user or assistant.
type Message struct {
	Role    string
	Content Content
}

// UserSays is a message in the user's role.
func UserSays(c Content) Message { return Message{Role: "user", Content: c} }

// NewPrompt makes a prompt. The function gets the arguments by their names; the required ones are there.
func NewPrompt(name, description string, fn func(ctx context.Context, args map[string]string) ([]Message, error), o PromptOptions) Prompt {
	var arguments []catalog.Argument
	for _, a := range o.Arguments {
		arguments = append(arguments, catalog.Argument(a))
	}
	return Prompt{&catalog.Prompt{
		Name: name, Title: o.Title, Description: description, Arguments: arguments, Complete: catalog.Complete(o.Complete),
		Terms: catalog.Terms{Timeout: o.Timeout},
		Get: func(ctx context.Context, args map[string]string) (*mcp.PromptResult, error) {
			messages, err := fn(ctx, args)
			if err != nil {
				return nil, err
			}
			result := &mcp.PromptResult{Description: description}
			for _, m := range messages {
				result.Messages = append(result.Messages, mcp.PromptMessage{Role: m.Role, Content: m.Content.block()})
			}
			return result, nil
		},
	}}
}

// CompleteFrom proposes the values of a list that begin with what was typed, whatever the case.
func CompleteFrom(values ...string) CompleteFunc {
	values = slices.Clone(values)
	return func(_ context.Context, _, typed string, _ map[string]string) ([]string, error) {
		var found []string
		for _, v := range values {
			if len(v) >= len(typed) && strings.EqualFold(v[:len(typed)], typed) {
				found = append(found, v)
			}
		}
		return found, nil
	}
}
