package receipt

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// A Recorder takes receipts, as a journal does.
type Recorder interface {
	Append(Receipt)                        // never waits
	Commit(context.Context, Receipt) error // waits until it is stored
	Hash(tenant string, raw []byte) Hash   // of arguments, a result or a name
}

// What keeps a receipt from being stored.
var (
	ErrFull   = errors.New("the receipts that wait to be stored have reached their limit")
	ErrClosed = errors.New("no receipts are taken any more: the instance stops")
)

// Changes are made only once that is recorded, and what came of them is recorded too.
type Changes struct {
	Recorder Recorder
	Logger   *slog.Logger
	// Explain returns the word and the words that receipts have for the error of a change.
	Explain func(error) (reason, words string)
}

// How long a change waits for its receipts to be stored, and how long it may take once its intent is, whether or not the caller waits.
const (
	intentTimeout  = 3 * time.Second
	changeTimeout  = 5 * time.Second
	outcomeTimeout = 2 * time.Second
)

// An Unrecorded is that a change was not made, since its intent could not be stored.
type Unrecorded struct{ Cause error }

func (u *Unrecorded) Error() string {
	return "a change is made only once that is recorded, and the store of receipts does not answer"
}

func (u *Unrecorded) Unwrap() error { return u.Cause }

// Make records the intent, makes the change, and records what came of it: in two receipts of the same id, the first of the kind
// admitted. It is not made unless the intent is stored. The draft has the kind of the change and everything but the detail,
// which is made of what was ordered, and of what was done; done may set kind and reason of the draft. The strings are warnings.
func (c *Changes) Make(ctx context.Context, draft Receipt, detail func(more map[string]any) string, do func(ctx context.Context, draft *Receipt) (done map[string]any, err error)) ([]string, error) {
	draft.Decision = Allow
	intent := draft
	intent.Kind, intent.Detail = Admitted, detail(map[string]any{"intent": string(draft.Kind)})
	waiting, stop := context.WithTimeout(ctx, intentTimeout)
	err := c.Recorder.Commit(waiting, intent)
	stop()
	if err != nil {
		failed := draft
		failed.Kind, failed.Reason, failed.Detail = Failed, "unrecorded", detail(nil)
		c.Recorder.Append(failed) // the intent may be stored yet
		return nil, &Unrecorded{err}
	}
	ctx, stop = context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
	done, err := do(ctx, &draft)
	stop()
	if err != nil {
		reason, words := c.Explain(err)
		draft.Kind, draft.Reason, draft.Detail = Failed, reason, detail(map[string]any{"error": words})
		c.Recorder.Append(draft)
		return nil, err
	}
	draft.Detail = detail(done)
	waiting, stop = context.WithTimeout(context.WithoutCancel(ctx), outcomeTimeout)
	defer stop()
	switch err := c.Recorder.Commit(waiting, draft); {
	case err == nil:
		return nil, nil
	case errors.Is(err, context.DeadlineExceeded):
		c.Logger.WarnContext(ctx, "a change is made, and its receipt waits for the store", "request_id", draft.ID)
		return []string{"the change is made and its intent recorded; the receipt of its outcome waits for the store"}, nil
	default:
		c.Logger.ErrorContext(ctx, "a change is made, and the receipt of its outcome can't be stored", "request_id", draft.ID, "error", err)
		return []string{"the change is made and its intent recorded; the receipt of its outcome could not be stored"}, nil
	}
}

// Principal is who changes something, as receipts have it: under a key that is handed to nobody, since it is the tenant's to know that its
// receipts are whole, and not whose hands are in them.
func (c *Changes) Principal(name string) string { return Fingerprint(c.Recorder.Hash, "", name) }
