// Package controlapi is the control plane: tenants, plans, limits, kill switches, API keys, receipts and the state of the fleet, over
// HTTP in JSON. One table says which role each route needs. A change is recorded before it is made, and what came of it before
// it is answered; a denial is recorded too.
package controlapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/effect"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/verify"
)

// A Role is what an operator may do; each may what the one before it may.
type Role int

// The roles.
const (
	None     Role = iota
	Viewer        // reads
	Operator      // changes limits, kill switches, and suspends and resumes tenants
	Admin         // grants, revokes, edits plans and makes keys
)

func (r Role) String() string { return [...]string{"none", "viewer", "operator", "admin"}[r] }

// Options configure a [Plane]. What is not said to be optional must be there.
type Options struct {
	Operators  *identity.Authenticator // of this service alone
	Role       func(*identity.Principal) Role
	RequestID  func(*http.Request) string                       // of the receipts too
	Push       *identity.Authenticator                          // of Pub/Sub's push deliveries; nil: they are not taken
	PushCaller func(*identity.Principal) *entitlement.Publisher // which of the publishers it is; nil: none
	Publishers []entitlement.Publisher
	// Anchor makes a root of receipts if one is due. A platform that gives no time between requests has it asked for, as messages are pushed.
	Anchor     func(context.Context) error
	Secrets    []entitlement.WebhookSecret // none: webhooks are not taken
	SignedOnly bool                        // serves what sources of events sign, and nothing for anyone else

	Tenants    entitlement.Store
	Keys       identity.KeyStore
	Directives Directives
	Records    Records // nil: receipts can't be read
	Fleet      Fleet   // nil: the fleet is not known
	Journal    receipt.Recorder
	Effects    effect.Store
	// Seal and Open protect answers that are kept to be given again.
	Seal func(plaintext []byte) []byte
	Open func(sealed []byte) ([]byte, error)

	// Announce tells instances that they should read the store: what is [entitlement.VersionName] or [identity.VersionName]. Without
	// it they follow in 2 s.
	Announce func(ctx context.Context, what string, version int64) error
	Writes   Limiter // of changes; nil: no limit
	// Known returns what a scope is called now, "" where there is no such: a directive on such a one, or by the name that a tool had, is made, and
	// warned of. nil: it is not known.
	Known    func(scope string) string
	Callable entitlement.Callable
	// Believe is told of a request whose caller is known: what it says of its trace counts. nil: nobody listens.
	Believe func(context.Context) context.Context
	// BodyTimeout is how long a body may take to arrive, and each 64 KiB of an export to be read. Default 10 s.
	BodyTimeout time.Duration
	Now         func() time.Time
	Logger      *slog.Logger
}

// Directives are read and changed through this.
type Directives interface {
	// Directives returns those in force. A [directives.Apart] comes with directives that are good.
	Directives(context.Context) (directives.Directives, error)
	// Change changes the directives. With a [directives.Apart] they are changed nevertheless; [Busy] says when to try again.
	Change(context.Context, func(*directives.Directives) error) (directives.Directives, error)
	// Limits lists the limits in force, and how many instances there are: -1 is unknown. An error that comes with limits says
	// what is missing in them.
	Limits(context.Context) (limits []LimitInUse, instances int, err error)
}

// A LimitInUse is a limit in force and what is used of it. -1 is unknown.
type LimitInUse struct {
	governor.Limit
	Slots int64 // calls at a time that are leased to instances
	Used  int64 // of them, by calls that run, as instances say
	Today int64 // calls of today that instances have drawn
}

// Busy is that there were too many changes.
type Busy struct{ Wait time.Duration }

func (b *Busy) Error() string { return fmt.Sprintf("too many changes: wait %v", b.Wait) }

// Records are the receipts of the fleet.
type Records interface {
	Find(ctx context.Context, id string) ([]receipt.Receipt, *verify.Report, error)
	Select(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[receipt.Receipt, error]
	Newest(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[receipt.Receipt, error]
	Verify(ctx context.Context, tenant string, from, to time.Time) (*verify.Report, error)
	Keys(context.Context) (receipt.PublicKeys, error) // the operator's, the one in use first
	Export(ctx context.Context, w io.Writer, tenant string, from, to time.Time) (receipts int64, err error)
}

// A Limiter guards what is slow.
type Limiter interface {
	// Allow returns 0, or for how long it is in vain to ask again. With an error it is not known, and what was asked for proceeds.
	Allow(ctx context.Context, key string) (wait time.Duration, err error)
}

// A Plane serves the control plane.
type Plane struct {
	opts    Options
	mux     *http.ServeMux
	events  *entitlement.Processor
	changes receipt.Changes
	heavy   chan struct{} // holds one for each export and verification that runs
}

// maxHeavy is how many exports and verifications run at a time.
const maxHeavy = 2

// New returns the control plane. Its error lists everything that is missing.
func New(o Options) (*Plane, error) {
	var faults []error
	need := func(there bool, name string) {
		if !there {
			faults = append(faults, fmt.Errorf("control: Options.%s is missing", name))
		}
	}
	need(o.Operators != nil, "Operators")
	need(o.Role != nil, "Role")
	need(o.RequestID != nil, "RequestID")
	need(o.Push == nil || o.PushCaller != nil, "PushCaller")
	need(o.Push == nil || o.Anchor != nil, "Anchor")
	need(o.Tenants != nil, "Tenants")
	need(o.Keys != nil, "Keys")
	need(o.Directives != nil, "Directives")
	need(o.Journal != nil, "Journal")
	need(o.Effects != nil, "Effects")
	need(o.Seal != nil && o.Open != nil, "Seal or Open")
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Believe == nil {
		o.Believe = func(ctx context.Context) context.Context { return ctx }
	}
	if o.BodyTimeout <= 0 {
		o.BodyTimeout = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Plane{opts: o, mux: http.NewServeMux(), heavy: make(chan struct{}, maxHeavy)}
	p.events = entitlement.NewProcessor(entitlement.ProcessorOptions{
		Tenants: o.Tenants, Recorder: o.Journal, Callable: o.Callable, Secrets: o.Secrets, Publishers: o.Publishers, Announce: o.Announce, Now: o.Now, Logger: o.Logger,
	})
	p.changes = receipt.Changes{Recorder: o.Journal, Logger: o.Logger, Explain: explain}
	p.handle()
	return p, nil
}

// Entitlements are those that the plane's endpoints apply events to.
func (p *Plane) Entitlements() *entitlement.Processor { return p.events }
