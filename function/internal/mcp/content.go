package mcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/strictjson"
)

// Content is one block of a tool's result or of a prompt's message. [Text] makes the usual one.
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

// Text is a block of text.
func Text(text string) Content { return Content{Type: "text", Text: text} }

// Result is what a tool answers.
type Result struct {
	Content    []Content
	Structured json.RawMessage // a JSON value that fits the output schema, or nil
	IsError    bool            // the call failed in a way that the model should see
	More       *Place          // where what is left of the answer begins, of a tool that [Tool.ReadsOn]

	cursor string // of it
}

// PromptMessage is one message of a prompt, with the role user or assistant.
type PromptMessage struct {
	Role    string
	Content Content
}

// PromptResult is what a prompt answers.
type PromptResult struct {
	Description string
	Messages    []PromptMessage
}

// ReadResult is what reading a resource answers. TTL and Private are cache hints for the client.
type ReadResult struct {
	Contents []ResourceContents
	TTL      time.Duration
	Private  bool
}

// check returns what clients refuse a whole answer for.
func (c *Content) check() error {
	missing := func(names ...string) error {
		return fmt.Errorf("a block of type %s needs %s", c.Type, strings.Join(names, " and "))
	}
	switch c.Type {
	case "text":
	case "image", "audio":
		if c.MIMEType == "" {
			return missing("MIMEType")
		}
		if len(c.Data) == 0 {
			return missing("Data")
		}
	case "resource_link":
		if c.URI == "" || c.Name == "" {
			return missing("URI", "Name")
		}
		if err := absolute(c.URI); err != nil {
			return err
		}
	case "resource":
		if c.Resource == nil {
			return missing("Resource")
		}
		if err := absolute(c.Resource.URI); err != nil {
			return err
		}
	default:
		return fmt.Errorf("a block has the type %q: use Text, Image, Audio, Link or Embed", c.Type)
	}
	if a := c.Annotations; a != nil {
		for _, role := range a.Audience {
			if role != "user" && role != "assistant" {
				return fmt.Errorf("its audience is user or assistant, not %q", role)
			}
		}
		if a.Priority != nil && !(*a.Priority >= 0 && *a.Priority <= 1) {
			return fmt.Errorf("its priority is between 0 and 1, not %v", *a.Priority)
		}
	}
	return nil
}

// absolute returns an error for what clients do not take for a URI.
func absolute(uri string) error {
	if scheme, _ := cutScheme(uri); scheme == "" {
		return fmt.Errorf("%s is not a URI: it has no scheme, such as docs: or https: before it", quote(uri))
	}
	return nil
}

// check returns a [Breach] for what clients refuse.
func (r *PromptResult) check() error {
	if r == nil {
		return &Breach{errors.New("there is no result")}
	}
	for i := range r.Messages {
		m := &r.Messages[i]
		err := m.Content.check()
		if m.Role != "user" && m.Role != "assistant" {
			err = fmt.Errorf("the role is user or assistant, not %q", m.Role)
		}
		if err != nil {
			return &Breach{fmt.Errorf("messages[%d]: %w", i, err)}
		}
	}
	return nil
}

// nothingToRead tells of a text that models' interfaces refuse as empty.
func nothingToRead(text string) bool { return strings.TrimSpace(text) == "" }

// in returns the block as clients of a revision know it, since they refuse a whole answer for a kind of block that they do not: links came
// with 2025-06-18, audio with 2025-03-26.
func (c *Content) in(version string) *Content {
	switch {
	case c.Type == "resource_link" && version < Version20250618:
		text := c.Name + ": " + c.URI
		if c.Description != "" {
			text += " (" + c.Description + ")"
		}
		return &Content{Type: "text", Text: text, Annotations: c.Annotations}
	case c.Type == "audio" && version < Version20250326:
		return &Content{Type: "resource", Resource: &ResourceContents{URI: "urn:erlmcp:audio", MIMEType: c.MIMEType, Blob: c.Data}, Annotations: c.Annotations}
	}
	return c
}

func (c *Content) append(b []byte) []byte {
	b = append(b, `{"type":`...)
	b = strictjson.AppendString(b, c.Type)
	b = append(b, ',')
	switch c.Type {
	case "text":
		b = append(b, `"text":`...)
		b = strictjson.AppendString(b, c.Text)
		b = append(b, ',')
	case "image", "audio":
		b = append(b, `"data":`...)
		b = appendBase64(b, c.Data)
		b = append(b, ',')
	case "resource":
		b = append(b, `"resource":`...)
		b = c.Resource.append(b)
		b = append(b, ',')
	}
	b = appendMember(b, "mimeType", c.MIMEType)
	b = appendMember(b, "uri", c.URI)
	b = appendMember(b, "name", c.Name)
	b = appendMember(b, "title", c.Title)
	b = appendMember(b, "description", c.Description)
	if a := c.Annotations; a != nil {
		b = append(b, `"annotations":{`...)
		if len(a.Audience) > 0 {
			b = append(b, `"audience":[`...)
			for _, role := range a.Audience {
				b = append(strictjson.AppendString(b, role), ',')
			}
			b[len(b)-1] = ']'
			b = append(b, ',')
		}
		if a.Priority != nil {
			b = append(b, `"priority":`...)
			b = strconv.AppendFloat(b, *a.Priority, 'g', -1, 64)
			b = append(b, ',')
		}
		if !a.LastModified.IsZero() {
			b = appendMember(b, "lastModified", a.LastModified.UTC().Format(time.RFC3339))
		}
		b = append(closeObject(b), ',')
	}
	return closeObject(b)
}

func (r *ResourceContents) append(b []byte) []byte {
	b = append(b, `{"uri":`...)
	b = strictjson.AppendString(b, r.URI)
	b = append(b, ',')
	b = appendMember(b, "mimeType", r.MIMEType)
	if r.Blob != nil {
		b = append(b, `"blob":`...)
		b = appendBase64(b, r.Blob)
	} else {
		b = append(b, `"text":`...)
		b = strictjson.AppendString(b, r.Text)
	}
	return append(b, '}')
}

func appendContents(b []byte, list []Content, version string) []byte {
	b = append(b, '[')
	for i := range list {
		if list[i].Type == "text" && nothingToRead(list[i].Text) {
			continue // which models' interfaces refuse
		}
		if b[len(b)-1] != '[' {
			b = append(b, ',')
		}
		b = list[i].in(version).append(b)
	}
	return append(b, ']')
}
