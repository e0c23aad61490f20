package catalogfile

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"example.com/erlmcp/function/internal/backend/rest"
)

// api makes of a source what calls its API.
func (r *reader) api(s *Source) *rest.API {
	a := &rest.API{Name: s.Name, Auth: r.auth(s.Auth), Headers: map[string]rest.Secret{}, Forward: s.Forward, Retries: retries(s.Retries), MaxRead: int64(s.Read)}
	for name, v := range s.Headers {
		a.Headers[name] = r.text(s.Line, v)
	}
	return a
}

// retries are 2 by default, after all that may be gone the next time.
func retries(given *Retries) rest.Retries {
	if given == nil {
		given = &Retries{}
	}
	out := rest.Retries{Max: 2, Connect: len(given.After) == 0 || slices.Contains(given.After, "connect")}
	if given.Max != nil {
		out.Max = *given.Max
	}
	for _, status := range []int{429, 502, 503, 504} {
		if len(given.After) == 0 || slices.Contains(given.After, strconv.Itoa(status)) {
			out.Statuses = append(out.Statuses, status)
		}
	}
	return out
}

func (r *reader) auth(a *Auth) rest.Auth {
	switch {
	case a == nil:
		return nil
	case a.Bearer != "":
		return rest.Bearer(r.secret(a.Line, a.Bearer))
	case a.Basic != nil:
		return rest.Basic(r.secret(a.Line, a.Basic.User), r.secret(a.Line, a.Basic.Password))
	case a.Key != nil && a.Key.Header != "":
		return rest.HeaderKey(a.Key.Header, r.secret(a.Line, a.Key.From))
	case a.Key != nil:
		return rest.QueryKey(a.Key.Query, r.secret(a.Line, a.Key.From))
	case a.OAuth2 != nil:
		o := a.OAuth2
		return r.tokens().ClientCredentials(rest.ClientCredentials{
			TokenURL: o.Token, ID: r.secret(a.Line, o.Client), Secret: r.secret(a.Line, o.Secret), Scopes: o.Scopes, InBody: o.InBody,
		})
	case a.Google != nil && a.Google.Audience != "":
		return r.tokens().Minted(r.IDTokens, a.Google.Audience)
	case a.Google != nil:
		return rest.Bearer(func(ctx context.Context) (string, error) {
			return r.AccessToken(ctx, strings.Join(a.Google.Scopes, " "))
		})
	}
	return nil
}

// tokens are those of the process; a file that is only checked has none.
func (r *reader) tokens() *rest.Tokens {
	if r.Tokens == nil {
		r.Tokens = rest.NewTokens(nil)
	}
	return r.Tokens
}
