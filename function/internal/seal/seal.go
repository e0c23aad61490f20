// Package seal protects what travels through a client and comes back: request state and list cursors.
//
// A [Ring] holds one or more keys. The first seals, all of them open, so that a key is rotated by putting a new
// one in front and dropping the old one when nothing sealed with it can still be valid. Any instance that holds
// the ring opens what any other sealed.
//
// Each message has a key of its own, derived by HKDF-SHA256 (RFC 5869) from the ring's key and a random salt and
// used once with AES-256-GCM, so no count of messages wears a ring's key out.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// KeySize is the length of a ring's key in bytes.
const KeySize = 32

// What [Ring.Open] refuses, and why.
var (
	ErrMalformed = errors.New("sealed text is malformed")
	ErrVersion   = errors.New("sealed text has a format that this version does not know")
	ErrKey       = errors.New("sealed text was made with a key that is not in the ring")
	ErrForged    = errors.New("sealed text was altered or belongs to another purpose, caller or request")
	ErrExpired   = errors.New("sealed text has expired")
)

const (
	formatVersion = 1
	keyIDSize     = 4
	saltSize      = 16
	expirySize    = 8
	headerSize    = 1 + keyIDSize + saltSize
)

var encoding = base64.RawURLEncoding.Strict()

// A Ring is an ordered set of keys. It is safe for concurrent use.
type Ring struct {
	keys []key
}

type key struct {
	id     [keyIDSize]byte
	secret []byte
}

// NewRing makes a ring of keys of [KeySize] bytes each, the sealing one first.
func NewRing(secrets ...[]byte) (*Ring, error) {
	if len(secrets) == 0 {
		return nil, errors.New("a key ring needs at least one key")
	}
	r := &Ring{}
	for i, s := range secrets {
		if len(s) != KeySize {
			return nil, fmt.Errorf("key %d has %d bytes, want %d", i+1, len(s), KeySize)
		}
		k := key{secret: s}
		sum := sha256.Sum256(append([]byte("erlmcp key id\x00"), s...))
		copy(k.id[:], sum[:])
		r.keys = append(r.keys, k)
	}
	return r, nil
}

// ParseRing reads keys in base64 (standard or URL alphabet), separated by commas. Lines that begin with # are notes.
func ParseRing(text string) (*Ring, error) {
	var lines []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	var secrets [][]byte
	for i, part := range strings.Split(strings.Join(lines, ""), ",") {
		part = strings.TrimRight(strings.TrimSpace(part), "=")
		part = strings.NewReplacer("+", "-", "/", "_").Replace(part)
		s, err := encoding.DecodeString(part)
		if err != nil {
			return nil, fmt.Errorf("key %d is not base64", i+1)
		}
		secrets = append(secrets, s)
	}
	return NewRing(secrets...)
}

// IDs name the keys, in their order, as what they have sealed does. They say nothing of the keys.
func (r *Ring) IDs() (ids []string) {
	for _, k := range r.keys {
		ids = append(ids, hex.EncodeToString(k.id[:]))
	}
	return ids
}

// RandomRing makes a ring of one new key: what it seals opens in this process only.
func RandomRing() *Ring {
	s := make([]byte, KeySize)
	rand.Read(s)
	r, err := NewRing(s)
	if err != nil {
		panic(err)
	}
	return r
}

// A Current is the ring that is in force now, where keys may be rotated while the process runs.
type Current func() *Ring

// Seal is [Ring.Seal].
func (c Current) Seal(purpose string, binding, plaintext []byte, expires time.Time) string {
	return c().Seal(purpose, binding, plaintext, expires)
}

// Open is [Ring.Open].
func (c Current) Open(purpose string, binding []byte, sealed string, now time.Time) ([]byte, error) {
	return c().Open(purpose, binding, sealed, now)
}

// Seal encrypts plaintext. What opens it must name the same purpose and the same binding, before expires.
// The answer is URL-safe text.
func (r *Ring) Seal(purpose string, binding, plaintext []byte, expires time.Time) string {
	k := r.keys[0]
	out := make([]byte, headerSize, headerSize+expirySize+len(plaintext)+16)
	out[0] = formatVersion
	copy(out[1:], k.id[:])
	salt := out[1+keyIDSize : headerSize]
	rand.Read(salt)
	aead, nonce := k.derive(salt, purpose)

	clear := make([]byte, expirySize, expirySize+len(plaintext))
	binary.BigEndian.PutUint64(clear, uint64(expires.UnixMilli()))
	clear = append(clear, plaintext...)
	out = aead.Seal(out, nonce, clear, binding)
	return encoding.EncodeToString(out)
}

// Open decrypts what Seal made. Its errors are those of this package.
func (r *Ring) Open(purpose string, binding []byte, sealed string, now time.Time) ([]byte, error) {
	raw, err := encoding.DecodeString(sealed)
	if err != nil || len(raw) < headerSize+expirySize+16 {
		return nil, ErrMalformed
	}
	if raw[0] != formatVersion {
		return nil, ErrVersion
	}
	id := [keyIDSize]byte(raw[1:])
	known := false
	for _, k := range r.keys {
		if k.id != id {
			continue
		}
		known = true
		aead, nonce := k.derive(raw[1+keyIDSize:headerSize], purpose)
		clear, err := aead.Open(nil, nonce, raw[headerSize:], binding)
		if err != nil {
			continue
		}
		if now.UnixMilli() >= int64(binary.BigEndian.Uint64(clear)) {
			return nil, ErrExpired
		}
		return clear[expirySize:], nil
	}
	if !known {
		return nil, ErrKey
	}
	return nil, ErrForged
}

// Derive makes secrets for another purpose, one of each key, in their order. They say nothing of the keys.
func (r *Ring) Derive(purpose string) (secrets [][]byte) {
	for _, k := range r.keys {
		secret, err := hkdf.Key(sha256.New, k.secret, nil, "erlmcp derived v1 "+purpose, KeySize)
		if err != nil {
			panic(err) // only for lengths beyond 255 hashes
		}
		secrets = append(secrets, secret)
	}
	return secrets
}

func (k key) derive(salt []byte, purpose string) (cipher.AEAD, []byte) {
	material, err := hkdf.Key(sha256.New, k.secret, salt, "erlmcp seal v1 "+purpose, KeySize+12)
	if err != nil {
		panic(err) // only for lengths beyond 255 hashes
	}
	block, err := aes.NewCipher(material[:KeySize])
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead, material[KeySize:]
}
