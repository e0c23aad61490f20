package memdb

import (
	"testing"

	"example.com/erlmcp/function/internal/governor/governortest"
)

func TestStore(t *testing.T) { governortest.TestStore(t, New()) }
