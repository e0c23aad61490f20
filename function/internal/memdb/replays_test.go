package memdb

import (
	"fmt"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/control"
	"example.com/erlmcp/function/internal/control/controltest"
)

func TestReplays(t *testing.T) { controltest.TestReplays(t, NewReplays()) }

func TestReplaysAreForgotten(t *testing.T) {
	r := NewReplays()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for n := range 3 * mostReplays {
		at := now.Add(time.Duration(n) * time.Second)
		if _, err := r.Claim(t.Context(), fmt.Sprint(n), control.Replay{Claim: "a", Expires: at.Add(time.Minute)}, at); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.kept) > mostReplays {
		t.Errorf("%d are kept", len(r.kept))
	}
}
