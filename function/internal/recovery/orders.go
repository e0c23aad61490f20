package recovery

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/receipt"
)

// An Order is what an operator, or a source of entitlements, had ordered: as its receipts say.
type Order struct {
	Time    time.Time
	ID      string // of the receipts
	What    string // in words, such as "revoke key abcd1234"
	Closes  bool   // it takes away what callers could do
	Unsure  bool   // its intent is recorded, and not what came of it
	Subject string // of what it is about the latest holds

	tenant string
	method string // as its receipts have it
	kind   receipt.Kind
	path   string
	order  json.RawMessage
	event  *entitlement.Event
	kill   *directives.Kill
	key    string    // that ends
	end    time.Time // when it does
	revoke bool      // and that it is revoked
}

// confirmed is the method in the receipts of the end of a restore.
const confirmed = "erlmcp restore -confirm"

// detail is that of the receipts of a change.
type detail struct {
	Path    string             `json:"path"`
	Query   string             `json:"query"`
	Order   json.RawMessage    `json:"order"`
	Event   *entitlement.Event `json:"event"`
	Intent  string             `json:"intent"`
	Revoked time.Time          `json:"revoked"`
	Rotated string             `json:"rotated"`
	Ends    time.Time          `json:"ends"`
}

// readOrders makes orders of receipts, in the order of their times: of those that were carried out, or may have been.
func readOrders(all []receipt.Receipt) []Order {
	intents, outcomes := map[string]receipt.Receipt{}, map[string]receipt.Receipt{}
	var ids []string
	for _, r := range all {
		if !isChange(&r) {
			continue
		}
		if _, known := intents[r.ID]; !known && outcomes[r.ID].ID == "" {
			ids = append(ids, r.ID)
		}
		if r.Kind == receipt.Admitted {
			intents[r.ID] = r
		} else {
			outcomes[r.ID] = r
		}
	}
	var orders []Order
	for _, id := range ids {
		r, ended := outcomes[id]
		if ended && (r.Kind == receipt.Failed || r.Kind == receipt.Completed) {
			continue // nothing was changed
		}
		if intent, begun := intents[id]; begun && !ended {
			r = intent
		}
		if o := readOrder(&r); o != nil {
			o.Unsure = !ended
			if intent, begun := intents[id]; begun {
				o.Time = intent.Time
			}
			orders = append(orders, *o)
		}
	}
	slices.SortStableFunc(orders, func(a, b Order) int { return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.ID, b.ID)) })
	return orders
}

// readOrder returns nil of a receipt that is about no order.
func readOrder(r *receipt.Receipt) *Order {
	var d detail
	if err := json.Unmarshal([]byte(r.Detail), &d); err != nil {
		d = detail{}
	}
	o := &Order{Time: r.Time, ID: r.ID, tenant: r.Tenant, method: r.Method, kind: r.Kind, path: d.Path, order: d.Order}
	if r.Kind == receipt.Admitted {
		o.kind = receipt.Kind(d.Intent)
	}
	if d.Event != nil {
		o.about(d.Event)
		return o
	}
	parts := strings.Split(strings.TrimPrefix(d.Path, "/v1/"), "/")
	name := ""
	if len(parts) > 1 {
		name, _ = url.PathUnescape(parts[1])
	}
	said := struct {
		Reason string    `json:"reason"`
		Until  time.Time `json:"until"`
		Plan   string    `json:"plan"`
	}{}
	json.Unmarshal(d.Order, &said) // a long order has its hash alone
	event := entitlement.Event{ID: "operator", Source: entitlement.Operator, Tenant: name, Time: r.Time, Reason: said.Reason, Plan: said.Plan}
	switch r.Method {
	case "DELETE /v1/keys/{id}":
		o.key, o.revoke, o.end = name, true, r.Time
		if !d.Revoked.IsZero() {
			o.end = d.Revoked
		}
		o.Closes, o.Subject, o.What = true, "key "+name, "revoke key "+name
	case "POST /v1/keys/{id}/rotate":
		o.key, o.end = name, d.Ends
		o.Closes, o.Subject, o.What = !d.Ends.IsZero(), "end of key "+name, fmt.Sprintf("end key %s at %s", name, d.Ends.UTC().Format(time.RFC3339))
		if d.Ends.IsZero() {
			o.What = "rotate key " + name
		}
	case "POST /v1/keys":
		o.Subject, o.What = "made "+r.ID, "make a key of tenant "+r.Tenant
	case "DELETE /v1/tenants/{id}":
		event.Type = entitlement.Revoke
		if q, err := url.ParseQuery(d.Query); err == nil {
			event.Reason = q.Get("reason")
		}
		o.about(&event)
	case "PUT /v1/tenants/{id}":
		event.Type = entitlement.Grant
		o.about(&event)
	case "POST /v1/tenants/{id}/suspend":
		event.Type = entitlement.Suspend
		o.about(&event)
	case "POST /v1/tenants/{id}/resume":
		event.Type = entitlement.Resume
		o.about(&event)
	case "PUT /v1/kills/{scope}":
		o.kill = &directives.Kill{Scope: name, Reason: cmp.Or(said.Reason, "ordered before the store was restored"), At: r.Time.UTC(), Until: said.Until.UTC()}
		o.Closes, o.Subject, o.What = true, "kill "+name, "kill "+name
		if !said.Until.IsZero() {
			o.What += " until " + said.Until.UTC().Format(time.RFC3339)
		}
	case "DELETE /v1/kills/{scope}":
		o.Subject, o.What = "kill "+name, "lift the kill switch on "+name
	case "PUT /v1/limits/{scope}":
		o.Subject, o.What = "limit "+name, fmt.Sprintf("limit %s to %s", name, d.Order)
	case "DELETE /v1/limits/{scope}":
		o.Subject, o.What = "limit "+name, "reset the limit on "+name
	case "PUT /v1/plans/{name}":
		o.Subject, o.What = "plan "+name, "change plan "+name
	case confirmed:
		return nil
	default:
		if r.Reason == "time" || r.Method == "" { // a transition that the clock has brought about
			return nil
		}
		o.Subject, o.What = r.ID, r.Method+" "+d.Path
	}
	return o
}

// about has the order be what a source says of a tenant.
func (o *Order) about(e *entitlement.Event) {
	o.event = e
	verbs := map[entitlement.Type]string{entitlement.Grant: "grant", entitlement.Revoke: "revoke", entitlement.Suspend: "suspend", entitlement.Resume: "resume"}
	o.What = fmt.Sprintf("%s tenant %s by %s", verbs[e.Type], e.Tenant, e.Source)
	if e.Reason != "" {
		o.What += ": " + e.Reason
	}
	if e.Type == entitlement.Grant && e.Plan != "" {
		o.What += ", plan " + e.Plan
	}
	o.Closes = e.Type == entitlement.Revoke || e.Type == entitlement.Suspend
	o.Subject = fmt.Sprintf("grant of %s by %s", e.Tenant, e.Source)
	if e.Type == entitlement.Suspend || e.Type == entitlement.Resume {
		o.Subject = fmt.Sprintf("suspension of %s by %s", e.Tenant, e.Source)
	}
}

// split tells the orders that are to be replayed from those that are not: of what each is about, the latest holds. What opens is not
// replayed: what the backup has is the stricter, and an operator orders it again.
func split(orders []Order) (replay, left []Order) {
	last := map[string]int{}
	for i := range orders {
		if o := &orders[i]; !o.Unsure || o.Closes { // an order that opens, and may not have been carried out, takes nothing back
			last[o.Subject] = i
		}
	}
	for i, o := range orders {
		switch latest, known := last[o.Subject]; {
		case !known || latest != i:
		case o.Closes:
			replay = append(replay, o)
		default:
			left = append(left, o)
		}
	}
	return replay, left
}
