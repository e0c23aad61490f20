package recovery

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/receipt"
)

// Confirm says what a restored store is opened with.
type Confirm struct {
	From       backup.Objects
	Keys       []ed25519.PublicKey // the operator's; without any it is not verified who signed the receipts
	Directives *directives.Writer
	Tenants    entitlement.Store
	APIKeys    identity.KeyStore
	Changes    *receipt.Changes
	NewID      func() string                                               // of receipts
	Announce   func(ctx context.Context, what string, version int64) error // nil: instances follow by themselves
	Now        func() time.Time
}

// A Plan is what was ordered since the backup that a store was restored from.
type Plan struct {
	Backup string
	Since  time.Time     // of the backup
	Last   *receipt.Root // of the place: what was ordered later is not known; nil: none
	Replay []Order       // what is replayed: what closes, in the order of its times
	Left   []Order       // what is not, and an operator may want to order again
}

// ErrNotRestored is that a store is open, or has never been restored.
var ErrNotRestored = errors.New("the store does not wait to be confirmed: no backup was restored into it, or it was confirmed")

// clocks is how far the clocks of instances and of the store may be apart, and how long an order may take.
const clocks = time.Minute

// Plan reads what is to be replayed. A restore that is not complete is an error.
func (c *Confirm) Plan(ctx context.Context) (*Plan, error) {
	d, err := c.Directives.Store.Directives(ctx)
	if err != nil {
		return nil, fmt.Errorf("the store can't be read: %w", err)
	}
	name, complete := d.Restored()
	switch {
	case name == "":
		return nil, ErrNotRestored
	case !complete:
		return nil, fmt.Errorf("the restore of backup %s is not complete: run erlmcp restore -backup %[1]s again", name)
	}
	p := &Plan{Backup: name}
	if p.Since, err = backup.TimeOf(name); err != nil {
		return nil, fmt.Errorf("%q is not the name of a backup: %w", name, err)
	}
	if p.Last, err = LastRoot(ctx, c.From); err != nil {
		return nil, err
	}
	var all []receipt.Receipt
	since := p.Since.Add(-shipOverlap)
	for change, err := range Changes(ctx, c.From, since, c.Keys) {
		if err != nil {
			return nil, err
		}
		for _, r := range change.Receipts {
			if isChange(&r) && r.Time.After(since) {
				all = append(all, r)
			}
		}
	}
	p.Replay, p.Left = split(readOrders(all))
	// What was ordered around the time of the backup may be in it or not: to replay what closes does no harm then.
	p.Replay = slices.DeleteFunc(p.Replay, func(o Order) bool { return o.Time.Before(p.Since.Add(-clocks)) })
	p.Left = slices.DeleteFunc(p.Left, func(o Order) bool { return o.Time.Before(p.Since) })
	return p, nil
}

// Run replays a plan, each order with receipts of its own, and then has the store refuse calls no more. Where it was interrupted, it may be
// run again. It says what became of each order.
func (c *Confirm) Run(ctx context.Context, p *Plan, said func(o Order, became string)) error {
	for _, o := range p.Replay {
		became, err := c.replay(ctx, p, &o)
		if err != nil {
			return fmt.Errorf("%s, of %s, can't be replayed, and the store stays closed: %w", o.What, receipt.FormatTime(o.Time), err)
		}
		said(o, became)
	}
	draft := receipt.Receipt{ID: c.NewID(), Kind: receipt.Killed, Method: confirmed}
	return c.record(ctx, draft, map[string]any{"restored": p.Backup, "replayed": len(p.Replay)}, func(ctx context.Context) (map[string]any, error) {
		after, err := order(ctx, c.Directives, func(d *directives.Directives) error {
			if name, complete := d.Restored(); name != p.Backup || !complete {
				return ErrNotRestored
			}
			d.Confirm()
			return nil
		})
		return map[string]any{"version": after.Version}, err
	})
}

func (c *Confirm) record(ctx context.Context, draft receipt.Receipt, order map[string]any, do func(context.Context) (map[string]any, error)) error {
	draft.Principal = c.Changes.Principal("operator/restore")
	detail := func(more map[string]any) string { return receipt.Detail(maps.Clone(order), more) }
	_, err := c.Changes.Make(ctx, draft, detail, func(ctx context.Context, _ *receipt.Receipt) (map[string]any, error) { return do(ctx) })
	return err
}

// replay carries one order out. Its receipts are as those of the order were, so that a later restore replays it as well.
func (c *Confirm) replay(ctx context.Context, p *Plan, o *Order) (became string, err error) {
	if o.kill != nil && !o.kill.Until.IsZero() && !c.Now().Before(o.kill.Until) {
		return "has ended", nil
	}
	if o.key != "" {
		if _, err := c.APIKeys.Key(ctx, o.key); errors.Is(err, identity.ErrNoKey) {
			return "the key was made since the backup, and is gone", nil
		} else if err != nil {
			return "", err
		}
	}
	said := map[string]any{"replayed": o.ID, "restored": p.Backup}
	if o.path != "" {
		said["path"] = o.path
	}
	if len(o.order) > 0 {
		if order, err := receipt.DecodePlain(o.order); err == nil {
			said["order"] = order
		}
	}
	if o.event != nil && o.event.Source != entitlement.Operator {
		said["event"] = o.event
	}
	draft := receipt.Receipt{ID: c.NewID(), Kind: o.kind, Tenant: o.tenant, Method: o.method}
	err = c.record(ctx, draft, said, func(ctx context.Context) (done map[string]any, err error) {
		switch {
		case o.kill != nil:
			_, err = order(ctx, c.Directives, func(d *directives.Directives) error { return d.Kill(*o.kill) })
		case o.event != nil:
			became, err = c.say(ctx, o.event)
		default:
			done, became, err = c.end(ctx, o)
		}
		return done, err
	})
	return cmp.Or(became, "replayed"), err
}

// say applies what a source has said of a tenant. What operators say holds however clocks differ.
func (c *Confirm) say(ctx context.Context, e *entitlement.Event) (became string, err error) {
	plans, err := entitlement.Plans(ctx, c.Tenants)
	if err != nil {
		return "", err
	}
	after, err := c.Tenants.ChangeTenant(ctx, e.Tenant, nil, func(t *entitlement.Tenant) error {
		became = ""
		if t.Apply(e) == entitlement.Late {
			became = "its source has said so already, or something later"
		}
		t.Note(plans, c.Now())
		return nil
	})
	if err != nil {
		return "", err
	}
	return became, c.announce(ctx, entitlement.VersionName, after.Revision)
}

// end has a key end.
func (c *Confirm) end(ctx context.Context, o *Order) (done map[string]any, became string, err error) {
	after, err := c.APIKeys.ChangeKey(ctx, o.key, func(k *identity.Key) error {
		became = ""
		end := &k.Expires
		if o.revoke {
			end = &k.Revoked
		}
		if !end.IsZero() && !end.After(o.end) {
			became = "it ended by then already"
			return nil
		}
		*end = o.end.UTC()
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	if done = map[string]any{"key": o.key, "revision": after.Revision}; o.revoke {
		done["revoked"] = after.Revoked
	} else {
		done["ends"] = after.Expires
	}
	return done, became, c.announce(ctx, identity.VersionName, after.Revision)
}

// announce tells instances, which follow without it too.
func (c *Confirm) announce(ctx context.Context, what string, version int64) error {
	if c.Announce != nil {
		c.Announce(ctx, what, version)
	}
	return nil
}
