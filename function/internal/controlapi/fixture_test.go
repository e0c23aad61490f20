package controlapi_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/erlmcp/function/internal/controlapi"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/effect"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/fleet"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/verify"
	"example.com/erlmcp/function/internal/seal"
	"example.com/erlmcp/function/internal/store/memory"
)

// A fixture is a control plane over stores in memory, each of which a test can take away.
type fixture struct {
	anchored atomic.Int64
	t        *testing.T
	plane    *controlapi.Plane
	store    *memory.Store
	effects  *memory.Effects
	journal  *record
	fleet    []fleet.Instance
	texts    map[string]string // of the operators' keys
	keyID    string            // of an API key

	mu       sync.Mutex
	now      time.Time
	requests int
	down     map[string]error // what does not answer: tenants, change, keys, orders, replays, records, announce, writes
	after    bool             // what is down does what it is asked, and then does not answer
	wait     time.Duration    // that the limit on changes says
	asked    []string         // of that limit
	told     []string         // what was announced
	hold     chan struct{}    // where it is not nil, changes of tenants wait for it

	publishers []entitlement.Publisher
}

const pushAccount = "push@project.iam.gserviceaccount.com"

var (
	marketKey = bytes.Repeat([]byte{1}, 32)
	otherKey  = bytes.Repeat([]byte{3}, 32)
	newKey    = bytes.Repeat([]byte{4}, 32)
)

func newFixture(t *testing.T, change ...func(*controlapi.Options)) *fixture {
	t.Helper()
	f := &fixture{
		t: t, store: memory.New(), effects: memory.NewEffects(), now: time.Now().UTC().Truncate(time.Millisecond),
		down: map[string]error{}, texts: map[string]string{"bad token": "erlmcp_aaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaa"},
	}
	f.journal = &record{f: f}
	ring := seal.RandomRing()
	o := controlapi.Options{
		Operators: identity.New(identity.Options{Chain: []string{identity.APIKeys}, Keys: f.operators(), Now: f.clock}),
		Role: func(p *identity.Principal) controlapi.Role {
			for role := controlapi.Admin; role > controlapi.None; role-- {
				if len(p.Missing([]string{"taiea:" + role.String()})) == 0 {
					return role
				}
			}
			return controlapi.None
		},
		RequestID: func(r *http.Request) string { return r.Header.Get("Test-Request-Id") },
		Push: identity.New(identity.Options{
			Chain: []string{identity.Google}, Issuers: []identity.Issuer{identity.GoogleIssuer([]string{"https://taiea.example"})}, Get: google, Now: f.clock,
		}),
		PushCaller: func(p *identity.Principal) *entitlement.Publisher {
			for i := range f.publishers {
				if f.publishers[i].Account == p.Subject {
					return &f.publishers[i]
				}
			}
			return nil
		},
		Anchor: func(context.Context) error {
			f.anchored.Add(1)
			return f.fault("anchor")
		},
		Publishers: []entitlement.Publisher{{Account: pushAccount, Sources: []string{"market", "partner"}}},
		Secrets:    []entitlement.WebhookSecret{{Source: "market", Key: marketKey}, {Source: "market", Key: newKey}, {Source: "partner", Key: otherKey}},
		Tenants:    tenants{f.store, f}, Keys: keys{f.store, f}, Directives: fleetDirectives{f}, Records: f.journal, Fleet: f, Journal: f.journal, Effects: replays{f.effects, f},
		Seal: func(plaintext []byte) []byte {
			return []byte(ring.Seal("replays", nil, plaintext, f.clock().Add(25*time.Hour)))
		},
		Open: func(sealed []byte) ([]byte, error) { return ring.Open("replays", nil, string(sealed), f.clock()) },
		Announce: func(_ context.Context, what string, version int64) error {
			f.mu.Lock()
			f.told = append(f.told, what)
			f.mu.Unlock()
			return f.fault("announce")
		},
		Writes: f, Now: f.clock,
	}
	for _, c := range change {
		c(&o)
	}
	f.publishers = o.Publishers
	plane, err := controlapi.New(o)
	if err != nil {
		t.Fatal(err)
	}
	f.plane = plane
	f.seed()
	return f
}

// operators are one of each role.
func (f *fixture) operators() func() *identity.Keys {
	var file identity.KeyFile
	for _, who := range []string{"none", "viewer", "operator", "admin", "admin2"} {
		text, k := identity.NewKey(identity.Key{Tenant: "ops", Subject: who, Scopes: []string{"taiea:" + strings.TrimSuffix(who, "2")}})
		f.texts[who] = text
		file.Keys = append(file.Keys, k)
	}
	text, err := json.Marshal(file)
	if err != nil {
		f.t.Fatal(err)
	}
	parsed, err := identity.ParseKeys(text)
	if err != nil {
		f.t.Fatal(err)
	}
	return func() *identity.Keys { return parsed }
}

// seed puts in what the routes are about.
func (f *fixture) seed() {
	ctx := f.t.Context()
	must := func(err error) {
		f.t.Helper()
		if err != nil {
			f.t.Fatal(err)
		}
	}
	_, err := f.store.ChangeTenant(ctx, "acme", nil, func(t *entitlement.Tenant) error {
		t.Apply(&entitlement.Event{Source: entitlement.Operator, Type: entitlement.Grant, Time: f.now.Add(-time.Hour), Plan: "base"})
		t.Noted = entitlement.Stable
		return nil
	})
	must(err)
	_, err = f.store.ChangePlan(ctx, "gold", func(p *entitlement.Plan) error { p.Title, p.Packs = "Gold", []string{"gold"}; return nil })
	must(err)
	rate := 5.0
	_, err = f.store.Change(ctx, func(o *directives.Directives) error {
		return errors.Join(o.Override(directives.Override{Scope: "tool:search", Limits: directives.Limits{PerSecond: &rate}}), o.Kill(directives.Kill{Scope: "tool:rm", Reason: "it deletes", At: f.now}))
	})
	must(err)
	_, k := identity.NewKey(identity.Key{Tenant: "acme", Subject: "bot", Scopes: []string{"read"}, Created: f.now})
	_, err = f.store.AddKey(ctx, k)
	must(err)
	f.keyID = k.ID
	f.fleet = []fleet.Instance{{Name: "b", Ready: true, Seen: f.now}, {Name: "a", Degraded: []string{"redis"}, Holdings: []fleet.Holding{{Scope: "everything", Slots: 3}}}}
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fixture) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

var errDown = errors.New("connection refused")

func (f *fixture) fault(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down[what]
}

// take makes something not answer until the test puts it back.
func (f *fixture) take(what string) (putBack func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down[what] = errDown
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.down, what)
	}
}

// late tells whether a fault comes after what was asked is done.
func (f *fixture) late() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.after
}

// again calls a change twice, as a store does whose transaction another was in the way of.
func again[T any](clone func(*T) *T, change func(*T) error) func(*T) error {
	return func(x *T) error {
		if err := change(clone(x)); err != nil {
			return err
		}
		return change(x)
	}
}

type tenants struct {
	*memory.Store
	f *fixture
}

func (s tenants) Tenant(ctx context.Context, id string) (*entitlement.Tenant, error) {
	if err := s.f.fault("tenants"); err != nil {
		return nil, err
	}
	return s.Store.Tenant(ctx, id)
}

func (s tenants) Tenants(ctx context.Context, after string, most int) ([]*entitlement.Tenant, error) {
	if err := s.f.fault("tenants"); err != nil {
		return nil, err
	}
	return s.Store.Tenants(ctx, after, most)
}

func (s tenants) Changes(ctx context.Context, since int64) (*entitlement.Changes, error) {
	if err := s.f.fault("tenants"); err != nil {
		return nil, err
	}
	return s.Store.Changes(ctx, since)
}

func (s tenants) Plans(ctx context.Context) ([]*entitlement.Plan, error) {
	if err := s.f.fault("tenants"); err != nil {
		return nil, err
	}
	return s.Store.Plans(ctx)
}

func (s tenants) ChangeTenant(ctx context.Context, id string, e *entitlement.Event, change func(*entitlement.Tenant) error) (*entitlement.Tenant, error) {
	s.f.mu.Lock()
	hold := s.f.hold
	s.f.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := errors.Join(s.f.fault("change"), s.f.fault("change "+id)); err != nil && !s.f.late() {
		return nil, err
	}
	t, err := s.Store.ChangeTenant(ctx, id, e, again((*entitlement.Tenant).Clone, change))
	if down := s.f.fault("change"); down != nil {
		return nil, down
	}
	return t, err
}

func (s tenants) ChangePlan(ctx context.Context, name string, change func(*entitlement.Plan) error) (*entitlement.Plan, error) {
	if err := s.f.fault("change"); err != nil {
		return nil, err
	}
	return s.Store.ChangePlan(ctx, name, again((*entitlement.Plan).Clone, change))
}

type keys struct {
	*memory.Store
	f *fixture
}

func (s keys) Key(ctx context.Context, id string) (*identity.StoredKey, error) {
	if err := s.f.fault("keys"); err != nil {
		return nil, err
	}
	return s.Store.Key(ctx, id)
}

func (s keys) Keys(ctx context.Context, tenant, after string, most int) ([]*identity.StoredKey, error) {
	if err := s.f.fault("keys"); err != nil {
		return nil, err
	}
	return s.Store.Keys(ctx, tenant, after, most)
}

func (s keys) AddKey(ctx context.Context, k identity.Key) (*identity.StoredKey, error) {
	if err := s.f.fault("change"); err != nil && !s.f.late() {
		return nil, err
	}
	made, err := s.Store.AddKey(ctx, k)
	if down := s.f.fault("change"); down != nil {
		return nil, down
	}
	if s.f.fault("process") != nil {
		panic("the process")
	}
	return made, err
}

func (s keys) ChangeKey(ctx context.Context, id string, change func(*identity.Key) error) (*identity.StoredKey, error) {
	if err := errors.Join(s.f.fault("change"), s.f.fault("change key")); err != nil {
		return nil, err
	}
	return s.Store.ChangeKey(ctx, id, again(func(k *identity.Key) *identity.Key { c := *k; return &c }, change))
}

type fleetDirectives struct{ f *fixture }

func (o fleetDirectives) Directives(ctx context.Context) (directives.Directives, error) {
	if err := o.f.fault("orders"); err != nil {
		return directives.Directives{}, err
	}
	return o.f.store.Directives(ctx)
}

func (o fleetDirectives) Change(ctx context.Context, change func(*directives.Directives) error) (directives.Directives, error) {
	if err := o.f.fault("change"); err != nil {
		return directives.Directives{}, err
	}
	after, err := o.f.store.Change(ctx, again(func(o *directives.Directives) *directives.Directives {
		return &directives.Directives{Version: o.Version, Kills: slices.Clone(o.Kills), Limits: slices.Clone(o.Limits), Gone: slices.Clone(o.Gone)}
	}, change))
	if err == nil && o.f.fault("announce") != nil {
		err = &directives.Apart{Board: errDown}
	}
	return after, err
}

func (o fleetDirectives) Limits(ctx context.Context) ([]controlapi.LimitInUse, int, error) {
	if err := o.f.fault("orders"); err != nil {
		return nil, -1, err
	}
	return []controlapi.LimitInUse{
		{Limit: governor.Limit{Scope: "tool:search", PerSecond: 5, Concurrency: 2}, Slots: 2, Used: 1, Today: -1},
		{Limit: governor.Limit{Scope: directives.Everything, PerSecond: 100, PerDay: 1000}, Slots: -1, Used: -1, Today: 12},
	}, 2, o.f.fault("usage")
}

type replays struct {
	*memory.Effects
	f *fixture
}

func (r replays) Claim(ctx context.Context, key string, mine effect.IdempotencyRecord, now time.Time) (*effect.IdempotencyRecord, error) {
	if err := r.f.fault("replays"); err != nil {
		return nil, err
	}
	return r.Effects.Claim(ctx, key, mine, now)
}

func (r replays) Settle(ctx context.Context, key string, mine effect.IdempotencyRecord) error {
	if err := r.f.fault("settle"); err != nil {
		return err
	}
	return r.Effects.Settle(ctx, key, mine)
}

// Instances implements [controlapi.Fleet].
func (f *fixture) Instances(context.Context) ([]fleet.Instance, error) {
	return slices.Clone(f.fleet), f.fault("fleet")
}

// Allow implements [controlapi.Limiter].
func (f *fixture) Allow(_ context.Context, key string) (time.Duration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, key)
	return f.wait, f.down["writes"]
}

// A record takes receipts, and is where they are read.
type record struct {
	f   *fixture
	mu  sync.Mutex
	all []receipt.Receipt
}

func (j *record) Append(r receipt.Receipt) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r.Time, r.Instance, r.Seq = j.f.clock(), "test", int64(len(j.all)+1)
	j.all = append(j.all, r)
}

// Hash names whose what is hashed is.
func (j *record) Hash(tenant string, raw []byte) receipt.Hash {
	return receipt.HashOf(append([]byte(tenant+": "), raw...))
}

func (j *record) Commit(_ context.Context, r receipt.Receipt) error {
	if err := j.f.fault("records"); err != nil {
		return err
	}
	if err := j.f.fault("outcomes"); err != nil && r.Kind != receipt.Admitted {
		return err
	}
	j.Append(r)
	return nil
}

// since returns the receipts after the first n.
func (j *record) since(n int) []receipt.Receipt {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.all[n:])
}

func (j *record) count() int { return len(j.since(0)) }

// chained are the receipts with hashes, as a store has them.
func (j *record) chained() []receipt.Receipt {
	all := j.since(0)
	for i := range all {
		all[i].Previous = receipt.HashOf([]byte("genesis"))
		if i > 0 {
			all[i].Previous = all[i-1].Hash
		}
		all[i].Append(nil) // sets the hash
	}
	return all
}

func (j *record) Select(_ context.Context, tenant string, from, to time.Time) iter.Seq2[receipt.Receipt, error] {
	return func(yield func(receipt.Receipt, error) bool) {
		if err := j.f.fault("records"); err != nil {
			yield(receipt.Receipt{}, err)
			return
		}
		for _, r := range j.chained() {
			if (tenant == "" || r.Tenant == tenant) && !r.Time.Before(from) && !r.Time.After(to) && !yield(r, nil) {
				return
			}
		}
	}
}

func (j *record) Newest(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[receipt.Receipt, error] {
	return backwards(j.Select(ctx, tenant, from, to))
}

// backwards yields what there is, the latest first.
func backwards(all iter.Seq2[receipt.Receipt, error]) iter.Seq2[receipt.Receipt, error] {
	return func(yield func(receipt.Receipt, error) bool) {
		var some []receipt.Receipt
		for r, err := range all {
			if err != nil {
				yield(r, err)
				return
			}
			some = append(some, r)
		}
		slices.SortFunc(some, func(x, y receipt.Receipt) int {
			return cmp.Or(y.Time.Compare(x.Time), bytes.Compare(y.Hash[:], x.Hash[:]))
		})
		for _, r := range some {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (j *record) Find(_ context.Context, id string) (found []receipt.Receipt, _ *verify.Report, err error) {
	for _, r := range j.chained() {
		if r.ID == id {
			found = append(found, r)
		}
	}
	return found, &verify.Report{Receipts: int64(len(found)), Segments: 1}, j.f.fault("records")
}

func (j *record) Verify(_ context.Context, tenant string, from, to time.Time) (*verify.Report, error) {
	return &verify.Report{Receipts: 7, Chains: 1, From: from, To: to, Faults: []verify.Fault{{Kind: verify.Missing, Chain: "c", Seq: 3, Words: "receipt 3 is gone"}}, Notes: []string{"a note on " + tenant}}, j.f.fault("records")
}

// operatorKey is the one whose public half [record.Keys] has: the first test vector of RFC 8032, section 7.1.
const operatorKey = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"

// rootKey vouches for roots: the second one there.
const rootKey = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"

func (j *record) Keys(context.Context) (receipt.PublicKeys, error) {
	key, err := hex.DecodeString(operatorKey)
	other, fault := hex.DecodeString(rootKey)
	return receipt.PublicKeys{Keys: []ed25519.PublicKey{key}, Roots: receipt.RootKeys{Keys: []ed25519.PublicKey{other}, Since: j.f.clock().UTC()}}, errors.Join(err, fault)
}

func (j *record) Export(_ context.Context, w io.Writer, tenant string, from, to time.Time) (int64, error) {
	if err := j.f.fault("records"); err != nil {
		return 0, err
	}
	fmt.Fprintf(w, "{\"export\":{\"tenant\":%q}}\n", tenant)
	if err := j.f.fault("export"); err != nil {
		return 0, err
	}
	_, err := io.WriteString(w, "{\"end\":{}}\n")
	return 1, err
}

// An ask is a request.
type ask struct {
	method, path, body string
	as                 string // whose credentials; "" is the admin's, "nobody" none
	header             map[string]string
}

// A reply is what was answered.
type reply struct {
	status int
	header http.Header
	body   string
	id     string // of the request
}

func (r *reply) fault(t *testing.T) controlapi.Problem {
	t.Helper()
	var p controlapi.Problem
	if err := json.Unmarshal([]byte(r.body), &p); err != nil || r.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("no problem: %d %s %s", r.status, r.header.Get("Content-Type"), r.body)
	}
	return p
}

func (r *reply) object(t *testing.T) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(r.body), &o); err != nil {
		t.Fatalf("not an object: %d %s", r.status, r.body)
	}
	return o
}

// do asks, and holds the answer against the document.
func (f *fixture) do(a ask) *reply {
	f.t.Helper()
	r := httptest.NewRequestWithContext(f.t.Context(), a.method, a.path, strings.NewReader(a.body))
	return f.serve(r, a)
}

func (f *fixture) serve(r *http.Request, a ask) *reply {
	f.t.Helper()
	f.mu.Lock()
	f.requests++
	id := receipt.NewID(uint32(f.requests), f.now)
	f.mu.Unlock()
	r.Header.Set("Test-Request-Id", id)
	if a.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if a.as == "" {
		a.as = "admin"
	}
	if a.as != "nobody" {
		text, ok := f.texts[a.as]
		if !ok {
			text = a.as
		}
		r.Header.Set("Authorization", "Bearer "+text)
	}
	for name, value := range a.header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	f.plane.ServeHTTP(w, r)
	got := &reply{w.Code, w.Header(), w.Body.String(), id}
	if fault := conforms(a.method, r.URL.EscapedPath(), got); fault != "" {
		f.t.Errorf("%s %s: the answer %d %s is not as documented: %s", a.method, a.path, got.status, got.body, fault)
	}
	return got
}

// etag reads that of a thing.
func (f *fixture) etag(path string) string {
	f.t.Helper()
	got := f.do(ask{method: "GET", path: path, as: "viewer"})
	tag := got.header.Get("ETag")
	if got.status != 200 || tag == "" {
		f.t.Fatalf("GET %s: %d %q %s", path, got.status, tag, got.body)
	}
	return tag
}

var googleKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func google(context.Context, string, int64) ([]byte, http.Header, error) {
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: googleKey().Public(), KeyID: "k"}}})
	return b, nil, err
}

// pushToken is an ID token, as Google signs it.
func (f *fixture) pushToken(account, audience string, key *rsa.PrivateKey) string {
	f.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	claims, _ := json.Marshal(map[string]any{
		"iss": "https://accounts.google.com", "aud": audience, "sub": "1", "email": account, "email_verified": true,
		"iat": f.clock().Unix(), "exp": f.clock().Add(time.Hour).Unix(),
	})
	object, err := signer.Sign(claims)
	if err != nil {
		f.t.Fatal(err)
	}
	text, err := object.CompactSerialize()
	if err != nil {
		f.t.Fatal(err)
	}
	return text
}

func wrap(event string) string {
	return fmt.Sprintf(`{"message":{"data":%q,"messageId":"1","message_id":"1","publishTime":"2026-11-25T12:00:00Z","attributes":{"a":"b"}},"subscription":"projects/p/subscriptions/s","deliveryAttempt":1}`,
		base64.StdEncoding.EncodeToString([]byte(event)))
}
