// Package stdio serves a client that has started the program: a JSON-RPC message a line on standard input, an answer or a
// notification a line on standard output. Each message is a request to the server's handler, with the headers that the client would
// send over HTTP, so that all that holds there holds here.
package stdio

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"example.com/erlmcp/function/internal/mcp"
)

// Options configure [Serve].
type Options struct {
	Handler http.Handler
	// Mirrors are the headers that mirror arguments of a tool.
	Mirrors func(tool string) []mcp.HeaderParam
}

const (
	// maxRunning is how many messages are served at a time; the next ones wait in the pipe.
	maxRunning = 64
	// maxLine bounds a message in bytes, far above what the handler takes, which says so.
	maxLine = 64 << 20
)

// Serve answers until the input ends and what runs has ended, or the context does.
func Serve(ctx context.Context, o Options, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c := &connection{options: o, out: out, running: map[string]context.CancelFunc{}}
	lines, failed := make(chan []byte), make(chan error, 1)
	go read(ctx, in, lines, failed)
	free := make(chan struct{}, maxRunning)
	var all sync.WaitGroup
	defer all.Wait()
	for {
		var line []byte
		select {
		case line = <-lines:
		case err := <-failed:
			all.Wait()
			return errors.Join(err, c.fault)
		case <-ctx.Done():
			return nil
		}
		m := understand(line)
		if m.Method == "notifications/cancelled" {
			c.cancel(m)
			continue
		}
		if m.ID == nil || m.Method == "initialize" { // in the order in which they come
			c.serve(ctx, line, m)
			continue
		}
		served, done := c.begin(ctx, m)
		free <- struct{}{}
		all.Go(func() {
			c.serve(served, line, m)
			done()
			<-free
		})
	}
}

// read reads lines until the end of the input, which it tells. A read can't be ended: it may stay when all else has gone.
func read(ctx context.Context, in io.Reader, lines chan<- []byte, failed chan<- error) {
	s := bufio.NewScanner(in)
	s.Buffer(nil, maxLine)
	for s.Scan() {
		line := bytes.TrimSpace(s.Bytes())
		if len(line) == 0 {
			continue
		}
		select {
		case lines <- bytes.Clone(line):
		case <-ctx.Done():
			return
		}
	}
	failed <- s.Err()
}

// A message is what the headers say of one.
type message struct {
	ID     json.RawMessage
	Method string
	Params struct {
		Name      string
		URI       string
		Arguments map[string]any
		RequestID json.RawMessage `json:"requestId"`
		Meta      struct {
			Version string `json:"io.modelcontextprotocol/protocolVersion"`
		} `json:"_meta"`
	}
}

// understand reads what it can: the handler says what is wrong with the rest.
func understand(line []byte) message {
	var m message
	json.Unmarshal(line, &m)
	return m
}

// A connection is the one to the client.
type connection struct {
	options Options

	mu      sync.Mutex
	version string // that initialize has settled on; "" in revision 2026-07-28
	out     io.Writer
	fault   error // of writing
	running map[string]context.CancelFunc
}

func (c *connection) begin(ctx context.Context, m message) (served context.Context, done func()) {
	ctx, cancel := context.WithCancel(ctx)
	id := string(m.ID)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running[id] = cancel
	return ctx, func() {
		cancel()
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.running, id)
	}
}

// cancel ends a call, which then has no answer.
func (c *connection) cancel(m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if end := c.running[string(m.Params.RequestID)]; end != nil {
		end()
	}
}

func (c *connection) serve(ctx context.Context, line []byte, m message) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/mcp", bytes.NewReader(line))
	if err != nil {
		return // can't be: nothing in it is the client's
	}
	r.RemoteAddr = "127.0.0.1:0"
	r.Header = c.header(m)
	w := &writer{connection: c, ctx: ctx, header: http.Header{}}
	c.options.Handler.ServeHTTP(w, r)
	body := w.end()
	if m.Method != "initialize" {
		return
	}
	var settled struct {
		Result struct{ ProtocolVersion string }
	}
	if json.Unmarshal(body, &settled) == nil && settled.Result.ProtocolVersion != "" {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.version = settled.Result.ProtocolVersion
	}
}

// header is what the client would send over HTTP.
func (c *connection) header(m message) http.Header {
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
	version := m.Params.Meta.Version
	if version == "" {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.version != "" && m.Method != "initialize" {
			h.Set("MCP-Protocol-Version", c.version)
		}
		return h
	}
	h.Set("MCP-Protocol-Version", version)
	h.Set("Mcp-Method", m.Method)
	switch m.Method {
	case "tools/call", "prompts/get":
		h.Set("Mcp-Name", encoded(m.Params.Name))
	case "resources/read":
		h.Set("Mcp-Name", encoded(m.Params.URI))
	}
	if m.Method == "tools/call" {
		for _, p := range c.options.Mirrors(m.Params.Name) {
			if value := at(m.Params.Arguments, p.Path); value != nil {
				h.Set(p.Key, encoded(fmt.Sprint(value)))
			}
		}
	}
	return h
}

// encoded writes a value as one that may not be in ASCII.
func encoded(text string) string {
	return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(text)) + "?="
}

func at(args map[string]any, path []string) any {
	var value any = args
	for _, name := range path {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	return value
}

// write writes a line.
func (c *connection) write(text []byte) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return
	}
	if bytes.IndexByte(text, '\n') >= 0 {
		var b bytes.Buffer
		if json.Compact(&b, text) != nil {
			return // it is no message
		}
		text = b.Bytes()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.out.Write(append(text, '\n')); err != nil && c.fault == nil {
		c.fault = err
	}
}

// A writer takes the answer to one message: events as they come, or a body.
type writer struct {
	*connection
	ctx    context.Context
	header http.Header
	held   bytes.Buffer
	last   []byte
}

func (w *writer) Header() http.Header { return w.header }

func (w *writer) WriteHeader(int) {}

func (w *writer) Flush() {}

func (w *writer) Write(b []byte) (int, error) {
	w.held.Write(b)
	if !strings.HasPrefix(w.header.Get("Content-Type"), "text/event-stream") {
		return len(b), nil
	}
	for {
		event, rest, whole := bytes.Cut(w.held.Bytes(), []byte("\n\n"))
		if !whole {
			return len(b), nil
		}
		for line := range bytes.Lines(event) {
			if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
				w.say(data)
			}
		}
		w.held.Next(w.held.Len() - len(rest))
	}
}

// end writes the body and returns what was written last.
func (w *writer) end() []byte {
	if w.held.Len() > 0 {
		w.say(w.held.Bytes())
	}
	return w.last
}

func (w *writer) say(text []byte) {
	if w.ctx.Err() != nil {
		return // it was cancelled, and nobody waits for it
	}
	w.last = bytes.Clone(text)
	w.write(text)
}
