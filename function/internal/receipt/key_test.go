package receipt_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/receipt"
)

var (
	rightful = ed25519.NewKeyFromSeed([]byte("the operator's key, 32 bytes lon"))
	thief    = ed25519.NewKeyFromSeed([]byte("another key, of 32 bytes as well"))
)

func block(t *testing.T, kind string, key any) []byte {
	t.Helper()
	var der []byte
	var err error
	switch key := key.(type) {
	case []byte:
		der = key
	case ed25519.PublicKey, *rsa.PublicKey, *ecdsa.PublicKey:
		der, err = x509.MarshalPKIXPublicKey(key)
	default:
		der, err = x509.MarshalPKCS8PrivateKey(key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// TestKeys reads files of keys as operators mix them up, and wants to be told what is wrong and how it is made right.
func TestKeys(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, public := block(t, "PRIVATE KEY", rightful), block(t, "PUBLIC KEY", rightful.Public())
	other := block(t, "PUBLIC KEY", thief.Public())
	damaged := bytes.Replace(public, []byte("MCow"), []byte("M*ow"), 1)
	encrypted := block(t, "ENCRYPTED PRIVATE KEY", []byte("encrypted"))
	const makePrivate, makePublic = "openssl genpkey -algorithm ed25519", "openssl pkey -in KEY -pubout"
	for _, c := range []struct {
		name         string
		text         []byte
		signer, keys string // what the error says, "" for none
		before       any    // the public key that judges beside that of the private one
	}{
		{name: "a private key", text: private, keys: `it holds a block "PRIVATE KEY": wanted are`},
		{name: "a public key", text: public, signer: `it holds a block "PUBLIC KEY": wanted is`},
		{name: "two public keys", text: slices.Concat(public, other), signer: `it holds a block "PUBLIC KEY"`},
		{name: "words around it", text: slices.Concat([]byte("the key of acme\n"), private, []byte("\nuntil May\n")), keys: `it holds a block "PRIVATE KEY"`},
		{name: "a public key before the private one", text: slices.Concat(public, private), keys: `it holds a block "PRIVATE KEY"`},
		{name: "a key, and the public half of the one before", text: slices.Concat(private, other), keys: `it holds a block "PRIVATE KEY"`, before: thief.Public()},
		{name: "two private keys", text: slices.Concat(private, private), signer: "two private keys", keys: `it holds a block "PRIVATE KEY"`},
		{name: "a key, and garbage before", text: slices.Concat(private, block(t, "PUBLIC KEY", []byte("x"))), signer: "public key 1 can't be read", keys: `it holds a block "PRIVATE KEY"`},
		{name: "nothing", signer: "no PEM in it", keys: "no PEM in it"},
		{name: "garbage", text: []byte("MCowBQYDK2VwAyEA\x00\xff"), signer: "no PEM in it", keys: "no PEM in it"},
		{name: "DER", text: func() []byte { b, _ := pem.Decode(private); return b.Bytes }(), signer: "no PEM in it", keys: "no PEM in it"},
		{name: "a damaged block", text: damaged, signer: "1 of 1 blocks of PEM are damaged", keys: "1 of 1 blocks of PEM are damaged"},
		{name: "one of two damaged", text: slices.Concat(damaged, other), signer: "1 of 2 blocks", keys: "1 of 2 blocks of PEM are damaged"},
		{name: "a key cut off", text: private[:len(private)-10], signer: "1 of 1 blocks", keys: "1 of 1 blocks"},
		{name: "something else in the block", text: block(t, "PRIVATE KEY", []byte("x")), signer: "the private key can't be read", keys: `it holds a block "PRIVATE KEY"`},
		{name: "something else in a public block", text: slices.Concat(public, block(t, "PUBLIC KEY", []byte("x"))), signer: `it holds a block "PUBLIC KEY"`, keys: "public key 2 can't be read"},
		{name: "an encrypted key", text: encrypted, signer: "is encrypted, and nobody can be asked for its passphrase", keys: `it holds a block "ENCRYPTED PRIVATE KEY"`},
		{name: "an RSA key", text: block(t, "PRIVATE KEY", rsaKey), signer: "is one for RSA", keys: `it holds a block "PRIVATE KEY"`},
		{name: "an ECDSA key", text: block(t, "PRIVATE KEY", ecKey), signer: "is one for ECDSA", keys: `it holds a block "PRIVATE KEY"`},
		{name: "an RSA public key", text: block(t, "PUBLIC KEY", &rsaKey.PublicKey), signer: `it holds a block "PUBLIC KEY"`, keys: "public key 1 is one for RSA"},
		{name: "an ECDSA public key", text: slices.Concat(public, block(t, "PUBLIC KEY", &ecKey.PublicKey)), signer: `it holds a block "PUBLIC KEY"`, keys: "public key 2 is one for ECDSA"},
		{name: "a key of OpenSSH", text: block(t, "OPENSSH PRIVATE KEY", []byte("x")), signer: `it holds a block "OPENSSH PRIVATE KEY": wanted is`, keys: `it holds a block "OPENSSH PRIVATE KEY"`},
		{name: "a certificate", text: block(t, "CERTIFICATE", []byte("x")), signer: `it holds a block "CERTIFICATE"`, keys: `it holds a block "CERTIFICATE"`},
	} {
		says := func(what string, err error, want, remedy string) {
			t.Helper()
			switch {
			case want == "" && err != nil, want != "" && err == nil:
				t.Errorf("%s: %s: %v, want %q", c.name, what, err, want)
			case want != "" && !strings.Contains(err.Error(), want):
				t.Errorf("%s: %s: %v, want %q", c.name, what, err, want)
			case want != "" && !strings.Contains(err.Error(), remedy) && !strings.Contains(err.Error(), "openssl pkey -in KEY writes") && !strings.Contains(err.Error(), makePublic):
				t.Errorf("%s: %s does not say what to do: %v", c.name, what, err)
			}
		}
		s, all, err := receipt.ParseSigner(c.text)
		says("signer", err, c.signer, makePrivate)
		if err == nil && !rightful.Public().(ed25519.PublicKey).Equal(s.Public()) {
			t.Errorf("%s: another key", c.name)
		}
		if err == nil && (len(all) != bytes.Count(c.text, []byte("BEGIN")) || !all[0].Equal(rightful.Public()) || c.before != nil && !all[1].Equal(c.before)) {
			t.Errorf("%s: %d keys judge", c.name, len(all))
		}
		keys, err := receipt.ParseKeys(c.text)
		says("keys", err, c.keys, makePublic)
		if err == nil && (len(keys) != bytes.Count(c.text, []byte("BEGIN")) || !keys[0].Equal(rightful.Public())) {
			t.Errorf("%s: %d keys", c.name, len(keys))
		}
	}
}

// TestKeyNames wants that names are short, and differ.
func TestKeyNames(t *testing.T) {
	a, b := receipt.KeyID(rightful.Public().(ed25519.PublicKey)), receipt.KeyID(thief.Public().(ed25519.PublicKey))
	if len(a) != 16 || a == b || a != "96fd3e08c94db224" {
		t.Errorf("%s and %s", a, b)
	}
}
