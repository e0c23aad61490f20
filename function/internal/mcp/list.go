package mcp

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"
)

const (
	cursorPurpose = "cursor"
	cursorTTL     = 24 * time.Hour
)

// list appends one page of a list. A cursor is the sealed key of the last entry before it, so it survives a restart,
// another instance and a catalog that changed in between.
func (s *Server) list(ctx context.Context, c *Call, m *message, b []byte, kind Kind, member string) ([]byte, *Error) {
	offered := s.opts.Catalog.Has(kind)
	if kind == Resources || kind == Templates { // one capability
		offered = s.opts.Catalog.Has(Resources) || s.opts.Catalog.Has(Templates)
	}
	if !offered {
		return b, errMethod
	}
	l := s.opts.Catalog.List(ctx, kind)
	items := l.Items
	if cursor := m.params.cursor; cursor.set {
		after, err := s.opts.Keys.Open(cursorPurpose, []byte(member), cursor.value, s.opts.Now())
		if err != nil {
			return b, invalidParams("params.cursor was refused (%v): list again from the start", err)
		}
		from := sort.Search(len(items), func(i int) bool { return items[i].Key > string(after) })
		items = items[from:]
	}
	more := len(items) > s.opts.PageSize
	if more {
		items = items[:s.opts.PageSize]
	}
	b = s.open(c, b)
	b = append(b, '"')
	b = append(b, member...)
	b = append(b, `":[`...)
	for i, item := range items {
		if i > 0 {
			b = append(b, ',')
		}
		if c.Modern {
			b = append(b, item.JSON...)
		} else {
			b = append(b, item.Legacy...)
		}
	}
	b = append(b, "],"...)
	if more {
		last := items[len(items)-1].Key
		b = appendMember(b, "nextCursor", s.opts.Keys.Seal(cursorPurpose, []byte(member), []byte(last), s.opts.Now().Add(cursorTTL)))
	}
	if c.Modern {
		b = appendCacheHints(b, l.TTL, l.Private)
	}
	return s.close(c, b), nil
}

// mostCompletions is the protocol's limit for one answer.
const mostCompletions = 100

func (s *Server) complete(ctx context.Context, c *Call, m *message, b []byte) ([]byte, Outcome, *Error) {
	if !s.opts.Catalog.Completes() {
		return b, Failed, errMethod
	}
	fields := func(what string, raw []byte) (map[string]any, *Error) {
		object, err := decodeObject(raw)
		if err != nil {
			return nil, invalidParams("params.%s: %v", what, err)
		}
		return object, nil
	}
	ref, e := fields("ref", m.params.ref)
	if e != nil {
		return b, Failed, e
	}
	argument, e := fields("argument", m.params.argument)
	if e != nil {
		return b, Failed, e
	}
	given, e := fields("context", m.params.context)
	if e != nil {
		return b, Failed, e
	}
	known := map[string]string{}
	if args, ok := given["arguments"].(map[string]any); ok {
		if known, e = texts("params.context.arguments", args); e != nil {
			return b, Failed, e
		}
	}
	name, okName := argument["name"].(string)
	value, okValue := argument["value"].(string)
	if !okName || !okValue {
		return b, Failed, invalidParams("params.argument must have the strings name and value")
	}
	var completer *Completer
	switch ref["type"] {
	case "ref/prompt":
		target, _ := ref["name"].(string)
		if s.opts.Catalog.Prompt(ctx, target) == nil {
			return b, Failed, invalidParams("unknown prompt: %s", quote(target))
		}
		completer = s.opts.Catalog.Completer(ctx, Prompts, target)
	case "ref/resource":
		target, _ := ref["uri"].(string)
		known := func(i Item) bool { return i.Key == target }
		if !slices.ContainsFunc(s.opts.Catalog.List(ctx, Templates).Items, known) {
			return b, Failed, invalidParams("unknown resource template: %s", quote(target))
		}
		completer = s.opts.Catalog.Completer(ctx, Templates, target)
	default:
		return b, Failed, invalidParams("params.ref.type must be ref/prompt or ref/resource")
	}
	var values []string
	if completer != nil {
		outcome, err := s.guard(ctx, c, 0, func(ctx context.Context) (err error) {
			values, err = completer.Complete(ctx, name, value, known)
			return err
		})
		if outcome != Completed {
			return b, outcome, protocolError(err)
		}
	}
	total := len(values)
	values = values[:min(total, mostCompletions)]
	b = s.open(c, b)
	b = append(b, `"completion":{"values":[`...)
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, v)
	}
	b = fmt.Appendf(b, `],"total":%d,"hasMore":%t},`, total, total > len(values))
	return s.close(c, b), Completed, nil
}
