package function

import (
	"context"
	"encoding/json"
	"time"

	"example.com/erlmcp/function/internal/mcp"
)

// Content is one block of a tool's result or of a prompt's message. Use [Text], [Image], [Audio], [Link] and [Embed].
type Content struct {
	Type        string            // text, image, audio, resource_link or resource
	Text        string            // of text
	Data        []byte            // of image and audio, not encoded
	MIMEType    string            // of image, audio and resource_link
	URI         string            // of resource_link
	Name        string            // of resource_link
	Title       string            // of resource_link
	Description string            // of resource_link
	Resource    *ResourceContents // of resource
	Annotations *Annotations
}

// Annotations tell a client whom content is for.
type Annotations struct {
	Audience     []string  // user, assistant
	Priority     *float64  // 0 to 1
	LastModified time.Time // zero for unknown
}

// ResourceContents is what a resource holds: text, or bytes where Blob is not nil.
type ResourceContents struct {
	URI      string
	MIMEType string
	Text     string
	Blob     []byte
}

// A Result is a whole answer of a tool, for what a type of its own can't say.
type Result struct {
	Content    []Content
	Structured json.RawMessage // a JSON value that fits the output schema, or nil
	IsError    bool            // the call failed in a way that the model should see
}

// Text is a block of text.
func Text(text string) Content { return Content{Type: "text", Text: text} }

// Image is a picture, with data as in its file.
func Image(data []byte, mimeType string) Content {
	return Content{Type: "image", Data: data, MIMEType: mimeType}
}

// Audio is a sound, with data as in its file.
func Audio(data []byte, mimeType string) Content {
	return Content{Type: "audio", Data: data, MIMEType: mimeType}
}

// Link points to a resource that the client may read.
func Link(uri, name string) Content { return Content{Type: "resource_link", URI: uri, Name: name} }

// Embed puts a resource's contents into a result.
func Embed(r ResourceContents) Content { return Content{Type: "resource", Resource: &r} }

// block is the engine's form.
func (c Content) block() mcp.Content {
	return mcp.Content{
		Type: c.Type, Text: c.Text, Data: c.Data, MIMEType: c.MIMEType, URI: c.URI, Name: c.Name, Title: c.Title, Description: c.Description,
		Resource: (*mcp.ResourceContents)(c.Resource), Annotations: (*mcp.Annotations)(c.Annotations),
	}
}

func blocks(all []Content) []mcp.Content {
	if all == nil {
		return nil
	}
	out := make([]mcp.Content, len(all))
	for i, c := range all {
		out[i] = c.block()
	}
	return out
}

func (r *Result) result() *mcp.Result {
	if r == nil {
		return nil
	}
	return &mcp.Result{Content: blocks(r.Content), Structured: r.Structured, IsError: r.IsError}
}

// answering has a function answer in the engine's form; nil stays nil.
func answering[In, Out, Engine any](fn func(context.Context, In) (Out, error), form func(Out) Engine) func(context.Context, In) (Engine, error) {
	if fn == nil {
		return nil
	}
	return func(ctx context.Context, in In) (Engine, error) {
		out, err := fn(ctx, in)
		return form(out), err
	}
}
