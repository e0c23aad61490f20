package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// The methods of a chain.
const (
	APIKeys    = "keys"       // API keys of a file
	OAuth      = "oauth"      // access tokens of OAuth 2.1 and OpenID Connect issuers
	Google     = "google"     // ID tokens that Google signed
	CloudRun   = "cloudrun"   // ID tokens that Cloud Run has verified, and whose signature it took away
	IAP        = "iap"        // assertions of Google's Identity-Aware Proxy
	Kubernetes = "kubernetes" // tokens of Kubernetes service accounts
	Anonymous  = "anonymous"  // those who say nothing
)

// Methods lists them.
var Methods = []string{APIKeys, OAuth, Google, CloudRun, IAP, Kubernetes, Anonymous}

// A Cause says why credentials were refused. It is for the log and the metrics; a caller learns less.
type Cause string

// The causes.
const (
	Missing        Cause = "none" // there are no credentials
	Malformed      Cause = "malformed"
	Unknown        Cause = "unknown" // no method takes such a credential, or no one has this key
	Expired        Cause = "expired"
	NotYetValid    Cause = "not_yet_valid"
	WrongAudience  Cause = "wrong_audience"
	WrongIssuer    Cause = "wrong_issuer"
	WrongAlgorithm Cause = "wrong_algorithm"
	UnknownKey     Cause = "unknown_kid"
	BadSignature   Cause = "bad_signature"
	Revoked        Cause = "revoked"
	Unnamed        Cause = "unnamed"     // the token names no tenant or subject that can be used
	Unavailable    Cause = "unavailable" // the issuer's keys can't be had
)

// guess tells whether who sends such credentials may be trying others. Genuine ones that have ended are no guess: their bearer
// must learn so, and get new ones.
func (c Cause) guess() bool {
	switch c {
	case Malformed, Unknown, WrongIssuer, WrongAlgorithm, UnknownKey, BadSignature:
		return true
	}
	return false
}

// An Error is a refusal to authenticate.
type Error struct {
	Cause  Cause
	Method string // that refused, "" for none
	Detail string // for the log
	// Wait is positive after too many failures, for so long.
	Wait time.Duration
	// Retry is positive where the same credentials may be good later.
	Retry time.Duration
	// Hint tells the caller what to do, "" where no more is told than the cause.
	Hint string
	// Request says that the request is malformed, whatever the credentials are.
	Request bool
}

func (e *Error) Error() string { return string(e.Cause) + ": " + e.Detail }

// Options configure an [Authenticator].
type Options struct {
	Chain []string // methods, in order
	// Keys are those of a file, and Stored those of a store: nil where they can't be read yet. Either may be nil. A file's key wins
	// where both have one of the same id: whoever may write to the store must not come by, or take away, what was deployed with
	// the server, and what is in the file holds whether or not the store can be read.
	Keys    func() *Keys
	Stored  func(context.Context) *Keys
	Issuers []Issuer
	Get     Get // fetches discovery documents and keys
	Tenants *TenantMap
	// Local is the caller without credentials where the server answers its own machine alone.
	Local    bool
	Attempts Attempts // counts failures; nil counts in this process
	Proxies  int      // that stand before the server and add to X-Forwarded-For
	Now      func() time.Time
	Logger   *slog.Logger
}

// An Authenticator finds out who calls.
type Authenticator struct {
	opts     Options
	chain    []func(context.Context, *credentials) (*Principal, *Error) // nil and nil: not recognized
	verified verifications
	failures failures
	issuers  []*issuer

	mu       sync.Mutex
	outcomes map[Outcome]int64
	told     map[Cause]*record
}

// An Outcome is what a metric counts.
type Outcome struct {
	Method string
	Cause  Cause // "" is success
}

type record struct {
	at      time.Time
	silence int // since
}

// New returns an authenticator.
func New(o Options) *Authenticator {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Authenticator{opts: o, outcomes: map[Outcome]int64{}, told: map[Cause]*record{}}
	a.failures = failures{shared: o.Attempts, now: o.Now, until: map[string]time.Time{}, asking: make(chan struct{}, 1), local: newLocalAttempts(o.Now)}
	for _, method := range o.Chain {
		switch method {
		case APIKeys:
			a.chain = append(a.chain, a.byKey)
		case CloudRun:
			a.chain = append(a.chain, a.byPlatform)
		case Anonymous:
			a.chain = append(a.chain, func(_ context.Context, c *credentials) (*Principal, *Error) {
				if c.given() {
					return nil, nil
				}
				return &anyone, nil
			})
		default:
			for _, i := range o.Issuers {
				if i.Method == method {
					a.chain = append(a.chain, a.byToken(a.issuer(i)))
				}
			}
		}
	}
	return a
}

func (a *Authenticator) issuer(i Issuer) *issuer {
	made := newIssuer(i, &a.opts)
	a.issuers = append(a.issuers, made)
	return made
}

// Degraded lists the issuers whose keys were needed and can't be fetched.
func (a *Authenticator) Degraded() (out []string) {
	for _, i := range a.issuers {
		if i.keys.outage(a.opts.Now()) != nil {
			out = append(out, "authentication: the keys of the issuer "+i.URL+" can't be fetched; tokens whose keys are not known are refused (the log says why)")
		}
	}
	return out
}

// A Request is what is known of a request before its body.
type Request struct {
	Header     http.Header
	RemoteAddr string
	ID         string
	// Part is what of the server is asked for, "" for all. Tokens whose audience is /PART after one of the issuer's that ends in /mcp are
	// taken there too.
	Part string
}

// Authenticate returns who calls, or why the credentials are refused.
func (a *Authenticator) Authenticate(ctx context.Context, r *Request) (*Principal, *Error) {
	var c credentials
	now := a.opts.Now()
	err := c.read(r.Header, now)
	c.part = r.Part
	if a.opts.Local && (len(a.chain) == 0 || !c.given()) {
		return &Local, nil
	}
	if err == nil {
		for _, method := range a.chain {
			var p *Principal
			if p, err = method(ctx, &c); p != nil {
				a.count(Outcome{Method: p.Method})
				return p, nil
			} else if err != nil {
				break
			}
		}
	}
	if err == nil {
		err = c.unrecognized()
	}
	a.count(Outcome{err.Method, err.Cause})
	if err.Cause.guess() && err.Retry == 0 {
		err.Wait = a.failures.add(ctx, c.keyID, Address(r.Header, r.RemoteAddr, a.opts.Proxies))
	}
	a.tell(ctx, r, err)
	return nil, err
}

func (a *Authenticator) byKey(ctx context.Context, c *credentials) (*Principal, *Error) {
	if !strings.HasPrefix(c.bearer.text, KeyPrefix) {
		return nil, nil
	}
	var keys *Keys
	if a.opts.Keys != nil {
		keys = a.opts.Keys()
	}
	if a.opts.Stored != nil && !keys.names(c.bearer.text) {
		if keys = a.opts.Stored(ctx); keys == nil {
			return nil, &Error{Cause: Unavailable, Method: APIKeys, Detail: "the API keys can't be read from the store"}
		}
	}
	id, p, err := keys.check(c.bearer.text, c.now)
	c.keyID = id
	return p, err
}

// byToken returns the method of the issuer's tokens.
func (a *Authenticator) byToken(i *issuer) func(context.Context, *credentials) (*Principal, *Error) {
	return func(ctx context.Context, c *credentials) (*Principal, *Error) {
		token := &c.bearer
		if i.Header != "" {
			values := c.header[i.Header]
			if len(values) == 0 {
				return nil, nil
			}
			if len(values) > 1 || !token68(values[0]) {
				return nil, &Error{Cause: Malformed, Method: i.Method, Detail: i.Header, Request: true}
			}
			token = &presented{text: values[0]}
		} else if token.text == "" {
			return nil, nil
		}
		known := a.verified.look(token, c.part, c.now)
		if known != nil && known.issuer != i || known == nil && i.Header == "" && (!i.issues(token.issuedBy()) || platformChecked(token.text)) {
			return nil, nil
		}
		if known != nil {
			i.keys.refresh(c.now)
			return known.principal, nil
		}
		changes := i.keys.changes.Load()
		p, until, err := i.verify(ctx, token.text, c.part, c.now)
		i.keys.refresh(c.now) // not before: a fetch that this token brings about shows whether its key is there
		if err != nil {
			return nil, err
		}
		if again := c.now.Add(verifiedAge); again.Before(until) {
			until = again
		}
		a.verified.keep(token, &verified{principal: p, issuer: i, changes: changes, until: until})
		return p, nil
	}
}

// Stats returns how often each outcome was.
func (a *Authenticator) Stats() map[Outcome]int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make(map[Outcome]int64, len(a.outcomes))
	for o, n := range a.outcomes {
		out[o] = n
	}
	return out
}

func (a *Authenticator) count(o Outcome) {
	a.mu.Lock()
	a.outcomes[o]++
	a.mu.Unlock()
}

// tell writes at most one record a second of each cause.
func (a *Authenticator) tell(ctx context.Context, r *Request, err *Error) {
	a.mu.Lock()
	now := a.opts.Now()
	told := a.told[err.Cause]
	if told == nil {
		told = &record{}
		a.told[err.Cause] = told
	}
	if now.Sub(told.at) < time.Second {
		told.silence++
		a.mu.Unlock()
		return
	}
	silence := told.silence
	*told = record{at: now}
	a.mu.Unlock()
	a.opts.Logger.WarnContext(ctx, "credentials were refused", "cause", string(err.Cause), "method", err.Method, "detail", err.Detail,
		"request_id", r.ID, "address", Address(r.Header, r.RemoteAddr, a.opts.Proxies), "more", silence)
}

// Address is the caller's of a request.
func (a *Authenticator) Address(h http.Header, remoteAddr string) string {
	return Address(h, remoteAddr, a.opts.Proxies)
}

// Address is the caller's, as far as the proxies before the server can be believed: each appends the one that it was called
// from. Of an IPv6 address it is the network, since one caller has as many addresses as it likes there.
func Address(h http.Header, remoteAddr string, proxies int) string {
	text := remoteAddr
	if values := h["X-Forwarded-For"]; proxies > 0 && len(values) > 0 {
		hops := strings.Split(strings.Join(values, ","), ",")
		text = strings.TrimSpace(hops[max(0, len(hops)-proxies)])
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		port, err := netip.ParseAddrPort(text)
		if err != nil {
			return "unknown"
		}
		addr = port.Addr()
	}
	if addr = addr.Unmap().WithZone(""); addr.Is6() {
		if network, err := addr.Prefix(64); err == nil {
			return network.String()
		}
	}
	return addr.String()
}

// hashed keeps who calls out of the counters.
func hashed(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:12])
}
