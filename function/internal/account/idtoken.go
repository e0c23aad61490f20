package account

import (
	"context"
	"fmt"
	"net/http"

	"cloud.google.com/go/auth/credentials/impersonate"
)

// IDTokens returns what asks IAM for ID tokens of a service account, for an audience:
// https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateIdToken. Who asks is the
// account that the environment has (Application Default Credentials), which needs iam.serviceAccounts.getOpenIdToken and nothing
// else. gcloud auth print-identity-token would ask for an access token first, which the narrow role does not allow, and for one
// without the address, by which servers know the caller. The client is nil but in tests, and must authenticate then.
func IDTokens(client *http.Client, account, audience string) (func(context.Context) (string, error), error) {
	credentials, err := impersonate.NewIDTokenCredentials(&impersonate.IDTokenOptions{
		TargetPrincipal: account, Audience: audience, IncludeEmail: true, Client: client,
	})
	if err != nil {
		return nil, fmt.Errorf("no credentials to ask for an ID token of %s with; outside of Google Cloud log in with: gcloud auth application-default login: %w", account, err)
	}
	return func(ctx context.Context) (string, error) {
		token, err := credentials.Token(ctx) // a new one before the last one expires
		if err != nil {
			return "", fmt.Errorf("IAM gives no ID token of %s; who asks needs roles/iam.serviceAccountOpenIdTokenCreator on that account: %w", account, err)
		}
		return token.Value, nil
	}, nil
}
