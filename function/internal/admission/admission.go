// Package admission stands before every message: it finds out who calls and decides whether the call may proceed. So far
// every caller is the local principal and every call is admitted.
package admission

import (
	"context"

	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mcp"
)

// A Gate implements [mcp.Gate].
type Gate struct{}

type ticket struct{ principal *identity.Principal }

func (t ticket) Caller() string { return t.principal.String() }

// Head authenticates.
func (Gate) Head(context.Context, *mcp.Head) (mcp.Ticket, *mcp.Refusal) {
	return ticket{&identity.Local}, nil
}

// Begin puts the principal into the context of the call.
func (Gate) Begin(ctx context.Context, t mcp.Ticket, _ *mcp.Call) (context.Context, func(mcp.Outcome), *mcp.Refusal) {
	return identity.NewContext(ctx, t.(ticket).principal), func(mcp.Outcome) {}, nil
}

// Drop has nothing to give back.
func (Gate) Drop(mcp.Ticket) {}

// Ready tells whether the gate can decide.
func (Gate) Ready() bool { return true }
