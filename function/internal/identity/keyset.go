package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Get fetches a small document, as outbound's client does.
type Get func(ctx context.Context, url string, most int64) (body []byte, header http.Header, err error)

// A keySet holds the public keys of one issuer. They are fetched when they are first needed and then refreshed beside the
// requests, so that an issuer that is down costs nothing as long as its keys are known. Discovery follows OpenID Connect
// Discovery 1.0 and RFC 8414, keys RFC 7517.
type keySet struct {
	issuer string
	get    Get
	now    func() time.Time

	due     atomic.Int64 // when a refresh is, in Unix microseconds
	changes atomic.Int64 // counts the fetches that took a key away

	mu       sync.Mutex
	url      string // of the keys; "" until discovered
	keys     map[string]jose.JSONWebKey
	fetched  time.Time
	tried    time.Time
	fetching chan struct{} // closed when the fetch that runs is over
	fault    error         // of the last one
}

const (
	refreshAge   = 10 * time.Minute
	staleAge     = 24 * time.Hour  // keys that could not be confirmed for so long are not believed any more
	refetchGap   = time.Minute     // between fetches while there are keys
	firstGap     = 5 * time.Second // between fetches while there are none
	fetchTimeout = 5 * time.Second // of discovery and keys together
	mostDocument = 1 << 20         // bytes
)

var (
	errNoKey       = errors.New("the issuer has no such key")
	errUnreachable = errors.New("the issuer's keys can't be fetched")
)

// key returns the key of the id, and where the id is empty the only key that there is.
func (s *keySet) key(ctx context.Context, kid string) (*jose.JSONWebKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range 2 {
		now := s.now()
		fresh := now.Sub(s.fetched) < staleAge
		if k, ok := s.find(kid); ok && fresh {
			return k, nil
		}
		gap, fault := refetchGap, errNoKey
		if len(s.keys) == 0 || !fresh {
			gap, fault = firstGap, errUnreachable
		}
		if s.fetching == nil {
			if now.Sub(s.tried) < gap {
				if fault == errUnreachable && s.fault != nil {
					return nil, fmt.Errorf("%w: %w", errUnreachable, s.fault)
				}
				return nil, fault
			}
			s.fetch(now)
		}
		done := s.fetching
		s.mu.Unlock()
		select {
		case <-done:
			s.mu.Lock()
		case <-ctx.Done():
			s.mu.Lock()
			return nil, fmt.Errorf("%w: %w", errUnreachable, ctx.Err())
		}
	}
	if k, ok := s.find(kid); ok {
		return k, nil
	}
	if len(s.keys) == 0 {
		return nil, fmt.Errorf("%w: %w", errUnreachable, s.fault)
	}
	return nil, errNoKey
}

func (s *keySet) find(kid string) (*jose.JSONWebKey, bool) {
	if kid == "" && len(s.keys) == 1 {
		for _, k := range s.keys {
			return &k, true
		}
	}
	k, ok := s.keys[kid]
	return &k, ok && kid != ""
}

// refresh fetches the keys again when it is time, and does not wait for them.
func (s *keySet) refresh(now time.Time) {
	if now.UnixMicro() < s.due.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetching == nil && now.Sub(s.tried) >= refetchGap {
		s.fetch(now)
	}
}

// fetch starts a fetch, which no caller's end cancels.
func (s *keySet) fetch(now time.Time) {
	s.tried = now
	s.due.Store(now.Add(refetchGap).UnixMicro())
	done := make(chan struct{})
	s.fetching = done
	where := s.url
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
		defer cancel()
		where, keys, err := s.load(ctx, where)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fetching, s.fault = nil, err
		close(done)
		if err != nil {
			return
		}
		for kid, old := range s.keys {
			if k, ok := keys[kid]; !ok || !same(k, old) {
				s.changes.Add(1)
				break
			}
		}
		s.url, s.keys, s.fetched = where, keys, s.now()
		s.due.Store(s.fetched.Add(refreshAge).UnixMicro())
	}()
}

func same(a, b jose.JSONWebKey) bool {
	x, errX := a.MarshalJSON()
	y, errY := b.MarshalJSON()
	return errX == nil && errY == nil && string(x) == string(y)
}

// load finds out where the keys are, unless it is known, and fetches them.
func (s *keySet) load(ctx context.Context, where string) (string, map[string]jose.JSONWebKey, error) {
	if where != "" {
		if keys, err := s.read(ctx, where); err == nil {
			return where, keys, nil
		}
		// The issuer may have moved them.
	}
	where, err := s.discover(ctx)
	if err != nil {
		return "", nil, err
	}
	keys, err := s.read(ctx, where)
	return where, keys, err
}

func (s *keySet) discover(ctx context.Context) (string, error) {
	var faults []error
	for _, where := range discoveryURLs(s.issuer) {
		body, _, err := s.get(ctx, where, mostDocument)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		var doc struct {
			Issuer string `json:"issuer"`
			Keys   string `json:"jwks_uri"`
		}
		switch err := json.Unmarshal(body, &doc); {
		case err != nil:
			faults = append(faults, fmt.Errorf("%s: %w", where, err))
		case doc.Issuer != s.issuer:
			faults = append(faults, fmt.Errorf("%s is about the issuer %q, not %q", where, doc.Issuer, s.issuer))
		case doc.Keys == "":
			faults = append(faults, fmt.Errorf("%s names no jwks_uri", where))
		default:
			return doc.Keys, nil
		}
	}
	return "", errors.Join(faults...)
}

func discoveryURLs(issuer string) []string {
	urls := []string{strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"}
	if u, err := url.Parse(issuer); err == nil {
		u.Path = "/.well-known/oauth-authorization-server" + strings.TrimSuffix(u.Path, "/")
		urls = append(urls, u.String())
	}
	return urls
}

func (s *keySet) read(ctx context.Context, where string) (map[string]jose.JSONWebKey, error) {
	body, _, err := s.get(ctx, where, mostDocument)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	keys := map[string]jose.JSONWebKey{}
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		// Keys of kinds that are unknown here are none of ours; symmetric and private ones have no business there.
		if json.Unmarshal(raw, &k) == nil && k.Valid() && k.IsPublic() && (k.Use == "" || k.Use == "sig") {
			keys[k.KeyID] = k
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no public key for signatures", where)
	}
	return keys, nil
}
