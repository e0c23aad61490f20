// Command authserver is a real OAuth 2.1 authorization server for the tests, on a kept library: authorization code with
// PKCE, metadata of RFC 8414, JWT access tokens for the resource that a client names (RFC 8707). It consents at once, for a
// person called ada, and knows one public client. It prints its address, then a line for each use of an endpoint, and ends
// with its standard input.
package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/go-jose/go-jose/v3"
	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/storage"
	"github.com/ory/fosite/token/jwt"
)

func main() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	issuer := "http://" + ln.Addr().String()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		log.Fatal(err)
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	config := &fosite.Config{
		GlobalSecret: secret, AccessTokenIssuer: issuer, AccessTokenLifespan: time.Hour, JWTScopeClaimKey: jwt.JWTScopeFieldString,
		EnforcePKCE: true, EnforcePKCEForPublicClients: true, ScopeStrategy: fosite.ExactScopeStrategy,
		RedirectSecureChecker: func(context.Context, *url.URL) bool { return true }, // the test's client listens on loopback
	}
	store := storage.NewMemoryStore()
	store.Clients["erlmcp-test"] = &fosite.DefaultClient{
		ID: "erlmcp-test", Public: true, RedirectURIs: []string{"http://127.0.0.1/callback"},
		GrantTypes: []string{"authorization_code"}, ResponseTypes: []string{"code"}, Scopes: []string{"read", "admin"},
	}
	strategy := &compose.CommonStrategy{CoreStrategy: compose.NewOAuth2JWTStrategy(
		func(context.Context) (any, error) { return key, nil }, compose.NewOAuth2HMACStrategy(config), config)}
	provider := compose.Compose(config, store, strategy, compose.OAuth2AuthorizeExplicitFactory, compose.OAuth2PKCEFactory)

	mux := http.NewServeMux()
	document := func(w http.ResponseWriter, body any) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(body)
	}
	metadata := func(w http.ResponseWriter, _ *http.Request) {
		document(w, map[string]any{
			"issuer": issuer, "authorization_endpoint": issuer + "/authorize", "token_endpoint": issuer + "/token", "jwks_uri": issuer + "/keys",
			"response_types_supported": []string{"code"}, "grant_types_supported": []string{"authorization_code"},
			"code_challenge_methods_supported": []string{"S256"}, "token_endpoint_auth_methods_supported": []string{"none"},
			"scopes_supported": []string{"read", "admin"}, "authorization_response_iss_parameter_supported": true,
		})
	}
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", metadata)
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		document(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "one", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("authorize", r.FormValue("scope"), r.FormValue("resource"))
		request, err := provider.NewAuthorizeRequest(r.Context(), r)
		if err != nil {
			provider.WriteAuthorizeError(r.Context(), w, request, err)
			return
		}
		for _, scope := range request.GetRequestedScopes() {
			request.GrantScope(scope)
		}
		request.GrantAudience(r.FormValue("resource"))
		session := &oauth2.JWTSession{
			JWTClaims: &jwt.JWTClaims{Subject: "ada"}, JWTHeader: &jwt.Headers{Extra: map[string]any{"kid": "one"}}, Subject: "ada",
		}
		response, err := provider.NewAuthorizeResponse(r.Context(), request, session)
		if err != nil {
			provider.WriteAuthorizeError(r.Context(), w, request, err)
			return
		}
		response.AddParameter("iss", issuer) // RFC 9207
		provider.WriteAuthorizeResponse(r.Context(), w, request, response)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("token")
		request, err := provider.NewAccessRequest(r.Context(), r, &oauth2.JWTSession{})
		if err != nil {
			provider.WriteAccessError(r.Context(), w, request, err)
			return
		}
		response, err := provider.NewAccessResponse(r.Context(), request)
		if err != nil {
			provider.WriteAccessError(r.Context(), w, request, err)
			return
		}
		provider.WriteAccessResponse(r.Context(), w, request, response)
	})
	fmt.Println(issuer)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	log.Fatal(http.Serve(ln, mux))
}
