package mcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// ReadMore is the tool that reads on in an answer that was cut. It has one argument, cursor, and a call by it is one of the tool that gave the cursor.
const ReadMore = "read_more"

// A Place is where what is left of a tool's answer begins.
type Place struct {
	Path string `json:"p,omitempty"` // of the list in the answer; "" for the answer itself
	From int    `json:"n"`           // items of the list that come before, or bytes of a text
	Hash []byte `json:"h"`           // of the whole answer: a place in another one is none
}

// A readCursor travels through the client, sealed and bound to the caller. The arguments stand behind it, after a line feed, as they came.
type readCursor struct {
	Format int    `json:"v"`
	Tool   string `json:"t"`
	Place
}

const (
	readFormat       = 1
	readPurpose      = "read more"
	readTTL          = 24 * time.Hour
	maxReadArguments = 1 << 10 // a model copies the cursor, in which they are
)

// metaMore is where in _meta of a result programs find the cursor of what follows.
const metaMore = `"erlmcp/more":`

// cursorOf seals where what is left of a result begins, or returns why there is no cursor.
func (s *Server) cursorOf(c *Call, p *Place) (sealed, why string) {
	if len(c.Raw)+len(p.Path) > maxReadArguments {
		return "", fmt.Sprintf("what follows can't be read on: the arguments are longer than %d bytes; ask for less", maxReadArguments)
	}
	head, err := json.Marshal(readCursor{readFormat, c.Name, *p})
	if err != nil {
		panic(err) // texts and a number
	}
	text := append(append(head, '\n'), c.Raw...)
	return s.opts.Keys.Seal(readPurpose, []byte(c.caller), text, s.opts.Now().Add(readTTL)), ""
}

// offerMore says in words and for programs how what is left of a result is read.
func (s *Server) offerMore(c *Call, r *Result) *Result {
	if s.opts.Catalog.Indirect(ReadMore) != ByCursor {
		return r
	}
	with := *r
	sealed, words := s.cursorOf(c, r.More)
	if sealed != "" {
		words = "call " + ReadMore + ` for what follows, with the cursor "` + sealed + `"`
	}
	with.cursor = sealed
	with.Content = append(r.Content[:len(r.Content):len(r.Content)], Text("("+words+")"))
	return &with
}

// resumeReading makes the call one of the tool that gave the cursor, with the arguments of then, from where its answer was cut.
func (c *Call) resumeReading(p *params) *Error {
	by := c.Name
	c.Name, c.indirect = "", true
	args, err := decodeObject(p.arguments)
	sealed, ok := args["cursor"].(string)
	switch {
	case err != nil:
		return c.misused(by, err.Error())
	case !ok:
		return c.misused(by, "cursor is missing, or no text: give the one that the answer has which was cut")
	case len(args) > 1:
		return c.misused(by, "there is no argument but cursor")
	}
	var from readCursor
	text, err := c.server.opts.Keys.Open(readPurpose, []byte(c.caller), strings.TrimSpace(sealed), c.server.opts.Now())
	head, arguments, _ := bytes.Cut(text, []byte("\n"))
	if err == nil {
		err = json.Unmarshal(head, &from)
	}
	if err != nil || from.Format != readFormat { // who tries cursors learns no more
		c.misuse = invalidParams("nothing can be read on with this cursor: copy it whole from the answer that was cut, " +
			"or call that tool again where the answer is of yesterday")
		return c.misuse
	}
	c.Name, c.From = c.server.opts.Catalog.Named(from.Tool), &from.Place
	if len(arguments) > 0 {
		c.Raw = arguments
	}
	return nil
}
