package admission

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
)

// rules are the limits in force: those of the settings and the catalog, with the operators' overrides in place.
type rules struct {
	directives *directives.Directives // that they were made with
	call       rule                   // a call of no tool that has limits of its own
	other      rule                   // what is no call
	apart      governor.Limit         // on that, of each client
	tools      map[string]rule
	tenants    map[string]directives.Limits // overrides
	each       map[string]governor.Limit    // EachTenant, EachClient
	anyone     governor.Limit               // of the tenant of anonymous callers
	renamed    []string                     // overrides on names that tools had, in words
}

type rule struct {
	upstream string
	call     governor.Call
}

// What is no call has a rate of its own for each client, of a tenth of what all calls together have, and of minApart a second at least.
const (
	scopeApart = "client-messages"
	minApart   = 20
)

// makeRules makes the rules. Limits of the settings and the catalog that are wrong are faults, and left out. An override that the tools
// have outgrown is a fault too, and stays in force as it was ordered: who deploys does not undo what operators decided.
func makeRules(o *Options, d *directives.Directives) (*rules, error) {
	m := &ruleMaker{
		rules:  &rules{directives: d, tools: map[string]rule{}, tenants: map[string]directives.Limits{}, each: map[string]governor.Limit{}},
		quotas: o.Quotas, weights: weigh(o.Catalog), overrides: map[string]directives.Override{}, upstreams: map[string]*governor.Limit{},
	}
	for _, v := range d.Limits {
		m.overrides[v.Scope] = v
	}
	m.rename(o.Catalog)
	everything := m.resolve(on(o.Everything, directives.Everything, "all"), tenfold)
	m.each[directives.EachTenant] = m.resolve(on(o.EachTenant, directives.EachTenant, ""), tenfold)
	m.each[directives.EachClient] = m.resolve(on(o.EachClient, directives.EachClient, ""), tenfold)
	var slower bool
	if m.anyone, slower = anonymous(m.each[directives.EachTenant], o.Anonymous); slower {
		if err := m.weights.check(&m.anyone, asMany); err != nil {
			m.fault(fmt.Errorf("the limit on anonymous callers: %w", err))
		}
	}
	for scope, v := range m.overrides {
		if !strings.HasPrefix(scope, "tenant:") {
			continue
		}
		l := m.each[directives.EachTenant]
		l.Scope = scope
		m.override(&v, l)
		m.tenants[scope] = v.Limits
	}
	apart := max(minApart, everything.PerSecond/10)
	m.apart = governor.Limit{Scope: scopeApart, PerSecond: apart, Burst: max(2*minApart, apart), Many: true}
	m.other = rule{call: governor.Call{Weight: 1}}
	m.call = rule{call: governor.Call{Weight: 1, Limits: active(&everything)}}
	m.fault(o.Catalog.EachTool(func(name string, terms catalog.Terms) error {
		m.tools[name] = m.tool(name, &terms, &everything)
		return nil
	}))
	return m.rules, errors.Join(m.faults...)
}

// A ruleMaker makes rules, and gathers what is wrong with them.
type ruleMaker struct {
	*rules
	quotas    bool // there is a store to draw them from
	weights   weights
	overrides map[string]directives.Override // by scope
	upstreams map[string]*governor.Limit     // that have an override, by name: tools share them
	faults    []error
}

func (m *ruleMaker) fault(err error) { m.faults = append(m.faults, err) }

// rename has overrides on names that tools had hold for those that they have.
func (m *ruleMaker) rename(entries *catalog.Catalog) {
	for _, t := range entries.Renamed() {
		was, is := "tool:"+t.Formerly, "tool:"+t.Name
		v, old := m.overrides[was]
		switch _, there := m.overrides[is]; {
		case old && there:
			m.renamed = append(m.renamed, "the override on "+was+" does nothing beside the one on "+is+", which it is called now: reset it")
		case old:
			m.overrides[is] = v
			m.renamed = append(m.renamed, "the override on "+was+" holds for "+is+", which it is called now: order it by that name")
		}
	}
}

// override returns the limit with what was ordered in place, which stays in force if the tools have outgrown it.
func (m *ruleMaker) override(v *directives.Override, l governor.Limit) governor.Limit {
	l = l.With(v.Limits)
	if err := m.weights.check(&l, burstOrRate); err != nil {
		m.fault(&directives.OverrideFault{Scope: v.Scope, Err: err})
	}
	return l
}

// resolve puts the override of the scope in place, if there is one.
func (m *ruleMaker) resolve(l governor.Limit, remedy remedy) governor.Limit {
	if err := m.weights.check(&l, remedy); err != nil {
		m.fault(fmt.Errorf("the limit on %s: %w", l.Scope, err))
		return governor.Limit{Scope: l.Scope, Key: l.Key, Common: l.Common}
	}
	if v, ok := m.overrides[l.Scope]; ok {
		l = m.override(&v, l)
	}
	if l.PerDay > 0 && !m.quotas {
		m.fault(fmt.Errorf("the limit on %s: calls a day need a store: set GOOGLE_CLOUD_PROJECT", l.Scope))
		l.PerDay = 0
	}
	return l
}

// tool returns the rule of a tool.
func (m *ruleMaker) tool(name string, terms *catalog.Terms, everything *governor.Limit) rule {
	scope := "tool:" + name
	// Names of the catalog alone become keys: what a caller writes never does.
	own := m.resolve(on(terms.Limits, scope, scope), burstOrRate)
	t := rule{upstream: terms.Upstream, call: governor.Call{Weight: int64(max(terms.Weight, 1)), Scopes: []string{scope}}}
	if f := terms.Formerly; f != "" {
		t.call.Scopes = append(t.call.Scopes, "tool:"+f) // directives may be older than the name
	}
	t.call.Limits = active(&own, everything)
	broken := scope
	if u := terms.Upstream; u != "" {
		broken = "upstream:" + u
		t.call.Scopes = append(t.call.Scopes, broken)
		if _, ok := m.overrides[broken]; ok {
			if m.upstreams[u] == nil {
				l := m.resolve(on(governor.Limit{}, broken, broken), burstOrRate)
				m.upstreams[u] = &l
			}
			t.call.Limits = active(append(t.call.Limits, m.upstreams[u])...)
		}
	}
	if terms.Breaker.Failures > 0 {
		terms.Breaker.Scope = broken
		t.call.Breaker = &terms.Breaker
	}
	return t
}

// on returns the limit with its scope, and with its key where it is one for all: then tenants share it.
func on(l governor.Limit, scope, key string) governor.Limit {
	l.Scope, l.Key, l.Common = scope, key, key != ""
	return l
}

// weights are the heaviest tools, by the scopes that they are under; "" is for all other scopes.
type weights map[string]heaviest

type heaviest struct {
	tool   string
	weight int
}

func weigh(c *catalog.Catalog) weights {
	w := weights{}
	c.EachTool(func(name string, terms catalog.Terms) error { // without an error
		scopes := []string{"", "tool:" + name}
		if terms.Upstream != "" {
			scopes = append(scopes, "upstream:"+terms.Upstream)
		}
		for _, scope := range scopes {
			if terms.Weight > w[scope].weight {
				w[scope] = heaviest{name, terms.Weight}
			}
		}
		return nil
	})
	return w
}

// A remedy is what lets a call of some weight be admitted under a limit.
type remedy func(l *governor.Limit, weight int) string

// burstOrRate is for limits that can be given a burst: where they have one, more calls a second do nothing.
func burstOrRate(l *governor.Limit, weight int) string {
	if l.Burst > 0 {
		return fmt.Sprintf("a burst of %d", weight)
	}
	return fmt.Sprintf("a burst of %d, or %d calls a second", weight, 10*weight)
}

// tenfold is for settings, which have a rate alone, and a burst of a tenth of it.
func tenfold(_ *governor.Limit, weight int) string {
	return fmt.Sprintf("%d calls a second", 10*weight)
}

// asMany is for anonymous callers: their burst is their rate.
func asMany(_ *governor.Limit, weight int) string { return fmt.Sprintf("%d calls a second", weight) }

// check returns what is wrong with a limit, in calls, under which tools of some weights are called.
func (w weights) check(l *governor.Limit, allow remedy) error {
	scope := l.Scope
	if !strings.HasPrefix(scope, "tool:") && !strings.HasPrefix(scope, "upstream:") {
		scope = ""
	}
	err := l.Check()
	if h := w[scope]; err == nil && l.PerSecond > 0 && float64(h.weight) > l.MaxBurst() {
		err = fmt.Errorf("a call of %s costs %d, and no more than %s may come at once, so that it would never be admitted: allow %s",
			h.tool, h.weight, trim(l.MaxBurst()), allow(l, h.weight))
	}
	return err
}

// active leaves out limits that limit nothing.
func active(limits ...*governor.Limit) []*governor.Limit {
	return slices.DeleteFunc(limits, func(l *governor.Limit) bool { return !l.Active() })
}

// of returns what the governor is to be asked for a call of a principal under a rule: what its tenant is entitled to takes the
// place of what each tenant has, and an operator's override on it that of both.
func (r *rules) of(p *identity.Principal, s *entitlement.Standing, base *governor.Call, isCall bool) *governor.Call {
	tenantScope := "tenant:" + p.Tenant
	each := r.each[directives.EachTenant]
	if p.Tenant == identity.TenantAnonymous {
		each = r.anyone
	}
	if s != nil {
		each = each.With(s.Limits)
	}
	if v, ok := r.tenants[tenantScope]; ok {
		each = each.With(v)
	}
	each.Scope, each.Key = tenantScope, "tenant:"+hashed(p.Tenant)
	client := r.each[directives.EachClient]
	each.Many, client.Many = true, true
	client.Scope, client.Key = "client", "client:"+hashed(p.String())
	c := *base
	c.Tenant = hashed(p.Tenant)
	c.Scopes = append(slices.Clip(c.Scopes), tenantScope)
	if !isCall {
		apart := r.apart
		apart.Key = scopeApart + ":" + hashed(p.String())
		c.Limits = []*governor.Limit{&apart}
		return &c
	}
	c.Limits = slices.Concat(active(&client, &each), c.Limits)
	return &c
}

// ofTenants tells whether tenants have limits of their own.
func (r *rules) ofTenants() bool {
	l := r.each[directives.EachTenant]
	return l.Active()
}

// anonymous is the limit of a tenant, where that of anonymous callers is not smaller. Slower tells whether its rate is.
func anonymous(tenant, own governor.Limit) (_ governor.Limit, slower bool) {
	if slower = own.PerSecond > 0 && (tenant.PerSecond == 0 || own.PerSecond < tenant.PerSecond); slower {
		tenant.PerSecond, tenant.Burst = own.PerSecond, own.PerSecond // a client that starts sends several at once
	}
	if own.Concurrency > 0 && (tenant.Concurrency == 0 || own.Concurrency < tenant.Concurrency) {
		tenant.Concurrency = own.Concurrency
	}
	return tenant, slower
}

// hashed keeps who calls out of the counters and the store.
func hashed(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:12])
}

// Limits lists the limits in force, in calls, with those that every tenant or client has under their scopes.
func Limits(o Options, d *directives.Directives) ([]governor.Limit, error) {
	r, err := makeRules(&o, d)
	seen := map[string]bool{}
	var out []governor.Limit
	add := func(l governor.Limit) {
		if !seen[l.Scope] {
			seen[l.Scope] = true
			out = append(out, l)
		}
	}
	for _, l := range r.call.call.Limits {
		add(*l)
	}
	for _, scope := range []string{directives.EachTenant, directives.EachClient} {
		if l := r.each[scope]; l.Active() {
			add(l)
		}
	}
	if o.Anonymous != (governor.Limit{}) {
		l := r.anyone
		l.Scope, l.Key = "tenant:"+identity.TenantAnonymous, "tenant:"+hashed(identity.TenantAnonymous)
		if v, ok := r.tenants[l.Scope]; ok {
			l = l.With(v)
		}
		add(l)
	}
	for scope, v := range r.tenants {
		l := r.each[directives.EachTenant]
		l.Scope, l.Key = scope, "tenant:"+hashed(strings.TrimPrefix(scope, "tenant:"))
		add(l.With(v))
	}
	for _, t := range r.tools {
		for _, l := range t.call.Limits {
			add(*l)
		}
	}
	slices.SortFunc(out, func(x, y governor.Limit) int { return cmp.Compare(x.Scope, y.Scope) })
	return out, err
}

// Overridden returns limits as they are with what operators have ordered in place; the scopes are those of tools and upstreams, which
// may have no limit yet, and former are those that they had.
func Overridden(base []governor.Limit, scopes []string, former map[string]string, d *directives.Directives) []governor.Limit {
	out := slices.Clone(base)
	find := func(scope string) int {
		return slices.IndexFunc(out, func(l governor.Limit) bool { return l.Scope == scope })
	}
	for i := range d.Limits { // each-tenant comes before any tenant
		v := d.Limits[i]
		if &d.Limits[i] != d.OverrideOn(v.Scope) {
			continue
		}
		if now := former[v.Scope]; now != "" && d.OverrideOn(now) == nil {
			v.Scope = now
		}
		at := find(v.Scope)
		name, ofTenant := strings.CutPrefix(v.Scope, "tenant:")
		switch {
		case at >= 0:
			out[at] = out[at].With(v.Limits)
		case ofTenant:
			l := governor.Limit{Scope: v.Scope, Key: "tenant:" + hashed(name)}
			if each := find(directives.EachTenant); each >= 0 {
				l = out[each]
				l.Scope, l.Key = v.Scope, "tenant:"+hashed(name)
			}
			out = append(out, l.With(v.Limits))
		case v.Scope == directives.EachTenant || v.Scope == directives.EachClient:
			out = append(out, governor.Limit{Scope: v.Scope}.With(v.Limits))
		case v.Scope == directives.Everything:
			out = append(out, governor.Limit{Scope: v.Scope, Key: "all"}.With(v.Limits))
		case slices.Contains(scopes, v.Scope):
			out = append(out, governor.Limit{Scope: v.Scope, Key: v.Scope}.With(v.Limits))
		}
	}
	slices.SortFunc(out, func(x, y governor.Limit) int { return cmp.Compare(x.Scope, y.Scope) })
	return out
}
