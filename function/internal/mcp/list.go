package mcp

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"example.com/erlmcp/function/internal/strictjson"
)

const (
	cursorPurpose = "cursor"
	cursorTTL     = 24 * time.Hour
)

// list appends one page of a list. A cursor is the sealed key of the last entry before it, so it survives a restart,
// another instance and a catalog that changed in between.
func (s *Server) list(ctx context.Context, c *Call, cursor string, b []byte, kind Kind) ([]byte, *Error) {
	member := [...]string{Tools: "tools", Prompts: "prompts", Resources: "resources", Templates: "resourceTemplates"}[kind]
	offered := s.opts.Catalog.Has(kind)
	if kind == Resources || kind == Templates { // one capability
		offered = s.opts.Catalog.Has(Resources) || s.opts.Catalog.Has(Templates)
	}
	if !offered {
		return b, errMethod
	}
	l := s.opts.Catalog.List(ctx, kind)
	items := l.Items
	if cursor != "" {
		after, err := s.opts.Keys.Open(cursorPurpose, []byte(member), cursor, s.opts.Now())
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

// maxCompletions is the protocol's limit for one answer.
const maxCompletions = 100

// A completion is what completion/complete asks for: values of an argument of the entry that the call names.
type completion struct {
	kind            Kind // Prompts or Templates
	argument, value string
	known           map[string]string // the other arguments
}

// readCompletion decodes the params of completion/complete.
func (c *Call) readCompletion(p *params) *Error {
	fields := func(what string, raw []byte) (map[string]any, *Error) {
		object, err := decodeObject(raw)
		if err != nil {
			return nil, invalidParams("params.%s: %v", what, err)
		}
		return object, nil
	}
	ref, e := fields("ref", p.ref)
	if e != nil {
		return e
	}
	argument, e := fields("argument", p.argument)
	if e != nil {
		return e
	}
	given, e := fields("context", p.context)
	if e != nil {
		return e
	}
	q := &completion{known: map[string]string{}}
	c.completion, c.Arguments = q, map[string]any{}
	if args, ok := given["arguments"].(map[string]any); ok {
		if q.known, e = texts("params.context.arguments", args); e != nil {
			return e
		}
		maps.Copy(c.Arguments, args)
		maps.DeleteFunc(c.Arguments, isNull)
	}
	var okName, okValue bool
	q.argument, okName = argument["name"].(string)
	q.value, okValue = argument["value"].(string)
	if !okName || !okValue {
		return invalidParams("params.argument must have the strings name and value")
	}
	c.Arguments[q.argument] = q.value
	switch ref["type"] {
	case "ref/prompt":
		q.kind = Prompts
		c.Name, _ = ref["name"].(string)
	case "ref/resource":
		q.kind = Templates
		c.Name, _ = ref["uri"].(string)
	default:
		return invalidParams("params.ref.type must be ref/prompt or ref/resource")
	}
	return nil
}

func (s *Server) complete(ctx context.Context, c *Call, b []byte) ([]byte, Outcome, *Error) {
	q := c.completion
	if q == nil {
		return b, Failed, errMethod
	}
	if q.kind == Prompts && s.opts.Catalog.Prompt(ctx, c.Name) == nil {
		return b, Failed, invalidParams("unknown prompt: %s", quote(c.Name))
	}
	isNamed := func(i Item) bool { return i.Key == c.Name }
	if q.kind == Templates && !slices.ContainsFunc(s.opts.Catalog.List(ctx, Templates).Items, isNamed) {
		return b, Failed, invalidParams("unknown resource template: %s", quote(c.Name))
	}
	completer := s.opts.Catalog.Completer(ctx, q.kind, c.Name)
	if completer == nil || !slices.Contains(completer.Arguments, q.argument) {
		return b, Failed, invalidParams("params.argument.name: there is no argument %s", quote(q.argument))
	}
	var values []string
	if completer.Complete != nil {
		outcome, err := s.guard(ctx, c, 0, func(ctx context.Context) (err error) {
			values, err = completer.Complete(ctx, q.argument, q.value, q.known)
			return err
		})
		if outcome != Completed {
			return b, outcome, protocolError(err)
		}
	}
	total := len(values)
	values = values[:min(total, maxCompletions)]
	b = s.open(c, b)
	b = append(b, `"completion":{"values":[`...)
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = strictjson.AppendString(b, v)
	}
	b = fmt.Appendf(b, `],"total":%d,"hasMore":%t},`, total, total > len(values))
	return s.close(c, b), Completed, nil
}
