package mcp

import (
	"encoding/json"
	"time"
)

// A Message is what became of one JSON-RPC message, or of a body that was none.
type Message struct {
	Head         *RequestHeader
	Call         *Call  // nil for what was answered before it was decoded and checked
	Method, Name string // as the caller wrote them; "" where that was not read
	Modern       bool
	Version      string          // protocol revision
	Client       json.RawMessage // clientInfo, or nil
	Tenant       string          // "" where it is not known who calls
	Outcome      Outcome
	Error        *Error        // that was answered
	Refusal      *Refusal      // that was answered
	Began        time.Time     // of an element of a batch; else zero, and the head has it
	Handled      time.Duration // in the handler
	Catalog      Catalog       // that it is served from
}

// Entry is what the message is about, in the catalog that it was served from: see [Catalog].
func (m *Message) Entry() (kind, name string) { return entryOf(m.Catalog, m.Method, m.Name) }

// Entry is what the call is about, in the catalog that it is served from: see [Catalog].
func (c *Call) Entry() (kind, name string) {
	if c.server == nil { // it is of a test
		return "", ""
	}
	return entryOf(c.server.opts.Catalog, c.Method, c.Name)
}

func entryOf(c Catalog, method, name string) (kind, entry string) {
	if name == "" {
		return "", ""
	}
	return c.Entry(method, name)
}

// ended fills in how a call ended. Of what was hidden from its caller that is the refusal, not the answer.
func (m *Message) ended(c *Call, outcome Outcome, e *Error, r *Refusal) {
	m.Outcome, m.Error, m.Refusal = outcome, e, r
	if c.concealed != nil && r == nil {
		m.Outcome, m.Error, m.Refusal = Refused, nil, c.concealed
	}
}

// of fills in what a call says of itself.
func (m *Message) of(c *Call) *Message {
	m.Call, m.Method, m.Name, m.Modern, m.Version, m.Client, m.Handled = c, c.Method, c.Name, c.Modern, c.Version, c.Client, c.handled
	return m
}
