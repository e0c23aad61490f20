package controlapi

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/receipt"
)

// maxDirectives bounds the kill switches and the overrides, each: every instance reads all of them.
const maxDirectives = 1000

// maxReason is of a kill switch, in bytes.
const maxReason = 500

// tagOf is the ETag of a directive: of its content, since directives have one version together.
func tagOf(order any) string {
	sum := sha256.Sum256(receipt.Canonical(receipt.Plain(order)))
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}

// changeDirectives records and makes a change of the directives.
func (p *Plane) changeDirectives(c *call, kind receipt.Kind, scope string, change func(*directives.Directives) error) (directives.Directives, []string, error) {
	name, _ := strings.CutPrefix(scope, "tenant:")
	if name == scope {
		name = ""
	}
	var after directives.Directives
	var untold []string
	warnings, err := p.change(c, kind, name, func(ctx context.Context) (done map[string]any, err error) {
		after, err = p.opts.Directives.Change(ctx, change)
		if untold, err = apart(err); err != nil {
			return nil, err
		}
		done = map[string]any{"version": after.Version}
		if untold != nil {
			done["warnings"] = untold
		}
		return done, nil
	})
	return after, append(warnings, untold...), err
}

// apart takes what an error says beside directives that are good, as warnings.
func apart(err error) (warnings []string, _ error) {
	if a, ok := errors.AsType[*directives.Apart](err); ok {
		return a.Warnings(), nil
	}
	return nil, err
}

// directives reads those in force. Without the store they are not read: what Redis knows may not be all.
func (p *Plane) directives(ctx context.Context) (d directives.Directives, warnings []string, err error) {
	d, err = p.opts.Directives.Directives(ctx)
	if a, ok := errors.AsType[*directives.Apart](err); ok && a.Store != nil {
		return d, nil, unavailable(a.Store, "the orders can't be read")
	}
	warnings, err = apart(err)
	return d, warnings, err
}

// unknown warns of a directive on what is not there: a name that is spelled otherwise refuses no one.
func (p *Plane) unknown(scope string) []string {
	if p.opts.Known == nil {
		return nil
	}
	switch now := p.opts.Known(scope); now {
	case scope:
		return nil
	case "":
		return []string{fmt.Sprintf("nothing is known here by the name of %q: the order is in force, and holds for what comes to be called so", scope)}
	default:
		return []string{fmt.Sprintf("%q is called %q now: the order is in force for it", scope, now)}
	}
}

// A killView is a kill switch.
type killView struct {
	directives.Kill
	ETag string `json:"etag"`
	noted
}

func (p *Plane) listKills(c *call) (*answer, error) {
	ctx, stop := c.reading()
	defer stop()
	after, limit, faults := c.page()
	if err := invalid(faults); err != nil {
		return nil, err
	}
	d, warnings, err := p.directives(ctx)
	if err != nil {
		return nil, err
	}
	var all []killView
	for _, k := range d.Kills { // in the order of their scopes
		if in := d.KillOn(k.Scope, c.now); k.Scope > after && in != nil {
			after = k.Scope // one that was ordered elsewhere at the same time is shown by the longer one
			all = append(all, killView{Kill: *in, ETag: tagOf(*in)})
		}
	}
	all, next := cut(all, limit, func(k killView) string { return k.Scope })
	return &answer{body: struct {
		Kills    []killView `json:"kills"`
		Version  int64      `json:"version"`
		Next     string     `json:"next,omitempty"`
		Warnings []string   `json:"warnings,omitempty"`
	}{all, d.Version, next, warnings}}, nil
}

// killAllowed holds a kill switch against the preconditions, which may be left out: in an emergency nobody should have to read first.
func (c *call) killAllowed(o *directives.Directives, scope string) (*directives.Kill, error) {
	k := o.KillOn(scope, c.now)
	if k == nil {
		return nil, c.unchanged(false, "", mayMatch)
	}
	return k, c.unchanged(true, tagOf(*k), mayMatch)
}

func (p *Plane) putKill(c *call) (*answer, error) {
	said, faults := decode[struct {
		Reason string    `json:"reason"`
		Until  time.Time `json:"until"`
	}](c.body)
	scope := c.r.PathValue("scope")
	kill := directives.Kill{Scope: scope, Reason: said.Reason, At: c.now.UTC().Truncate(time.Microsecond), Until: said.Until.UTC()}
	if err := directives.CheckScope(scope); err != nil {
		faults = append(faults, "scope: "+err.Error())
	}
	switch {
	case len(faults) > 0:
	case strings.TrimSpace(kill.Reason) == "":
		faults = append(faults, "reason: is missing: callers read it")
	case len(kill.Reason) > maxReason:
		faults = append(faults, fmt.Sprintf("reason: is longer than %d bytes", maxReason))
	}
	if !kill.Until.IsZero() && !kill.Until.After(c.now) {
		faults = append(faults, "until: has passed")
	}
	if err := invalid(faults); err != nil {
		return nil, err
	}
	replaced := false
	in, warnings, err := p.changeDirectives(c, receipt.Killed, scope, func(o *directives.Directives) error {
		old, err := c.killAllowed(o, scope)
		if err != nil {
			return err
		}
		replaced = old != nil
		if err := o.Kill(kill); err != nil {
			return invalid([]string{err.Error()})
		}
		return bounded(len(o.Kills), "kill switches")
	})
	if err != nil {
		return nil, err
	}
	if k := in.KillOn(scope, c.now); k != nil {
		kill = *k
	}
	a := &answer{etag: tagOf(kill), body: killView{kill, tagOf(kill), noted{c.id, append(warnings, p.unknown(scope)...)}}}
	if !replaced {
		a.status, a.location = http.StatusCreated, c.r.URL.EscapedPath()
	}
	return a, nil
}

func bounded(n int, what string) error {
	if n > maxDirectives {
		return problem(http.StatusConflict, "too_many", "there are %d %s, which is all that there may be: lift some first", maxDirectives, what)
	}
	return nil
}

func (p *Plane) deleteKill(c *call) (*answer, error) {
	scope := c.r.PathValue("scope")
	var lifted *directives.Kill
	_, warnings, err := p.changeDirectives(c, receipt.Killed, scope, func(o *directives.Directives) error {
		k, err := c.killAllowed(o, scope)
		switch {
		case err != nil:
			return err
		case k == nil:
			return notFound("there is no kill switch on %.140q", scope)
		}
		old := *k
		lifted = &old
		if err := o.Lift(scope); err != nil { // that of a restored store is not lifted so
			return problem(http.StatusConflict, "restored", "%v", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &answer{body: struct {
		Lifted *directives.Kill `json:"lifted"`
		noted
	}{lifted, noted{c.id, warnings}}}, nil
}

// An overrideView is what operators have ordered of a limit.
type overrideView struct {
	directives.Override
	ETag string `json:"etag"`
}

// A limitView is a limit in force. What is null is not known.
type limitView struct {
	Scope       string        `json:"scope"`
	PerSecond   float64       `json:"perSecond,omitempty"`
	Burst       float64       `json:"burst,omitempty"`
	Concurrency int64         `json:"concurrency,omitempty"`
	PerDay      int64         `json:"perDay,omitempty"`
	DryRun      bool          `json:"shadow"`
	Slots       *int64        `json:"slots"` // of the calls at a time, that are leased to instances
	Used        *int64        `json:"used"`  // of them, by calls that run
	Today       *int64        `json:"today"` // of the calls a day, that instances have drawn
	Override    *overrideView `json:"override,omitempty"`
}

func known(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

func overrideOn(o *directives.Directives, scope string) *overrideView {
	if v := o.OverrideOn(scope); v != nil {
		return &overrideView{*v, tagOf(*v)}
	}
	return nil
}

// limits are those in force, by scope, and overrides of scopes that have none.
func (p *Plane) limits(ctx context.Context) (views []limitView, instances int, d directives.Directives, warnings []string, err error) {
	if d, warnings, err = p.directives(ctx); err != nil {
		return nil, -1, d, nil, err
	}
	limits, instances, err := p.opts.Directives.Limits(ctx)
	if err != nil && limits == nil {
		return nil, -1, d, nil, err
	}
	warnings = append(warnings, entitlement.Faults(err)...)
	for _, l := range limits {
		v := limitView{Scope: l.Scope, PerSecond: l.PerSecond, Concurrency: l.Concurrency, PerDay: l.PerDay, DryRun: l.DryRun, Slots: known(l.Slots), Used: known(l.Used), Today: known(l.Today)}
		if l.PerSecond > 0 {
			v.Burst = l.MaxBurst()
		}
		v.Override = overrideOn(&d, l.Scope)
		views = append(views, v)
	}
	for _, o := range d.Limits {
		if !slices.ContainsFunc(views, func(v limitView) bool { return v.Scope == o.Scope }) {
			views = append(views, limitView{Scope: o.Scope, Override: overrideOn(&d, o.Scope)})
		}
	}
	slices.SortStableFunc(views, func(a, b limitView) int { return cmp.Compare(a.Scope, b.Scope) })
	return views, instances, d, warnings, nil
}

func (p *Plane) listLimits(c *call) (*answer, error) {
	ctx, stop := c.reading()
	defer stop()
	after, limit, faults := c.page()
	if err := invalid(faults); err != nil {
		return nil, err
	}
	all, instances, d, warnings, err := p.limits(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(v limitView) bool { return v.Scope <= after })
	all, next := cut(all, limit, func(v limitView) string { return v.Scope })
	return &answer{body: struct {
		Limits    []limitView `json:"limits"`
		Instances *int64      `json:"instances"`
		Version   int64       `json:"version"`
		Next      string      `json:"next,omitempty"`
		Warnings  []string    `json:"warnings,omitempty"`
	}{all, known(int64(instances)), d.Version, next, warnings}}, nil
}

func (p *Plane) getLimit(c *call) (*answer, error) {
	ctx, stop := c.reading()
	defer stop()
	all, _, _, warnings, err := p.limits(ctx)
	if err != nil {
		return nil, err
	}
	scope := c.r.PathValue("scope")
	i := slices.IndexFunc(all, func(v limitView) bool { return v.Scope == scope })
	if i < 0 {
		return nil, notFound("there is no limit on %.140q, and no override of one", scope)
	}
	a := &answer{body: struct {
		limitView
		Warnings []string `json:"warnings,omitempty"`
	}{all[i], warnings}}
	if o := all[i].Override; o != nil {
		a.etag = o.ETag
	}
	return a, nil
}

// overrideAllowed holds the override on a scope against the preconditions.
func (c *call) overrideAllowed(o *directives.Directives, scope string) (exists bool, err error) {
	v := overrideOn(o, scope)
	if v == nil {
		return false, c.unchanged(false, "", mustMatch)
	}
	return true, c.unchanged(true, v.ETag, mustMatch)
}

func (p *Plane) putLimit(c *call) (*answer, error) {
	said, faults := decode[directives.Limits](c.body)
	override := directives.Override{Scope: c.r.PathValue("scope"), Limits: said}
	if len(faults) == 0 && said == (directives.Limits{}) {
		faults = append(faults, "body: nothing is overridden: give perSecond, burst, concurrency, perDay or shadow")
	}
	faults = append(faults, entitlement.Faults((&directives.Directives{}).Override(override))...)
	if err := invalid(faults); err != nil {
		return nil, err
	}
	d, _, err := p.directives(c.r.Context())
	if err != nil {
		return nil, unavailable(err, "the orders can't be read")
	}
	if _, err := c.overrideAllowed(&d, override.Scope); err != nil {
		return nil, err
	}
	override.At = c.now.UTC().Truncate(time.Microsecond)
	replaced := false
	in, warnings, err := p.changeDirectives(c, receipt.Changed, override.Scope, func(o *directives.Directives) (err error) {
		if replaced, err = c.overrideAllowed(o, override.Scope); err != nil {
			return err
		}
		if replaced { // whole, not member by member
			if err := o.Reset(override.Scope); err != nil {
				return err
			}
		}
		if err := o.Override(override); err != nil {
			return invalid(entitlement.Faults(err))
		}
		return bounded(len(o.Limits), "overrides of limits")
	})
	if err != nil {
		return nil, err
	}
	v := *overrideOn(&in, override.Scope)
	a := &answer{etag: v.ETag, body: struct {
		overrideView
		noted
	}{v, noted{c.id, append(warnings, p.unknown(override.Scope)...)}}}
	if !replaced {
		a.status, a.location = http.StatusCreated, c.r.URL.EscapedPath()
	}
	return a, nil
}

func (p *Plane) deleteLimit(c *call) (*answer, error) {
	scope := c.r.PathValue("scope")
	allowed := func(o *directives.Directives) error {
		exists, err := c.overrideAllowed(o, scope)
		if err == nil && !exists {
			err = notFound("there is no override on %.140q", scope)
		}
		return err
	}
	d, _, err := p.directives(c.r.Context())
	if err != nil {
		return nil, unavailable(err, "the orders can't be read")
	}
	if err := allowed(&d); err != nil {
		return nil, err
	}
	var lifted directives.Override
	_, warnings, err := p.changeDirectives(c, receipt.Changed, scope, func(o *directives.Directives) error {
		if err := allowed(o); err != nil {
			return err
		}
		lifted = overrideOn(o, scope).Override
		return o.Reset(scope)
	})
	if err != nil {
		return nil, err
	}
	return &answer{body: struct {
		Lifted directives.Override `json:"lifted"`
		noted
	}{lifted, noted{c.id, warnings}}}, nil
}
