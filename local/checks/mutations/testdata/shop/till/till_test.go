package till

import (
	"testing"

	"example.com/shop/stock"
)

func TestLeft(t *testing.T) {
	if got := stock.Left(3, 1); got != 2 {
		t.Errorf("%d are left of two", got)
	}
}
