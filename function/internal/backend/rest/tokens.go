package rest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/mcp"
)

// Tokens keeps the access tokens of a process until shortly before they end: many calls that need the same one fetch it once. A catalog that is
// loaded anew finds them again. It is safe for concurrent use.
type Tokens struct {
	now func() time.Time

	mu    sync.Mutex
	known map[string]*keptToken
}

// A keptToken is a token, or one that is being fetched.
type keptToken struct {
	ready   chan struct{} // closed when what follows is set
	value   string
	fetched time.Time
	renew   time.Time // when the next one is fetched
	err     error
}

// NewTokens returns an empty one. The clock is [time.Now] where none is given.
func NewTokens(now func() time.Time) *Tokens {
	if now == nil {
		now = time.Now
	}
	return &Tokens{now: now, known: map[string]*keptToken{}}
}

const (
	fetchTimeout = 10 * time.Second
	early        = time.Minute     // a token is renewed so long before its end, or after nine tenths of a shorter life
	defaultLife  = 5 * time.Minute // of a token that does not say how long it lives
	refusedAge   = time.Minute     // a token that is younger is not fetched anew because an API refuses it
	maxToken     = 64 << 10        // bytes of a token endpoint's answer
)

// ClientCredentials is the grant of OAuth 2.0 for a server by itself (RFC 6749, section 4.4).
type ClientCredentials struct {
	TokenURL string
	ID       Secret
	Secret   Secret
	Scopes   []string
	// Params are further parameters of the request, such as audience.
	Params map[string]string
	// InBody puts id and secret into the request's body (client_secret_post), in place of the header Authorization (client_secret_basic).
	InBody bool
}

// ClientCredentials returns the credential that such a grant gives.
func (t *Tokens) ClientCredentials(c ClientCredentials) Auth {
	return &bearer{t, func(ctx context.Context) (string, fetch, error) {
		id, err := c.ID(ctx)
		if err != nil {
			return "", nil, err
		}
		secret, err := c.Secret(ctx)
		if err != nil {
			return "", nil, err
		}
		sum := sha256.Sum256([]byte(secret))
		form := url.Values{"grant_type": {"client_credentials"}}
		for name, value := range c.Params {
			form.Set(name, value)
		}
		if len(c.Scopes) > 0 {
			form.Set("scope", strings.Join(c.Scopes, " "))
		}
		key := fmt.Sprintf("oauth2 %q %q %x %q %t", c.TokenURL, id, sum, form.Encode(), c.InBody)
		return key, func(ctx context.Context, client *http.Client) (string, time.Duration, error) {
			return c.fetch(ctx, client, form, [2]string{id, secret})
		}, nil
	}}
}

// A Minter makes tokens of the identity that the process runs as, such as Google's ID tokens for a private service of Cloud Run, of which the
// audience is the service's URL. It returns when the token ends.
type Minter interface {
	Token(ctx context.Context, audience string) (token string, expires time.Time, err error)
}

// Minted returns the credential that a minter makes for an audience.
func (t *Tokens) Minted(m Minter, audience string) Auth {
	return &bearer{t, func(context.Context) (string, fetch, error) {
		return fmt.Sprintf("minted %T %q", m, audience), func(ctx context.Context, _ *http.Client) (string, time.Duration, error) {
			text, expires, err := m.Token(ctx, audience)
			if err != nil {
				return "", 0, fmt.Errorf("the platform makes no token for %s: %w", audience, errors.Join(err, mcp.ErrUnavailable))
			}
			return text, expires.Sub(t.now()), nil
		}, nil
	}}
}

// A fetch gets a token and says how long it lives.
type fetch = func(context.Context, *http.Client) (string, time.Duration, error)

// A bearer is an [Auth] of a token that is kept. What returns the key under which it is kept, and how it is fetched.
type bearer struct {
	tokens *Tokens
	what   func(context.Context) (key string, fetch fetch, err error)
}

func (b *bearer) Sets() (Place, string) { return Header, "Authorization" }

func (b *bearer) Authorize(ctx context.Context, client *http.Client, r *http.Request) error {
	key, fetch, err := b.what(ctx)
	if err != nil {
		return fmt.Errorf("the credential can't be had: %w", err)
	}
	text, err := b.tokens.get(ctx, key, client, fetch)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+text)
	return nil
}

// Refused forgets a token that was good once: its issuer may have ended it.
func (b *bearer) Refused(r *http.Request) {
	text, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	t := b.tokens
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, one := range t.known {
		select {
		case <-one.ready:
			if one.value == text && t.now().Sub(one.fetched) >= refusedAge {
				delete(t.known, key)
			}
		default:
		}
	}
}

// get returns the token under a key, and fetches it where there is none, or its end is near. All who ask meanwhile wait for the one fetch,
// which does not end with the call that began it.
func (t *Tokens) get(ctx context.Context, key string, client *http.Client, fetch fetch) (string, error) {
	t.mu.Lock()
	one := t.known[key]
	if one != nil {
		select {
		case <-one.ready:
			if one.err != nil || !t.now().Before(one.renew) {
				one = nil
			}
		default:
		}
	}
	if one == nil {
		t.sweep()
		one = &keptToken{ready: make(chan struct{})}
		t.known[key] = one
		go t.fetch(context.WithoutCancel(ctx), one, client, fetch)
	}
	t.mu.Unlock()
	select {
	case <-one.ready:
		return one.value, one.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (t *Tokens) fetch(ctx context.Context, one *keptToken, client *http.Client, fetch fetch) {
	ctx, done := context.WithTimeout(ctx, fetchTimeout)
	defer done()
	defer close(one.ready)
	one.err = errors.New("the token could not be fetched") // where fetch does not return
	var life time.Duration
	one.value, life, one.err = fetch(ctx, client)
	if one.err == nil {
		one.err = headerText(one.value)
	}
	one.fetched = t.now()
	one.renew = one.fetched.Add(life - min(early, life/10))
}

// sweep forgets what has ended, such as tokens of secrets that were replaced.
func (t *Tokens) sweep() {
	for key, one := range t.known {
		select {
		case <-one.ready:
			if one.err != nil || !t.now().Before(one.renew) {
				delete(t.known, key)
			}
		default:
		}
	}
}

// fetch asks the token endpoint.
func (c *ClientCredentials) fetch(ctx context.Context, client *http.Client, form url.Values, id [2]string) (string, time.Duration, error) {
	form = maps.Clone(form) // of others too
	if c.InBody {
		form.Set("client_id", id[0])
		form.Set("client_secret", id[1])
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, errors.New("the token endpoint's URL is none")
	}
	r.Header = http.Header{"Content-Type": {formType}, "Accept": {"application/json"}, "User-Agent": {"erlmcp"}}
	if !c.InBody {
		r.SetBasicAuth(url.QueryEscape(id[0]), url.QueryEscape(id[1])) // RFC 6749, section 2.3.1
	}
	to := *client
	to.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := to.Do(r)
	if err != nil {
		return "", 0, &unavailable{"the token endpoint at " + r.URL.Host + " " + silence(err), err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxToken))
	if err != nil {
		return "", 0, &unavailable{"the token endpoint at " + r.URL.Host + " " + silence(err), err}
	}
	var answer struct {
		AccessToken string      `json:"access_token"`
		TokenType   string      `json:"token_type"`
		ExpiresIn   json.Number `json:"expires_in"`
		Error       string      `json:"error"`
	}
	readErr := json.NewDecoder(bytes.NewReader(body)).Decode(&answer)
	switch {
	case resp.StatusCode/100 == 5:
		return "", 0, &unavailable{fmt.Sprintf("the token endpoint at %s answers %d", r.URL.Host, resp.StatusCode), nil}
	case resp.StatusCode != http.StatusOK:
		return "", 0, fmt.Errorf("the token endpoint at %s refuses this server's credentials, not yours: it answers %d %s", r.URL.Host, resp.StatusCode, clip(answer.Error, 60))
	case readErr != nil || answer.AccessToken == "" || !strings.EqualFold(answer.TokenType, "Bearer"):
		return "", 0, fmt.Errorf("the token endpoint at %s answers no token of the type Bearer", r.URL.Host)
	}
	life := defaultLife
	if seconds, err := answer.ExpiresIn.Int64(); err == nil && seconds > 0 && seconds < 1<<31 {
		life = time.Duration(seconds) * time.Second
	}
	return answer.AccessToken, life, nil
}
