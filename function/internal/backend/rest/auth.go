package rest

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
)

// An Auth puts this server's credential for an API into requests. It is asked for each request, and for a redirect to the same host again.
type Auth interface {
	// Sets says where the credential stands, so that no argument can stand there.
	Sets() (in Place, name string)
	// Authorize puts the credential into the request. The client is the way out for what must be asked for it. An error has no secret in its text; one that
	// wraps [mcp.ErrUnavailable] is of who did not answer.
	Authorize(ctx context.Context, client *http.Client, r *http.Request) error
	// Refused is told that the API refused the credential (401), so that one that was kept may be had anew for the next call.
	Refused(r *http.Request)
}

// HeaderKey is a key in a header such as X-Api-Key.
func HeaderKey(name string, key Secret) Auth { return &static{in: Header, name: name, value: key} }

// QueryKey is a key in the query, where an API takes it nowhere else: proxies and logs on the way may keep it.
func QueryKey(name string, key Secret) Auth { return &static{in: Query, name: name, value: key} }

// Bearer is a token in the header Authorization (RFC 6750).
func Bearer(token Secret) Auth {
	return &static{in: Header, name: "Authorization", value: func(ctx context.Context) (string, error) {
		text, err := token(ctx)
		return "Bearer " + text, err
	}}
}

// Basic is a user's name and password in the header Authorization (RFC 7617).
func Basic(user, password Secret) Auth {
	return &static{in: Header, name: "Authorization", value: func(ctx context.Context) (string, error) {
		name, err := user(ctx)
		if err != nil {
			return "", err
		}
		if strings.Contains(name, ":") {
			return "", fmt.Errorf("the user's name has a colon, which ends it")
		}
		secret, err := password(ctx)
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+secret)), err
	}}
}

type static struct {
	in    Place
	name  string
	value Secret
}

func (s *static) Sets() (Place, string) { return s.in, s.name }

func (s *static) Refused(*http.Request) {}

func (s *static) Authorize(ctx context.Context, _ *http.Client, r *http.Request) error {
	value, err := s.value(ctx)
	if err == nil {
		if s.in == Header {
			err = headerText(value)
		}
		if value == "" {
			err = fmt.Errorf("it is empty")
		}
	}
	if err != nil {
		return fmt.Errorf("the credential can't be had: %w", err)
	}
	if s.in == Header {
		r.Header.Set(s.name, value)
		return nil
	}
	if r.URL.Query().Has(s.name) {
		return nil // the API's own redirect has brought it
	}
	text := encode(s.name, "") + "=" + encode(value, "")
	if r.URL.RawQuery != "" {
		text = r.URL.RawQuery + "&" + text
	}
	r.URL.RawQuery = text
	return nil
}
