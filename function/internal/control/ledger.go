package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"regexp"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// A ledger has changes recorded.
type ledger struct {
	journal Journal
	logger  *slog.Logger
}

// How long a change waits for its receipts to be stored, and how long it may take once its intent is, whether or not the caller waits.
const (
	intentPatience  = 3 * time.Second
	makePatience    = 5 * time.Second
	outcomePatience = 2 * time.Second
)

// change records the intent, makes the change, and records what came of it: in two receipts of the same id, the first of the kind
// admitted. It is not made unless the intent is stored. The draft has the kind of the change and everything but the detail,
// which is made of what was ordered, and of what was done; done may set kind and reason of the draft. The strings are warnings.
func (l *ledger) change(ctx context.Context, draft receipt.Receipt, detail func(more map[string]any) string, do func(ctx context.Context, draft *receipt.Receipt) (done map[string]any, err error)) ([]string, error) {
	draft.Decision = receipt.Allow
	intent := draft
	intent.Kind, intent.Detail = receipt.Admitted, detail(map[string]any{"intent": string(draft.Kind)})
	waiting, stop := context.WithTimeout(ctx, intentPatience)
	err := l.journal.Commit(waiting, intent)
	stop()
	if err != nil {
		failed := draft
		failed.Kind, failed.Reason, failed.Detail = receipt.Failed, "unrecorded", detail(nil)
		l.journal.Append(failed) // the intent may be stored yet
		return nil, unavailable(err, "a change is made only once that is recorded, and the store of receipts does not answer")
	}
	ctx, stop = context.WithTimeout(context.WithoutCancel(ctx), makePatience)
	done, err := do(ctx, &draft)
	stop()
	if err != nil {
		fault := asProblem(err)
		draft.Kind, draft.Reason, draft.Detail = receipt.Failed, fault.reason(), detail(map[string]any{"error": fault.Error()})
		l.journal.Append(draft)
		return nil, err
	}
	draft.Detail = detail(done)
	waiting, stop = context.WithTimeout(context.WithoutCancel(ctx), outcomePatience)
	defer stop()
	switch err := l.journal.Commit(waiting, draft); {
	case err == nil:
		return nil, nil
	case errors.Is(err, context.DeadlineExceeded):
		l.logger.WarnContext(ctx, "a change is made, and its receipt waits for the store", "request_id", draft.ID)
		return []string{"the change is made and its intent recorded; the receipt of its outcome waits for the store"}, nil
	default:
		l.logger.ErrorContext(ctx, "a change is made, and the receipt of its outcome can't be stored", "request_id", draft.ID, "error", err)
		return []string{"the change is made and its intent recorded; the receipt of its outcome could not be stored"}, nil
	}
}

// principal is who changes something, as receipts have it: under a key that is handed to nobody, since it is the tenant's to know that its
// receipts are whole, and not whose hands are in them.
func (l *ledger) principal(name string) string {
	return receipt.Fingerprint(l.journal.Hash, "", name)
}

// change records and makes the change that a call orders.
func (p *Plane) change(c *call, kind receipt.Kind, tenant string, do func(ctx context.Context) (done map[string]any, err error)) ([]string, error) {
	c.recorded = true
	warnings, err := p.ledger.change(c.r.Context(), p.draft(c, kind, tenant), c.detail, func(ctx context.Context, _ *receipt.Receipt) (map[string]any, error) {
		c.begun = true
		return do(ctx)
	})
	return warnings, err
}

// mostDetail is what a receipt carries of an order; of a longer one it has the hash.
const mostDetail = 7 << 10

// secret is the form of keys and webhook secrets: none gets into a receipt, even if it is sent where it does not belong.
var secret = regexp.MustCompile(`erlmcp_[A-Za-z0-9]{8}_[A-Za-z0-9]{20,}|whsec_[A-Za-z0-9+/=_-]+`)

// detail is the canonical JSON of what was ordered, with more members.
func detail(order, more map[string]any) string {
	maps.Copy(order, more)
	text := canonical(plain(order))
	if len(text) > mostDetail {
		text = canonical(map[string]any{"path": order["path"], "sha256": receipt.HashOf(text).String(), "bytes": len(text)})
	}
	return secret.ReplaceAllLiteralString(string(text), "[secret]")
}

// canonical is JSON in the form of RFC 8785, of what has names in ASCII and numbers as [plain] has them.
func canonical(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b) // sorts maps; numbers are written as in ECMAScript
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	text := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if !bytes.Contains(text, []byte(`\u202`)) {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ { // the two characters that Go escapes and RFC 8785 doesn't
		switch rest := text[i:]; {
		case bytes.HasPrefix(rest, []byte(`\u2028`)):
			out, i = append(out, "\u2028"...), i+5
		case bytes.HasPrefix(rest, []byte(`\u2029`)):
			out, i = append(out, "\u2029"...), i+5
		case text[i] == '\\':
			out, i = append(out, text[i], text[i+1]), i+1
		default:
			out = append(out, text[i])
		}
	}
	return out
}

// plain turns a value of ours into maps and lists, so that its canonical form has its names in order.
func plain(v any) any {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	out, err := decodePlain(text)
	if err != nil {
		panic(err)
	}
	return out
}

// decodePlain decodes JSON with whole numbers digit by digit, where RFC 8785 has the nearest double: what was ordered is recorded as it was,
// and told from its neighbours.
func decodePlain(text []byte) (v any, err error) {
	if !json.Valid(text) {
		return nil, errors.New("this is not JSON")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err = d.Decode(&v)
	return withNumbers(v), err
}

func withNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			v[name] = withNumbers(member)
		}
	case []any:
		for i, element := range v {
			v[i] = withNumbers(element)
		}
	case json.Number:
		f, err := v.Float64()
		switch {
		case err != nil:
		case f == 0: // and no negative one
			return 0
		case strings.ContainsAny(v.String(), ".eE"):
			return f
		}
	}
	return v
}
