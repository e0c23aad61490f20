package gcp

import (
	"context"
	"fmt"
	"net/http"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
)

// An account is whom the process runs as at Google Cloud.
type account struct{ credentials *auth.Credentials }

// defaultAccount finds the Application Default Credentials: those of the platform, of a file, or of gcloud. The client fetches the
// tokens, nil for the library's own.
func defaultAccount(ctx context.Context, client *http.Client) (*account, error) {
	type found struct {
		credentials *auth.Credentials
		err         error
	}
	c := make(chan found, 1)
	go func() { // the search takes no context, and may wait for a metadata server that is not there
		creds, err := credentials.DetectDefault(&credentials.DetectOptions{Scopes: []string{"https://www.googleapis.com/auth/cloudkms"}, Client: client})
		c <- found{creds, err}
	}()
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("the credentials for Google Cloud are not found in time: %w", ctx.Err())
	case f := <-c:
		if f.err != nil {
			return nil, fmt.Errorf("there are no credentials for Google Cloud; outside of it log in with: gcloud auth application-default login: %w", f.err)
		}
		return &account{f.credentials}, nil
	}
}

// authorize adds an access token, and the project that pays where a person's credentials name one.
func (a *account) authorize(r *http.Request) error {
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
