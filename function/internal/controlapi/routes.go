package controlapi

import (
	"net/http"
	"path"
	"slices"
	"strings"
)

// A Route is what can be asked of the control plane.
type Route struct {
	Method string
	Path   string
	Guard  Guard
	Role   Role // that is needed, where the guard is by role

	urgent bool // no limit on changes holds it up
	body   bool // it takes one
	bare   bool // it may come without its body
	adds   bool // done twice, it has another effect than done once
	query  []string
	serve  func(*Plane, *call) (*answer, error)
}

// A Guard says who may come through.
type Guard string

// The guards.
const (
	Public   Guard = "public"
	ByRole   Guard = "role"
	ByPush   Guard = "push"   // the account that pushes messages, of Pub/Sub and by the clock
	BySecret Guard = "secret" // signed by a source of events
)

// changes tells whether the route is an operator's change: recorded, limited, and answered once for each idempotency key.
func (r *Route) changes() bool { return r.Guard == ByRole && r.Method != http.MethodGet }

// Query lists the parameters that the route takes.
func (r *Route) Query() []string { return slices.Clone(r.query) }

// Body tells whether it takes a body, and whether it needs one.
func (r *Route) Body() (takes, needs bool) { return r.body, r.body && !r.bare }

// Routes is the whole table.
func Routes() []Route { return slices.Clone(routes) }

var page = []string{"after", "limit"}

var routes = []Route{
	{Method: "GET", Path: "/openapi.json", Guard: Public, serve: (*Plane).document},

	{Method: "GET", Path: "/v1/tenants", Guard: ByRole, Role: Viewer, query: page, serve: (*Plane).listTenants},
	{Method: "GET", Path: "/v1/tenants/{id}", Guard: ByRole, Role: Viewer, serve: (*Plane).getTenant},
	{Method: "PUT", Path: "/v1/tenants/{id}", Guard: ByRole, Role: Admin, body: true, serve: (*Plane).putTenant},
	{Method: "DELETE", Path: "/v1/tenants/{id}", Guard: ByRole, Role: Admin, query: []string{"reason"}, serve: (*Plane).deleteTenant},
	{Method: "POST", Path: "/v1/tenants/{id}/suspend", Guard: ByRole, Role: Operator, urgent: true, body: true, serve: (*Plane).suspendTenant},
	{Method: "POST", Path: "/v1/tenants/{id}/resume", Guard: ByRole, Role: Operator, body: true, bare: true, serve: (*Plane).resumeTenant},

	{Method: "GET", Path: "/v1/plans", Guard: ByRole, Role: Viewer, query: page, serve: (*Plane).listPlans},
	{Method: "GET", Path: "/v1/plans/{name}", Guard: ByRole, Role: Viewer, serve: (*Plane).getPlan},
	{Method: "PUT", Path: "/v1/plans/{name}", Guard: ByRole, Role: Admin, body: true, serve: (*Plane).putPlan},

	{Method: "GET", Path: "/v1/limits", Guard: ByRole, Role: Viewer, query: page, serve: (*Plane).listLimits},
	{Method: "GET", Path: "/v1/limits/{scope}", Guard: ByRole, Role: Viewer, serve: (*Plane).getLimit},
	{Method: "PUT", Path: "/v1/limits/{scope}", Guard: ByRole, Role: Operator, body: true, serve: (*Plane).putLimit},
	{Method: "DELETE", Path: "/v1/limits/{scope}", Guard: ByRole, Role: Operator, serve: (*Plane).deleteLimit},

	{Method: "GET", Path: "/v1/kills", Guard: ByRole, Role: Viewer, query: page, serve: (*Plane).listKills},
	{Method: "PUT", Path: "/v1/kills/{scope}", Guard: ByRole, Role: Operator, urgent: true, body: true, serve: (*Plane).putKill},
	{Method: "DELETE", Path: "/v1/kills/{scope}", Guard: ByRole, Role: Operator, urgent: true, serve: (*Plane).deleteKill},

	{Method: "GET", Path: "/v1/keys", Guard: ByRole, Role: Viewer, query: append([]string{"tenant"}, page...), serve: (*Plane).listKeys},
	{Method: "POST", Path: "/v1/keys", Guard: ByRole, Role: Admin, body: true, adds: true, serve: (*Plane).postKey},
	{Method: "GET", Path: "/v1/keys/{id}", Guard: ByRole, Role: Viewer, serve: (*Plane).getKey},
	{Method: "DELETE", Path: "/v1/keys/{id}", Guard: ByRole, Role: Admin, urgent: true, serve: (*Plane).deleteKey},
	{Method: "POST", Path: "/v1/keys/{id}/rotate", Guard: ByRole, Role: Admin, query: []string{"overlap"}, adds: true, serve: (*Plane).rotateKey},

	{Method: "GET", Path: "/v1/receipts", Guard: ByRole, Role: Viewer, query: append([]string{"tenant", "from", "to", "kind", "tool", "reason", "order"}, page...), serve: (*Plane).listReceipts},
	{Method: "GET", Path: "/v1/receipts/export", Guard: ByRole, Role: Viewer, query: []string{"tenant", "from", "to"}, serve: (*Plane).exportReceipts},
	{Method: "POST", Path: "/v1/receipts/anchor", Guard: ByPush, serve: (*Plane).anchor},
	{Method: "GET", Path: "/v1/receipts/keys", Guard: ByRole, Role: Viewer, serve: (*Plane).publicKeys},
	{Method: "GET", Path: "/v1/receipts/verify", Guard: ByRole, Role: Viewer, query: []string{"tenant", "from", "to"}, serve: (*Plane).verifyReceipts},
	{Method: "GET", Path: "/v1/receipts/{id}", Guard: ByRole, Role: Viewer, serve: (*Plane).getReceipt},

	{Method: "GET", Path: "/v1/fleet", Guard: ByRole, Role: Viewer, serve: (*Plane).listFleet},

	{Method: "POST", Path: "/v1/events/pubsub", Guard: ByPush, body: true, serve: (*Plane).pushed},
	{Method: "POST", Path: "/v1/events/webhook", Guard: BySecret, body: true, serve: (*Plane).webhook},
}

func (p *Plane) handle() {
	byPath := map[string][]*Route{}
	for i := range routes {
		if p.opts.SignedOnly && routes[i].Guard != BySecret {
			continue
		}
		byPath[routes[i].Path] = append(byPath[routes[i].Path], &routes[i])
	}
	for at, methods := range byPath {
		p.mux.HandleFunc(at, func(w http.ResponseWriter, r *http.Request) { p.choose(w, r, methods) })
	}
	p.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		p.fail(w, r, nothingHere(r))
	})
}

func nothingHere(r *http.Request) *Problem {
	return problem(http.StatusNotFound, "unknown", "there is nothing at %.200s: /openapi.json lists what there is", r.URL.EscapedPath())
}

// ServeHTTP serves one request.
func (p *Plane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	if fault := sameOrigin(r); fault != nil {
		p.fail(w, r, fault)
		return
	}
	if at := r.URL.EscapedPath(); path.Clean("/"+at) != at { // a mux would redirect
		p.fail(w, r, nothingHere(r))
		return
	}
	p.mux.ServeHTTP(w, r)
}

// sameOrigin keeps the pages of others from calling with what a browser knows.
func sameOrigin(r *http.Request) *Problem {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return problem(http.StatusForbidden, "cross_origin", "the page of another site (Sec-Fetch-Site: %.40s) may not call here", site)
	}
	for _, origin := range r.Header.Values("Origin") {
		if _, host, ok := strings.Cut(origin, "://"); !ok || !strings.EqualFold(host, r.Host) {
			return problem(http.StatusForbidden, "cross_origin", "a page of %.200q may not call here", origin)
		}
	}
	return nil
}

func (p *Plane) choose(w http.ResponseWriter, r *http.Request, methods []*Route) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var allow []string
	for _, route := range methods {
		if route.Method == method {
			p.serve(w, r, route)
			return
		}
		allow = append(allow, route.Method)
		if route.Method == http.MethodGet {
			allow = append(allow, http.MethodHead)
		}
	}
	slices.Sort(allow)
	w.Header().Set("Allow", strings.Join(allow, ", "))
	p.fail(w, r, problem(http.StatusMethodNotAllowed, "method", "%.40s can't be done here: %s can", r.Method, strings.Join(allow, ", ")))
}
