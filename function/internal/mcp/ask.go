package mcp

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// An InputRequest is a question to the client, or to the person at it (MRTR, SEP-2322).
type InputRequest struct {
	Key        string          // names the question among those of one call
	Method     string          // elicitation/create, sampling/createMessage or roots/list
	Params     json.RawMessage // of that method
	Capability string          // what the client must have declared: elicitation, elicitation.url, sampling or roots
	// Accept takes the client's result. An error from Malformed asks again, another one goes to the handler.
	Accept func(result json.RawMessage) error
}

// ErrNoPerson is the answer to a question on a request of a legacy revision, which cannot carry one.
var ErrNoPerson = errors.New("this needs an answer from the person at the client, which a client can be asked from protocol revision 2026-07-28 on; use a newer client")

// errInputRequired unwinds a handler whose questions are not answered yet.
var errInputRequired = errors.New("input required: the handler must return this error")

type malformed struct{ err error }

func (m malformed) Error() string { return m.err.Error() }

// Malformed marks an answer that can't be used; the question is put again.
func Malformed(err error) error { return malformed{err} }

// Ask returns nil once every question is answered. Otherwise the handler must return the error as it is: the client
// puts the questions and repeats the call, and the handler runs again from its start with the answers at hand.
func (c *Call) Ask(questions ...InputRequest) error {
	if !c.Modern {
		return ErrNoPerson
	}
	var open []InputRequest
	for _, q := range questions {
		answer, ok := c.answers[q.Key]
		if !ok || len(answer) == 0 || answer[0] != '{' {
			open = append(open, q)
			continue
		}
		var bad malformed
		if err := q.Accept(answer); errors.As(err, &bad) {
			open = append(open, q)
			continue
		} else if err != nil {
			return err
		}
		if c.accepted == nil {
			c.accepted = map[string]json.RawMessage{}
		}
		c.accepted[q.Key] = answer
	}
	if len(open) == 0 {
		return nil
	}
	if err := c.demand(open); err != nil {
		return err
	}
	c.pending = open
	return errInputRequired
}

// Demand makes a question the condition of the call: it is put before the handler runs. An answer counts only to a question
// that was put, which the sealed state proves.
func (c *Call) Demand(q InputRequest) { c.demands = append(c.demands, q) }

// meet puts the questions that the gate demands.
func (c *Call) meet() error {
	if len(c.demands) == 0 {
		return nil
	}
	if !c.resumed {
		for _, q := range c.demands {
			delete(c.answers, q.Key)
		}
	}
	return c.Ask(c.demands...)
}

// demand checks that the client declared what the questions need.
func (c *Call) demand(open []InputRequest) error {
	need := map[string]any{}
	var names []string
	for _, q := range open {
		if c.Wants(q.Capability) {
			continue
		}
		names = append(names, q.Capability)
		name, mode, nested := strings.Cut(q.Capability, ".")
		modes, _ := need[name].(map[string]any)
		if modes == nil {
			modes = map[string]any{}
			need[name] = modes
		}
		if nested {
			modes[mode] = map[string]any{}
		}
	}
	if len(need) == 0 {
		return nil
	}
	data, err := json.Marshal(map[string]any{"requiredCapabilities": need})
	if err != nil {
		return err
	}
	return &Error{CodeMissingCapability, "the client did not declare what this call needs: " + strings.Join(names, ", "), data}
}

const (
	statePurpose = "request state"
	stateTTL     = 15 * time.Minute // a person has to answer in between
	maxState     = 64 << 10
)

// resume reads what the client sent back: the sealed answers of earlier rounds, and those of this one.
func (c *Call) resume(p *params) *Error {
	if p.requestState.set {
		text, err := c.server.opts.Keys.Open(statePurpose, c.binding(), p.requestState.value, c.server.opts.Now())
		if err != nil {
			return invalidParams("requestState was refused (%v): repeat the call without it", err)
		}
		if err := json.Unmarshal(text, &c.answers); err != nil {
			return invalidParams("requestState was refused (%v): repeat the call without it", err)
		}
		c.resumed = true
	}
	if p.inputResponses == nil {
		return nil
	}
	if c.answers == nil {
		c.answers = map[string]json.RawMessage{}
	}
	s := scanner{buf: p.inputResponses}
	seen := map[string]bool{}
	err := s.object(func(name []byte) error {
		key := string(name)
		if seen[key] {
			return fmt.Errorf("duplicate member %q", key)
		}
		seen[key] = true
		raw, err := s.raw(2)
		c.answers[key] = raw
		return err
	})
	if err != nil {
		return invalidParams("params.inputResponses: %v", err)
	}
	return nil
}

// appendInputRequired appends the result that asks the pending questions.
func (c *Call) appendInputRequired(b []byte) ([]byte, error) {
	answers := c.accepted
	if answers == nil {
		answers = map[string]json.RawMessage{}
	}
	state, err := json.Marshal(answers)
	if err != nil {
		return b, err
	}
	if len(state) > maxState {
		return b, fmt.Errorf("the answers of this call exceed %d bytes", maxState)
	}
	b = append(b, `{"resultType":"input_required","inputRequests":{`...)
	for _, q := range c.pending {
		b = appendString(b, q.Key)
		b = append(b, `:{"method":`...)
		b = appendString(b, q.Method)
		b = append(b, `,"params":`...)
		b = append(b, q.Params...)
		b = append(b, "},"...)
	}
	b[len(b)-1] = '}'
	b = append(b, `,"requestState":`...)
	b = appendString(b, c.server.opts.Keys.Seal(statePurpose, c.binding(), state, c.server.opts.Now().Add(stateTTL)))
	b = append(b, ',')
	b = append(b, c.server.resultMeta...)
	return append(b, '}'), nil
}

// binding ties state to who asks for what: another caller, method, tool or set of arguments can't use it.
func (c *Call) binding() []byte {
	h := sha256.New()
	// encoding/json sorts the names of objects, so that a client may write its arguments in another order.
	if err := json.NewEncoder(h).Encode([]any{c.caller, c.Method, c.Name, c.Arguments}); err != nil {
		panic(err) // values decoded from JSON
	}
	return h.Sum(nil)
}
