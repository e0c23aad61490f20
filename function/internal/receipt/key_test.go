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
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

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
		if err == nil && (len(keys.Keys) != bytes.Count(c.text, []byte("BEGIN")) || !keys.Keys[0].Equal(rightful.Public())) {
			t.Errorf("%s: %d keys", c.name, len(keys.Keys))
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

// TestPurposes reads a file of public keys of which one vouches for roots alone, as [receipt.FormatRootKey] writes it and as one might by hand.
// OpenSSL, which knows nothing of that, reads the same keys.
func TestPurposes(t *testing.T) {
	chains, roots := rightful.Public().(ed25519.PublicKey), thief.Public().(ed25519.PublicKey)
	since := time.Date(2026, 12, 1, 0, 0, 0, 5000, time.UTC)
	one, err := receipt.FormatKey(chains)
	if err != nil {
		t.Fatal(err)
	}
	other, err := receipt.FormatRootKey(roots, since)
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := receipt.FormatKey(roots)
	for name, c := range map[string]struct {
		text  []byte
		since time.Time
		err   string
	}{
		"as they are written":      {slices.Concat(one, other), since, ""},
		"the other way round":      {slices.Concat(other, one), since, ""},
		"with words of one's own":  {slices.Concat([]byte("Of chains, made in May\n"), one, []byte("\nRoots-Since: 2026-12-01T01:00:00+01:00\r\nRoots.\r\n"), plain), since.Truncate(time.Second), ""},
		"one after another":        {slices.Concat(one, other, []byte("Roots-Since: 2027-01-01T00:00:00Z\n"), plain), since, ""},
		"a time that is none":      {slices.Concat(one, []byte("Roots-Since: May\n"), plain), since, `public key 2: Roots-Since is "May"`},
		"the words after the key":  {slices.Concat(one, plain, []byte("Roots-Since: 2027-01-01T00:00:00Z\n")), time.Time{}, ""},
		"within other words on it": {slices.Concat(one, []byte("has no Roots-Since: x\n"), plain), time.Time{}, ""},
	} {
		keys, err := receipt.ParseKeys(c.text)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", name, err, c.err)
			}
			continue
		}
		wantKeys := 1
		if c.since.IsZero() {
			wantKeys = 2
		}
		if err != nil || len(keys.Keys) != wantKeys || !keys.Keys[0].Equal(chains) || !keys.Roots.Since.Equal(c.since) || wantKeys == 1 && !keys.Roots.Keys[0].Equal(roots) {
			t.Errorf("%s: %+v, %v", name, keys, err)
		}
	}
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("openssl is not installed, which reads the marked file")
		}
		t.Skip("NOT TESTED: openssl is not installed")
	}
	cmd := exec.Command(openssl, "pkey", "-pubin")
	cmd.Stdin = bytes.NewReader(other)
	if out, err := cmd.Output(); err != nil || !bytes.Equal(out, plain) {
		t.Errorf("openssl reads %s, %v", out, err)
	}
}

// TestRootSigner reads the key of roots, and public keys alone where roots are judged and none is made.
func TestRootSigner(t *testing.T) {
	private, public := block(t, "PRIVATE KEY", rightful), block(t, "PUBLIC KEY", rightful.Public())
	other := block(t, "PUBLIC KEY", thief.Public())
	for name, c := range map[string]struct {
		text  []byte
		signs bool
		keys  int
	}{
		"a private key": {private, true, 1}, "and the one before": {slices.Concat(private, other), true, 2},
		"a public key": {public, false, 1}, "and another": {slices.Concat(public, other), false, 2},
	} {
		s, keys, err := receipt.ParseRootSigner(c.text)
		if err != nil || (s != nil) != c.signs || len(keys) != c.keys || !keys[0].Equal(rightful.Public()) {
			t.Errorf("%s: %v, %d keys, %v", name, s, len(keys), err)
		}
	}
	for _, text := range [][]byte{nil, []byte("x"), block(t, "CERTIFICATE", []byte("x")), block(t, "PUBLIC KEY", []byte("x")), slices.Concat(private, private)} {
		if s, _, err := receipt.ParseRootSigner(text); err == nil {
			t.Errorf("%q: %v", text, s)
		}
	}
}
