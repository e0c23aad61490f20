package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Get fetches a small document, as egress' client does.
type Get func(ctx context.Context, url string, most int64) (body []byte, header http.Header, err error)

// A keySet holds the public keys of one issuer. They are fetched when they are first needed and then refreshed beside the
// requests, so that an issuer that is down costs nothing as long as its keys are known. Discovery follows OpenID Connect
// Discovery 1.0 and RFC 8414, keys RFC 7517.
type keySet struct {
	issuer string
	get    Get
	now    func() time.Time
	logger *slog.Logger

	due     atomic.Int64 // when a refresh is, in Unix microseconds
	changes atomic.Int64 // counts the fetches that took a key away

	mu       sync.Mutex
	url      string // of the keys; "" until discovered
	keys     []publicKey
	fetched  time.Time
	tried    time.Time
	fetching chan struct{} // closed when the fetch that runs is over
	fault    error         // of the last one
	begun    int64         // fetches
	found    int64         // the last of them that found keys
	missing  map[string]int64
}

// A publicKey is one of a set. Several may have the same id, or none.
type publicKey struct {
	jose.JSONWebKey
	text string // in canonical form
}

const (
	refreshAge   = 10 * time.Minute
	staleAge     = 24 * time.Hour  // keys that could not be confirmed for so long are not believed any more
	refetchGap   = time.Minute     // between fetches while there are keys
	firstGap     = 5 * time.Second // between fetches while there are none, or after one that failed
	fetchTimeout = 5 * time.Second // of discovery and keys together
	maxDocument  = 1 << 20         // bytes
	maxTried     = 8               // keys for one token
	maxMissing   = 1000            // ids that are remembered to be no key's
)

var (
	errNoKey       = errors.New("the issuer has no such key")
	errUnfit       = errors.New("the key is for other signatures")
	errUnreachable = errors.New("the issuer's keys can't be fetched")
)

// An unknownYet error is of a key that may have come since the keys were fetched last, which may not be done again for a while.
type unknownYet struct{ wait time.Duration }

func (e unknownYet) Error() string { return "the issuer's keys were fetched before this key was seen" }

// candidates returns the keys that may have signed a token: by the id, where the token and the key have one, and for its algorithm.
func (s *keySet) candidates(ctx context.Context, kid, algorithm string) ([]publicKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for waited := range 2 {
		now := s.now()
		fresh := now.Sub(s.fetched) < staleAge
		keys, named := s.find(kid, algorithm)
		if fresh && (len(keys) > 0 || named) {
			if len(keys) == 0 {
				return nil, errUnfit
			}
			return keys, nil
		}
		usable := fresh && len(s.keys) > 0
		if waited > 0 || s.fetching == nil && now.Sub(s.tried) < s.gap(usable) {
			switch {
			case !usable && s.fault != nil:
				return nil, fmt.Errorf("%w: %w", errUnreachable, s.fault)
			case !usable:
				return nil, errUnreachable
			}
			if seen, ok := s.missing[kid]; ok && seen < s.found {
				return nil, errNoKey
			}
			s.miss(kid, s.begun)
			return nil, unknownYet{max(s.tried.Add(s.gap(usable)).Sub(now), time.Second)}
		}
		s.miss(kid, s.begun)
		if s.fetching == nil {
			s.fetch(now)
		}
		if err := s.await(ctx); err != nil {
			return nil, err
		}
	}
	panic("unreachable: the second round returns")
}

// gap is how much time there must be between two fetches.
func (s *keySet) gap(usable bool) time.Duration {
	if !usable || s.fault != nil {
		return firstGap
	}
	return refetchGap
}

// miss notes that a key of the id was asked for when so many fetches had begun: one that begins later and finds none proves that there
// is none.
func (s *keySet) miss(kid string, begun int64) {
	if _, ok := s.missing[kid]; ok {
		return
	}
	if s.missing == nil || len(s.missing) >= maxMissing {
		s.missing = map[string]int64{}
	}
	s.missing[kid] = begun
}

// await waits for the fetch that runs, with the lock released.
func (s *keySet) await(ctx context.Context) error {
	done := s.fetching
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errUnreachable, ctx.Err())
	}
}

// find returns the keys that may be meant, those of the very id first, and whether there is one of the id for whatever algorithm.
func (s *keySet) find(kid, algorithm string) (out []publicKey, named bool) {
	for _, exact := range []bool{true, false} {
		for _, k := range s.keys {
			if (k.KeyID == kid) != exact || kid != "" && k.KeyID != "" && k.KeyID != kid {
				continue
			}
			named = named || exact && kid != ""
			if k.fits(algorithm) && len(out) < maxTried {
				out = append(out, k)
			}
		}
	}
	return out, named
}

// fits tells whether the key makes signatures of the algorithm (RFC 7518, section 3.1).
func (k *publicKey) fits(algorithm string) bool {
	if k.Algorithm != "" && k.Algorithm != algorithm {
		return false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
	case *ecdsa.PublicKey:
		return map[string]string{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm] == key.Curve.Params().Name
	case ed25519.PublicKey:
		return algorithm == string(jose.EdDSA)
	}
	return false
}

// renew fetches the keys once more, where that may be done now, and waits for them. It tells whether there are others than before.
func (s *keySet) renew(ctx context.Context) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.found
	if now := s.now(); s.fetching == nil && now.Sub(s.tried) >= refetchGap {
		s.fetch(now)
	}
	return s.fetching != nil && s.await(ctx) == nil && s.found != before
}

// refresh fetches the keys again when it is time, and does not wait for them.
func (s *keySet) refresh(now time.Time) {
	if now.UnixMicro() < s.due.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetching == nil && now.Sub(s.tried) >= s.gap(true) {
		s.fetch(now)
	}
}

// outage returns why the last fetch failed, and has the keys fetched again when it is time. It is nil where none was needed yet.
func (s *keySet) outage(now time.Time) error {
	s.mu.Lock()
	fault := s.fault
	s.mu.Unlock()
	if fault != nil {
		s.refresh(now)
	}
	return fault
}

// fetch starts a fetch, which no caller's end cancels.
func (s *keySet) fetch(now time.Time) {
	s.tried = now
	s.begun++
	number := s.begun
	s.due.Store(now.Add(firstGap).UnixMicro())
	done := make(chan struct{})
	s.fetching = done
	where := s.url
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
		defer cancel()
		where, keys, err := s.load(ctx, where)
		s.mu.Lock()
		defer s.mu.Unlock()
		defer close(done)
		s.fetching = nil
		switch {
		case err != nil && s.fault == nil:
			s.logger.Error("the keys of an issuer can't be fetched: tokens whose keys are not known yet are refused", "issuer", s.issuer, "error", err)
		case err == nil && s.fault != nil:
			s.logger.Info("the keys of an issuer can be fetched again", "issuer", s.issuer)
		}
		if s.fault = err; err != nil {
			return
		}
		gone := false
		for _, old := range s.keys {
			if !slices.ContainsFunc(keys, func(k publicKey) bool { return k.text == old.text }) {
				gone = true
				s.miss(old.KeyID, number-1)
			}
		}
		if gone {
			s.changes.Add(1)
		}
		for _, k := range keys {
			delete(s.missing, k.KeyID)
		}
		s.url, s.keys, s.fetched, s.found = where, keys, s.now(), number
		s.due.Store(s.fetched.Add(refreshAge).UnixMicro())
	}()
}

// load finds out where the keys are, unless it is known, and fetches them.
func (s *keySet) load(ctx context.Context, where string) (string, []publicKey, error) {
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
		body, _, err := s.get(ctx, where, maxDocument)
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

func (s *keySet) read(ctx context.Context, where string) ([]publicKey, error) {
	body, _, err := s.get(ctx, where, maxDocument)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	var keys []publicKey
	for _, raw := range set.Keys {
		if k, ok := parseKey(raw); ok {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no public key for signatures", where)
	}
	return keys, nil
}

// parseKey reads one key of a set. Keys of kinds that are unknown here are none of ours, nor are those for encryption; symmetric and
// private ones have no business there.
func parseKey(raw json.RawMessage) (k publicKey, ok bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return k, false
	}
	for name := range members { // certificates vouch for nothing here, and issuers write their hashes in several forms
		if strings.HasPrefix(name, "x5") {
			delete(members, name)
		}
	}
	var uses []string
	if ops, ok := members["key_ops"]; ok && (json.Unmarshal(ops, &uses) != nil || !slices.Contains(uses, "verify")) {
		return k, false
	}
	plain, err := json.Marshal(members)
	if err != nil || json.Unmarshal(plain, &k.JSONWebKey) != nil || !k.Valid() || !k.IsPublic() || k.Use != "" && k.Use != "sig" {
		return k, false
	}
	text, err := k.MarshalJSON()
	k.text = string(text)
	return k, err == nil
}
