package control

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/mail"
	"slices"
	"strings"

	"example.com/erlmcp/function/internal/strictjson"
	"example.com/erlmcp/function/internal/tenant"
)

// A Publisher is an account as which Pub/Sub delivers messages. Pub/Sub does not tell who has published one: who may publish to the
// topics that are delivered as this account may speak for its sources.
type Publisher struct {
	Account string   // e-mail address, in lower case
	Sources []string // that it speaks for; none: see [Entitlements.maySpeak]
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
		if source == tenant.Operator {
			fault(entry, "the source operator is not for events")
		} else if err := tenant.CheckSource(source); bound && err != nil {
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

// push is what Pub/Sub sends to a push endpoint: https://cloud.google.com/pubsub/docs/push. It may come to have more members.
type push struct {
	Message *struct {
		Data      *string `json:"data"`
		MessageID string  `json:"messageId"`
	} `json:"message"`
	Subscription string `json:"subscription"`
}

// pushed takes an event from Pub/Sub, which delivers a message again after any answer but 2xx, and gives it to the dead-letter topic
// after as many attempts as the subscription says. 204 is for an event that is in force, was before, or is late.
func (p *Plane) pushed(c *call) (*answer, error) {
	if p.opts.Push == nil {
		return nil, off("no messages of Pub/Sub are taken", "PUBSUB_SERVICE_ACCOUNT")
	}
	who, err := p.authenticate(c, p.opts.Push)
	if err != nil {
		return nil, err
	}
	publisher := p.opts.PushCaller(who)
	if publisher == nil {
		return nil, problem(http.StatusForbidden, "account", "this is not an account that pushes messages here")
	}
	p.known(c, who.String())
	event, err := readPush(c.body)
	if err != nil {
		return nil, err
	}
	if !p.events.maySpeak(publisher.Sources, event.Source) {
		return nil, problem(http.StatusForbidden, "other_source",
			"the account %s may not speak for the source %.80q: PUBSUB_SERVICE_ACCOUNT says for which it may, as SOURCE=ACCOUNT", publisher.Account, event.Source)
	}
	if _, err := p.apply(c, event); err != nil {
		return nil, err
	}
	return &answer{status: http.StatusNoContent}, nil
}

func readPush(body []byte) (*tenant.Event, error) {
	var m push
	if err := strictjson.Unmarshal(body, "body", &m, strictjson.Skip); err != nil {
		return nil, invalid(faultsOf(err))
	}
	if m.Message == nil || m.Message.Data == nil {
		return nil, invalid([]string{`body: is not a message of Pub/Sub: it has no {"message":{"data":…}}`})
	}
	data, err := base64.StdEncoding.DecodeString(*m.Message.Data)
	if err != nil {
		return nil, invalid([]string{"message.data: is not base64: " + err.Error()})
	}
	event, err := tenant.ParseEvent(data)
	if err != nil {
		return nil, invalid([]string{"message.data: " + err.Error()})
	}
	return event, nil
}
