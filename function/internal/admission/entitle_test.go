package admission

import (
	"log/slog"
	"testing"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/tenant"
)

// TestWhatIsKnownLaterStays has calls that began earlier come after others: what those had heard of stays, of orders and of tenants.
func TestWhatIsKnownLaterStays(t *testing.T) {
	older, newer := &governor.Orders{Version: 1}, &governor.Orders{Version: 2}
	before, after := &tenant.Directory{Version: 1}, &tenant.Directory{Version: 2}
	for _, c := range []struct {
		name      string
		orders    *governor.Orders
		directory *tenant.Directory
	}{
		{"orders that were not heard of yet", nil, after},
		{"older orders", older, after},
		{"older tenants", newer, before},
		{"both older", older, before},
		{"tenants that were not read yet", newer, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, err := New(Options{Catalog: &catalog.Catalog{}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
			if err != nil {
				t.Fatal(err)
			}
			g.generation(newer, after)
			got := g.generation(c.orders, c.directory)
			if got.rules.orders != newer || c.directory != nil && got.directory != after {
				t.Errorf("orders %+v and tenants %+v", got.rules.orders, got.directory)
			}
		})
	}
}
