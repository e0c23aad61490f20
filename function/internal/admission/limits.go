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
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/tenant"
)

// A Limit is what is allowed on a scope, in calls; 0 is no limit of that kind.
type Limit struct {
	PerSecond   float64
	Concurrency int64
	PerDay      int64
}

// rules are the limits in force: those of the settings and the catalog, with the operators' overrides in place.
type rules struct {
	orders  *governor.Orders // that they were made with
	call    rule             // a call of no tool that has limits of its own
	list    rule
	tools   map[string]rule
	tenants map[string]governor.Override
	each    map[string]governor.Limit // EachTenant, EachClient
	anyone  governor.Limit            // of the tenant of anonymous callers
}

type rule struct {
	upstream string
	call     governor.Call
}

// makeRules makes the rules. Limits that are wrong are faults; the rules leave them out then, or leave out the override.
func makeRules(o *Options, orders *governor.Orders) (*rules, error) {
	var faults []error
	overrides := map[string]governor.Override{}
	for _, v := range orders.Limits {
		overrides[v.Scope] = v
	}
	r := &rules{orders: orders, tools: map[string]rule{}, tenants: map[string]governor.Override{}, each: map[string]governor.Limit{}}
	// resolve puts the override of the scope in place, if there is one.
	resolve := func(l governor.Limit) governor.Limit {
		if err := l.Check(); err != nil {
			faults = append(faults, fmt.Errorf("the limit on %s: %w", l.Scope, err))
			return governor.Limit{Scope: l.Scope, Key: l.Key}
		}
		if v, ok := overrides[l.Scope]; ok {
			if over := v.Over(l); over.Check() != nil {
				faults = append(faults, fmt.Errorf("the override on %s: %w", l.Scope, over.Check()))
			} else {
				l = *over
			}
		}
		if l.PerDay > 0 && !o.Quotas {
			faults = append(faults, fmt.Errorf("the limit on %s: calls a day need a store: set GOOGLE_CLOUD_PROJECT", l.Scope))
			l.PerDay = 0
		}
		return l
	}
	base := func(scope, key string, l Limit) governor.Limit {
		return governor.Limit{Scope: scope, Key: key, PerSecond: l.PerSecond, Concurrency: l.Concurrency, PerDay: l.PerDay}
	}
	everything := resolve(base(governor.Everything, "all", o.Everything))
	r.each[governor.EachTenant] = resolve(base(governor.EachTenant, "", o.EachTenant))
	r.each[governor.EachClient] = resolve(base(governor.EachClient, "", o.EachClient))
	r.anyone = anonymous(r.each[governor.EachTenant], o.Anonymous)
	for scope, v := range overrides {
		if strings.HasPrefix(scope, "tenant:") {
			r.tenants[scope] = v
		}
	}
	all := inUnits(everything)
	rateOnly := everything
	rateOnly.Concurrency, rateOnly.PerDay = 0, 0 // a list is answered at once, and isn't a call
	r.list = rule{call: governor.Call{Weight: listWeight, Limits: active(inUnits(rateOnly))}}
	r.call = rule{call: governor.Call{Weight: units, Limits: active(all)}}
	upstreams := map[string]*governor.Limit{}
	faults = append(faults, o.Catalog.EachTool(func(name string, terms catalog.Terms) error {
		scope := "tool:" + name
		// Names of the catalog alone become keys: what a caller writes never does.
		own := resolve(governor.Limit{
			Scope: scope, Key: scope, PerSecond: terms.Limits.PerSecond, Burst: float64(terms.Limits.Burst),
			Concurrency: int64(terms.Limits.Concurrency), PerDay: terms.Limits.PerDay, Shadow: terms.Limits.Shadow,
		})
		t := rule{upstream: terms.Upstream, call: governor.Call{Weight: units * int64(max(terms.Weight, 1)), Scopes: []string{scope}}}
		t.call.Limits = active(inUnits(own), all)
		broken := scope
		if u := terms.Upstream; u != "" {
			broken = "upstream:" + u
			t.call.Scopes = append(t.call.Scopes, broken)
			if _, ok := overrides[broken]; ok {
				if upstreams[u] == nil {
					upstreams[u] = inUnits(resolve(governor.Limit{Scope: broken, Key: broken}))
				}
				t.call.Limits = active(append(t.call.Limits, upstreams[u])...)
			}
		}
		if terms.Breaker.Failures > 0 {
			t.call.Breakers = []*governor.Breaker{{Scope: broken, Failures: terms.Breaker.Failures, Rest: terms.Breaker.Rest}}
		}
		r.tools[name] = t
		return nil
	}))
	return r, errors.Join(faults...)
}

// active leaves out limits that limit nothing.
func active(limits ...*governor.Limit) []*governor.Limit {
	return slices.DeleteFunc(limits, func(l *governor.Limit) bool {
		return l.PerSecond == 0 && l.Concurrency == 0 && l.PerDay == 0
	})
}

// inUnits returns the limit with its rate in units, a quarter of a call.
func inUnits(l governor.Limit) *governor.Limit {
	if l.PerSecond > 0 {
		l.Burst = units * cmp.Or(l.Burst, max(1, l.PerSecond/10))
		l.PerSecond *= units
	}
	return &l
}

// of returns what the governor is to be asked for a call of a principal under a rule: what its tenant is entitled to takes the
// place of what each tenant has, and an operator's order on it that of both.
func (r *rules) of(p *identity.Principal, s *tenant.Standing, base *governor.Call, isCall bool) *governor.Call {
	tenantScope := "tenant:" + p.Tenant
	each := r.each[governor.EachTenant]
	if p.Tenant == identity.TenantAnonymous {
		each = r.anyone
	}
	if s != nil {
		entitled := s.Limits.Override(tenantScope)
		each = *entitled.Over(each)
	}
	if v, ok := r.tenants[tenantScope]; ok {
		each = *v.Over(each)
	}
	each.Scope, each.Key = tenantScope, "tenant:"+hashed(p.Tenant)
	client := r.each[governor.EachClient]
	each.Many, client.Many = true, true
	client.Scope, client.Key = "client", "client:"+hashed(p.String())
	if !isCall {
		each.Concurrency, each.PerDay, client.Concurrency, client.PerDay = 0, 0, 0, 0
	}
	c := *base
	c.Scopes = append(slices.Clip(c.Scopes), tenantScope)
	c.Limits = slices.Concat(active(inUnits(client), inUnits(each)), c.Limits)
	return &c
}

// anonymous is the limit of a tenant, where that of anonymous callers is not smaller.
func anonymous(tenant governor.Limit, own Limit) governor.Limit {
	if own.PerSecond > 0 && (tenant.PerSecond == 0 || own.PerSecond < tenant.PerSecond) {
		tenant.PerSecond, tenant.Burst = own.PerSecond, own.PerSecond // a client that starts sends several at once
	}
	if own.Concurrency > 0 && (tenant.Concurrency == 0 || own.Concurrency < tenant.Concurrency) {
		tenant.Concurrency = own.Concurrency
	}
	return tenant
}

// hashed keeps who calls out of the counters and the store.
func hashed(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:12])
}

// Limits lists the limits in force, in calls, with those that every tenant or client has under their scopes.
func Limits(o Options, orders *governor.Orders) ([]governor.Limit, error) {
	r, err := makeRules(&o, orders)
	seen := map[string]bool{}
	var out []governor.Limit
	add := func(l governor.Limit) {
		if !seen[l.Scope] {
			seen[l.Scope] = true
			out = append(out, l)
		}
	}
	fromUnits := func(l governor.Limit) governor.Limit {
		l.PerSecond /= units
		l.Burst /= units
		return l
	}
	for _, l := range r.call.call.Limits {
		add(fromUnits(*l))
	}
	for _, scope := range []string{governor.EachTenant, governor.EachClient} {
		if l := r.each[scope]; len(active(&l)) > 0 {
			add(l)
		}
	}
	if o.Anonymous != (Limit{}) {
		l := r.anyone
		l.Scope, l.Key = "tenant:"+identity.TenantAnonymous, "tenant:"+hashed(identity.TenantAnonymous)
		if v, ok := r.tenants[l.Scope]; ok {
			l = *v.Over(l)
		}
		add(l)
	}
	for scope, v := range r.tenants {
		l := r.each[governor.EachTenant]
		l.Scope, l.Key = scope, "tenant:"+hashed(strings.TrimPrefix(scope, "tenant:"))
		add(*v.Over(l))
	}
	for _, t := range r.tools {
		for _, l := range t.call.Limits {
			add(fromUnits(*l))
		}
	}
	slices.SortFunc(out, func(x, y governor.Limit) int { return cmp.Compare(x.Scope, y.Scope) })
	return out, err
}
