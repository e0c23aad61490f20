package controlapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/receipt"
)

// A call is one request on its way.
type call struct {
	r     *http.Request
	route *Route
	id    string
	now   time.Time

	who      *identity.Principal // nil: not known
	by       string              // the name of who calls, for receipts
	role     Role
	body     []byte
	values   url.Values // of the query
	recorded bool       // an intent was: what came of it is recorded too
	begun    bool       // the change was: it may be made whatever error there is
}

// An answer is what a request came to.
type answer struct {
	status   int // 0 is 200
	etag     string
	location string
	body     any
	again    any                   // what is kept in place of the body, for who asks again; nil: the body
	raw      []byte                // in place of the body: as it was answered before
	stream   func(io.Writer) error // in place of the body: JSON Lines
	filename string                // of what is streamed
	replayed bool
}

// Bounds of a request. What is read before an intent is recorded has the time of a change, and what is done afterwards its own.
const (
	maxBody       = 64 << 10
	readTimeout   = 4 * time.Second
	changeTimeout = 4 * time.Second
)

func (p *Plane) serve(w http.ResponseWriter, r *http.Request, route *Route) {
	c := &call{r: r, route: route, id: p.opts.RequestID(r), now: p.opts.Now()}
	a, err := p.run(w, c)
	if err == nil && a.stream != nil {
		err = p.writeStream(w, a)
	}
	if err != nil {
		fault := asProblem(err)
		p.denied(c, fault)
		if fault.Status >= 500 && r.Context().Err() == nil {
			p.opts.Logger.ErrorContext(r.Context(), "the control plane could not do what was asked", "route", route.Method+" "+route.Path, "request_id", c.id, "detail", fault.Detail, "error", fault.cause)
		}
		if !fault.replayed {
			fault.Receipt = c.id
		}
		p.refuse(w, fault)
		return
	}
	if a.stream == nil {
		a.write(w)
	}
}

func (p *Plane) run(w http.ResponseWriter, c *call) (*answer, error) {
	if c.route.Guard == ByRole {
		if err := p.authorize(w, c); err != nil {
			return nil, err
		}
	}
	if c.route.changes() && !c.route.urgent {
		if err := p.limit(c, "operator:"+receipt.HashOf([]byte(c.by)).String()); err != nil {
			return nil, err
		}
	}
	if err := p.read(w, c); err != nil {
		return nil, err
	}
	var faults []string
	var err error
	if c.values, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		faults = append(faults, "query: can't be read: "+err.Error())
	}
	for name, values := range c.values {
		switch {
		case c.route.Guard != ByRole: // others may add to it
		case !slices.Contains(c.route.query, name):
			faults = append(faults, fmt.Sprintf("query: there is no parameter %.40q here", name))
		case len(values) > 1:
			faults = append(faults, fmt.Sprintf("query: %s is given more than once", name))
		}
	}
	slices.Sort(faults)
	if err := invalid(faults); err != nil {
		return nil, err
	}
	if c.route.changes() {
		return p.once(c)
	}
	return c.route.serve(p, c)
}

// authorize finds out who calls, and whether the role is enough.
func (p *Plane) authorize(w http.ResponseWriter, c *call) error {
	who, err := p.authenticate(c, p.opts.Operators)
	if err != nil {
		return err
	}
	c.who, c.role = who, p.opts.Role(who)
	p.known(c, who.String())
	if c.role < c.route.Role {
		p.read(w, c) // for the receipt
		return problem(http.StatusForbidden, "role", "this needs the role %s, and yours is %s", c.route.Role, c.role)
	}
	return nil
}

// known takes note of who calls.
func (p *Plane) known(c *call, by string) {
	c.by = by
	c.r = c.r.WithContext(p.opts.Believe(c.r.Context()))
}

func (p *Plane) authenticate(c *call, a *identity.Authenticator) (*identity.Principal, error) {
	who, err := a.Authenticate(c.r.Context(), &identity.Request{Header: c.r.Header, RemoteAddr: c.r.RemoteAddr, ID: c.id})
	if err == nil {
		return who, nil
	}
	if err.Cause == identity.Unavailable {
		return nil, unavailable(err, "the issuer of the token can't be asked for its keys at the moment")
	}
	fault := problem(http.StatusUnauthorized, "unauthenticated", "the credentials are not valid here")
	fault.challenge = `Bearer realm="taiea", error="invalid_token"`
	switch {
	case err.Wait > 0:
		fault = problem(http.StatusTooManyRequests, "attempts", "too many failed attempts to authenticate")
		fault.wait = err.Wait
	case err.Retry > 0:
		fault = unavailable(err, "the key that signed the token is not known yet, and its issuer was asked a moment ago")
		fault.wait = err.Retry
	case err.Cause == identity.Unnamed && err.Hint != "":
		fault = problem(http.StatusForbidden, "unnamed", "%s", err.Hint)
	case err.Cause == identity.Missing || err.Hint != "":
		fault.Detail, fault.challenge = cmp.Or(err.Hint, "say who you are: send the header Authorization: Bearer, with a key or a token"), `Bearer realm="taiea"`
	case err.Cause == identity.Expired:
		fault.Detail = "the credentials have expired"
	}
	return nil, fault
}

func (p *Plane) limit(c *call, key string) error {
	if p.opts.Writes == nil {
		return nil
	}
	wait, err := p.opts.Writes.Allow(c.r.Context(), key)
	if err != nil {
		p.opts.Logger.WarnContext(c.r.Context(), "the limit on changes can't be asked, and holds nothing up", "error", err)
	} else if wait > 0 {
		return limited(wait)
	}
	return nil
}

// read takes the body in, within bounds.
func (p *Plane) read(w http.ResponseWriter, c *call) error {
	connection := http.NewResponseController(w)
	connection.SetReadDeadline(time.Now().Add(p.opts.BodyTimeout)) // an error is of a writer that has no connection
	body, err := io.ReadAll(http.MaxBytesReader(w, c.r.Body, maxBody))
	if err == nil {
		connection.SetReadDeadline(time.Time{}) // the server waits for the caller to leave
	}
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		return problem(http.StatusRequestTimeout, "slow", "the body did not arrive within %v", p.opts.BodyTimeout)
	case errors.As(err, &large):
		return problem(http.StatusRequestEntityTooLarge, "too_large", "a body may have %d bytes", maxBody)
	case err != nil:
		return problem(http.StatusBadRequest, "invalid", "the body can't be read")
	}
	c.body = body
	if !c.route.body {
		if len(body) > 0 {
			return problem(http.StatusBadRequest, "invalid", "there is no body to %s %s", c.route.Method, c.route.Path)
		}
		return nil
	}
	if c.route.bare && len(body) == 0 {
		return nil
	}
	kind, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if charset := params["charset"]; err != nil || kind != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return problem(http.StatusUnsupportedMediaType, "media_type", "the body must be JSON: send Content-Type: application/json")
	}
	return nil
}

// reading bounds a read in time.
func (c *call) reading() (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.r.Context(), readTimeout)
}

// denied records what was refused before an intent was recorded: every denial, and every change that was not made. Of who is not known
// it keeps the route, and where the request came from, hashed: path, query and body are theirs to choose.
func (p *Plane) denied(c *call, fault *Problem) {
	kept := fault.Status == http.StatusUnauthorized || fault.Status == http.StatusForbidden || fault.Status == http.StatusTooManyRequests
	if c.recorded || !kept && c.route.Method == http.MethodGet {
		return
	}
	if c.by == "" {
		p.opts.Journal.Append(receipt.Receipt{
			ID: c.id, Kind: receipt.Refused, Decision: receipt.Refuse, Reason: fault.reason(), Method: c.route.Method + " " + c.route.Path,
			Detail: receipt.From(p.opts.Journal.Hash("", []byte(p.opts.Operators.Address(c.r.Header, c.r.RemoteAddr)))),
		})
		return
	}
	r := p.draft(c, receipt.Refused, "")
	r.Decision, r.Reason, r.Limit = receipt.Refuse, fault.reason(), r.Method
	if fault.reason() == "role" {
		r.Limit = "role:" + c.route.Role.String() + " " + r.Method
	}
	var more map[string]any
	if len(fault.Faults) > 0 {
		more = map[string]any{"faults": fault.Faults}
	}
	r.Detail = c.detail(more)
	p.opts.Journal.Append(r)
}

// draft is what the receipts of a call have in common.
func (p *Plane) draft(c *call, kind receipt.Kind, tenant string) receipt.Receipt {
	r := receipt.Receipt{ID: c.id, Kind: kind, Tenant: tenant, Method: c.route.Method + " " + c.route.Path}
	r.Principal = p.changes.Principal(c.by)
	if len(c.body) > 0 {
		r.Arguments = p.opts.Journal.Hash(tenant, c.body)
	}
	return r
}

// detail is what was ordered, with more members.
func (c *call) detail(more map[string]any) string {
	d := map[string]any{"path": c.r.URL.EscapedPath()}
	if c.r.URL.RawQuery != "" {
		d["query"] = c.r.URL.RawQuery
	}
	if c.role != None {
		d["role"] = c.role.String()
	}
	if order, err := receipt.DecodePlain(c.body); err == nil {
		d["order"] = order
	}
	return receipt.Detail(d, more)
}

func (a *answer) write(w http.ResponseWriter) {
	h := w.Header()
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if a.etag != "" {
		h.Set("ETag", a.etag)
	}
	if a.location != "" {
		h.Set("Location", a.location)
	}
	if a.replayed {
		h.Set("Idempotency-Replayed", "true")
	}
	if a.status == http.StatusNoContent {
		w.WriteHeader(a.status)
		return
	}
	text := a.raw
	if text == nil {
		text = encode(a.body)
	}
	h.Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	w.Write(text)
}

func encode(body any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(body); err != nil {
		panic(err) // a body of ours has nothing that has no JSON
	}
	return b.Bytes()
}

// writeStream writes what is streamed. An error after the first byte ends the connection, so that no one takes the part for the
// whole.
func (p *Plane) writeStream(w http.ResponseWriter, a *answer) error {
	s := &stream{w: w, connection: http.NewResponseController(w), patience: p.opts.BodyTimeout, filename: a.filename}
	err := a.stream(s)
	if err == nil {
		err = s.end()
	}
	if err != nil && s.begun {
		panic(http.ErrAbortHandler)
	}
	return err
}

// A stream waits for its reader no longer than its patience for each chunk.
type stream struct {
	w          http.ResponseWriter
	connection *http.ResponseController
	patience   time.Duration
	filename   string
	begun      bool
}

// chunk is what a reader has the patience of a stream for.
const chunk = 64 << 10

func (s *stream) begin() {
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", "application/jsonl")
		s.w.Header().Set("Content-Disposition", `attachment; filename="`+s.filename+`"`)
		s.w.WriteHeader(http.StatusOK)
	}
}

func (s *stream) Write(b []byte) (written int, err error) {
	s.begin()
	for part := range slices.Chunk(b, chunk) {
		s.connection.SetWriteDeadline(time.Now().Add(s.patience)) // an error is of a writer that has no connection
		n, err := s.w.Write(part)
		if written += n; err != nil {
			return written, err
		}
	}
	return written, nil
}

// end sends what is left, and lets the connection be used again.
func (s *stream) end() error {
	s.begin()
	s.connection.SetWriteDeadline(time.Now().Add(s.patience))
	if err := s.connection.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	s.connection.SetWriteDeadline(time.Time{})
	return nil
}
