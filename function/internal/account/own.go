package account

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials/idtoken"
)

// Own makes tokens of the account that the process runs as. The zero value is ready, and safe for concurrent use.
type Own struct {
	mu     sync.Mutex
	ids    map[string]*auth.Credentials                     // by audience
	access map[string]func(context.Context) (string, error) // by scope
}

// Token returns an ID token for an audience, such as the URL of a private service of Cloud Run, and when it ends:
// https://cloud.google.com/run/docs/authenticating/service-to-service.
func (o *Own) Token(ctx context.Context, audience string) (string, time.Time, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	credentials := o.ids[audience]
	if credentials == nil {
		var err error
		if credentials, err = idtoken.NewCredentials(&idtoken.Options{Audience: audience}); err != nil {
			return "", time.Time{}, fmt.Errorf("there are no credentials for ID tokens; outside of Google Cloud they take a service account's: %w", err)
		}
		if o.ids == nil {
			o.ids = map[string]*auth.Credentials{}
		}
		o.ids[audience] = credentials
	}
	token, err := credentials.Token(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	return token.Value, token.Expiry, nil
}

// AccessToken returns an access token for a scope, such as https://www.googleapis.com/auth/cloud-platform.
func (o *Own) AccessToken(ctx context.Context, scope string) (string, error) {
	o.mu.Lock()
	token := o.access[scope]
	if token == nil {
		if o.access == nil {
			o.access = map[string]func(context.Context) (string, error){}
		}
		token = Tokens(scope)
		o.access[scope] = token
	}
	o.mu.Unlock()
	return token(ctx)
}
