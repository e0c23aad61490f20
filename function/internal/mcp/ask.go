package mcp

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/strictjson"
)

// An InputRequest is a question to the client, or to the person at it (MRTR, SEP-2322).
type InputRequest struct {
	Key        string          // names the question among those of one call
	Method     string          // elicitation/create, sampling/createMessage or roots/list
	Params     json.RawMessage // of that method
	Capability string          // what the client must have declared: elicitation, elicitation.url, sampling or roots
	// Accept takes the client's result. An error from Malformed asks again, another one goes to the handler.
	Accept func(result json.RawMessage) error

	reason string // why the answer before can't be used
}

// put returns the params, in whose message the reason comes first why the person is asked again.
func (q *InputRequest) put() json.RawMessage {
	if q.reason == "" {
		return q.Params
	}
	var params map[string]json.RawMessage
	var message string
	if json.Unmarshal(q.Params, &params) != nil || json.Unmarshal(params["message"], &message) != nil {
		return q.Params // it has no words
	}
	params["message"] = strictjson.AppendString(nil, clip(q.reason, maxMessage)+". "+message)
	again, err := json.Marshal(params)
	if err != nil {
		return q.Params
	}
	return again
}

// ErrNoPerson is the answer to a question on a request of a legacy revision, which cannot carry one.
var ErrNoPerson = errors.New("this needs an answer from the person at the client, which a client can be asked from protocol revision 2026-07-28 on; use a newer client")

// errInputRequired unwinds a handler whose questions are not answered yet.
var errInputRequired = errors.New("input required: the handler must return this error")

type malformed struct{ err error }

func (m malformed) Error() string { return m.err.Error() }

// Malformed marks an answer that can't be used; the question is put again, after the error's words.
func Malformed(err error) error { return malformed{err} }

// What a person may do instead of answering a question.
var (
	ErrDeclined  = errors.New("the user declined")
	ErrDismissed = errors.New("the user dismissed the question")
)

// Elicited returns what takes the result of elicitation/create for an [InputRequest] and hands on the content of one that was accepted.
// What accept returns, and what can't be read, is Malformed.
func Elicited[T any](accept func(content T) error) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		var r struct {
			Action  string `json:"action"`
			Content T      `json:"content"`
		}
		if err := strictjson.Unmarshal(raw, "the answer", &r, strictjson.Skip); err != nil {
			return Malformed(err)
		}
		switch r.Action {
		case "accept":
			if err := accept(r.Content); err != nil {
				return Malformed(err)
			}
			return nil
		case "decline":
			return ErrDeclined
		case "cancel":
			return ErrDismissed
		}
		return Malformed(fmt.Errorf("unknown action %q", r.Action))
	}
}

// ErrAnswered is the answer to a call whose answers have been used by another.
var ErrAnswered = errors.New("an answer counts once, and this one has been used: repeat the call without requestState to be asked again")

// Answers tell whether an answer counts.
type Answers interface {
	// First tells whether this is the first time, over all instances, that an id is seen that is of no use after so long. Where that can't
	// be found out it may say what it can see alone, unless it must be certain.
	First(ctx context.Context, id string, validity time.Duration, certain bool) (bool, error)
}

// Ask returns nil once every question is answered. Otherwise the handler must return the error as it is: the client
// puts the questions and repeats the call, and the handler runs again from its start with the answers at hand. An answer counts once, and
// only to the question that was put, which the sealed state proves.
func (c *Call) Ask(ctx context.Context, questions ...InputRequest) error {
	err := c.ask(ctx, questions)
	if err == nil || err == errInputRequired {
		return err
	}
	return cmp.Or(c.use(ctx), err) // what a handler does after a no is done once, too
}

func (c *Call) ask(ctx context.Context, questions []InputRequest) error {
	if !c.Modern {
		return ErrNoPerson
	}
	var open []InputRequest
	accepted := false
	for _, q := range questions {
		raw := c.answer(&q)
		if raw == nil {
			open = append(open, q)
			continue
		}
		var bad malformed
		if err := q.Accept(raw); errors.As(err, &bad) {
			q.reason = bad.Error()
			open = append(open, q)
			continue
		} else if err != nil {
			c.declined = err
			return err
		}
		if c.accepted == nil {
			c.accepted = map[string]answer{}
		}
		c.accepted[q.Key] = answer{q.hash(), raw}
		accepted = true
	}
	if accepted {
		if err := c.use(ctx); err != nil {
			return err
		}
	}
	if len(open) == 0 {
		return nil
	}
	if err := c.checkCapabilities(open); err != nil {
		return err
	}
	c.pending = open
	return errInputRequired
}

// answer returns the answer to a question that was put, of this round or of an earlier one, or nil.
func (c *Call) answer(q *InputRequest) json.RawMessage {
	if raw := c.responses[q.Key]; len(raw) > 0 && raw[0] == '{' && c.state.Asked[q.Key] == q.hash() {
		return raw
	}
	if a, ok := c.state.Answers[q.Key]; ok && a.Question == q.hash() {
		return a.Raw
	}
	return nil
}

// use makes the answers that came with the call count for it, and for no other.
func (c *Call) use(ctx context.Context) error {
	if c.stateID == "" || c.server.opts.Answers == nil {
		return c.unused
	}
	id := c.stateID
	c.stateID = ""
	switch first, err := c.server.opts.Answers.First(ctx, id, stateTTL, c.strict); {
	case err != nil:
		c.unused = fmt.Errorf("it can't be found out at the moment whether the answer has been used, so the call was not made; try again later: %w", err)
	case !first:
		c.unused = ErrAnswered
	}
	return c.unused
}

// Require makes a question the condition of the call: it is put before the handler runs.
func (c *Call) Require(q InputRequest) { c.required = append(c.required, q) }

// satisfy puts the questions that the gate requires. A no ends the call, and uses nothing up.
func (c *Call) satisfy(ctx context.Context) error {
	if len(c.required) == 0 {
		return nil
	}
	return c.ask(ctx, c.required)
}

// checkCapabilities checks that the client declared what the questions need.
func (c *Call) checkCapabilities(open []InputRequest) error {
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

// sealedState is what travels through the client between two rounds. Of another format nothing counts, and the questions are put again.
type sealedState struct {
	Format  int               `json:"format"`
	Asked   map[string]string `json:"asked,omitempty"`   // the questions of the last round, by their keys
	Answers map[string]answer `json:"answers,omitempty"` // of the rounds before
}

const stateFormat = 2

type answer struct {
	Question string          `json:"question"` // its hash
	Raw      json.RawMessage `json:"raw"`
}

// hash is unlike that of any other question.
func (q *InputRequest) hash() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q ", q.Key, q.Method)
	h.Write(q.Params)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
}

// resume reads what the client sent back: the sealed questions and answers of earlier rounds, and the answers of this one. Without a state
// no question was put, and what is answered to it counts for nothing.
func (c *Call) resume(p *params) *Error {
	if p.requestState.set {
		text, err := c.server.opts.Keys.Open(statePurpose, c.binding(), p.requestState.value, c.server.opts.Now())
		var state sealedState
		if err == nil {
			err = json.Unmarshal(text, &state)
		}
		if err != nil {
			return invalidParams("requestState was refused (%v): repeat the call without it", err)
		}
		if state.Format == stateFormat {
			sum := sha256.Sum256([]byte(p.requestState.value))
			c.state, c.stateID = state, hex.EncodeToString(sum[:18])
		}
	}
	if p.inputResponses == nil {
		return nil
	}
	c.responses = map[string]json.RawMessage{}
	s := scanner{buf: p.inputResponses}
	err := s.object(func(name []byte) error {
		key := string(name)
		if _, dup := c.responses[key]; dup {
			return fmt.Errorf("duplicate member %q", key)
		}
		raw, err := s.raw(2)
		c.responses[key] = raw
		return err
	})
	if err != nil {
		return invalidParams("params.inputResponses: %v", err)
	}
	return nil
}

// appendInputRequired appends the result that asks the pending questions.
func (c *Call) appendInputRequired(b []byte) ([]byte, error) {
	next := sealedState{Format: stateFormat, Asked: map[string]string{}, Answers: c.accepted}
	for _, q := range c.pending {
		next.Asked[q.Key] = q.hash()
	}
	state, err := json.Marshal(next)
	if err != nil {
		return b, err
	}
	if len(state) > maxState {
		return b, fmt.Errorf("the answers of this call exceed %d bytes", maxState)
	}
	b = append(b, `{"resultType":"input_required","inputRequests":{`...)
	for _, q := range c.pending {
		b = strictjson.AppendString(b, q.Key)
		b = append(b, `:{"method":`...)
		b = strictjson.AppendString(b, q.Method)
		b = append(b, `,"params":`...)
		b = append(b, q.put()...)
		b = append(b, "},"...)
	}
	b[len(b)-1] = '}'
	b = append(b, `,"requestState":`...)
	b = strictjson.AppendString(b, c.server.opts.Keys.Seal(statePurpose, c.binding(), state, c.server.opts.Now().Add(stateTTL)))
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
