package dataplane

import (
	"net/http"
	"strings"

	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/serve"
	"example.com/erlmcp/function/internal/streamhttp"
)

// routes is every path and what stands before it.
func (p *Plane) routes() http.Handler {
	mux := http.NewServeMux()
	const toolset = "/mcp/{" + streamhttp.Toolset + "}"
	resource := map[string]http.HandlerFunc{"": p.protectedResource(""), "/mcp": p.protectedResource("/mcp"), toolset: p.ofToolset(p.protectedResource("/mcp"))}
	mux.Handle("/mcp", p.endpoint)
	mux.Handle(toolset, p.ofToolset(p.endpoint.ServeHTTP))
	for path, about := range resource {
		mux.HandleFunc(app.MetadataPath+path, about)
	}
	if prefix := p.Config.Callers.PublicPath; prefix != "" { // a gateway may take it away, or leave it
		mux.Handle(prefix+"/mcp", p.endpoint)
		mux.Handle(prefix+toolset, p.ofToolset(p.endpoint.ServeHTTP))
		for path, about := range resource {
			mux.HandleFunc(app.MetadataPath+prefix+path, about)
			mux.HandleFunc(prefix+app.MetadataPath+path, about)
		}
	}
	mux.HandleFunc("/", p.elsewhere)
	return p.Watch(p, mux, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux would redirect what has slashes too many, and clients make a GET of a POST then.
		if plain := plainPath(r.URL.Path); plain != r.URL.Path {
			r.URL.Path, r.URL.RawPath = plain, ""
		}
		mux.ServeHTTP(w, r)
	}))
}

// ofToolset serves the paths of toolsets that there are.
func (p *Plane) ofToolset(serves http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if p.Catalog().Toolset(r.PathValue(streamhttp.Toolset)) {
			serves(w, r)
		} else {
			p.elsewhere(w, r)
		}
	}
}

// plainPath is a path without slashes that mean nothing: doubled ones, and those at the end.
func plainPath(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	if path != "/" {
		path = strings.TrimSuffix(path, "/")
	}
	return path
}

// elsewhere answers what there is not, to pages of any origin: clients in browsers look for sign-in in several places.
func (p *Plane) elsewhere(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", "*")
	if r.Method == http.MethodOptions {
		header.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
		header.Set("Access-Control-Allow-Headers", "*, Authorization")
		header.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	p.nothing(w, "nothing at "+shortened(r.URL.Path)+"; the MCP endpoint is /mcp")
}

// nothing answers what there is not, and says how one is signed in: who reads it has often looked for that, by OAuth, whose clients show
// the description.
func (p *Plane) nothing(w http.ResponseWriter, what string) {
	text := what + "; " + p.signIn
	serve.Answer(w, http.StatusNotFound, struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{text, text})
}

// shortened keeps what a caller wrote from filling an answer.
func shortened(path string) string {
	const maxPath = 200
	if len(path) > maxPath {
		return strings.ToValidUTF8(path[:maxPath], "") + "…"
	}
	return path
}
