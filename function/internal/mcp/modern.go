package mcp

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

func (r *request) serveModern(ctx context.Context, m *message) {
	if m.id != nil && !wholeID(m.id) {
		r.invalid(ctx, nil, notMessage("id must be a string or an integer"))
		return
	}
	if e := checkModern(r.head, m); e != nil {
		if r.charge(ctx, m.id) {
			return
		}
		r.fail(e.status(), m.id, e)
		told := r.told(Failed)
		told.Method, told.Modern, told.Version, told.Error = m.method, true, r.head.Version, e
		r.Observe(ctx, told)
		return
	}
	if m.id == nil {
		r.accept(ctx, m, true)
		return
	}
	if name := m.name(); name.set && name.value != r.head.Name {
		r.admission.Yield() // a name that looks like copies of the one that was decided
	}
	c := &Call{
		Head: r.head, Method: m.method, Modern: true, Version: Version20260728, Client: m.params.meta.clientInfo,
		Trace: m.params.meta.trace, server: r.Server, exchange: r, progressToken: m.params.meta.progressToken,
		capabilities: m.params.meta.capabilities, logLevel: noLog,
	}
	if l := m.params.meta.logLevel; l.set {
		c.logLevel = severity(l.value)
	}
	r.serveCall(ctx, c, m)
}

// checkModern holds a request against its headers and the rules for _meta. The order is that of the specification's
// error table: what is wrong with the headers comes first, since a proxy may have acted on them.
func checkModern(head *RequestHeader, m *message) *Error {
	p := &m.params
	mismatch := func(format string, args ...any) *Error {
		return &Error{Code: CodeHeaderMismatch, Message: clip("header mismatch: "+fmt.Sprintf(format, args...), maxMessage)}
	}
	if head.fault != "" {
		return mismatch("%s", head.fault)
	}
	if m.response {
		return &Error{Code: CodeInvalidRequest, Message: "a request or a notification is wanted, not a response"}
	}
	if head.Version == "" {
		return mismatch("MCP-Protocol-Version is missing")
	}
	if p.meta.version.set && p.meta.version.value != head.Version {
		return mismatch("MCP-Protocol-Version is %s, _meta says %s", quote(head.Version), quote(p.meta.version.value))
	}
	if head.Version != Version20260728 {
		data, _ := json.Marshal(map[string]any{"supported": supported, "requested": clip(head.Version, maxQuoted)})
		return &Error{CodeUnsupportedVersion, "unsupported protocol version", data}
	}
	if m.id == nil {
		return nil // this revision defines no header rules for notifications
	}
	if head.Method == "" {
		return mismatch("Mcp-Method is missing")
	}
	if head.Method != m.method {
		return mismatch("Mcp-Method is %s, the body says %s", quote(head.Method), quote(m.method))
	}
	if name := m.name(); name.set && name.value != head.Name && name.value != head.whole {
		if _, there := head.Header[headerName]; !there {
			return mismatch("Mcp-Name is missing")
		}
		return mismatch("Mcp-Name is %s, the body says %s", quote(head.Name), quote(name.value))
	}
	switch {
	case p.wrong != "":
		return invalidParams("%s", p.wrong)
	case !p.meta.version.set:
		return invalidParams("params._meta must have %sprotocolVersion", metaPrefix)
	case p.meta.capabilities == nil:
		return invalidParams("params._meta must have %sclientCapabilities", metaPrefix)
	case p.meta.progressToken != nil && !wholeID(p.meta.progressToken):
		return invalidParams("params._meta.progressToken must be a string or an integer")
	case p.meta.logLevel.set && severity(p.meta.logLevel.value) < 0:
		return invalidParams("unknown log level %s: use one of %v", quote(p.meta.logLevel.value), levels)
	}
	return nil
}

// entry is the name of what a modern request is about, as far as its headers say so: that of a method whose body is not held against the
// header is worth nothing.
func (h *RequestHeader) entry() string {
	switch h.Method {
	case methodToolsCall, methodPromptsGet:
		return h.Name
	case methodResourcesRead:
		if uri, err := NormalURI(h.Name); err == nil {
			return uri
		}
		return h.Name // the body's, which is the same, is refused
	}
	return ""
}

// discoverTTL is how long a client may keep what the server can do: a catalog that takes this one's place may have other kinds of entries.
const discoverTTL = time.Minute

func (s *Server) dispatchModern(c *Call, m *message, b []byte) ([]byte, *Error) {
	if m.method != methodDiscover {
		return b, errMethod
	}
	b = s.open(c, b)
	b = append(b, `"supportedVersions":["`+strings.Join(supported, `","`)+`"],"capabilities":`...)
	b = append(append(b, s.capabilities...), ',')
	b = appendMember(b, "instructions", s.opts.Info.Instructions)
	b = appendCacheHints(b, discoverTTL, false)
	return s.close(c, b), nil
}
