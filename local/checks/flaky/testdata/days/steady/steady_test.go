package steady

import "testing"

func TestSteady(t *testing.T) {}
