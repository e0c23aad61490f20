package control_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
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
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/erlmcp/function/internal/control"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/memdb"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/seal"
	"example.com/erlmcp/function/internal/tenant"
)

// A fixture is a control plane over stores in memory, each of which a test can take away.
type fixture struct {
	t       *testing.T
	plane   *control.Plane
	store   *memdb.Store
	replays *memdb.Replays
	journal *journal
	fleet   []control.Instance
	texts   map[string]string // of the operators' keys
	keyID   string            // of an API key

	mu       sync.Mutex
	now      time.Time
	requests int
	down     map[string]error // what does not answer: tenants, change, keys, orders, replays, records, announce, writes
	after    bool             // what is down does what it is asked, and then does not answer
	wait     time.Duration    // that the limit on changes says
	asked    []string         // of that limit
	told     []string         // what was announced
	hold     chan struct{}    // where it is not nil, changes of tenants wait for it

	publishers []control.Publisher
}

const pushAccount = "push@project.iam.gserviceaccount.com"

var (
	marketKey = bytes.Repeat([]byte{1}, 32)
	otherKey  = bytes.Repeat([]byte{3}, 32)
	newKey    = bytes.Repeat([]byte{4}, 32)
)

func newFixture(t *testing.T, change ...func(*control.Options)) *fixture {
	t.Helper()
	f := &fixture{
		t: t, store: memdb.New(), replays: memdb.NewReplays(), now: time.Now().UTC().Truncate(time.Millisecond),
		down: map[string]error{}, texts: map[string]string{"bad token": "erlmcp_aaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaa"},
	}
	f.journal = &journal{f: f}
	ring := seal.RandomRing()
	o := control.Options{
		Operators: identity.New(identity.Options{Chain: []string{identity.APIKeys}, Keys: f.operators(), Now: f.clock}),
		Role: func(p *identity.Principal) control.Role {
			for role := control.Admin; role > control.None; role-- {
				if len(p.Missing([]string{"taiea:" + role.String()})) == 0 {
					return role
				}
			}
			return control.None
		},
		RequestID: func(r *http.Request) string { return r.Header.Get("Test-Request-Id") },
		Push: identity.New(identity.Options{
			Chain: []string{identity.Google}, Issuers: []identity.Issuer{identity.GoogleIssuer([]string{"https://taiea.example"})}, Get: google, Now: f.clock,
		}),
		PushCaller: func(p *identity.Principal) *control.Publisher {
			for i := range f.publishers {
				if f.publishers[i].Account == p.Subject {
					return &f.publishers[i]
				}
			}
			return nil
		},
		Publishers: []control.Publisher{{Account: pushAccount, Sources: []string{"market", "partner"}}},
		Secrets:    []control.WebhookSecret{{Source: "market", Key: marketKey}, {Source: "market", Key: newKey}, {Source: "partner", Key: otherKey}},
		Tenants:    tenants{f.store, f}, Keys: keys{f.store, f}, Orders: orders{f}, Records: f.journal, Fleet: f, Journal: f.journal, Replays: replays{f.replays, f},
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
	plane, err := control.New(o)
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
	_, err := f.store.ChangeTenant(ctx, "acme", nil, func(t *tenant.Tenant) error {
		t.Apply(&tenant.Event{Source: tenant.Operator, Type: tenant.Grant, Time: f.now.Add(-time.Hour), Plan: "base"})
		t.Noted = tenant.Stable
		return nil
	})
	must(err)
	_, err = f.store.ChangePlan(ctx, "gold", func(p *tenant.Plan) error { p.Title, p.Packs = "Gold", []string{"gold"}; return nil })
	must(err)
	rate := 5.0
	_, err = f.store.Change(ctx, func(o *governor.Orders) error {
		return errors.Join(o.Override(governor.Override{Scope: "tool:search", PerSecond: &rate}), o.Kill(governor.Kill{Scope: "tool:rm", Reason: "it deletes", At: f.now}))
	})
	must(err)
	_, k := identity.NewKey(identity.Key{Tenant: "acme", Subject: "bot", Scopes: []string{"read"}, Created: f.now})
	_, err = f.store.AddKey(ctx, k)
	must(err)
	f.keyID = k.ID
	f.fleet = []control.Instance{{Name: "b", Ready: true, Seen: f.now}, {Name: "a", Degraded: []string{"redis"}, Holdings: []control.Holding{{Scope: "everything", Slots: 3}}}}
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

// directory is what the store has now.
func (f *fixture) directory() *tenant.Directory {
	f.t.Helper()
	changes, err := f.store.Changes(f.t.Context(), 0)
	if err != nil {
		f.t.Fatal(err)
	}
	return tenant.NewDirectory().With(changes)
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
	*memdb.Store
	f *fixture
}

func (s tenants) Tenant(ctx context.Context, id string) (*tenant.Tenant, error) {
	if err := s.f.fault("tenants"); err != nil {
		return nil, err
	}
	return s.Store.Tenant(ctx, id)
}

func (s tenants) Tenants(ctx context.Context, after string, most int) ([]*tenant.Tenant, error) {
	if err := s.f.fault("tenants"); err != nil {
		return nil, err
	}
	return s.Store.Tenants(ctx, after, most)
}

func (s tenants) Changes(ctx context.Context, since int64) (*tenant.Changes, error) {
	if err := s.f.fault("tenants"); err != nil {
		return nil, err
	}
	return s.Store.Changes(ctx, since)
}

func (s tenants) Plans(ctx context.Context) ([]*tenant.Plan, error) {
	if err := s.f.fault("tenants"); err != nil {
		return nil, err
	}
	return s.Store.Plans(ctx)
}

func (s tenants) ChangeTenant(ctx context.Context, id string, e *tenant.Event, change func(*tenant.Tenant) error) (*tenant.Tenant, error) {
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
	t, err := s.Store.ChangeTenant(ctx, id, e, again((*tenant.Tenant).Clone, change))
	if down := s.f.fault("change"); down != nil {
		return nil, down
	}
	return t, err
}

func (s tenants) ChangePlan(ctx context.Context, name string, change func(*tenant.Plan) error) (*tenant.Plan, error) {
	if err := s.f.fault("change"); err != nil {
		return nil, err
	}
	return s.Store.ChangePlan(ctx, name, again((*tenant.Plan).Clone, change))
}

type keys struct {
	*memdb.Store
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

type orders struct{ f *fixture }

func (o orders) Orders(ctx context.Context) (governor.Orders, error) {
	if err := o.f.fault("orders"); err != nil {
		return governor.Orders{}, err
	}
	return o.f.store.Orders(ctx)
}

func (o orders) Change(ctx context.Context, change func(*governor.Orders) error) (governor.Orders, error) {
	if err := o.f.fault("change"); err != nil {
		return governor.Orders{}, err
	}
	after, err := o.f.store.Change(ctx, again(func(o *governor.Orders) *governor.Orders {
		return &governor.Orders{Version: o.Version, Kills: slices.Clone(o.Kills), Limits: slices.Clone(o.Limits), Gone: slices.Clone(o.Gone)}
	}, change))
	if err == nil && o.f.fault("announce") != nil {
		err = &governor.Apart{Board: errDown}
	}
	return after, err
}

func (o orders) Limits(ctx context.Context) ([]control.LimitInUse, int, error) {
	if err := o.f.fault("orders"); err != nil {
		return nil, -1, err
	}
	return []control.LimitInUse{
		{Limit: governor.Limit{Scope: "tool:search", PerSecond: 5, Concurrency: 2}, Slots: 2, Used: 1, Today: -1},
		{Limit: governor.Limit{Scope: governor.Everything, PerSecond: 100, PerDay: 1000}, Slots: -1, Used: -1, Today: 12},
	}, 2, o.f.fault("usage")
}

type replays struct {
	*memdb.Replays
	f *fixture
}

func (r replays) Claim(ctx context.Context, key string, mine control.Replay, now time.Time) (*control.Replay, error) {
	if err := r.f.fault("replays"); err != nil {
		return nil, err
	}
	return r.Replays.Claim(ctx, key, mine, now)
}

func (r replays) Settle(ctx context.Context, key string, mine control.Replay) error {
	if err := r.f.fault("settle"); err != nil {
		return err
	}
	return r.Replays.Settle(ctx, key, mine)
}

// Instances implements [control.Fleet].
func (f *fixture) Instances(context.Context) ([]control.Instance, error) {
	return slices.Clone(f.fleet), f.fault("fleet")
}

// Allow implements [control.Limiter].
func (f *fixture) Allow(_ context.Context, key string) (time.Duration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, key)
	return f.wait, f.down["writes"]
}

// A journal takes receipts, and is where they are read.
type journal struct {
	f   *fixture
	mu  sync.Mutex
	all []receipt.Receipt
}

func (j *journal) Append(r receipt.Receipt) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r.Time, r.Instance, r.Seq = j.f.clock(), "test", int64(len(j.all)+1)
	j.all = append(j.all, r)
}

// Hash names whose what is hashed is.
func (j *journal) Hash(tenant string, raw []byte) receipt.Hash {
	return receipt.HashOf(append([]byte(tenant+": "), raw...))
}

func (j *journal) Commit(_ context.Context, r receipt.Receipt) error {
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
func (j *journal) since(n int) []receipt.Receipt {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.all[n:])
}

func (j *journal) count() int { return len(j.since(0)) }

// chained are the receipts with hashes, as a store has them.
func (j *journal) chained() []receipt.Receipt {
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

func (j *journal) Select(_ context.Context, tenant string, from, to time.Time) iter.Seq2[receipt.Receipt, error] {
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

func (j *journal) Newest(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[receipt.Receipt, error] {
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

func (j *journal) Find(_ context.Context, id string) (found []receipt.Receipt, _ *receipt.Report, err error) {
	for _, r := range j.chained() {
		if r.ID == id {
			found = append(found, r)
		}
	}
	return found, &receipt.Report{Receipts: int64(len(found)), Segments: 1}, j.f.fault("records")
}

func (j *journal) Verify(_ context.Context, tenant string, from, to time.Time) (*receipt.Report, error) {
	return &receipt.Report{Receipts: 7, Chains: 1, From: from, To: to, Faults: []receipt.Fault{{Kind: receipt.Missing, Chain: "c", Seq: 3, Words: "receipt 3 is gone"}}, Notes: []string{"a note on " + tenant}}, j.f.fault("records")
}

func (j *journal) Export(_ context.Context, w io.Writer, tenant string, from, to time.Time) (int64, error) {
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

func (r *reply) fault(t *testing.T) control.Problem {
	t.Helper()
	var p control.Problem
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
