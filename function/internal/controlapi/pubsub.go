package controlapi

import (
	"encoding/base64"
	"net/http"

	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/strictjson"
)

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
	if !p.events.MaySpeak(publisher.Sources, event.Source) {
		return nil, problem(http.StatusForbidden, "other_source",
			"the account %s may not speak for the source %.80q: PUBSUB_SERVICE_ACCOUNT says for which it may, as SOURCE=ACCOUNT", publisher.Account, event.Source)
	}
	if _, err := p.apply(c, event); err != nil {
		return nil, err
	}
	return &answer{status: http.StatusNoContent}, nil
}

func readPush(body []byte) (*entitlement.Event, error) {
	var m push
	if err := strictjson.Unmarshal(body, "body", &m, strictjson.Skip); err != nil {
		return nil, invalid(entitlement.Faults(err))
	}
	if m.Message == nil || m.Message.Data == nil {
		return nil, invalid([]string{`body: is not a message of Pub/Sub: it has no {"message":{"data":…}}`})
	}
	data, err := base64.StdEncoding.DecodeString(*m.Message.Data)
	if err != nil {
		return nil, invalid([]string{"message.data: is not base64: " + err.Error()})
	}
	event, err := entitlement.ParseEvent(data)
	if err != nil {
		return nil, invalid([]string{"message.data: " + err.Error()})
	}
	return event, nil
}
