package firestoredb

import (
	"testing"

	"example.com/erlmcp/function/internal/control/controltest"
)

func TestReplays(t *testing.T) {
	emulator(t)
	controltest.TestReplays(t, connect(t).Replays())
}
