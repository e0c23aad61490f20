package dataplane

import (
	"context"
	"errors"
	"time"

	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/store/redis"
)

// Governs implements [serve.Status]: it is known what operators have ordered.
func (p *Plane) Governs() bool { return p.Gate().Ready() }

// unheard is the status of an instance that refuses all calls.
const unheard = "starting, or cut off: neither the store nor Redis tells what operators have ordered, or the store not what tenants are entitled to"

// Unready implements [serve.Status].
func (p *Plane) Unready(ctx context.Context) string {
	if p.Stores.Redis != nil && p.Governor != nil && (!p.Governs() || len(p.Gate().Degraded()) > 0) {
		// Whether it is still so: without calls nobody else asks. Anyone may ask for /ready, so one probe a second does.
		if now, last := time.Now().UnixNano(), p.warmed.Load(); now-last >= int64(time.Second) && p.warmed.CompareAndSwap(last, now) {
			p.Governor.Warm()
		}
	}
	if !p.Gate().Informed(ctx) {
		return unheard
	}
	p.entitled.Warm(0)
	return ""
}

// Unreachable implements [serve.Status].
func (p *Plane) Unreachable(ctx context.Context) error {
	if p.Stores.Redis == nil || p.Governor == nil {
		return nil
	}
	return p.Stores.Redis.Ping(ctx)
}

// Scope implements [serve.Status].
func (p *Plane) Scope() string {
	switch {
	case p.Governor == nil:
		return "none"
	case p.Config.Standalone:
		return "instance"
	}
	return "fleet"
}

// Degraded implements [serve.Status].
func (p *Plane) Degraded() []string {
	out := append(append([]string{}, p.Gate().Degraded()...), p.declared.degraded()...)
	if p.Governor != nil && p.Stores.Redis != nil {
		fault := p.Governor.Fault()
		if why := redis.Explain(fault); why != "" && !errors.Is(fault, governor.ErrEpoch) {
			out = append(out, "Redis: "+why)
		}
	}
	return append(append(out, p.App.Degraded()...), p.entitled.Degraded()...)
}
