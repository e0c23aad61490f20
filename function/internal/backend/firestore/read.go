package firestore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"example.com/erlmcp/function/internal/backend/firestore/documents"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mcp"
)

// The arguments that are no fields.
const (
	argumentID     = "id"
	argumentLimit  = "limit"
	argumentCursor = "cursor"
)

// A reader is a tool over a collection.
type reader struct {
	*tool
	collection documents.Collection
	logger     *slog.Logger
}

// A document as callers see it.
type view struct {
	ID      string         `json:"id"`
	Fields  map[string]any `json:"fields,omitempty"`
	Omitted string         `json:"omitted,omitempty"`
}

// A page of what was found.
type page struct {
	Documents []json.RawMessage `json:"documents"`
	Cursor    string            `json:"cursor,omitempty"`
	Note      string            `json:"note,omitempty"`
}

// get reads one document. Whether there is none or it is another's, the answer is the same.
func (r *reader) get(ctx context.Context, c *mcp.Call) (*mcp.Result, error) {
	own, err := r.owned(identity.FromContext(ctx))
	if err != nil {
		return nil, err
	}
	id, _ := c.Arguments[argumentID].(string)
	if err := documents.CheckID(id); err != nil {
		return nil, &mcp.Misfit{Err: err}
	}
	d, err := r.collection.Get(ctx, id)
	if err != nil {
		return nil, r.failed(ctx, err)
	}
	if d == nil || !isOwn(d, own) {
		return &mcp.Result{Content: []mcp.Content{mcp.Text(fmt.Sprintf("%s has no document %.100q.", r.plan.Name, id))}, IsError: true}, nil
	}
	text := r.render(d)
	if len(text) > r.maxBytes() {
		return nil, fmt.Errorf("the document has %d bytes, and an answer at most %d", len(text), r.maxBytes())
	}
	return &mcp.Result{Content: []mcp.Content{mcp.Text(string(text))}, Structured: text}, nil
}

// find reads a page of the documents that fit the arguments.
func (r *reader) find(ctx context.Context, c *mcp.Call) (*mcp.Result, error) {
	own, err := r.owned(identity.FromContext(ctx))
	if err != nil {
		return nil, err
	}
	q, err := r.query(c.Arguments, own)
	if err != nil {
		return nil, &mcp.Misfit{Err: err}
	}
	limit := q.Limit
	q.Limit++ // whether there are more
	out := page{Documents: []json.RawMessage{}}
	var last *documents.Document
	size, more := 0, false
	for d, err := range r.collection.Find(ctx, *q) {
		if err != nil {
			return nil, r.failed(ctx, err)
		}
		if !isOwn(d, own) { // which the query has excluded
			return nil, r.failed(ctx, errors.New("the database has answered with a document that the query is not about"))
		}
		text := r.render(d)
		if len(text) > r.maxBytes() {
			text = encode(view{ID: d.ID, Omitted: fmt.Sprintf("it has %d bytes, and an answer at most %d", len(text), r.maxBytes())})
		}
		if more = len(out.Documents) == limit || size+len(text) > r.maxBytes() && last != nil; more {
			break
		}
		out.Documents = append(out.Documents, text)
		size += len(text)
		last = d
	}
	if more {
		if out.Cursor = r.cursor(q, last); out.Cursor == "" {
			out.Note = "There are more, and no cursor to them, as what they are ordered by is too long: give more arguments, so that fewer are found."
		}
	}
	text := encode(out)
	return &mcp.Result{Content: []mcp.Content{mcp.Text(string(text))}, Structured: text}, nil
}

// query makes one of arguments. What own has is in it whatever they are.
func (r *reader) query(args map[string]any, own []documents.Field) (*documents.Query, error) {
	q := &documents.Query{Equal: slices.Clone(own), Limit: r.max()}
	known := map[string]bool{argumentLimit: true, argumentCursor: true}
	var faults []error
	for _, c := range r.Where {
		name := c.argument()
		known[name] = true
		v := args[name]
		if v == nil { // which is not given
			if c.Required {
				faults = append(faults, fmt.Errorf("%s: it is missing", name))
			}
			continue
		}
		value, err := kinds[c.kind()].decode(v)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
			continue
		}
		q.Equal = append(q.Equal, documents.Field{Path: c.Field, Value: value})
	}
	for name := range args {
		if !known[name] {
			faults = append(faults, fmt.Errorf("there is no argument %.100q", name))
		}
	}
	if v := args[argumentLimit]; v != nil {
		n, ok := v.(int64)
		if !ok || n < 1 || n > int64(r.max()) {
			faults = append(faults, fmt.Errorf("limit: it is not a whole number from 1 to %d", r.max()))
		}
		q.Limit = int(min(n, int64(r.max())))
	}
	q.Order = ordered(r.order, q.Equal)
	if r.shows != nil {
		q.Select = append(q.Select, r.Fields...)
		for _, f := range own {
			q.Select = append(q.Select, f.Path)
		}
	}
	if v := args[argumentCursor]; v != nil && len(faults) == 0 {
		text, _ := v.(string)
		var err error
		if q.After, err = r.position(q, text); err != nil {
			faults = append(faults, err)
		}
	}
	return q, errors.Join(faults...)
}

// ordered leaves out of an order the fields that are all the same, by which the database does not order.
func ordered(order []documents.Order, equal []documents.Field) (out []documents.Order) {
	for _, o := range order {
		if !slices.ContainsFunc(equal, func(f documents.Field) bool { return f.Path == o.Path }) {
			out = append(out, o)
		}
	}
	return out
}

// render returns a document with the fields that are shown.
func (r *reader) render(d *documents.Document) json.RawMessage {
	fields := d.Fields
	if r.shows != nil {
		fields = map[string]any{}
		for _, path := range r.shows {
			if v, ok := documents.Lookup(d.Fields, strings.Join(path, ".")); ok {
				put(fields, path, v)
			}
		}
	}
	return encode(view{ID: d.ID, Fields: shown(fields).(map[string]any)})
}

func put(fields map[string]any, path []string, v any) {
	if len(path) == 1 {
		fields[path[0]] = v
		return
	}
	inner, ok := fields[path[0]].(map[string]any)
	if !ok {
		inner = map[string]any{}
		fields[path[0]] = inner
	}
	put(inner, path[1:], v)
}

func encode(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // what shown returns is JSON
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// failed tells the operator why a call failed, and the caller as much as helps.
func (r *reader) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.logger.ErrorContext(ctx, "a collection can't be read", "tool", r.name(), "collection", r.Collection, "database", r.Database, "error", err)
	switch {
	case errors.Is(err, documents.ErrUnavailable):
		return fmt.Errorf("%s can't be read at the moment: %w", r.plan.Name, mcp.ErrUnavailable)
	case errors.Is(err, documents.ErrNoIndex):
		return fmt.Errorf("%s can't be read in this way: %w, and the operator finds in the log which one is missing", r.plan.Name, documents.ErrNoIndex)
	}
	return fmt.Errorf("%s can't be read; the operator finds the cause in the log", r.plan.Name)
}
