package entitlement

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A WebhookSecret signs events, as Standard Webhooks has it (https://www.standardwebhooks.com).
type WebhookSecret struct {
	Source string // whose events it signs; "": see [Processor.MaySpeak]
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
			case s.Source == Operator:
				faults = append(faults, fmt.Errorf("secret %d: the source operator is not for webhooks", i+1))
			default:
				if err := CheckSource(s.Source); err != nil {
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
// must be that of the message. Its error is a [Fault].
func (p *Processor) Verify(id, timestamp, signature string, body []byte) (*Event, error) {
	if len(p.opts.Secrets) == 0 {
		return nil, fault(ReasonOff, "no signed events are taken: WEBHOOK_SECRETS is not set here")
	}
	signers, forged := p.signers(id, timestamp, signature, body)
	if forged != nil {
		return nil, forged
	}
	event, err := ParseEvent(body)
	if err != nil {
		return nil, Invalid(Faults(err)...)
	}
	if event.ID != id {
		return nil, Invalid(fmt.Sprintf("id: is not the webhook-id %.140q: an event has one id, by which it is known when it comes again", id))
	}
	for _, s := range signers {
		if p.MaySpeak(s.sources(), event.Source) {
			return event, nil
		}
	}
	return nil, fault(ReasonOtherSource, "the secret that this is signed with is not for events of the source %.80q: WEBHOOK_SECRETS says for which it is, as SOURCE=whsec_…", event.Source)
}

// signers are the secrets that a message is signed with.
func (p *Processor) signers(id, timestamp, signature string, body []byte) ([]*WebhookSecret, *Fault) {
	forged := func(format string, args ...any) ([]*WebhookSecret, *Fault) {
		return nil, fault(ReasonForged, format, args...)
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
	for i := range p.opts.Secrets {
		mac := hmac.New(sha256.New, p.opts.Secrets[i].Key)
		fmt.Fprintf(mac, "%s.%s.", id, timestamp)
		mac.Write(body)
		want, good := mac.Sum(nil), false
		for _, sum := range sums {
			good = hmac.Equal(sum, want) || good
		}
		if good {
			signers = append(signers, &p.opts.Secrets[i])
		}
	}
	if len(signers) == 0 {
		return forged("no secret that is known here gives the signature of this message")
	}
	at, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return forged("webhook-timestamp is not a number of seconds")
	}
	if apart := p.opts.Now().Sub(time.Unix(at, 0)).Abs(); apart > webhookSkew {
		return forged("webhook-timestamp is more than %v from the clock here: sign the message anew", webhookSkew)
	}
	return signers, nil
}

// A Publisher is an account as which Pub/Sub delivers messages. Pub/Sub does not tell who has published one: who may publish to the
// topics that are delivered as this account may speak for its sources.
type Publisher struct {
	Account string   // e-mail address, in lower case
	Sources []string // that it speaks for; none: see [Processor.MaySpeak]
}

// ParsePublishers reads accounts, separated by commas: each is its address, or a source, =, and that. An account may speak for several
// sources, and of several accounts each must have a source. The error lists every fault.
func ParsePublishers(text string) ([]Publisher, error) {
	var out []Publisher
	var faults []error
	fault := func(entry, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%.140q: "+format, append([]any{entry}, args...)...))
	}
	for entry := range strings.SplitSeq(text, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		source, account, bound := strings.Cut(entry, "=")
		if !bound {
			source, account = "", entry
		}
		account = strings.ToLower(account)
		if address, err := mail.ParseAddress(account); err != nil || address.Address != account {
			fault(entry, "is not the e-mail address of a service account, or SOURCE=ADDRESS")
			continue
		}
		if source == Operator {
			fault(entry, "the source operator is not for events")
		} else if err := CheckSource(source); bound && err != nil {
			fault(entry, "its source is %w", err)
		}
		i := slices.IndexFunc(out, func(p Publisher) bool { return p.Account == account })
		if i < 0 {
			i = len(out)
			out = append(out, Publisher{Account: account})
		}
		if bound {
			out[i].Sources = append(out[i].Sources, source)
		}
	}
	for _, p := range out {
		if len(out) > 1 && len(p.Sources) == 0 {
			fault(p.Account, "does not say for which source it speaks, and there are others: give it as SOURCE=ADDRESS")
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return out, nil
}
