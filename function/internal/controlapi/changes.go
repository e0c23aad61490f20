package controlapi

import (
	"context"

	"example.com/erlmcp/function/internal/receipt"
)

// change records and makes the change that a call orders.
func (p *Plane) change(c *call, kind receipt.Kind, tenant string, do func(ctx context.Context) (done map[string]any, err error)) ([]string, error) {
	c.recorded = true
	warnings, err := p.changes.Make(c.r.Context(), p.draft(c, kind, tenant), c.detail, func(ctx context.Context, _ *receipt.Receipt) (map[string]any, error) {
		c.begun = true
		return do(ctx)
	})
	return warnings, err
}
