package dataplane

import (
	"net/http"
	"slices"

	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/serve"
	"example.com/erlmcp/function/internal/streamhttp"
)

// protectedResource answers RFC 9728 metadata: of the endpoint, or of the whole host at the root. That of a toolset is a resource of its own,
// as its clients compare the URL with theirs.
func (p *Plane) protectedResource(path string) http.HandlerFunc {
	settings := &p.Config.Callers
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*") // it is public
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		switch r.Method {
		case http.MethodGet, http.MethodHead:
		case http.MethodOptions: // clients in browsers send headers that must be allowed first
			w.Header().Set("Access-Control-Allow-Methods", "GET")
			w.Header().Set("Access-Control-Allow-Headers", "*")
			w.WriteHeader(http.StatusNoContent)
			return
		default:
			serve.Answer(w, http.StatusMethodNotAllowed, map[string]string{"error": "there is only something to GET here"})
			return
		}
		if !slices.Contains(settings.Chain, identity.OAuth) {
			p.nothing(w, "no access tokens are taken here")
			return
		}
		resource := settings.PublicURL + path
		if toolset := r.PathValue(streamhttp.Toolset); toolset != "" {
			resource += "/" + toolset
		}
		serve.Answer(w, http.StatusOK, struct {
			Resource string   `json:"resource"`
			Name     string   `json:"resource_name"`
			Servers  []string `json:"authorization_servers"`
			Scopes   []string `json:"scopes_supported,omitempty"`
			Methods  []string `json:"bearer_methods_supported"`
		}{resource, p.Options.Info.Title, settings.Issuers, p.current.Load().scopes, []string{"header"}})
	}
}
