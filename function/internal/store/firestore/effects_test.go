package firestore

import (
	"testing"

	"example.com/erlmcp/function/internal/effect/effecttest"
)

func TestEffects(t *testing.T) {
	emulator(t)
	effecttest.TestStore(t, connect(t).Effects())
}
