package account

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/identity"
)

// iam plays IAM's Service Account Credentials API as its documentation says: each method wants a permission of its own, which
// roles hold, and an ID token has an address only if that was asked for.
type iam struct {
	role string // of who asks, on the account
}

func (i iam) RoundTrip(r *http.Request) (*http.Response, error) {
	permissions := map[string][]string{
		"roles/iam.serviceAccountOpenIdTokenCreator": {"generateIdToken"},
		"roles/iam.serviceAccountTokenCreator":       {"generateIdToken", "generateAccessToken", "signBlob", "signJwt"},
	}
	account, method, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/projects/-/serviceAccounts/"), ":")
	w := httptest.NewRecorder()
	var asked struct {
		Audience     string
		IncludeEmail bool
	}
	body, err := io.ReadAll(r.Body)
	switch {
	case r.URL.Host != "iamcredentials.googleapis.com" || r.Method != http.MethodPost:
		return nil, errors.New("no such API: " + r.URL.String())
	case !slices.Contains(permissions[i.role], method):
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"error":{"code":403,"status":"PERMISSION_DENIED","message":"Permission 'iam.serviceAccounts.getOpenIdToken' denied"}}`)
	case err != nil || json.Unmarshal(body, &asked) != nil || asked.Audience == "":
		w.WriteHeader(http.StatusBadRequest)
	default:
		now := time.Now()
		claims := map[string]any{"iss": "https://accounts.google.com", "sub": "1", "aud": asked.Audience, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
		if asked.IncludeEmail {
			claims["email"], claims["email_verified"] = account, true
		}
		payload, _ := json.Marshal(claims)
		json.NewEncoder(w).Encode(map[string]string{"token": "e30." + base64.RawURLEncoding.EncodeToString(payload) + ".SIGNATURE_REMOVED_BY_GOOGLE"})
	}
	return w.Result(), nil
}

// TestIDTokens brings the token to what reads tokens behind Cloud Run, which knows the caller by the address alone.
func TestIDTokens(t *testing.T) {
	const account, service = "erlmcp-release@my-project.iam.gserviceaccount.com", "https://erlmcp-1.us-central1.run.app"
	ask := func(role string) (string, error) {
		tokens, err := IDTokens(&http.Client{Transport: iam{role}}, account, service)
		if err != nil {
			t.Fatal(err)
		}
		return tokens(t.Context())
	}
	token, err := ask("roles/iam.serviceAccountOpenIdTokenCreator")
	if err != nil {
		t.Fatal(err)
	}
	callers := identity.New(identity.Options{Chain: []string{identity.CloudRun}, Now: time.Now})
	p, fault := callers.Authenticate(t.Context(), &identity.Request{Header: http.Header{"Authorization": {"Bearer " + token}}})
	if fault != nil || p.Tenant != "cloudrun:my-project" || p.Subject != account {
		t.Errorf("%v %v", p, fault)
	}

	if _, err := ask("roles/iam.serviceAccountUser"); err == nil || !strings.Contains(err.Error(), "roles/iam.serviceAccountOpenIdTokenCreator") {
		t.Errorf("without the role: %v", err)
	}
}
