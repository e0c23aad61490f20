package recovery

import (
	"slices"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// TestUnsureOrders has a process end between the receipt of an intent and that of its outcome: what would have closed is replayed, and what
// would have opened takes nothing back.
func TestUnsureOrders(t *testing.T) {
	var all []receipt.Receipt
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	order := func(method, path string, kind, outcome receipt.Kind) {
		at = at.Add(time.Second)
		r := receipt.Receipt{ID: at.String(), Time: at, Kind: receipt.Admitted, Method: method, Detail: `{"intent":"` + string(kind) + `","path":"` + path + `"}`}
		all = append(all, r)
		if outcome != "" {
			r.Kind, r.Detail = outcome, `{"path":"`+path+`"}`
			all = append(all, r)
		}
	}
	suspend := func(tenant string, outcome receipt.Kind) {
		order("POST /v1/tenants/{id}/suspend", "/v1/tenants/"+tenant+"/suspend", receipt.Entitled, outcome)
	}
	resume := func(tenant string, outcome receipt.Kind) {
		order("POST /v1/tenants/{id}/resume", "/v1/tenants/"+tenant+"/resume", receipt.Entitled, outcome)
	}
	kill := func(scope string, outcome receipt.Kind) {
		order("PUT /v1/kills/{scope}", "/v1/kills/"+scope, receipt.Killed, outcome)
	}
	lift := func(scope string, outcome receipt.Kind) {
		order("DELETE /v1/kills/{scope}", "/v1/kills/"+scope, receipt.Killed, outcome)
	}
	suspend("sure", receipt.Entitled)
	suspend("unsure", "")
	suspend("failed", receipt.Failed)
	suspend("resumed", receipt.Entitled)
	resume("resumed", receipt.Entitled)
	suspend("perhaps-resumed", receipt.Entitled)
	resume("perhaps-resumed", "")
	suspend("not-resumed", receipt.Entitled)
	resume("not-resumed", receipt.Failed)
	kill("tool:x", receipt.Killed)
	lift("tool:x", "")
	kill("tool:y", receipt.Killed)
	lift("tool:y", receipt.Killed)
	kill("tool:y", "")

	replay, left := split(readOrders(all))
	words := func(orders []Order) (out []string) {
		for _, o := range orders {
			text := o.What
			if o.Unsure {
				text += "?"
			}
			out = append(out, text)
		}
		return out
	}
	want := []string{
		"suspend tenant sure by operator", "suspend tenant unsure by operator?", "suspend tenant perhaps-resumed by operator",
		"suspend tenant not-resumed by operator", "kill tool:x", "kill tool:y?",
	}
	if got := words(replay); !slices.Equal(got, want) {
		t.Errorf("replayed are %q, want %q", got, want)
	}
	if got, want := words(left), []string{"resume tenant resumed by operator"}; !slices.Equal(got, want) {
		t.Errorf("not replayed are %q, want %q", got, want)
	}
}
