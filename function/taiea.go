package function

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/control"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/outbound"
	"example.com/erlmcp/function/internal/seal"
	"example.com/erlmcp/function/internal/telemetry"
)

// ControlTarget is the value of FUNCTION_TARGET that serves the control plane.
const ControlTarget = "taiea"

// newControl assembles the control plane. It shares stores, Redis and sealing keys with the data plane, and neither its callers nor its
// identity.
func newControl(ctx context.Context, o *options, cfg *config.Config, ring *seal.Ring, instance string, seen *telemetry.Telemetry, faults error) (_ *Server, err error) {
	entries, err := catalog.Build(o.entries...)
	faults = errors.Join(faults, err)
	p, err := openParts(ctx, cfg, o)
	faults = errors.Join(faults, err)
	if err == nil && p.tenants == nil {
		faults = errors.Join(faults, errors.New("GOOGLE_CLOUD_PROJECT: is not set, and taiea keeps in its Firestore what operators decide"))
	}
	who, err := newCallers(o, cfg, p.redis, nil, nil)
	faults = errors.Join(faults, err)
	secrets, err := control.ParseWebhookSecrets(string(cfg.Operating.WebhookSecrets))
	if err != nil {
		faults = errors.Join(faults, fmt.Errorf("WEBHOOK_SECRETS: %w", err))
	}
	publishers, err := control.ParsePublishers(cfg.Operating.PushAccounts)
	if err != nil {
		faults = errors.Join(faults, fmt.Errorf("PUBSUB_SERVICE_ACCOUNT: %w", err))
	}
	var written *recorder
	if faults == nil {
		if o.receipts != nil {
			p.receipts = o.receipts(p.receipts)
		}
		if written, err = openRecorder(ctx, o, cfg, recording{p, ring, instance}); err == nil && written == nil {
			err = errors.New("RECEIPTS: is false, and taiea records every change")
		}
		faults = errors.Join(faults, err)
	}
	if faults != nil {
		written.close(time.Now())
		p.close()
		closeTelemetry(seen, time.Now().Add(mostWords))
		return nil, &StartError{faults}
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Server{
		config: cfg, logger: o.logger, seen: seen, instance: instance, version: o.info.Version, loopback: o.loopback, callers: who, redis: p.redis, recorder: written,
		observer:    newObserver(o, cfg, seen, nil),
		connections: newConnections(cfg.MaxConnections),
		begun:       time.Now(), stop: stop, parts: p, unfit: p.unfit,
	}
	operator := newOperator(cfg, entries, p)
	options := control.Options{
		Operators: who.authenticator, Role: roleOf(cfg.Operating.Operators), RequestID: func(r *http.Request) string { return r.Header.Get(requestID) }, Secrets: secrets, Publishers: publishers,
		Tenants: p.tenants, Keys: p.keys, Orders: operator, Records: s.records(), Journal: written.ledger(), Replays: p.replays,
		Seal: func(plaintext []byte) []byte {
			return []byte(ring.Seal(sealedAnswers, nil, plaintext, time.Now().Add(48*time.Hour)))
		},
		Open:     func(sealed []byte) ([]byte, error) { return ring.Open(sealedAnswers, nil, string(sealed), time.Now()) },
		Announce: p.announce, Known: operator.known, Believe: s.observer.believe, Callable: callable(p, nil), Logger: o.logger,
	}
	if p.redis != nil {
		options.Fleet, options.Writes = operator, slowPath{p}
	}
	if len(publishers) > 0 {
		options.Push = newPush(o, cfg)
		options.PushCaller = pushedBy(publishers, cfg.Operating.PushAudience)
	}
	plane, err := control.New(options)
	if err != nil {
		s.Close()
		return nil, &StartError{err}
	}
	seen.Register(written.metrics()...)
	seen.Register(s.capacity()...)
	s.handler = s.controlRoutes(plane)
	s.said.Go(func() { s.report(ctx) })
	s.said.Go(func() { s.noteStates(ctx, plane.Entitlements()) })
	return s, nil
}

// requestID is the header that has it.
const requestID = "X-Request-Id"

// sealedAnswers is what the answers to requests with idempotency keys are sealed for.
const sealedAnswers = "taiea answers"

// operatorScope begins the scopes of API keys and tokens that make their bearer an operator. The scope * does not: it is everything
// on the data plane.
const operatorScope = "taiea:"

var operatorRoles = map[string]control.Role{"viewer": control.Viewer, "operator": control.Operator, "admin": control.Admin}

// roleOf says what a caller may do: by its scopes, or by its address, where Google vouches for that.
func roleOf(operators map[string]string) func(*identity.Principal) control.Role {
	return func(p *identity.Principal) control.Role {
		if p == &identity.Local {
			return control.Admin // of its own machine
		}
		role := control.None
		for _, s := range p.Scopes {
			if name, ok := strings.CutPrefix(s, operatorScope); ok {
				role = max(role, operatorRoles[name])
			}
		}
		if slices.Contains([]string{identity.Google, identity.IAP, identity.CloudRun}, p.Method) {
			role = max(role, operatorRoles[operators[strings.ToLower(p.Subject)]])
		}
		return role
	}
}

// scopesOf lists what kill switches and overrides may name of a catalog.
func scopesOf(entries *catalog.Catalog) []string {
	var out []string
	entries.EachTool(func(name string, terms catalog.Terms) error {
		out = append(out, "tool:"+name)
		if u := "upstream:" + terms.Upstream; terms.Upstream != "" && !slices.Contains(out, u) {
			out = append(out, u)
		}
		return nil
	})
	return out
}

// formerScopes are those that tools had, and those that they have.
func formerScopes(entries *catalog.Catalog) map[string]string {
	former := map[string]string{}
	for _, t := range entries.Renamed() {
		former["tool:"+t.Formerly] = "tool:" + t.Name
	}
	return former
}

// newPush takes the tokens of Pub/Sub's push deliveries. A service that demands authentication gets them without their signature:
// the platform has verified it.
func newPush(o *options, cfg *config.Config) *identity.Authenticator {
	chain := []string{identity.Google}
	if slices.Contains(cfg.Callers.Chain, identity.CloudRun) {
		chain = append(chain, identity.CloudRun)
	}
	return identity.New(identity.Options{
		Chain: chain, Issuers: []identity.Issuer{identity.GoogleIssuer([]string{cfg.Operating.PushAudience})},
		Get: outbound.NewClient(outbound.Options{Resolver: o.resolver, Dial: o.dial}).Get, Proxies: cfg.Callers.Proxies, Logger: o.logger,
	})
}

// pushedBy returns which account of push deliveries a caller is, or nil. What the platform has verified may be meant for something
// else here.
func pushedBy(publishers []control.Publisher, audience string) func(*identity.Principal) *control.Publisher {
	return func(p *identity.Principal) *control.Publisher {
		i := slices.IndexFunc(publishers, func(one control.Publisher) bool { return strings.EqualFold(p.Subject, one.Account) })
		if i < 0 || p.Method == identity.CloudRun && !madeFor(p, audience) {
			return nil
		}
		return &publishers[i]
	}
}

func madeFor(p *identity.Principal, audience string) bool {
	aud, ok := p.Claims["aud"].(string)
	return ok && identity.SameURI(aud, audience)
}

// noteEvery is how often the control plane looks for tenants whose state the clock has changed and who have not called since.
const noteEvery = time.Minute

func (s *Server) noteStates(ctx context.Context, e *control.Entitlements) {
	tick := time.NewTicker(noteEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		round, done := context.WithTimeout(ctx, noteEvery/2)
		if _, err := e.NoteAll(round, s.recorder.journal.NewID); err != nil && ctx.Err() == nil {
			s.logger.Error("the states of tenants can't be noted", "error", err)
		}
		if s.redis != nil {
			running(round, s.redis) // forgets instances that were killed, and what none serves any more
		}
		done()
	}
}

// slowPath limits changes, in Redis.
type slowPath struct{ *parts }

const (
	writesPerMinute = 120
	writesAtOnce    = 40
)

func (p slowPath) Allow(ctx context.Context, key string) (time.Duration, error) {
	return p.redis.Slow("control:"+key, writesPerMinute, writesAtOnce).Allow(ctx)
}

// announce tells instances to read the store.
func (p *parts) announce(ctx context.Context, what string, version int64) error {
	return p.counters.Announce(ctx, governor.Versions{what: version})
}
