package stock

import "testing"

func TestEnough(t *testing.T) {
	if !Enough(2, 2) {
		t.Error("two are not enough for two")
	}
}
