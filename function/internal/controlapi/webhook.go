package controlapi

import (
	"net/http"

	"example.com/erlmcp/function/internal/entitlement"
)

// signedBy returns what a message is signed with: in the headers of Standard Webhooks, or, where none of those is there, in those that
// Svix has had before. Of two sets none is made up.
func signedBy(h http.Header) (id, timestamp, signature string) {
	for _, prefix := range []string{"Webhook-", "Svix-"} {
		id, timestamp, signature = h.Get(prefix+"Id"), h.Get(prefix+"Timestamp"), h.Get(prefix+"Signature")
		if id != "" || timestamp != "" || signature != "" {
			break
		}
	}
	return id, timestamp, signature
}

// webhook takes an event that its source has signed.
func (p *Plane) webhook(c *call) (*answer, error) {
	id, timestamp, signature := signedBy(c.r.Header)
	event, err := p.events.Verify(id, timestamp, signature, c.body)
	if err != nil {
		if status := asProblem(err).Status; len(p.opts.Secrets) > 0 && status != http.StatusUnauthorized {
			p.known(c, "webhook") // it is signed, and something else is wrong with it
		}
		return nil, err
	}
	p.known(c, "webhook/"+event.Source)
	out, err := p.apply(c, event)
	if err != nil {
		return nil, err
	}
	return &answer{body: out}, nil
}

// apply applies an event that came over an endpoint.
func (p *Plane) apply(c *call, event *entitlement.Event) (*entitlement.Outcome, error) {
	if err := p.limit(c, "source:"+event.Source); err != nil {
		return nil, err
	}
	c.recorded = true
	return p.events.Apply(c.r.Context(), event, entitlement.Delivery{RequestID: c.id, By: c.by, Method: c.route.Method + " " + c.route.Path})
}
