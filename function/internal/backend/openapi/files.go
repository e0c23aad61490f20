package openapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// reader reads the files of one document.
type reader struct {
	ctx     context.Context
	options Options
	dir     *os.Root // of the document's file, or nil
	base    *url.URL // of the document, where it comes from one
	main    *file
	files   map[string]*file // by their place
	bytes   int              // left
	nodes   int              // left
	v2, v31 bool
	// The schemas of requests and of answers.
	sent, received *schemas
	deep           int // references that are being followed for others
}

// open reads the document itself.
func (r *reader) open(at string) error {
	r.files, r.bytes, r.nodes = map[string]*file{}, maxBytes, maxNodes
	if u, err := url.Parse(at); err == nil && u.Host != "" {
		if r.options.Fetch == nil {
			return errors.New("nothing is given that fetches it")
		}
		r.base = u
	} else {
		dir, err := os.OpenRoot(filepath.Dir(at))
		if err != nil {
			return err
		}
		r.dir = dir
		at = filepath.Base(at)
	}
	r.main = r.load(at)
	return r.main.err
}

func (r *reader) close() {
	if r.dir != nil {
		r.dir.Close()
	}
}

// load returns a file, which is read once. Its name is as the document's was given.
func (r *reader) load(at string) *file {
	if f := r.files[at]; f != nil {
		return f
	}
	f := &file{at: at, name: at}
	r.files[at] = f
	if r.dir != nil {
		f.name = filepath.Join(r.dir.Name(), at)
	}
	raw, err := r.text(at)
	if r.options.Reads != nil {
		r.options.Reads(at, raw)
	}
	if err == nil {
		if len(raw) > r.bytes {
			err = fmt.Errorf("the document has more than %d MiB", maxBytes>>20)
		} else {
			r.bytes -= len(raw)
			f.root, err = parse(f, raw, &r.nodes)
		}
	}
	if err != nil {
		f.err = fmt.Errorf("%s: %w", f.name, err)
	}
	return f
}

func (r *reader) text(at string) ([]byte, error) {
	if r.base != nil {
		return r.options.Fetch(r.ctx, at)
	}
	in, err := r.dir.OpenFile(filepath.FromSlash(at), os.O_RDONLY|syscall.O_NONBLOCK, 0) // what has no end to wait for is not waited for
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(errors.New("it is no regular file"), err)
	}
	return io.ReadAll(io.LimitReader(in, int64(r.bytes)+1))
}

// beside returns the file that a reference without its fragment leads to from another file: one of the same directory or below, or one of the same host.
func (r *reader) beside(from *file, ref string) (*file, error) {
	if ref == "" {
		return from, nil
	}
	u, err := url.Parse(ref)
	if err != nil {
		return nil, errors.New("it is no URL")
	}
	if r.base != nil {
		here, err := url.Parse(from.at)
		if err != nil {
			return nil, err
		}
		to := here.ResolveReference(u)
		if to.Host != r.base.Host || to.Scheme != r.base.Scheme {
			return nil, fmt.Errorf("it leads to another host than %s", r.base.Host)
		}
		return r.read(to.String())
	}
	if u.Scheme != "" || u.Host != "" {
		return nil, errors.New("a file refers to files alone, not to URLs")
	}
	to := path.Join(path.Dir(from.at), u.Path)
	if path.IsAbs(u.Path) || to == ".." || strings.HasPrefix(to, "../") {
		return nil, errors.New("it leads out of the document's directory")
	}
	return r.read(to)
}

func (r *reader) read(at string) (*file, error) {
	f := r.load(at)
	return f, f.err
}

// A brokenRef is a reference that leads nowhere.
type brokenRef struct {
	place Place
	ref   string
	why   error
}

func (e *brokenRef) Error() string {
	return fmt.Sprintf("the reference %s at %v can't be followed (%v): write the reference right, or what it stands for in its place", e.ref, e.place, e.why)
}

const maxRefs = 50 // that lead to each other

// deref follows the references that a node is.
func (r *reader) deref(n *node) (*node, error) {
	for range maxRefs {
		ref := n.get("$ref")
		if ref == nil || ref.kind != text {
			return n, nil
		}
		to, err := r.follow(ref, nil)
		if err != nil {
			return nil, err
		}
		n = to
	}
	return nil, &brokenRef{n.place(), n.str("$ref"), errors.New("it leads in a circle")}
}

// follow returns the node that a reference leads to. Where the file has none at its pointer, it is looked for in the schema that the
// reference stands in: some generators write references so.
func (r *reader) follow(ref *node, within *node) (*node, error) {
	if r.deep++; r.deep > maxRefs {
		r.deep--
		return nil, &brokenRef{ref.place(), ref.text, errors.New("it leads in a circle")}
	}
	defer func() { r.deep-- }()
	at, pointer, _ := strings.Cut(ref.text, "#")
	in, err := r.beside(ref.in, at)
	if err == nil {
		var to *node
		if to, err = r.point(in.root, pointer); err != nil && at == "" && within != nil {
			if inside, e := r.point(within, pointer); e == nil {
				to, err = inside, nil
			}
		}
		if err == nil {
			return to, nil
		}
	}
	return nil, &brokenRef{ref.place(), ref.text, err}
}

// point follows a JSON pointer (RFC 6901) in a URL's fragment, through references that it meets.
func (r *reader) point(n *node, pointer string) (*node, error) {
	decoded, err := url.PathUnescape(pointer)
	if err != nil {
		decoded = pointer
	}
	if decoded == "" || decoded == "/" {
		return n, nil
	}
	if decoded[0] != '/' {
		return nil, errors.New("there is no such name")
	}
	for token := range strings.SplitSeq(decoded[1:], "/") {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		next := n.step(token)
		for hops := 0; next == nil && n.get("$ref") != nil && hops < maxRefs; hops++ {
			if n, err = r.follow(n.get("$ref"), nil); err != nil {
				return nil, err
			}
			next = n.step(token)
		}
		if next == nil {
			return nil, fmt.Errorf("there is no %q", token)
		}
		n = next
	}
	return n, nil
}

func (n *node) step(token string) *node {
	if n != nil && n.kind == list {
		if i, err := strconv.Atoi(token); err == nil && i >= 0 && i < len(n.kids) {
			return n.kids[i]
		}
		return nil
	}
	return n.get(token)
}
