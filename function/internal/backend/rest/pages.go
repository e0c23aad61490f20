package rest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"example.com/erlmcp/function/internal/mcp"
)

// Pages follows a list over the pages that an API answers it in. The result is the first page with the items of all, and with the cursor of the last one.
// A page that fails, or a cursor that comes again, is an error: a part of a list is not passed on as if it were all.
type Pages struct {
	Cursor string // path of the cursor in an answer, such as next or meta.next; the last page has none, null, false or ""
	Into   string // the argument, of the query or the body, that the cursor becomes
	Items  string // path of the list; by default it is the one list among the members of the answer that has items
	Max    int    // pages that are read; the cursor of the last one is in the result
}

const maxPages = 100

func (p *Pages) check(r *Request) error {
	var faults []error
	if p.Cursor == "" || slices.Contains(splitPath(p.Cursor), "") {
		faults = append(faults, fmt.Errorf("pages: the cursor's path %q has an empty name", p.Cursor))
	}
	if p.Items != "" && slices.Contains(splitPath(p.Items), "") {
		faults = append(faults, fmt.Errorf("pages: the items' path %q has an empty name", p.Items))
	}
	if p.Max < 1 || p.Max > maxPages {
		faults = append(faults, fmt.Errorf("pages: at most 1 to %d are read, not %d", maxPages, p.Max))
	}
	known := slices.ContainsFunc(r.Parameters, func(v Parameter) bool { return v.In == Query && v.Argument == p.Into && v.Fixed == nil })
	if r.Body != nil {
		known = known || slices.ContainsFunc(r.Body.Members, func(m Member) bool { return m.Argument == p.Into && m.Fixed == nil })
	}
	if !known || p.Into == "" {
		faults = append(faults, fmt.Errorf("pages: the cursor becomes %q, which is no argument in the query or the body", p.Into))
	}
	return errors.Join(faults...)
}

// pages reads pages until there is no cursor, or enough are read.
func (t *tool) pages(ctx context.Context, c *mcp.Call) (*mcp.Result, error) {
	p, args := t.answer.Pages, maps.Clone(c.Arguments)
	if args == nil {
		args = map[string]any{}
	}
	var first []byte
	var path []string
	var lists [][]byte
	var cursor []byte
	var next any
	seen := map[string]bool{fmt.Sprint(args[p.Into]): true}
	total := int64(0)
	for n := range p.Max {
		resp, err := t.send(ctx, c, args)
		if err != nil {
			return nil, pageFailed(n, err)
		}
		k, _ := kindOf(resp)
		if n == 0 && (resp.status/100 != 2 || k != kindJSON) {
			return t.result(ctx, c, resp)
		}
		if resp.status/100 != 2 {
			return failure(pageFailed(n, errors.New(t.plan.api.problem(resp))).Error()), nil
		}
		if total += int64(len(resp.body)); total > t.plan.api.maxRead() || k != kindJSON {
			return failure(fmt.Sprintf("page %d of %s is no JSON, or the pages have more than %s together%s", n+1, t.plan.api.Name, size(int(t.plan.api.maxRead())), t.askForLess())), nil
		}
		body := trim(resp.body)
		if n == 0 {
			first = body
		}
		if len(path) == 0 {
			if path, err = p.list(body); err != nil {
				return failure(t.plan.api.Name + ": " + err.Error()), nil
			}
		}
		if len(path) > 0 {
			items := at(body, path)
			if len(items) == 0 || items[0] != '[' {
				return failure(fmt.Sprintf("page %d of %s has no list at %s, as the one before has", n+1, t.plan.api.Name, joinPath(path))), nil
			}
			lists = append(lists, items)
		}
		if cursor, next = p.cursor(body, t.wireName(p.Into)); next == nil {
			break
		}
		if key := fmt.Sprint(next); seen[key] {
			return failure(fmt.Sprintf("%s answers the same cursor again, on page %d: its list can't be read to the end", t.plan.api.Name, n+1)), nil
		} else {
			seen[key] = true
		}
		args[p.Into] = next
	}
	var notes []string
	if next != nil {
		notes = []string{fmt.Sprintf("%d pages were read, and there are more; the next one is at %s %s", p.Max, p.Into, clip(fmt.Sprint(next), 300))}
	}
	return t.json(ctx, c, joined(first, path, lists, splitPath(p.Cursor), cursor), notes)
}

func pageFailed(n int, err error) error {
	if n == 0 {
		return err
	}
	return fmt.Errorf("page %d of the list failed, and a part of it is not passed on as all: %w", n+1, err)
}

// wireName is the name under which an argument is sent.
func (t *tool) wireName(argument string) string {
	for _, p := range t.plan.request.Parameters {
		if p.Argument == argument && p.In == Query {
			return p.Name
		}
	}
	return argument
}

// list returns the path of the list; nil where no page so far has items.
func (p *Pages) list(body []byte) ([]string, error) {
	if p.Items != "" {
		path := splitPath(p.Items)
		if raw := at(body, path); len(raw) == 0 || raw[0] != '[' {
			return nil, fmt.Errorf("its answer has no list at %s", p.Items)
		}
		return path, nil
	}
	var found []string
	for i := range items(body) {
		if i.key == nil {
			return nil, errors.New("its answer is a list, in which there is no cursor")
		}
		if i.value[0] == '[' && len(list(i.value)) > 0 {
			found = append(found, i.name())
		}
	}
	if len(found) > 1 {
		return nil, fmt.Errorf("its answer has more than one list (%s): the operator must name the one that goes on", clip(strings.Join(found, ", "), 100))
	}
	return found, nil
}

// cursor returns a page's cursor as it came and as an argument's value, nil on the last one. Of a cursor that is a URL it takes the parameter that the
// cursor becomes.
func (p *Pages) cursor(body []byte, name string) (raw []byte, next any) {
	raw = at(body, splitPath(p.Cursor))
	if isNull(raw) {
		return raw, nil
	}
	v, err := mcp.DecodeAnswer(raw)
	if err != nil {
		return raw, nil
	}
	if text, ok := v.(string); ok {
		if text == "" {
			return raw, nil
		}
		if u, err := url.Parse(text); err == nil && u.RawQuery != "" && u.Query().Has(name) {
			return raw, u.Query().Get(name)
		}
		return raw, text
	}
	if _, isScalar := scalar(v); !isScalar || v == false {
		return raw, nil
	}
	return raw, v
}

// joined is the first page with the items of all pages and the cursor of the last one.
func joined(first []byte, path []string, lists [][]byte, cursorPath []string, cursor []byte) []byte {
	if len(path) > 0 {
		all := []byte{'['}
		for _, l := range lists {
			inner := trim(l[1 : len(l)-1])
			if len(inner) > 0 {
				if len(all) > 1 {
					all = append(all, ',')
				}
				all = append(all, inner...)
			}
		}
		all = append(all, ']')
		if old := at(first, path); old != nil {
			first = replaced(first, old, all)
		}
	}
	if old := at(first, cursorPath); old != nil {
		if cursor == nil {
			cursor = []byte("null")
		}
		first = replaced(first, old, cursor)
	}
	return first
}

func replaced(whole, old, with []byte) []byte {
	start := offset(whole, old)
	return slices.Concat(whole[:start], with, whole[start+len(old):])
}
