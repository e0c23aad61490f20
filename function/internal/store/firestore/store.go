// Package firestore keeps in Firestore what must outlive the counters in Redis: the epoch of the governor's ledger, by which
// a lost ledger is told from a new one, the operators' directives, what was drawn of each quota, receipts, tenants, plans and API keys.
//
// Rights in Firestore are those on a database. So there may be three, by who writes: what the control plane alone does, what every
// instance does, and receipts, which are only added.
//
// Documents carry a format version; a newer one than this package knows is refused rather than guessed at.
package firestore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	"example.com/erlmcp/function/internal/directives"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

const (
	collection    = "erlmcp"
	ledgerDoc     = "ledger"
	directivesDoc = "orders"
	keptDoc       = "orders-kept"   // the directives once more, where the version before does not write: see [directives.Rewritten]
	quotas        = "erlmcp-quotas" // a document for each quota and day; a TTL policy on expires cleans up
	format        = 1
)

// A Store is a Firestore database. It implements [governor.Store], [directives.Store], [directives.VersionStore], [entitlement.Store] and
// [identity.KeyStore].
type Store struct {
	control  *firestore.Client // directives, tenants, plans, keys, events and idempotency keys
	usage    *firestore.Client // the epoch and quotas
	receipts *firestore.Client
	tables
}

// Options say which database is meant.
type Options struct {
	Project   string
	Databases []string // one for all, such as "(default)"; or three: of what operators order, of what instances count, of receipts
	Emulator  string   // the address of one in place of Firestore; "" for none, or for what FIRESTORE_EMULATOR_HOST names
}

// Connect opens the databases. It does not wait for an answer.
func Connect(ctx context.Context, o Options) (*Store, error) {
	var clients []*firestore.Client
	for _, name := range o.Databases {
		client, err := dial(ctx, o, name)
		if err != nil {
			for _, c := range clients {
				c.Close()
			}
			return nil, fmt.Errorf("database %s: %w", name, err)
		}
		clients = append(clients, client)
	}
	if len(clients) == 1 {
		return newStore(clients[0], clients[0], clients[0]), nil
	}
	return newStore(clients[0], clients[1], clients[2]), nil
}

func dial(ctx context.Context, o Options, database string) (*firestore.Client, error) {
	settings := reconnecting()
	var options []option.ClientOption
	for _, d := range settings {
		options = append(options, option.WithGRPCDialOption(d))
	}
	// Where the environment names the emulator, the library connects to it for itself.
	if o.Emulator != "" && os.Getenv("FIRESTORE_EMULATOR_HOST") == "" {
		conn, err := grpc.NewClient("passthrough:///"+strings.TrimPrefix(o.Emulator, "http://"), append(settings, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithPerRPCCredentials(owner{}), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))...)
		if err != nil {
			return nil, err
		}
		options = []option.ClientOption{option.WithGRPCConn(conn)}
	}
	return firestore.NewClientWithDatabase(ctx, o.Project, database, options...)
}

// reconnecting has the store found again within seconds, however long it was away. By itself the library would try to connect ever
// more seldom, and take a connection whose other end is gone for alive as long as TCP does.
func reconnecting() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 250 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
	}
}

// owner are the credentials that the emulator takes for those of an administrator.
type owner struct{}

// GetRequestMetadata implements [credentials.PerRPCCredentials].
func (owner) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer owner"}, nil
}

// RequireTransportSecurity implements [credentials.PerRPCCredentials].
func (owner) RequireTransportSecurity() bool { return false }

func newStore(control, usage, receipts *firestore.Client) *Store {
	s := &Store{control: control, usage: usage, receipts: receipts}
	s.tables = newTables(s)
	return s
}

// clients are those of the databases, each once.
func (s *Store) clients() []*firestore.Client {
	if s.usage == s.control {
		return []*firestore.Client{s.control}
	}
	return []*firestore.Client{s.control, s.usage, s.receipts}
}

// Close ends the connections.
func (s *Store) Close() error {
	var err error
	for _, c := range s.clients() {
		err = errors.Join(err, c.Close())
	}
	return err
}

// ledger is the document of the epoch.
type ledger struct {
	Format int64 `firestore:"format"`
	Epoch  int64 `firestore:"epoch"`
}

// Next implements [governor.Epochs].
func (s *Store) Next(ctx context.Context) (epoch int64, first bool, err error) {
	doc := s.usage.Collection(collection).Doc(ledgerDoc)
	err = s.usage.RunTransaction(ctx, func(ctx context.Context, tx *firestore.Transaction) error {
		var l ledger
		found, err := read(tx.Get(doc))(&l, &l.Format)
		if err != nil {
			return err
		}
		first, epoch = !found, l.Epoch+1
		return tx.Set(doc, ledger{format, epoch})
	})
	return epoch, first, err
}

// read decodes a document unless it isn't there or has a newer format.
func read(snapshot *firestore.DocumentSnapshot, err error) func(into any, version *int64) (found bool, err error) {
	return func(into any, version *int64) (bool, error) {
		switch {
		case status.Code(err) == codes.NotFound:
			return false, nil
		case err != nil:
			return false, err
		}
		if err := snapshot.DataTo(into); err != nil {
			return false, fmt.Errorf("%s: %w", name(snapshot.Ref), err)
		}
		if *version > format {
			return false, fmt.Errorf("%s has format %d, and this version knows up to %d: deploy the newer version", name(snapshot.Ref), *version, format)
		}
		return true, nil
	}
}

func name(doc *firestore.DocumentRef) string { return doc.Parent.ID + "/" + doc.ID }

// directivesDocument is the document of the directives, as JSON.
type directivesDocument struct {
	Format     int64  `firestore:"format"`
	Version    int64  `firestore:"version"`
	Directives string `firestore:"orders"`
}

// document reads a document of directives.
func (s *Store) document(id string, get func(*firestore.DocumentRef) (*firestore.DocumentSnapshot, error)) (directives.Directives, error) {
	var o directivesDocument
	if _, err := read(get(s.control.Collection(collection).Doc(id)))(&o, &o.Format); err != nil {
		return directives.Directives{}, err
	}
	var out directives.Directives
	if o.Directives != "" {
		if err := json.Unmarshal([]byte(o.Directives), &out); err != nil {
			return directives.Directives{}, fmt.Errorf("%s/%s: %w", collection, id, err)
		}
	}
	out.Version = o.Version
	return out, nil
}

// inForce reads the directives, and where the version before has written them those that this one has kept.
func (s *Store) inForce(get func(*firestore.DocumentRef) (*firestore.DocumentSnapshot, error)) (directives.Directives, error) {
	o, err := s.document(directivesDoc, get)
	if err != nil || o.Merged || o.Version == 0 {
		return o, err
	}
	kept, err := s.document(keptDoc, get)
	if err != nil || kept.Version == 0 {
		return o, err
	}
	return directives.Rewritten(kept, o, time.Now()), nil
}

// Directives implements [directives.Store].
func (s *Store) Directives(ctx context.Context) (directives.Directives, error) {
	return s.inForce(func(doc *firestore.DocumentRef) (*firestore.DocumentSnapshot, error) { return doc.Get(ctx) })
}

// Change implements [directives.Store].
func (s *Store) Change(ctx context.Context, change func(*directives.Directives) error) (directives.Directives, error) {
	var out directives.Directives
	err := s.control.RunTransaction(ctx, func(ctx context.Context, tx *firestore.Transaction) (err error) {
		if out, err = s.inForce(tx.Get); err != nil {
			return err
		}
		before := out.Version
		if err := change(&out); err != nil {
			return err
		}
		out.Version = directives.NextVersion(before, time.Now())
		text, err := json.Marshal(out)
		if err != nil {
			return err
		}
		o := directivesDocument{format, out.Version, string(text)}
		docs := s.control.Collection(collection)
		return errors.Join(tx.Set(docs.Doc(directivesDoc), o), tx.Set(docs.Doc(keptDoc), o))
	})
	return out, err
}

// quota is the document of what was drawn of a quota in a day; kept in: quotas
type quota struct {
	Format  int64     `firestore:"format"`
	Used    int64     `firestore:"used"`
	Expires time.Time `firestore:"expires"`
}

// kept is how long the document of a quota outlives its day.
const kept = 7 * 24 * time.Hour

// Take implements [governor.QuotaStore]. A write goes through only over what was read, and a conflict begins anew: as with tables that
// is several times as fast, where instances draw at the same time, as transactions that lock what they read. A draw whose answer was
// lost may be made once more: what was drawn before is lost with it.
func (s *Store) Take(ctx context.Context, key, day string, most, want int64) (taken, left int64, err error) {
	if want < 1 {
		return 0, 0, errors.New("a draw of a quota of less than one")
	}
	doc, expires, err := s.quota(key, day)
	if err != nil {
		return 0, 0, err
	}
	var fault error // of the last attempt
	for attempt := 0; ; attempt++ {
		var q quota
		snapshot, err := doc.Get(ctx)
		found, err := read(snapshot, err)(&q, &q.Format)
		if err != nil {
			return 0, 0, errors.Join(err, fault)
		}
		taken = max(0, min(want, most-q.Used))
		left = max(0, most-q.Used-taken)
		if taken == 0 {
			return 0, left, nil
		}
		if found {
			_, err = doc.Update(ctx, []firestore.Update{
				{Path: "format", Value: format}, {Path: "used", Value: q.Used + taken}, {Path: "expires", Value: expires},
			}, firestore.LastUpdateTime(snapshot.UpdateTime))
		} else {
			_, err = doc.Create(ctx, quota{format, q.Used + taken, expires})
		}
		switch {
		case err == nil:
			return taken, left, nil
		case !again(err):
			return 0, 0, err
		}
		fault = err
		if err := rest(ctx, attempt); err != nil {
			return 0, 0, fmt.Errorf("%w: %w", err, fault)
		}
	}
}

// Return implements [governor.QuotaStore]. Nothing is returned twice, as a write that is made again could.
func (s *Store) Return(ctx context.Context, key, day string, n int64) error {
	doc, expires, err := s.quota(key, day)
	if err != nil {
		return err
	}
	return s.usage.RunTransaction(ctx, func(ctx context.Context, tx *firestore.Transaction) error {
		var q quota
		if _, err := read(tx.Get(doc))(&q, &q.Format); err != nil {
			return err
		}
		return tx.Set(doc, quota{format, max(0, q.Used-n), expires})
	})
}

// quota is the document of a day, and when it expires.
func (s *Store) quota(key, day string) (doc *firestore.DocumentRef, expires time.Time, err error) {
	begins, err := time.Parse(time.DateOnly, day)
	return s.usage.Collection(quotas).Doc(url.PathEscape(key) + "@" + day), begins.Add(24*time.Hour + kept), err
}

// Used implements [governor.QuotaStore].
func (s *Store) Used(ctx context.Context, key, day string) (int64, error) {
	doc, _, err := s.quota(key, day)
	if err != nil {
		return 0, err
	}
	var q quota
	_, err = read(doc.Get(ctx))(&q, &q.Format)
	return q.Used, err
}

// orNil returns what Firestore gives back of a list: for nil that may be an empty one.
func orNil[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}
