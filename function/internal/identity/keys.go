package identity

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/strictjson"
)

// KeyPrefix begins every API key, so that scanners for secrets find a lost one. After it come the key's id and its secret:
// erlmcp_ID_SECRET.
const KeyPrefix = "erlmcp_"

// A Key is one entry of a file of API keys. The key itself is in no file: its hash is.
type Key struct {
	ID      string    `json:"id"`
	Tenant  string    `json:"tenant"`
	Subject string    `json:"subject"`
	Scopes  []string  `json:"scopes"` // what its bearer may do; * is everything
	Hash    string    `json:"hash"`   // sha256: and the hexadecimal SHA-256 of the whole key
	Created time.Time `json:"created,omitzero"`
	Starts  time.Time `json:"starts,omitzero"`
	Expires time.Time `json:"expires,omitzero"` // zero is never
	Revoked time.Time `json:"revoked,omitzero"`
}

// A KeyFile is the form of the file.
type KeyFile struct {
	Keys []Key `json:"keys"`
}

// Length of an id, and of a secret: 130 bits of randomness, which need no slow hash.
const (
	idLength     = 8
	secretLength = 26
)

// NewKey fills in the id and the hash of a key, and returns the text that its bearer sends.
func NewKey(k Key) (text string, _ Key) {
	k.ID = strings.ToLower(rand.Text()[:idLength])
	text = KeyPrefix + k.ID + "_" + strings.ToLower(rand.Text())
	sum := sha256.Sum256([]byte(text))
	k.Hash = "sha256:" + hex.EncodeToString(sum[:])
	return text, k
}

// State says in a word whether the key is good at the time: valid, revoked, expired or not valid yet.
func (k *Key) State(now time.Time) string {
	switch {
	case !k.Revoked.IsZero() && !now.Before(k.Revoked):
		return "revoked"
	case !k.Expires.IsZero() && !now.Before(k.Expires):
		return "expired"
	case now.Before(k.Starts):
		return "not valid yet"
	}
	return "valid"
}

// Next returns a key that is made now for the same caller, for as long as k was made for: where that is not known, for ever.
func (k *Key) Next(now time.Time) Key {
	next := Key{Tenant: k.Tenant, Subject: k.Subject, Scopes: k.Scopes, Created: now}
	if k.Starts.After(now) {
		next.Starts = k.Starts
	}
	if !k.Expires.IsZero() && !k.Created.IsZero() {
		next.Expires = next.begins().Add(k.Expires.Sub(k.begins()))
	}
	return next
}

// begins is when the key was good first, as far as that is known.
func (k *Key) begins() time.Time {
	if k.Starts.After(k.Created) {
		return k.Starts
	}
	return k.Created
}

// Keys are API keys as they are authenticated. They are not changed: With and Merge return others.
type Keys struct{ byID map[string]*apiKey }

type apiKey struct {
	Key
	sum       [sha256.Size]byte
	principal *Principal
	revision  int64 // in a store
}

// ReadKeyFile decodes the file. Its error lists every fault with the entry that it is in.
func ReadKeyFile(text []byte) (*KeyFile, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // the byte order mark that some editors write
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return nil, errors.New("the file is in UTF-16: save it in UTF-8")
	}
	f := &KeyFile{}
	if err := strictjson.Unmarshal(text, "the file", f, strictjson.Refuse); err != nil {
		return nil, fmt.Errorf(`not a file of keys {"keys":[…]}, as erlmcp keys makes it: %w`, err)
	}
	if _, err := f.index(); err != nil {
		return nil, err
	}
	return f, nil
}

// ParseKeys reads the file for authentication.
func ParseKeys(text []byte) (*Keys, error) {
	f, err := ReadKeyFile(text)
	if err != nil {
		return nil, err
	}
	return f.index()
}

func (f *KeyFile) index() (*Keys, error) {
	keys := &Keys{byID: make(map[string]*apiKey, len(f.Keys))}
	var faults []error
	for i, k := range f.Keys {
		e, wrong := k.parse()
		if keys.byID[k.ID] != nil {
			wrong = append(wrong, errors.New("there is another key of this id"))
		}
		for _, err := range wrong {
			faults = append(faults, fmt.Errorf("key %d (%.12q): %w", i+1, k.ID, err))
		}
		keys.byID[k.ID] = e
	}
	return keys, errors.Join(faults...)
}

// Check returns what is wrong with the key, each fault on a line.
func (k *Key) Check() error {
	_, faults := k.parse()
	return errors.Join(faults...)
}

// parse prepares the key for authentication.
func (k *Key) parse() (e *apiKey, faults []error) {
	e = &apiKey{Key: *k}
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(k.ID) != idLength || strings.ContainsAny(k.ID, "_ ") {
		fault("the id must have %d letters and digits", idLength)
	}
	for _, err := range []error{CheckTenant(k.Tenant), checkSubject(k.Subject)} {
		if err != nil {
			faults = append(faults, err)
		}
	}
	if n, err := hex.Decode(e.sum[:], []byte(strings.TrimPrefix(k.Hash, "sha256:"))); len(k.Hash) != 7+2*len(e.sum) || err != nil || n != len(e.sum) {
		fault("the hash must be sha256: and 64 hexadecimal digits, not a key in the clear; make it with erlmcp keys add")
	}
	for _, s := range k.Scopes {
		if !validScope(s) {
			fault("the scope %q is not one word", s)
		}
	}
	e.Scopes = slices.Clone(k.Scopes)
	e.principal = newPrincipal(Principal{Tenant: k.Tenant, Subject: k.Subject, Issuer: APIKeys, Method: APIKeys, Scopes: e.Scopes})
	return e, faults
}

// With returns the keys with those of a store that have changed in place: the same ones where they have. One that is malformed
// authenticates no one any more, and no other key suffers from it: the error says what is wrong with each.
func (k *Keys) With(changed []*StoredKey) (*Keys, error) {
	out := k
	var faults []error
	for _, c := range changed {
		if old := out.entry(c.ID); old != nil && old.revision >= c.Revision {
			continue
		}
		if out == k {
			out = &Keys{byID: map[string]*apiKey{}}
			if k != nil {
				maps.Copy(out.byID, k.byID)
			}
		}
		e, wrong := c.parse()
		for _, err := range wrong {
			faults = append(faults, fmt.Errorf("the stored key %.12q: %w", c.ID, err))
		}
		if e.revision = c.Revision; len(wrong) > 0 {
			e = &apiKey{revision: c.Revision} // of no principal
		}
		out.byID[c.ID] = e
	}
	return out, errors.Join(faults...)
}

func (k *Keys) entry(id string) *apiKey {
	if k == nil {
		return nil
	}
	return k.byID[id]
}

// names tells whether the text is that of one of the keys by its id.
func (k *Keys) names(text string) bool {
	id, _, _ := strings.Cut(strings.TrimPrefix(text, KeyPrefix), "_")
	return k.entry(id) != nil
}

// validScope follows RFC 6749, appendix A.4.
func validScope(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
}

// nobody stands in for an unknown id, so that its check takes as long as that of a known one.
var nobody apiKey

// check authenticates the text of a key. The id is returned where there is one.
func (k *Keys) check(text string, now time.Time) (id string, p *Principal, err *Error) {
	id, secret, ok := strings.Cut(strings.TrimPrefix(text, KeyPrefix), "_")
	if !ok || len(id) != idLength || len(secret) != secretLength {
		return "", nil, &Error{Cause: Unknown, Method: APIKeys, Detail: "not of the form of an API key"}
	}
	e := k.entry(id)
	known := e != nil && e.principal != nil
	if !known {
		e = &nobody
	}
	sum := sha256.Sum256([]byte(text))
	if subtle.ConstantTimeCompare(sum[:], e.sum[:]) != 1 || !known {
		return id, nil, &Error{Cause: Unknown, Method: APIKeys, Detail: "unknown API key " + id}
	}
	switch e.State(now) {
	case "revoked":
		return id, nil, &Error{Cause: Revoked, Method: APIKeys, Detail: "API key " + id}
	case "expired":
		return id, nil, &Error{Cause: Expired, Method: APIKeys, Detail: "API key " + id}
	case "not valid yet":
		return id, nil, &Error{Cause: NotYetValid, Method: APIKeys, Detail: "API key " + id}
	}
	return id, e.principal, nil
}
