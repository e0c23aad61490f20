package controlapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/receipt"
)

// A keyView is an API key without what it could be guessed by.
type keyView struct {
	ID       string    `json:"id"`
	Tenant   string    `json:"tenant"`
	Subject  string    `json:"subject"`
	Scopes   []string  `json:"scopes"`
	State    string    `json:"state"`
	Created  time.Time `json:"created,omitzero"`
	Starts   time.Time `json:"starts,omitzero"`
	Expires  time.Time `json:"expires,omitzero"`
	Revoked  time.Time `json:"revoked,omitzero"`
	Revision int64     `json:"revision"`
	Text     string    `json:"text,omitempty"` // what its bearer sends: said once
	noted
}

func viewKey(k *identity.StoredKey, now time.Time) *keyView {
	v := &keyView{
		ID: k.ID, Tenant: k.Tenant, Subject: k.Subject, Scopes: k.Scopes, State: k.State(now),
		Created: k.Created, Starts: k.Starts, Expires: k.Expires, Revoked: k.Revoked, Revision: k.Revision,
	}
	if v.Scopes == nil {
		v.Scopes = []string{}
	}
	return v
}

func (p *Plane) listKeys(c *call) (*answer, error) {
	ctx, stop := c.reading()
	defer stop()
	after, limit, faults := c.page()
	if err := invalid(faults); err != nil {
		return nil, err
	}
	all, err := p.opts.Keys.Keys(ctx, c.values.Get("tenant"), after, limit+1)
	if err != nil {
		return nil, err
	}
	views := make([]*keyView, len(all))
	for i, k := range all {
		views[i] = viewKey(k, c.now)
	}
	views, next := cut(views, limit, func(v *keyView) string { return v.ID })
	return &answer{body: struct {
		Keys []*keyView `json:"keys"`
		Next string     `json:"next,omitempty"`
	}{views, next}}, nil
}

func (p *Plane) getKey(c *call) (*answer, error) {
	ctx, stop := c.reading()
	defer stop()
	k, err := p.opts.Keys.Key(ctx, c.r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return &answer{etag: etag(k.Revision), body: viewKey(k, c.now)}, nil
}

// maxScopes bounds what a key is granted.
const maxScopes = 50

// checkKey lists what is wrong with a key that is to be made.
func (c *call) checkKey(k *identity.Key) (faults []string) {
	_, whole := identity.NewKey(*k)
	faults = entitlement.Faults(whole.Check())
	if len(k.Scopes) > maxScopes {
		faults = append(faults, fmt.Sprintf("scopes: there are more than %d", maxScopes))
	}
	for _, s := range k.Scopes {
		switch {
		case len(s) > 128:
			faults = append(faults, fmt.Sprintf("scopes: %.40q… is longer than 128 bytes", s))
		case strings.HasPrefix(s, "taiea:"):
			faults = append(faults, fmt.Sprintf("scopes: %.80q is not for keys that are made here: it is an operator's", s))
		}
	}
	if !k.Expires.IsZero() && !k.Expires.After(c.now) {
		faults = append(faults, "expires: has passed")
	}
	if !k.Expires.IsZero() && !k.Starts.Before(k.Expires) {
		faults = append(faults, "starts: is not before expires")
	}
	return faults
}

func (p *Plane) postKey(c *call) (*answer, error) {
	said, faults := decode[struct {
		Tenant  string    `json:"tenant"`
		Subject string    `json:"subject"`
		Scopes  []string  `json:"scopes"`
		Starts  time.Time `json:"starts"`
		Expires time.Time `json:"expires"`
	}](c.body)
	key := identity.Key{Tenant: said.Tenant, Subject: said.Subject, Scopes: said.Scopes, Starts: said.Starts.UTC(), Expires: said.Expires.UTC()}
	if len(faults) == 0 {
		faults = c.checkKey(&key)
	}
	if err := invalid(faults); err != nil {
		return nil, err
	}
	if err := c.unchanged(false, "", mayMatch); err != nil {
		return nil, err
	}
	var warnings []string
	if _, err := p.opts.Tenants.Tenant(c.r.Context(), key.Tenant); errors.Is(err, entitlement.ErrUnknown) {
		warnings = append(warnings, fmt.Sprintf("there is no tenant %q yet: nothing is granted to it", key.Tenant))
	} else if err != nil {
		return nil, unavailable(err, "the tenant can't be read")
	}
	return p.addKey(c, key, warnings, nil)
}

// addKey makes a key, and does with it what else belongs to the change.
func (p *Plane) addKey(c *call, key identity.Key, warnings []string, then func(ctx context.Context) (other *identity.StoredKey, done map[string]any, warnings []string)) (*answer, error) {
	var made *identity.StoredKey
	var version int64
	var text string
	recorded, err := p.change(c, receipt.Changed, key.Tenant, func(ctx context.Context) (done map[string]any, err error) {
		for range 3 { // an id is as good as never taken
			var k identity.Key
			text, k = identity.NewKey(key)
			k.Created = c.now.UTC().Truncate(time.Microsecond)
			if made, err = p.opts.Keys.AddKey(ctx, k); !errors.Is(err, identity.ErrKeyTaken) {
				break
			}
		}
		if err != nil {
			return nil, err
		}
		done = map[string]any{"key": made.ID, "tenant": made.Tenant, "revision": made.Revision}
		version = made.Revision
		if then != nil {
			other, more, said := then(ctx)
			if other != nil {
				version = max(version, other.Revision)
			}
			maps.Copy(done, more)
			warnings = append(warnings, said...)
		}
		return done, nil
	})
	if err != nil {
		return nil, err
	}
	warnings = append(append(recorded, warnings...), p.events.Announce(c.r.Context(), identity.VersionName, version)...)
	v := viewKey(made, c.now)
	again := *v
	v.Text, v.noted = text, noted{c.id, warnings}
	again.noted = noted{c.id, append(slices.Clone(warnings), textOnce)}
	return &answer{status: http.StatusCreated, etag: etag(made.Revision), location: "/v1/keys/" + made.ID, body: v, again: &again}, nil
}

// textOnce is for who asks again with the same idempotency key: what is kept of an answer is sealed, and still it is no place for the text.
const textOnce = "the text of the key was in the first answer, and is kept nowhere: where that was lost, revoke this key and make another"

// deleteKey revokes a key. Preconditions may be left out: who has lost a key should not have to read first.
func (p *Plane) deleteKey(c *call) (*answer, error) {
	id := c.r.PathValue("id")
	before, err := p.opts.Keys.Key(c.r.Context(), id)
	if err != nil {
		return nil, err
	}
	if err := c.unchanged(true, etag(before.Revision), mayMatch); err != nil {
		return nil, err
	}
	after := before
	warnings, err := p.change(c, receipt.Changed, before.Tenant, func(ctx context.Context) (done map[string]any, err error) {
		after, err = p.changeKey(ctx, before, len(c.r.Header.Values("If-Match")) > 0, func(k *identity.Key) {
			if k.Revoked.IsZero() || k.Revoked.After(c.now) {
				k.Revoked = c.now.UTC().Truncate(time.Microsecond)
			}
		})
		if err != nil {
			return nil, err
		}
		return map[string]any{"key": id, "revoked": after.Revoked, "revision": after.Revision}, nil
	})
	if err != nil {
		return nil, err
	}
	warnings = append(warnings, p.events.Announce(c.r.Context(), identity.VersionName, after.Revision)...)
	v := viewKey(after, p.opts.Now())
	v.noted = noted{c.id, warnings}
	return &answer{etag: etag(after.Revision), body: v}, nil
}

// changeKey changes a key; as it was read, where that is asked for.
func (p *Plane) changeKey(ctx context.Context, before *identity.StoredKey, asRead bool, change func(*identity.Key)) (*identity.StoredKey, error) {
	return p.opts.Keys.ChangeKey(ctx, before.ID, func(k *identity.Key) error {
		if asRead && !sameKey(k, &before.Key) {
			return problem(http.StatusPreconditionFailed, "conflict", "the key has changed since it was read: read it again, and decide anew")
		}
		change(k)
		return nil
	})
}

// sameKey tells whether a key is as it was: of the rest nothing ever changes.
func sameKey(a, b *identity.Key) bool {
	return a.Revoked.Equal(b.Revoked) && a.Expires.Equal(b.Expires) && a.Starts.Equal(b.Starts)
}

// Bounds of how long a rotated key stays good beside the new one.
const (
	overlapDefault = 24 * time.Hour
	maxOverlap     = 30 * 24 * time.Hour
)

// rotateKey makes a key for the caller of another, for as long as that was made for. The other ends after a while.
func (p *Plane) rotateKey(c *call) (*answer, error) {
	overlap := overlapDefault
	if text := c.values.Get("overlap"); text != "" {
		var err error
		if overlap, err = time.ParseDuration(text); err != nil || overlap < 0 || overlap > maxOverlap {
			return nil, invalid([]string{fmt.Sprintf("query: overlap: %.40q is not a time from 0s to %v, such as 24h", text, maxOverlap)})
		}
	}
	old, err := p.opts.Keys.Key(c.r.Context(), c.r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if err := c.unchanged(true, etag(old.Revision), mayMatch); err != nil {
		return nil, err
	}
	if state := old.State(c.now); state == "revoked" || state == "expired" {
		return nil, problem(http.StatusConflict, "ended", "the key is %s: make a new one", state)
	}
	key := old.Next(c.now.UTC().Truncate(time.Microsecond))
	ends := c.now.Add(overlap).UTC().Truncate(time.Microsecond)
	return p.addKey(c, key, nil, func(ctx context.Context) (*identity.StoredKey, map[string]any, []string) {
		after, err := p.changeKey(ctx, old, false, func(k *identity.Key) {
			if k.Expires.IsZero() || k.Expires.After(ends) {
				k.Expires = ends
			}
		})
		if err != nil {
			p.opts.Logger.ErrorContext(ctx, "a rotated key could not be given an end", "key", old.ID, "request_id", c.id, "error", err)
			return nil, map[string]any{"rotated": old.ID, "fault": "the old key has no new end"},
				[]string{"the new key is made, and the old one could not be given its end: DELETE /v1/keys/" + old.ID + " when it is not in use any more"}
		}
		return after, map[string]any{"rotated": old.ID, "ends": after.Expires}, nil
	})
}
