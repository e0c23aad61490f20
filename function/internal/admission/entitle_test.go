package admission

import (
	"log/slog"
	"testing"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
)

// TestWhatIsKnownLaterStays has calls that began earlier come after others: what those had heard of stays, of directives and of tenants.
func TestWhatIsKnownLaterStays(t *testing.T) {
	older, newer := &directives.Directives{Version: 1}, &directives.Directives{Version: 2}
	before, after := &entitlement.Directory{Version: 1}, &entitlement.Directory{Version: 2}
	for _, c := range []struct {
		name       string
		directives *directives.Directives
		directory  *entitlement.Directory
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
			got := g.generation(c.directives, c.directory)
			if got.rules.directives != newer || c.directory != nil && got.directory != after {
				t.Errorf("orders %+v and tenants %+v", got.rules.directives, got.directory)
			}
		})
	}
}
