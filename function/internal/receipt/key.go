package receipt

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

// A Signer holds the operator's Ed25519 key, or knows who does. It signs once for each start of a process, root and export.
type Signer interface {
	Public() ed25519.PublicKey
	Sign(ctx context.Context, message []byte) (signature []byte, err error)
}

type signer struct{ key ed25519.PrivateKey }

// NewSigner signs with a key at hand.
func NewSigner(key ed25519.PrivateKey) Signer { return signer{key} }

func (s signer) Public() ed25519.PublicKey { return s.key.Public().(ed25519.PublicKey) }

func (s signer) Sign(_ context.Context, message []byte) ([]byte, error) {
	return ed25519.Sign(s.key, message), nil
}

var errNoKey = errors.New("there is no Ed25519 key in PEM: make one with openssl genpkey -algorithm ed25519, and its public part with openssl pkey -pubout")

// ParseSigner reads a private key in PEM (PKCS #8).
func ParseSigner(text []byte) (Signer, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "PRIVATE KEY" {
			continue
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, errors.New("the private key in PEM can't be read") // the cause may show a part of it
		}
		if key, ok := key.(ed25519.PrivateKey); ok {
			return signer{key}, nil
		}
		return nil, fmt.Errorf("the private key is a %T: %w", key, errNoKey)
	}
	return nil, errNoKey
}

// ParseKeys reads one or more public keys in PEM, such as the one in use and those before it.
func ParseKeys(text []byte) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("a %s where a public key is wanted", block.Type)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("public key %d: %w", len(keys)+1, err)
		}
		k, ok := key.(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("public key %d is a %T: %w", len(keys)+1, key, errNoKey)
		}
		keys = append(keys, k)
	}
	if keys == nil {
		return nil, errNoKey
	}
	return keys, nil
}

// KeyID names a public key: the first 16 hexadecimal digits of its SHA-256.
func KeyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

// A purpose is a kind of statement that is signed: a signature for one is none for another.
type purpose string

const (
	forCertificate purpose = "erlmcp receipts: certificate of a chain"
	forSegment     purpose = "erlmcp receipts: segment"
	forRoot        purpose = "erlmcp receipts: root"
	forExport      purpose = "erlmcp receipts: export"
)

// statement is what is signed: the purpose, and the hash of the canonical form without its signature. It is short, whatever is
// signed, as services that keep keys demand.
func (p purpose) statement(canonical []byte) []byte {
	sum := sha256.Sum256(canonical)
	return append(append([]byte(p), '\n'), sum[:]...)
}

// keyring are the operator's public keys by their ids.
type keyring map[string]ed25519.PublicKey

func newKeyring(keys []ed25519.PublicKey) keyring {
	r := keyring{}
	for _, k := range keys {
		r[KeyID(k)] = k
	}
	return r
}

// verify returns why a statement of the operator's is not to be believed.
func (r keyring) verify(p purpose, id string, canonical, signature []byte) error {
	key := r[id]
	switch {
	case id == "":
		return errUnsigned
	case key == nil:
		return fmt.Errorf("is signed with the key %q, which is not one of yours", id)
	case len(signature) != ed25519.SignatureSize || !ed25519.Verify(key, p.statement(canonical), signature):
		return fmt.Errorf("has a signature that the key %s did not make", id)
	}
	return nil
}

var errUnsigned = errors.New("is not signed")
