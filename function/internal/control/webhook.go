package control

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/tenant"
)

// A WebhookSecret signs events, as Standard Webhooks has it (https://www.standardwebhooks.com).
type WebhookSecret struct {
	Source string // whose events it signs; "": see [Entitlements.maySpeak]
	Key    []byte
}

// ParseWebhookSecrets reads secrets, separated by commas: each is whsec_ and 24 to 64 bytes in base64, or a source, =, and that. A
// source may have several, so that they can be rotated. Where one has a source, each must. The error lists every fault, and holds no
// secret.
func ParseWebhookSecrets(text string) ([]WebhookSecret, error) {
	var out []WebhookSecret
	var faults []error
	for i, entry := range strings.Split(text, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		var s WebhookSecret
		if source, rest, ok := strings.Cut(entry, "="); ok && !strings.HasPrefix(source, "whsec_") {
			s.Source, entry = source, rest
			switch {
			case s.Source == tenant.Operator:
				faults = append(faults, fmt.Errorf("secret %d: the source operator is not for webhooks", i+1))
			default:
				if err := tenant.CheckSource(s.Source); err != nil {
					faults = append(faults, fmt.Errorf("secret %d: its source is %w", i+1, err))
				}
			}
		}
		encoded, ok := strings.CutPrefix(entry, "whsec_")
		if !ok {
			faults = append(faults, fmt.Errorf("secret %d: does not begin with whsec_", i+1))
			continue
		}
		key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
		switch {
		case err != nil:
			faults = append(faults, fmt.Errorf("secret %d: is not base64 after whsec_", i+1))
			continue
		case len(key) < 24 || len(key) > 64:
			faults = append(faults, fmt.Errorf("secret %d: has %d bytes, not 24 to 64", i+1, len(key)))
			continue
		}
		s.Key = key
		out = append(out, s)
	}
	for i, s := range out {
		if s.Source == "" && slices.ContainsFunc(out, func(s WebhookSecret) bool { return s.Source != "" }) {
			faults = append(faults, fmt.Errorf("secret %d: does not say for which source it is, and others do: give it as SOURCE=whsec_…", i+1))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return out, nil
}

func (s *WebhookSecret) sources() []string {
	if s.Source == "" {
		return nil
	}
	return []string{s.Source}
}

// webhookSkew is how far the time of a signature may be from the clock here.
const webhookSkew = 5 * time.Minute

// Verify returns the event of a signed body, by the headers webhook-id, webhook-timestamp and webhook-signature. The id of the event
// must be that of the message. Its error is a [Problem].
func (e *Entitlements) Verify(id, timestamp, signature string, body []byte) (*tenant.Event, error) {
	if len(e.opts.Secrets) == 0 {
		return nil, off("no signed events are taken", "WEBHOOK_SECRETS")
	}
	signers, fault := e.signers(id, timestamp, signature, body)
	if fault != nil {
		return nil, fault
	}
	event, err := tenant.ParseEvent(body)
	if err != nil {
		return nil, invalid(faultsOf(err))
	}
	if event.ID != id {
		return nil, invalid([]string{fmt.Sprintf("id: is not the webhook-id %.140q: an event has one id, by which it is known when it comes again", id)})
	}
	for _, s := range signers {
		if e.maySpeak(s.sources(), event.Source) {
			return event, nil
		}
	}
	return nil, problem(http.StatusForbidden, "other_source", "the secret that this is signed with is not for events of the source %.80q: WEBHOOK_SECRETS says for which it is, as SOURCE=whsec_…", event.Source)
}

// signers are the secrets that a message is signed with.
func (e *Entitlements) signers(id, timestamp, signature string, body []byte) ([]*WebhookSecret, *Problem) {
	forged := func(format string, args ...any) ([]*WebhookSecret, *Problem) {
		return nil, problem(http.StatusUnauthorized, "forged", format, args...)
	}
	if id == "" || timestamp == "" || signature == "" {
		return forged("the message is not signed: send the headers webhook-id, webhook-timestamp and webhook-signature, or the same with svix- in place of webhook-")
	}
	var sums [][]byte
	for entry := range strings.FieldsSeq(signature) {
		version, encoded, _ := strings.Cut(entry, ",")
		if sum, err := base64.StdEncoding.DecodeString(encoded); version == "v1" && err == nil && len(sum) == sha256.Size && len(sums) < 10 {
			sums = append(sums, sum)
		}
	}
	var signers []*WebhookSecret
	for i := range e.opts.Secrets {
		mac := hmac.New(sha256.New, e.opts.Secrets[i].Key)
		fmt.Fprintf(mac, "%s.%s.", id, timestamp)
		mac.Write(body)
		want, good := mac.Sum(nil), false
		for _, sum := range sums {
			good = hmac.Equal(sum, want) || good
		}
		if good {
			signers = append(signers, &e.opts.Secrets[i])
		}
	}
	if len(signers) == 0 {
		return forged("no secret that is known here gives the signature of this message")
	}
	at, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return forged("webhook-timestamp is not a number of seconds")
	}
	if apart := e.opts.Now().Sub(time.Unix(at, 0)).Abs(); apart > webhookSkew {
		return forged("webhook-timestamp is more than %v from the clock here: sign the message anew", webhookSkew)
	}
	return signers, nil
}

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
func (p *Plane) apply(c *call, event *tenant.Event) (*Outcome, error) {
	if err := p.limit(c, "source:"+event.Source); err != nil {
		return nil, err
	}
	c.recorded = true
	return p.events.Apply(c.r.Context(), event, Delivery{RequestID: c.id, By: c.by, Method: c.route.Method + " " + c.route.Path})
}
