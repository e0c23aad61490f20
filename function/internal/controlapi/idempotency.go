package controlapi

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/effect"
	"example.com/erlmcp/function/internal/receipt"
)

const (
	// claimTimeout is for how long an instance may have a claim without an answer: longer than a change takes.
	claimTimeout = time.Minute
	keepAnswers  = 24 * time.Hour
	storeTimeout = 2 * time.Second
	maxAnswer    = 256 << 10 // a longer one is not kept
)

// kept is an answer as it is sealed, with what it belongs to, so that the store can't exchange two.
type kept struct {
	Key      string   `json:"key"`
	Request  string   `json:"request"`
	Status   int      `json:"status"`
	ETag     string   `json:"etag,omitempty"`
	Location string   `json:"location,omitempty"`
	Body     []byte   `json:"body,omitempty"`
	Problem  *Problem `json:"problem,omitempty"`
}

// once serves a change: of requests with the same idempotency key of the same caller, the first is done, and the others get its answer.
func (p *Plane) once(c *call) (*answer, error) {
	header := c.r.Header.Values("Idempotency-Key")
	if len(header) == 0 {
		return p.attempt(c)
	}
	word := header[0]
	if n := len(word); len(header) > 1 || n < 1 || n > 128 || strings.ContainsFunc(word, func(r rune) bool { return r < ' ' || r > '~' }) {
		return nil, invalid([]string{"Idempotency-Key: is not one value of 1 to 128 printable characters"})
	}
	key := hash(c.by, word)
	mine := effect.IdempotencyRecord{Claim: rand.Text(), Request: c.hash(), Expires: c.now.Add(claimTimeout)}
	ctx, stop := context.WithTimeout(c.r.Context(), storeTimeout)
	held, err := p.opts.Effects.Claim(ctx, key, mine, c.now)
	stop()
	switch {
	case err != nil:
		// The claim may be there: it is given back, or expires.
		p.drop(c, key, mine.Claim)
		return nil, unavailable(err, "whether this was asked before can't be looked up")
	case held != nil:
		return p.replay(c, key, mine.Request, held)
	}
	settled := false
	defer func() {
		switch { // a failure is not remembered, nor a panic, where another attempt does no harm
		case settled:
		case c.route.adds && c.begun:
			p.settle(c, mine, kept{Key: key, Request: mine.Request, Problem: doubtful(nil)})
		default:
			p.drop(c, key, mine.Claim)
		}
	}()
	a, err := p.attempt(c)
	k := kept{Key: key, Request: mine.Request}
	if err != nil {
		fault := asProblem(err)
		switch {
		case fault.unsure && c.route.adds && c.begun:
			fault = doubtful(fault.cause)
		case fault.Status >= 500 || fault.Status == http.StatusTooManyRequests:
			settled = true
			p.drop(c, key, mine.Claim)
			return nil, fault
		}
		fault.Receipt = c.id
		k.Problem, k.ETag = fault, fault.etag
		err = fault
	} else {
		if a.raw == nil {
			a.raw = encode(a.body)
		}
		k.Status, k.ETag, k.Location, k.Body = a.status, a.etag, a.location, a.raw
		if a.again != nil {
			k.Body = encode(a.again)
		}
	}
	settled = true
	p.settle(c, mine, k)
	return a, err
}

// settle keeps an answer. Where it can't, the claim stays: until it expires, no other attempt is made.
func (p *Plane) settle(c *call, mine effect.IdempotencyRecord, k kept) {
	text, err := json.Marshal(k)
	if err == nil && len(text) > maxAnswer {
		err = fmt.Errorf("it has %d bytes, more than %d", len(text), maxAnswer)
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(c.r.Context()), storeTimeout)
	defer stop()
	if err == nil {
		mine.Answer, mine.Expires = p.opts.Seal(text), p.opts.Now().Add(keepAnswers)
		err = p.opts.Effects.Settle(ctx, k.Key, mine)
	}
	if err != nil {
		p.opts.Logger.WarnContext(ctx, "an answer can't be kept for its idempotency key", "request_id", c.id, "error", err)
	}
}

// attempt makes a change in bounded time.
func (p *Plane) attempt(c *call) (*answer, error) {
	ctx, stop := context.WithTimeout(c.r.Context(), changeTimeout)
	defer stop()
	c.r = c.r.WithContext(ctx)
	return c.route.serve(p, c)
}

func (p *Plane) drop(c *call, key, claim string) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(c.r.Context()), storeTimeout)
	defer stop()
	if err := p.opts.Effects.Drop(ctx, key, claim); err != nil {
		p.opts.Logger.WarnContext(ctx, "a claim on an idempotency key stays until it expires", "request_id", c.id, "error", err)
	}
}

// replay answers as was answered before.
func (p *Plane) replay(c *call, key, request string, held *effect.IdempotencyRecord) (*answer, error) {
	switch {
	case held.Request != request:
		return nil, problem(http.StatusUnprocessableEntity, "other_request", "another request was made with this Idempotency-Key: a request that asks for something else needs a key of its own")
	case len(held.Answer) == 0:
		fault := problem(http.StatusConflict, "running", "a request with this Idempotency-Key is under way: ask again in 1s for its answer")
		fault.wait = time.Second
		return nil, fault
	}
	text, err := p.opts.Open(held.Answer)
	var k kept
	if err == nil {
		err = json.Unmarshal(text, &k)
	}
	if err == nil && (k.Key != key || k.Request != request) {
		err = errors.New("it belongs to another request")
	}
	if err != nil {
		fault := problem(http.StatusInternalServerError, "sealed", "the answer that was kept for this Idempotency-Key can't be opened: look whether the change was made before you ask with another key")
		fault.cause = fmt.Errorf("a kept answer: %w", err)
		return nil, fault
	}
	r := p.draft(c, receipt.Completed, "")
	r.Decision, r.Reason = receipt.Allow, "replayed"
	r.Detail = c.detail(nil)
	p.opts.Journal.Append(r)
	c.recorded = true
	if k.Problem != nil {
		k.Problem.etag, k.Problem.replayed = k.ETag, true
		return nil, k.Problem
	}
	return &answer{status: k.Status, etag: k.ETag, location: k.Location, raw: k.Body, replayed: true}, nil
}

// hash is of what is asked: the same order on the same state of things.
func (c *call) hash() string {
	h := c.r.Header
	return hash(c.r.Method, c.r.URL.EscapedPath(), c.r.URL.RawQuery, strings.Join(h.Values("If-Match"), ","), strings.Join(h.Values("If-None-Match"), ","), string(c.body))
}

func hash(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))
}
