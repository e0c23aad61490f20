package rest

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// A piece of a path is text, or the value of a parameter.
type piece struct {
	text      string
	parameter int // in the request's list, or -1
}

// pieces takes a template apart.
func (r *Request) pieces() ([]piece, error) {
	var out []piece
	var faults []error
	used := map[int]bool{}
	if r.Path != "" && r.Path[0] != '/' {
		faults = append(faults, fmt.Errorf("the path %q does not begin with /", r.Path))
	}
	if strings.ContainsAny(r.Path, "?#") {
		faults = append(faults, fmt.Errorf("the path %q has a query or a fragment: name what is in the query as parameters", r.Path))
	}
	for rest := r.Path; rest != ""; {
		before, after, found := strings.Cut(rest, "{")
		if before != "" {
			out = append(out, piece{encode(before, "/!$&'()*+,;=:@%"), -1})
		}
		if !found {
			break
		}
		name, next, closed := strings.Cut(after, "}")
		if !closed {
			faults = append(faults, fmt.Errorf("the path %q has a { without a }", r.Path))
			break
		}
		if n := r.parameter(Path, name); n >= 0 {
			out, used[n] = append(out, piece{"", n}), true
		} else {
			faults = append(faults, fmt.Errorf("the path has {%s}, and there is no parameter of that name in it", name))
		}
		rest = next
	}
	for i, p := range r.Parameters {
		if p.In == Path && !used[i] {
			faults = append(faults, fmt.Errorf("the parameter %s is in the path, which has no {%s}", p.Name, p.Name))
		}
	}
	return out, errors.Join(faults...)
}

// segment is the escape of values in a path. A value never leaves its segment, nor is one of the segments that mean another place.
func segment(text, _ string) (string, error) {
	if strings.Contains(text, "/") {
		return "", errors.New("it has a slash, which would lead to another path")
	}
	if err := dots(text); err != nil {
		return "", err
	}
	return encode(text, ""), nil
}

// segments is the same for a value that may be several of them.
func segments(text, _ string) (string, error) {
	parts := strings.Split(text, "/")
	for i, part := range parts {
		if part == "" {
			return "", errors.New("it has an empty part before or after a slash")
		}
		var err error
		if parts[i], err = segment(part, ""); err != nil {
			return "", err
		}
	}
	return strings.Join(parts, "/"), nil
}

// dots refuses . and .. as a part of a path, also where a server would find them by decoding twice, or by taking \ for a slash.
func dots(text string) error {
	for range 3 {
		for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '/' || r == '\\' }) {
			if part == "." || part == ".." {
				return fmt.Errorf("it has %s as a part, which would lead to another path", part)
			}
		}
		decoded, err := url.PathUnescape(text)
		if err != nil || decoded == text {
			return nil
		}
		text = decoded
	}
	return nil
}

// path writes a path with its values. The faults name arguments.
func (b *builder) path() string {
	var out strings.Builder
	out.WriteString(b.plan.base.EscapedPath())
	for _, piece := range b.plan.path {
		if piece.parameter < 0 {
			out.WriteString(piece.text)
			continue
		}
		p := &b.plan.request.Parameters[piece.parameter]
		v, ok := b.value(p.Argument, p.Name, p.Fixed)
		switch {
		case !ok:
			b.fault(p.Argument, p.Name, errors.New("it is missing, and the path needs it"))
			continue
		case absent(v):
			b.fault(p.Argument, p.Name, errors.New("it is empty, and the path needs it"))
			continue
		}
		if text, isScalar := scalar(v); isScalar && text == "" {
			b.fault(p.Argument, p.Name, errors.New("it is empty, and the path needs it"))
			continue
		}
		esc := segment
		if p.Slashes {
			esc = segments
		}
		text, err := p.inPath(p.Name, v, esc)
		if err != nil {
			b.fault(p.Argument, p.Name, err)
			continue
		}
		out.WriteString(text)
	}
	return out.String()
}

// settled returns an error for a path with a segment that only its parts together make empty, . or .. .
func settled(path string) error {
	for part := range strings.SplitSeq(strings.TrimPrefix(strings.TrimSuffix(path, "/"), "/"), "/") {
		if part == "." || part == ".." || part == "" && strings.Trim(path, "/") != "" {
			return fmt.Errorf("the path would have the segment %q, which leads to another path", part)
		}
	}
	return nil
}
