package entitlement_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/store/memory"
)

// A desk is a processor over a store in memory, with what else it asks of: each can be taken away.
type desk struct {
	entitlement.Store // of tenants and plans
	processor         *entitlement.Processor

	mu       sync.Mutex
	now      time.Time
	down     map[string]error // what answers with an error: plans, changes, change and a tenant's id, intents, outcomes, announce
	receipts []receipt.Receipt
	told     []int64 // versions that were announced
	since    []int64 // since when what has changed was read
}

func newDesk(change ...func(*entitlement.ProcessorOptions)) *desk {
	d := &desk{now: noon, down: map[string]error{}, Store: memory.New()}
	o := entitlement.ProcessorOptions{Tenants: d, Recorder: d, Now: d.clock, Announce: func(_ context.Context, what string, version int64) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.told = append(d.told, version)
		if what != entitlement.VersionName {
			return fmt.Errorf("%q is announced", what)
		}
		return d.down["announce"]
	}}
	for _, c := range change {
		c(&o)
	}
	d.processor = entitlement.NewProcessor(o)
	return d
}

func (d *desk) clock() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

func (d *desk) fault(what string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.down[what]
}

func (d *desk) Plans(ctx context.Context) ([]*entitlement.Plan, error) {
	if err := d.fault("plans"); err != nil {
		return nil, err
	}
	return d.Store.Plans(ctx)
}

// Tenants is not for a processor: there may be a million.
func (d *desk) Tenants(context.Context, string, int) ([]*entitlement.Tenant, error) {
	return nil, errors.New("all tenants are read")
}

func (d *desk) Changes(ctx context.Context, since int64) (*entitlement.Changes, error) {
	d.mu.Lock()
	d.since = append(d.since, since)
	d.mu.Unlock()
	if err := d.fault("changes"); err != nil {
		return nil, err
	}
	return d.Store.Changes(ctx, since)
}

// ChangeTenant calls change twice, as a store may whose transaction is tried again.
func (d *desk) ChangeTenant(ctx context.Context, id string, e *entitlement.Event, change func(*entitlement.Tenant) error) (*entitlement.Tenant, error) {
	if err := d.fault("change " + id); err != nil {
		return nil, err
	}
	return d.Store.ChangeTenant(ctx, id, e, func(t *entitlement.Tenant) error {
		if err := change(t.Clone()); err != nil {
			return err
		}
		return change(t)
	})
}

func (d *desk) Append(r receipt.Receipt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.receipts = append(d.receipts, r)
}

func (d *desk) Commit(ctx context.Context, r receipt.Receipt) error {
	what := "outcomes"
	if r.Kind == receipt.Admitted {
		what = "intents"
	}
	switch err := d.fault(what); {
	case errors.Is(err, errSilent):
		<-ctx.Done() // in a bubble
		return ctx.Err()
	case err != nil:
		return err
	}
	d.Append(r)
	return nil
}

func (d *desk) Hash(tenant string, raw []byte) receipt.Hash {
	return receipt.HashOf(append([]byte(tenant+": "), raw...))
}

// take takes the receipts that there are.
func (d *desk) take() []receipt.Receipt {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.receipts
	d.receipts = nil
	return out
}

func (d *desk) directory(t *testing.T) *entitlement.Directory {
	t.Helper()
	c, err := d.Store.Changes(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return entitlement.NewDirectory().With(c)
}

var (
	errAway   = errors.New("away")
	errSilent = errors.New("no answer")
)

var delivery = entitlement.Delivery{RequestID: "request-1", By: "webhook/market", Method: "POST /v1/events/webhook"}

// summary is of receipts what a reader looks for first.
func summary(all []receipt.Receipt) string {
	var out []string
	for _, r := range all {
		out = append(out, strings.TrimSpace(fmt.Sprint(r.Kind, " ", r.Reason)))
	}
	return strings.Join(out, ", ")
}

// TestApplyEvents has a source say things of a tenant: what becomes of each, and what is recorded.
func TestApplyEvents(t *testing.T) {
	d := newDesk()
	grant := event(entitlement.Grant, 0)
	grant.Plan = "professional"
	of := func(kind entitlement.Type, after time.Duration, id string) *entitlement.Event {
		e := event(kind, after)
		e.ID, e.Plan = id, strings.Replace(e.Plan, "gold", "base", 1)
		return e
	}
	again := *grant
	again.Time = grant.Time.In(time.FixedZone("", 7200))
	other := *grant
	other.Tenant = "globex"
	for _, c := range []struct {
		name     string
		event    *entitlement.Event
		effect   entitlement.Effect
		fault    entitlement.Reason
		from, to entitlement.State
		receipts string
	}{
		{"a grant", grant, entitlement.Applied, "", entitlement.Boot, entitlement.Stable, "admitted, entitled"},
		{"the same, by a clock of another zone", &again, entitlement.Seen, "", "", "", "admitted, completed seen"},
		{"another event of its id", &other, "", entitlement.ReasonOtherEvent, "", "", "admitted, failed other_event"},
		{"a suspension", of(entitlement.Suspend, 2, "2"), entitlement.Applied, "", entitlement.Stable, entitlement.Refusing, "admitted, entitled"},
		{"a resumption that was made before it", of(entitlement.Resume, 1, "3"), entitlement.Late, "", entitlement.Refusing, entitlement.Refusing, "admitted, completed late"},
		{"one that was made after", of(entitlement.Resume, 3, "4"), entitlement.Applied, "", entitlement.Refusing, entitlement.Stable, "admitted, entitled"},
		{"another plan", of(entitlement.Grant, 4, "5"), entitlement.Applied, "", entitlement.Stable, entitlement.Stable, "admitted, entitled"},
		{"a plan that is not there", event(entitlement.Grant, 5), "", entitlement.ReasonNoPlan, "", "", "refused no_plan"},
		{"what is no event", &entitlement.Event{ID: "6", Source: "market", Tenant: "a/b"}, "", entitlement.ReasonInvalid, "", "", "refused invalid"},
		{"an event of operators", &entitlement.Event{ID: "7", Source: entitlement.Operator, Type: entitlement.Resume, Tenant: "acme", Time: noon}, "", entitlement.ReasonInvalid, "", "", "refused invalid"},
	} {
		told := len(d.told)
		before, _ := d.Tenant(t.Context(), "acme")
		out, err := d.processor.Apply(t.Context(), c.event, delivery)
		r := d.take()
		if got := summary(r); got != c.receipts {
			t.Errorf("%s: receipts %s, want %s", c.name, got, c.receipts)
		}
		for _, r := range r {
			if r.ID != "request-1" || r.Principal == "" || strings.Contains(r.Principal, "market") || r.Method != delivery.Method || !strings.Contains(r.Detail, `"id":"`+c.event.ID) {
				t.Errorf("%s: %+v", c.name, r)
			}
			if want := c.event.Tenant; r.Tenant != want && (entitlement.CheckID(want) == nil || r.Tenant != "") {
				t.Errorf("%s: the receipt is of the tenant %q", c.name, r.Tenant)
			}
		}
		after, _ := d.Tenant(t.Context(), "acme")
		if c.fault != "" {
			if fault, ok := errors.AsType[*entitlement.Fault](err); !ok || fault.Reason != c.fault || out != nil || !reflect.DeepEqual(before, after) || fault.Unsure {
				t.Errorf("%s: %+v, %v: from %s to %s", c.name, out, err, text(before), text(after))
			}
			continue
		}
		if err != nil || out.Effect != c.effect || out.From != c.from || out.To != c.to || out.Receipt != "request-1" || len(out.Warnings) != 0 {
			t.Errorf("%s: %+v, %v", c.name, out, err)
			continue
		}
		if announced := len(d.told) > told; announced != (c.effect == entitlement.Applied) || announced && d.told[told] != after.Revision {
			t.Errorf("%s: instances are told of %v, and the tenant is at %d", c.name, d.told[told:], after.Revision)
		}
		var detail struct {
			From, To, State entitlement.State
			Effect          entitlement.Effect
			Revision        int64
		}
		if err := json.Unmarshal([]byte(r[1].Detail), &detail); err != nil || detail.Effect != c.effect || (detail.From != "") != (c.from != c.to) || c.from != c.to && (detail.From != c.from || detail.To != c.to) ||
			c.effect != entitlement.Seen && (detail.Revision != after.Revision || detail.State != c.to) {
			t.Errorf("%s: %s, %v", c.name, r[1].Detail, err)
		}
	}
}

// TestWhatIsAway takes away one thing that an event needs: who brings it is told to try again, unless it is in force, and a second try is
// applied once.
func TestWhatIsAway(t *testing.T) {
	for _, c := range []struct {
		down     string
		err      error
		fault    entitlement.Reason // "" where the event is in force
		unsure   bool
		receipts string
		warning  string
	}{
		{"plans", errAway, entitlement.ReasonUnavailable, false, "refused unavailable", ""},
		{"intents", errAway, entitlement.ReasonUnavailable, false, "failed unrecorded", ""},
		{"intents", errSilent, entitlement.ReasonUnavailable, false, "failed unrecorded", ""},
		{"change acme", errAway, entitlement.ReasonUnavailable, true, "admitted, failed unavailable", ""},
		{"change acme", context.DeadlineExceeded, entitlement.ReasonUnavailable, true, "admitted, failed unavailable", ""},
		{"outcomes", errSilent, "", false, "admitted", "waits for the store"},
		{"outcomes", errAway, "", false, "admitted", "could not be stored"},
		{"announce", errAway, "", false, "admitted, entitled", "they follow as they read the store"},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newDesk()
			grant := event(entitlement.Grant, 0)
			grant.Plan = "base"
			d.down[c.down] = c.err
			out, err := d.processor.Apply(t.Context(), grant, delivery)
			if got := summary(d.take()); got != c.receipts {
				t.Errorf("%s: receipts %s, want %s", c.down, got, c.receipts)
			}
			if c.fault == "" {
				if err != nil || out.Effect != entitlement.Applied || len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], c.warning) {
					t.Errorf("%s: %+v, %v", c.down, out, err)
				}
			} else if f, ok := errors.AsType[*entitlement.Fault](err); !ok || f.Reason != c.fault || f.Unsure != c.unsure || f.Cause == nil || !strings.Contains(f.Detail, "try again in 2s") {
				t.Errorf("%s: %+v, %v", c.down, out, err)
			}
			delete(d.down, c.down)
			want := entitlement.Applied
			if c.fault == "" {
				want = entitlement.Seen
			}
			if out, err := d.processor.Apply(t.Context(), grant, delivery); err != nil || out.Effect != want {
				t.Errorf("%s is back: %+v, %v", c.down, out, err)
			}
			if x, err := d.Tenant(t.Context(), "acme"); err != nil || x.Sources["market"].Plan != "base" {
				t.Errorf("%s is back: %+v, %v", c.down, x, err)
			}
		})
	}
}

// TestFaultOf has every error that a change may end with mean one thing to who made it.
func TestFaultOf(t *testing.T) {
	own := entitlement.Invalid("a: b", "c: d")
	for _, c := range []struct {
		err    error
		reason entitlement.Reason
		unsure bool
		words  string
	}{
		{own, entitlement.ReasonInvalid, false, "put right what faults lists; a: b; c: d"},
		{fmt.Errorf("wrapped: %w", own), entitlement.ReasonInvalid, false, "put right what faults lists; a: b; c: d"},
		{&receipt.Unrecorded{Cause: errAway}, entitlement.ReasonUnavailable, false, "nothing was changed, try again in 2s"},
		{fmt.Errorf("firestore: %w", entitlement.ErrUnknown), entitlement.ReasonUnknown, false, "there is no such tenant"},
		{entitlement.ErrOther, entitlement.ReasonOtherEvent, false, "needs an id of its own"},
		{context.Canceled, entitlement.ReasonUnavailable, true, "no answer in time"},
		{fmt.Errorf("reading: %w", context.DeadlineExceeded), entitlement.ReasonUnavailable, true, "no answer in time"},
		{errors.New("password in here"), entitlement.ReasonUnavailable, true, "the store does not answer"},
	} {
		f := entitlement.FaultOf(c.err)
		if f.Reason != c.reason || f.Unsure != c.unsure || !strings.Contains(f.Error(), c.words) || strings.Contains(f.Error(), "password") {
			t.Errorf("%v: %+v", c.err, f)
		}
		if f.Unsure && !errors.Is(f.Cause, c.err) {
			t.Errorf("%v: the log has %v", c.err, f.Cause)
		}
	}
	joined := errors.Join(errors.New("a"), nil, errors.Join(errors.New("b\nc"), errors.New("d")))
	if got := entitlement.Faults(joined); !slices.Equal(got, []string{"a", "b; c", "d"}) || entitlement.Faults(nil) != nil {
		t.Errorf("%q", got)
	}
}
