package receipt

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
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

// What a file of keys should hold.
var (
	errPrivateWanted = errors.New("wanted is an Ed25519 private key in PEM, as openssl genpkey -algorithm ed25519 makes one")
	errPublicWanted  = errors.New("wanted are Ed25519 public keys in PEM, as openssl pkey -in KEY -pubout makes them of private ones")
)

const (
	privateBlock   = "PRIVATE KEY"
	publicBlock    = "PUBLIC KEY"
	encryptedBlock = "ENCRYPTED PRIVATE KEY"
)

// ParseSigner reads a private key in PEM (PKCS #8, RFC 8410), without a passphrase, and beside it the public halves of keys before it,
// if there are any. Keys are all public halves, that of the private key first. No error shows a part of the private key.
func ParseSigner(text []byte) (s Signer, keys []ed25519.PublicKey, err error) {
	blocks, err := blocksOf(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", err, errPrivateWanted)
	}
	return signerOf(blocks)
}

// ParseRootSigner reads the key that vouches for roots, as [ParseSigner] does, or public keys alone, where roots are judged and not made.
func ParseRootSigner(text []byte) (s Signer, keys []ed25519.PublicKey, err error) {
	blocks, err := blocksOf(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", err, errPrivateWanted)
	}
	if slices.ContainsFunc(blocks, func(b block) bool { return b.Type != publicBlock }) {
		return signerOf(blocks)
	}
	for i, b := range blocks {
		key, err := parsePublic(b.Block, i+1)
		if err != nil {
			return nil, nil, err
		}
		keys = append(keys, key)
	}
	return nil, keys, nil
}

func signerOf(blocks []block) (s Signer, keys []ed25519.PublicKey, err error) {
	for _, b := range blocks {
		switch b.Type {
		case privateBlock:
			if s != nil {
				return nil, nil, fmt.Errorf("it holds two private keys, and one can sign: %w", errPrivateWanted)
			}
			key, err := parsePrivate(b.Block)
			if err != nil {
				return nil, nil, err
			}
			s = signer{key}
		case encryptedBlock:
			return nil, nil, errors.New("the private key is encrypted, and nobody can be asked for its passphrase: openssl pkey -in KEY writes it without one")
		}
	}
	if s == nil {
		return nil, nil, fmt.Errorf("it holds a block %q: %w", blocks[0].Type, errPrivateWanted)
	}
	keys = []ed25519.PublicKey{s.Public()}
	for _, b := range blocks {
		if b.Type == publicBlock {
			key, err := parsePublic(b.Block, len(keys))
			if err != nil {
				return nil, nil, err
			}
			keys = append(keys, key)
		}
	}
	return s, keys, nil
}

func parsePrivate(b *pem.Block) (ed25519.PrivateKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the private key can't be read: %w", errPrivateWanted) // the cause may show a part of it
	}
	if key, ok := key.(ed25519.PrivateKey); ok {
		return key, nil
	}
	return nil, fmt.Errorf("the private key is one for %s: %w", algorithm(key), errPrivateWanted)
}

func parsePublic(b *pem.Block, number int) (ed25519.PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("public key %d can't be read: %w", number, errPublicWanted)
	}
	if key, ok := key.(ed25519.PublicKey); ok {
		return key, nil
	}
	return nil, fmt.Errorf("public key %d is one for %s: %w", number, algorithm(key), errPublicWanted)
}

// PublicKeys are the operator's, by which signatures are judged.
type PublicKeys struct {
	Keys  []ed25519.PublicKey // of chains, exports, backups and reports; and of roots, but for those of which Roots says another
	Roots RootKeys
}

// RootKeys vouch for roots alone. A process that writes receipts can't make a root then, whatever it has of other keys. Without any the
// operator's other keys vouch for roots too; where there is a time nevertheless, it is not known here who vouches for roots from then on.
type RootKeys struct {
	Keys  []ed25519.PublicKey
	Since time.Time // of the first root that must be theirs; zero is all
}

// Apart tells whether a root of a time must be one of these keys'.
func (r RootKeys) Apart(at time.Time) bool {
	return (len(r.Keys) > 0 || !r.Since.IsZero()) && !at.Before(r.Since)
}

// ParseKeys reads one or more public keys in PEM (RFC 8410), such as the one in use and those before it. A line before a key (RFC 7468 has
// room for words there, which other programs pass over) says that it vouches for roots, and for no others, from a time on:
//
//	Roots-Since: 2026-12-01T00:00:00Z
func ParseKeys(text []byte) (all PublicKeys, err error) {
	blocks, err := blocksOf(text)
	if err != nil {
		return PublicKeys{}, fmt.Errorf("%w: %w", err, errPublicWanted)
	}
	for i, b := range blocks {
		if b.Type != publicBlock {
			return PublicKeys{}, fmt.Errorf("it holds a block %q: %w", b.Type, errPublicWanted)
		}
		key, err := parsePublic(b.Block, i+1)
		if err != nil {
			return PublicKeys{}, err
		}
		word := rootsSince.FindSubmatch(b.words)
		if word == nil {
			all.Keys = append(all.Keys, key)
			continue
		}
		since, err := time.Parse(time.RFC3339, string(word[1]))
		if err != nil {
			return PublicKeys{}, fmt.Errorf("public key %d: Roots-Since is %.40q, and no time such as 2026-12-01T00:00:00Z", i+1, word[1])
		}
		if len(all.Roots.Keys) == 0 || since.Before(all.Roots.Since) { // of a key and those before it
			all.Roots.Since = since
		}
		all.Roots.Keys = append(all.Roots.Keys, key)
	}
	return all, nil
}

var rootsSince = regexp.MustCompile(`(?m)^Roots-Since: *(.*?)\r?$`)

// FormatRootKey returns a public key in PEM that vouches for roots alone, as [ParseKeys] reads it.
func FormatRootKey(key ed25519.PublicKey, since time.Time) ([]byte, error) {
	text, err := FormatKey(key)
	return append(since.UTC().AppendFormat([]byte("Roots-Since: "), time.RFC3339Nano+"\n"), text...), err
}

// FormatKey returns a public key in PEM, as [ParseKeys] reads it.
func FormatKey(key ed25519.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: der}), nil
}

// A block of PEM, and the words before it.
type block struct {
	*pem.Block
	words []byte
}

// blocksOf returns the blocks of PEM, at least one. A damaged one, which would be passed over else, is an error.
func blocksOf(text []byte) (blocks []block, err error) {
	before := text
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		read := before[:len(before)-len(rest)]
		words, _, _ := bytes.Cut(read, []byte("-----BEGIN "))
		blocks, before = append(blocks, block{b, words}), rest
	}
	switch starts := bytes.Count(text, []byte("-----BEGIN ")); {
	case starts == 0:
		return nil, errors.New("there is no PEM in it")
	case starts != len(blocks):
		return nil, fmt.Errorf("%d of %d blocks of PEM are damaged", starts-len(blocks), starts)
	}
	return blocks, nil
}

func algorithm(key any) string {
	switch key.(type) {
	case *rsa.PublicKey, *rsa.PrivateKey:
		return "RSA"
	case *ecdsa.PublicKey, *ecdsa.PrivateKey:
		return "ECDSA"
	}
	return "another algorithm"
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

// message is what is signed: the purpose, and the hash of the canonical form without its signature. It is short, whatever is
// signed, as services that keep keys demand.
func (p purpose) message(canonical []byte) []byte {
	sum := sha256.Sum256(canonical)
	return append(append([]byte(p), '\n'), sum[:]...)
}

// sign has the operator sign a statement, and returns the signature only where it verifies: what is stored can't be changed.
func (p purpose) sign(ctx context.Context, operator Signer, canonical []byte) ([]byte, error) {
	message := p.message(canonical)
	signature, err := operator.Sign(ctx, message)
	if err != nil {
		return nil, fmt.Errorf("the operator's key does not sign: %w", err)
	}
	if !ed25519.Verify(operator.Public(), message, signature) {
		return nil, fmt.Errorf("the operator's key %s does not verify what it signs", KeyID(operator.Public()))
	}
	return signature, nil
}

// A Keyring has the operator's public keys by their ids.
type Keyring map[string]ed25519.PublicKey

// NewKeyring returns one of these keys.
func NewKeyring(keys []ed25519.PublicKey) Keyring {
	r := Keyring{}
	for _, k := range keys {
		r[KeyID(k)] = k
	}
	return r
}

// verify returns why a statement of the operator's is not to be believed.
func (r Keyring) verify(p purpose, id string, canonical, signature []byte) error {
	key := r[id]
	switch {
	case id == "":
		return ErrUnsigned
	case key == nil:
		return fmt.Errorf("is signed with the key %q, which is not one of yours", id)
	case len(signature) != ed25519.SignatureSize || !ed25519.Verify(key, p.message(canonical), signature):
		return fmt.Errorf("has a signature that the key %s did not make", id)
	}
	return nil
}

// ErrUnsigned is that nobody has signed.
var ErrUnsigned = errors.New("is not signed")
