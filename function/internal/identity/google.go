package identity

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

const googleIssuer = "https://accounts.google.com"

// GoogleIssuer takes ID tokens of Google accounts and service accounts, which a caller gets for an audience:
// https://developers.google.com/identity/openid-connect/openid-connect.
func GoogleIssuer(audiences []string) Issuer {
	return Issuer{
		Method: Google, URL: googleIssuer, Spelled: []string{"accounts.google.com"}, Keys: "https://www.googleapis.com/oauth2/v3/certs",
		Audiences: audiences, Algorithms: []string{"RS256"}, Name: googleName, Accounts: true,
	}
}

// IAPIssuer takes the assertions of the Identity-Aware Proxy:
// https://cloud.google.com/iap/docs/signed-headers-howto.
func IAPIssuer(audiences []string) Issuer {
	return Issuer{
		Method: IAP, URL: "https://cloud.google.com/iap", Keys: "https://www.gstatic.com/iap/verify/public_key-jwk",
		Audiences: audiences, Algorithms: []string{"ES256"}, Header: headerAssertion, Accounts: true,
		Name: func(c Claims) (string, string, error) { return googleAccount(c, true) }, // the proxy has verified it
	}
}

// KubernetesIssuer takes projected tokens of the service accounts of a cluster; the namespace is the tenant:
// https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#serviceaccount-token-volume-projection.
func KubernetesIssuer(issuer string, audiences []string) Issuer {
	return Issuer{
		Method: Kubernetes, URL: issuer, Audiences: audiences,
		Name: func(c Claims) (string, string, error) {
			account, ok := strings.CutPrefix(c.text("sub"), "system:serviceaccount:")
			namespace, name, named := strings.Cut(account, ":")
			if !ok || !named {
				return "", "", fmt.Errorf("the subject %q is no service account", cut(c.text("sub")))
			}
			return namespace, name, nil
		},
	}
}

// OAuthIssuer takes access tokens of an authorization server (RFC 9068). The tenant is in a claim, or, where none is named,
// the host of the issuer.
func OAuthIssuer(issuer string, audiences, algorithms []string, tenantClaim string) Issuer {
	return Issuer{
		Method: OAuth, URL: issuer, Audiences: audiences, Algorithms: algorithms, Only: tenantClaim == "",
		Name: func(c Claims) (string, string, error) {
			if tenantClaim == "" {
				return HostTenant(issuer), c.text("sub"), nil
			}
			tenant, ok := c[tenantClaim].(string)
			if !ok {
				return "", "", fmt.Errorf("the claim %s, which names the tenant, is not there or not text", tenantClaim)
			}
			return tenant, c.text("sub"), nil
		},
	}
}

// googleName says whom a token of Google's means: the Workspace domain, the project of a service account, or google is the
// tenant, the verified address the subject.
func googleName(c Claims) (tenant, subject string, err error) {
	return googleAccount(c, c.yes("email_verified"))
}

func googleAccount(c Claims, verified bool) (tenant, subject string, err error) {
	email := c.text("email")
	if email == "" || !verified {
		return "", "", errors.New("the token has no verified email: ask for it with --include-email, or format=full")
	}
	if domain := c.text("hd"); domain != "" {
		return strings.ToLower(domain), email, nil
	}
	_, host, _ := strings.Cut(strings.ToLower(email), "@")
	if project, ok := strings.CutSuffix(host, serviceAccounts); ok {
		return project, email, nil
	}
	return "google", email, nil
}

// withoutSignature is what Cloud Run leaves of the signature of a token that it has verified.
const withoutSignature = ".SIGNATURE_REMOVED_BY_GOOGLE"

func platformChecked(token string) bool { return strings.HasSuffix(token, withoutSignature) }

// byPlatform takes tokens that Cloud Run has verified: it lets no request through to a service that demands authentication
// unless the caller may invoke it. Such a token proves nothing anywhere else, which is why an operator must name the method.
func (a *Authenticator) byPlatform(_ context.Context, c *credentials) (*Principal, *Error) {
	token := c.serverless.text
	if token == "" {
		token = c.bearer.text
	}
	if !platformChecked(token) {
		return nil, nil
	}
	var members map[string]json.RawMessage
	parts := strings.Split(token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[min(1, len(parts)-1)])
	if err != nil || len(parts) != 3 || json.Unmarshal(payload, &members) != nil {
		return nil, &Error{Cause: Malformed, Method: CloudRun, Detail: "not a token"}
	}
	i := issuer{tenants: a.opts.Tenants, Issuer: Issuer{Method: CloudRun, URL: googleIssuer, Spelled: []string{"accounts.google.com"}, Name: googleName, Accounts: true}}
	p, _, fault := i.judge(readClaims(members), "", c.now)
	return p, fault
}
