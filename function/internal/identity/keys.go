package identity

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
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

// Check returns what is wrong with whom the key is for and what it is granted, each fault on a line.
func (k *Key) Check() error {
	faults := []error{checkTenant(k.Tenant), checkSubject(k.Subject)}
	for _, s := range k.Scopes {
		if !validScope(s) {
			faults = append(faults, fmt.Errorf("the scope %q is not one word", s))
		}
	}
	return errors.Join(faults...)
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

// Keys are the API keys of a file.
type Keys struct {
	byID    map[string]*apiKey
	version int64
}

type apiKey struct {
	Key
	sum       [sha256.Size]byte
	principal *Principal
}

// ReadKeyFile decodes the file. Its error lists every fault with the entry that it is in.
func ReadKeyFile(text []byte) (*KeyFile, error) {
	f := &KeyFile{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(f); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("line %d: %w", 1+bytes.Count(text[:syntax.Offset], []byte("\n")), err)
		}
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
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Errorf("key %d (%.12q): "+format, append([]any{i + 1, k.ID}, args...)...))
		}
		e := &apiKey{Key: k}
		if len(k.ID) != idLength || strings.ContainsAny(k.ID, "_ ") {
			fault("the id must have %d letters and digits", idLength)
		}
		if keys.byID[k.ID] != nil {
			fault("there is another key of this id")
		}
		if err := k.Check(); err != nil {
			fault("%w", err)
		}
		if n, err := hex.Decode(e.sum[:], []byte(strings.TrimPrefix(k.Hash, "sha256:"))); len(k.Hash) != 7+2*len(e.sum) || err != nil || n != len(e.sum) {
			fault("the hash must be sha256: and 64 hexadecimal digits, not a key in the clear; make it with erlmcp keys add")
		}
		e.principal = newPrincipal(Principal{Tenant: k.Tenant, Subject: k.Subject, Issuer: APIKeys, Method: APIKeys, Scopes: k.Scopes})
		keys.byID[k.ID] = e
	}
	return keys, errors.Join(faults...)
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
	e := k.byID[id]
	known := e != nil
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
