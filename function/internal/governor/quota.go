package governor

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// A quota is what this instance has drawn of a limit of calls in a UTC day, in slices of what it uses in a few seconds, so
// that hardly a call waits for the store, and no more than a slice is lost with an instance.
type quota struct {
	limit   *Limit // as it was last drawn on
	day     string
	left    int64 // drawn and not used
	others  int64 // left in the store at the last draw; -1 is unknown
	retryAt int64 // until then drawing is in vain
	broken  bool  // the last draw failed
	used    demand
	drawing chan struct{} // closed when the draw under way has ended
}

// today is the UTC day, worked out once a day.
type today struct {
	name       string
	begin, end time.Time
}

func (t *today) at(now time.Time) string {
	if now.Before(t.begin) || !now.Before(t.end) {
		t.begin = now.UTC().Truncate(24 * time.Hour)
		t.end = t.begin.Add(24 * time.Hour)
		t.name = t.begin.Format(time.DateOnly)
	}
	return t.name
}

// maxQuotas is from how many on yesterday's are forgotten.
const maxQuotas = 1000

const (
	quotaTimeout = 2 * time.Second                                   // how long a call waits for the store
	quotaRetry   = int64(time.Second / time.Microsecond)             // after a fault of it
	quotaLook    = int64(5 * time.Second / time.Microsecond)         // until a quota that was used up is looked at again
	quotaPeriod  = int64(2500 * time.Millisecond / time.Microsecond) // whose use is a slice
)

func (g *Governor) quota(l *Limit) *quota {
	day := g.today.at(g.opts.Now())
	q := g.quotas[l.Key]
	if q == nil {
		if len(g.quotas) > maxQuotas {
			maps.DeleteFunc(g.quotas, func(_ string, q *quota) bool { return q.day != day && q.drawing == nil })
		}
		q = &quota{others: -1}
		g.quotas[l.Key] = q
	}
	if q.day != day {
		q.day, q.left, q.others, q.retryAt = day, 0, -1, 0
	}
	if q.limit == nil || q.limit.PerDay != l.PerDay {
		q.retryAt = 0
	}
	q.limit = l
	return q
}

// takeQuotas takes one call of each daily limit, or none. Those in dry run that have none left are returned.
func (g *Governor) takeQuotas(ctx context.Context, limits []*Limit) (t taken, d Decision) {
	for _, l := range limits {
		if l.PerDay == 0 {
			continue
		}
		day, d := g.takeQuota(ctx, l)
		switch {
		case d.Admitted():
			t.from = append(t.from, drawn{l, day})
		case l.DryRun:
			t.dryRun = append(t.dryRun, l)
		default:
			g.returnQuotas(t)
			return t, d
		}
	}
	return t, Decision{}
}

// taken is what a call took of daily limits.
type taken struct {
	from   []drawn
	dryRun []*Limit // that have none left
}

type drawn struct {
	limit *Limit
	day   string
}

// returnQuotas gives back what a call took that is refused after all, unless that was yesterday.
func (g *Governor) returnQuotas(t taken) {
	for _, d := range t.from {
		if q := g.quota(d.limit); q.day == d.day {
			q.left++
		}
	}
}

func (g *Governor) takeQuota(ctx context.Context, l *Limit) (day string, d Decision) {
	g.quota(l).used.add(g.now(), quotaPeriod, 1)
	var timer *time.Timer
	for {
		q := g.quota(l)
		now := g.now()
		if q.left > 0 {
			q.left--
			if q.left < q.slice(g.leases.instances)/2 && q.others != 0 && now >= q.retryAt {
				g.drawQuota(ctx, q)
			}
			return q.day, Decision{}
		}
		if now < q.retryAt || g.opts.Quotas == nil {
			if q.broken || g.opts.Quotas == nil {
				return "", without(l, QuotaUsed, FailClosed, time.Second)
			}
			return "", refused(l, QuotaUsed, g.today.end.Sub(g.opts.Now()))
		}
		g.drawQuota(ctx, q)
		if timer == nil {
			timer = time.NewTimer(quotaTimeout)
			defer timer.Stop()
		}
		if drawn := q.drawing; drawn == nil || !g.await(ctx, drawn, timer) { // nil: the governor is closed
			return "", without(l, QuotaUsed, FailClosed, time.Second)
		}
	}
}

// slice is how much to draw: what is used in a few seconds, and a small share of what is left.
func (q *quota) slice(instances int64) int64 {
	left := q.others
	if left < 0 {
		left = q.limit.PerDay
	}
	return max(1, min(max(q.used.now, q.used.before), left/(8*max(instances, 1))))
}

// drawQuota draws a slice from the store, unless a draw is under way. The context is that of the call, for its trace.
func (g *Governor) drawQuota(ctx context.Context, q *quota) {
	if q.drawing != nil || g.closed {
		return
	}
	done := make(chan struct{})
	q.drawing = done
	key, day, most, want := q.limit.Key, q.day, q.limit.PerDay, q.slice(g.leases.instances)
	g.senders.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quotaTimeout)
		defer cancel()
		taken, left, err := g.opts.Quotas.Take(ctx, key, day, most, want)
		g.mu.Lock()
		defer g.mu.Unlock()
		q.drawing = nil
		close(done)
		switch {
		case err != nil:
			if !q.broken {
				g.opts.Logger.Error("a daily quota can't be drawn: its calls are refused", "limit", q.limit.Scope, "error", err)
			}
			q.retryAt, q.broken = g.now()+quotaRetry, true
			return
		case q.day != day:
			return // a slice of yesterday
		}
		q.broken = false
		q.left += taken
		q.others = left
		if taken == 0 {
			q.retryAt = g.now() + quotaLook
		}
	})
}

// returnedAtOnce is how many quotas are given back at the same time.
const returnedAtOnce = 100

// closeQuotas gives back what was drawn and is not used, with the lock released: most first, since what takes longer than there is time
// is lost.
func (g *Governor) closeQuotas(ctx context.Context) {
	type unused struct {
		key string
		n   int64
	}
	day := g.today.at(g.opts.Now())
	var all []unused
	for key, q := range g.quotas {
		if q.left > 0 && q.day == day {
			all = append(all, unused{key, q.left})
			q.left = 0
		}
	}
	slices.SortFunc(all, func(x, y unused) int { return cmp.Or(cmp.Compare(y.n, x.n), cmp.Compare(x.key, y.key)) })
	g.mu.Unlock()
	defer g.mu.Lock()
	var returning sync.WaitGroup
	var mu sync.Mutex
	var limits, calls int64
	var fault error
	room := make(chan struct{}, returnedAtOnce)
	for _, u := range all {
		room <- struct{}{}
		returning.Go(func() {
			err := g.opts.Quotas.Return(ctx, u.key, day, u.n)
			<-room
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				limits, calls, fault = limits+1, calls+u.n, cmp.Or(fault, err)
			}
		})
	}
	returning.Wait()
	if fault != nil {
		g.opts.Logger.Warn("what was drawn of daily quotas could not be given back", "limits", limits, "calls", calls, "error", fault)
	}
}
