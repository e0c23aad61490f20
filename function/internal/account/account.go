// Package account is whom the process runs as at Google Cloud.
package account

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
)

// An Account is whom the process runs as at Google Cloud. It is safe for concurrent use.
type Account struct{ credentials *auth.Credentials }

// Default finds the Application Default Credentials: those of the platform, of a file, or of gcloud. The client fetches the
// tokens, nil for the library's own. They are good for a scope such as https://www.googleapis.com/auth/cloudkms.
func Default(ctx context.Context, client *http.Client, scope string) (*Account, error) {
	type found struct {
		credentials *auth.Credentials
		err         error
	}
	c := make(chan found, 1)
	go func() { // the search takes no context, and may wait for a metadata server that is not there
		creds, err := credentials.DetectDefault(&credentials.DetectOptions{Scopes: []string{scope}, Client: client})
		c <- found{creds, err}
	}()
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("the credentials for Google Cloud are not found in time: %w", ctx.Err())
	case f := <-c:
		if f.err != nil {
			return nil, fmt.Errorf("there are no credentials for Google Cloud; outside of it log in with: gcloud auth application-default login: %w", f.err)
		}
		return &Account{f.credentials}, nil
	}
}

// Tokens returns what makes access tokens for a scope. The credentials are looked for at the first use, and again where they were not found.
func Tokens(scope string) func(context.Context) (string, error) {
	find := later(nil, scope)
	return func(ctx context.Context) (string, error) {
		known, err := find(ctx)
		if err != nil {
			return "", err
		}
		token, err := known.credentials.Token(ctx)
		if err != nil {
			return "", err
		}
		return token.Value, nil
	}
}

// Authorizer returns what does the same as [Account.Authorize], with credentials that are looked for at the first request, and again where
// they were not found: a start does not wait for them.
func Authorizer(client *http.Client, scope string) func(*http.Request) error {
	find := later(client, scope)
	return func(r *http.Request) error {
		known, err := find(r.Context())
		if err != nil {
			return err
		}
		return known.Authorize(r)
	}
}

// later returns what finds the account once.
func later(client *http.Client, scope string) func(context.Context) (*Account, error) {
	var mu sync.Mutex
	var known *Account
	return func(ctx context.Context) (*Account, error) {
		mu.Lock()
		defer mu.Unlock()
		if known == nil {
			found, err := Default(ctx, client, scope)
			if err != nil {
				return nil, err
			}
			known = found
		}
		return known, nil
	}
}

// Authorize adds an access token, and the project that pays where a person's credentials name one.
func (a *Account) Authorize(r *http.Request) error {
	token, err := a.credentials.Token(r.Context())
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token.Value)
	if project, err := a.credentials.QuotaProjectID(r.Context()); err == nil && project != "" {
		r.Header.Set("X-Goog-User-Project", project)
	}
	return nil
}
