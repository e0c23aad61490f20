package openapi

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// checkOptions refuses a server that is none, and variables that the document's servers have not.
func (r *reader) checkOptions() error {
	if r.options.Server != "" {
		_, err := absolute(r.options.Server)
		return err
	}
	known := map[string]bool{}
	look := func(n *node) {
		for _, s := range n.get("servers").elements() {
			if v := s.get("variables"); v != nil {
				for _, name := range v.keys {
					known[name] = true
				}
			}
		}
	}
	look(r.main.root)
	for _, o := range r.offers(r.main.root) {
		look(o.item)
		look(o.op)
	}
	for _, name := range slices.Sorted(maps.Keys(r.options.Variables)) {
		if !known[name] {
			return fmt.Errorf("there is no variable %q of a server: there are %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	return nil
}

// absolute returns a server's URL without a slash at its end.
func absolute(server string) (string, error) {
	u, err := url.Parse(server)
	switch {
	case err != nil:
		return "", fmt.Errorf("the server %q is no URL", server)
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return "", fmt.Errorf("the server %q is no absolute URL of http or https: name one in the catalog, such as server: https://api.example.com", server)
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return "", fmt.Errorf("the server %q has a query, a fragment or a password: name one without in the catalog", server)
	}
	return strings.TrimRight(server, "/"), nil
}

// server takes the operation's server, or its path's, or the document's, but for the one that the options name.
func (b *builder) server() error {
	at, err := b.r.serverOf(b.o)
	if err != nil {
		return err
	}
	b.op.Request.Server = at
	return nil
}

func (r *reader) serverOf(o *offer) (string, error) {
	if r.options.Server != "" {
		return absolute(r.options.Server)
	}
	if r.v2 {
		return r.server2(o)
	}
	for _, n := range []*node{o.op, o.item, r.main.root} {
		if all := n.get("servers").elements(); len(all) > 0 {
			at, err := r.filledIn(all[0])
			if err != nil {
				return "", err
			}
			return r.relative(at, all[0].in)
		}
	}
	return r.relative("/", r.main)
}

// filledIn returns a server's URL with its variables.
func (r *reader) filledIn(server *node) (string, error) {
	at := server.str("url")
	for _, m := range variable.FindAllStringSubmatch(at, -1) {
		v := server.get("variables").get(m[1])
		value, given := r.options.Variables[m[1]]
		if !given {
			if v.get("default") == nil {
				return "", fmt.Errorf("the server %s at %v has no default for {%s}: name its value in the catalog, under variables", at, server.place(), m[1])
			}
			value = v.str("default")
		}
		if all := v.get("enum").elements(); given && len(all) > 0 && !slices.ContainsFunc(all, func(n *node) bool { return n.text == value }) {
			return "", fmt.Errorf("the variable %s of the server at %v can't be %q: its enum has other values", m[1], server.place(), value)
		}
		at = strings.ReplaceAll(at, m[0], value)
	}
	return at, nil
}

var errNoServer = errors.New("the document names no server, and it was not fetched from one: name one in the catalog, such as server: https://api.example.com")

// relative makes a server's URL absolute, by where the document comes from.
func (r *reader) relative(at string, in *file) (string, error) {
	u, err := url.Parse(at)
	if err == nil && u.Host == "" && u.Scheme == "" {
		if r.base == nil {
			return "", errNoServer
		}
		base, err := url.Parse(in.at)
		if err != nil {
			return "", err
		}
		at = base.ResolveReference(u).String()
	}
	if err == nil && u.Host != "" && u.Scheme == "" { // as //host/path
		scheme := "https"
		if r.base != nil {
			scheme = r.base.Scheme
		}
		at = scheme + ":" + at
	}
	return absolute(at)
}

// server2 is the server of OpenAPI 2.0: host, basePath and schemes, of which https is preferred.
func (r *reader) server2(o *offer) (string, error) {
	root := r.main.root
	schemes := o.op.get("schemes").elements()
	if len(schemes) == 0 {
		schemes = root.get("schemes").elements()
	}
	host, scheme := root.str("host"), ""
	for _, s := range schemes {
		if s.text == "https" || s.text == "http" && scheme == "" {
			scheme = s.text
		}
	}
	if r.base != nil {
		if host == "" {
			host = r.base.Host
		}
		if scheme == "" {
			scheme = r.base.Scheme
		}
	}
	switch {
	case host == "":
		return "", errNoServer
	case scheme == "" && len(schemes) > 0:
		return "", errors.New("the document's schemes are neither https nor http: name a server in the catalog, such as server: https://api.example.com")
	case scheme == "":
		scheme = "https"
	}
	return absolute(scheme + "://" + host + "/" + strings.Trim(root.str("basePath"), "/"))
}
