package tenant

import (
	"context"
	"errors"
	"time"
)

// A Transition is a change of a tenant's state.
type Transition struct {
	From, To State // the same where there is none
	Why      string
}

// String is as in "stable → refusing: suspended by marketplace".
func (t Transition) String() string { return because(string(t.From)+" → "+string(t.To), t.Why) }

// NoteIn notes the state of a tenant in the store: of several that do so at the same time one gets the transition.
func NoteIn(ctx context.Context, store Store, id string, plans map[string]*Plan, now time.Time) (change Transition, err error) {
	_, err = store.ChangeTenant(ctx, id, nil, func(t *Tenant) error {
		if t.Revision == 0 {
			return ErrUnknown
		}
		if change.From, change.To, change.Why = t.Note(plans, now); change.From == change.To {
			return errNoted
		}
		return nil
	})
	if errors.Is(err, errNoted) {
		err = nil
	}
	return change, err
}

var errNoted = errors.New("the state is noted already")
