package cloudkms_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/cloudkms"
	"example.com/erlmcp/function/internal/cloudkms/cloudkmstest"
	"example.com/erlmcp/function/internal/memnet"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/receipt/receipttest"
	"example.com/erlmcp/function/internal/receipt/verify"
	"example.com/erlmcp/function/internal/store/memory"
)

var network memnet.Network

// options reach the service as long as the test runs.
func options(t *testing.T, kms *cloudkmstest.KMS) cloudkms.Options {
	return cloudkms.Options{Key: cloudkmstest.Key, Endpoint: network.Serve(t, kms), Client: network.Client(t), Token: func(context.Context) (string, error) { return cloudkmstest.Token, nil }}
}

func open(t *testing.T, kms *cloudkmstest.KMS) *cloudkms.Signer {
	t.Helper()
	s, err := cloudkms.NewSigner(t.Context(), options(t, kms))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kms := cloudkmstest.NewKMS(t)
		s := open(t, kms)
		keys, err := receipt.ParseKeys(kms.PEM)
		if err != nil || !keys.Keys[0].Equal(s.Public()) {
			t.Fatalf("%v, want %v: %v", s.Public(), keys, err)
		}
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				message := bytes.Repeat([]byte{byte(i)}, 1+i*100)
				signature, err := s.Sign(t.Context(), message)
				if err != nil || !ed25519.Verify(s.Public(), message, signature) {
					t.Errorf("%d bytes: %x, %v", len(message), signature, err)
				}
			})
		}
		all.Wait()
	})
}

// TestBefore asks for the public keys of the versions before: one that is disabled has none, and one that can't be had is an error.
func TestBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kms := cloudkmstest.NewKMS(t)
		first, err := receipt.ParseKeys(kms.PEM)
		if err != nil {
			t.Fatal(err)
		}
		second, _ := kms.Rotate(t)
		_, third := kms.Rotate(t)
		fourth, _ := kms.Rotate(t)
		kms.Disable(second)
		o := options(t, kms)
		o.Key = fourth
		s, err := cloudkms.NewSigner(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Before(t.Context()); err != nil || len(got) != 2 || !got[0].Equal(third) || !got[1].Equal(first.Keys[0]) {
			t.Errorf("%v, %v, want %v and %v", got, err, third, first)
		}
		kms.Meddle(func(_ string, w http.ResponseWriter, _ *http.Request, _ map[string]any) bool {
			cloudkmstest.Refuse(w, http.StatusForbidden, "PERMISSION_DENIED", "Permission denied.", "")
			return true
		})
		if got, err := s.Before(t.Context()); err == nil || !strings.Contains(err.Error(), "cryptoKeyVersions/3 can't be had") {
			t.Errorf("%v, %v", got, err)
		}
		if got, err := open(t, cloudkmstest.NewKMS(t)).Before(t.Context()); err != nil || got != nil {
			t.Errorf("before the first: %v, %v", got, err)
		}
	})
}

// TestJournal has a journal, a root and an export signed, and proves them with what whoever has the public key has.
func TestJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kms := cloudkmstest.NewKMS(t)
		s := open(t, kms)
		store := memory.NewReceipts(0)
		var last atomic.Pointer[receipt.Head]
		j, err := journal.Open(journal.Options{Instance: "node-1", Store: store, Signer: func() receipt.Signer { return s }, Announce: func(h receipt.Head) { last.Store(&h) }})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			j.Append(receipt.Receipt{ID: j.NewID(), Kind: receipt.Completed, Tenant: "acme", Principal: "5d41402abc4b2a76", Method: "tools/call", Tool: "search", Decision: receipt.Allow})
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := j.Close(ctx); err != nil {
			t.Fatal(err)
		}
		heads := []receipt.Head{*last.Load()}
		if _, err := journal.Anchor(ctx, store, receipttest.By(s), heads, time.Now()); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		x, err := verify.WriteExport(ctx, store, &out, verify.ExportOptions{Signer: s, Announced: heads})
		if err != nil || x.Receipts < 20 {
			t.Fatalf("%+v, %v", x, err)
		}
		if n := kms.Signed(); n != 3 {
			t.Errorf("%d signatures for a chain, a root and an export", n)
		}
		keys, err := receipt.ParseKeys(kms.PEM)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := verify.Store(ctx, store, verify.Options{Keys: keys.Keys, Announced: heads}); err != nil || !r.OK() || len(r.Notes) > 0 {
			t.Errorf("the store: %v, %v", r, err)
		}
		if r, err := verify.Export(ctx, bytes.NewReader(out.Bytes()), verify.Options{Keys: keys.Keys}); err != nil || !r.OK() || len(r.Notes) > 0 {
			t.Errorf("the export: %v, %v", r, err)
		}
		other, _, _ := ed25519.GenerateKey(nil)
		if r, err := verify.Export(ctx, bytes.NewReader(out.Bytes()), verify.Options{Keys: []ed25519.PublicKey{other}}); err != nil || r.OK() {
			t.Errorf("the export by another key: %v, %v", r, err)
		}
	})
}

// set changes one member of every answer to an operation.
func set(operation, member string, value any) cloudkmstest.Meddle {
	return func(op string, _ http.ResponseWriter, _ *http.Request, answer map[string]any) bool {
		if op == operation {
			answer[member] = value
		}
		return false
	}
}

// refuse answers an operation with an error.
func refuse(operation string, code int, status, message, reason string) cloudkmstest.Meddle {
	return func(op string, w http.ResponseWriter, _ *http.Request, _ map[string]any) bool {
		if op == operation {
			cloudkmstest.Refuse(w, code, status, message, reason)
		}
		return op == operation
	}
}

func ecdsaPEM(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func both(a, b cloudkmstest.Meddle) cloudkmstest.Meddle {
	return func(op string, w http.ResponseWriter, r *http.Request, answer map[string]any) bool {
		return a(op, w, r, answer) || b(op, w, r, answer)
	}
}

// TestFaults wants of each fault how many requests it costs, and that the error says what is wrong and what to do.
func TestFaults(t *testing.T) {
	const get, sign = "publicKey", "asymmetricSign"
	foreign := ecdsaPEM(t)
	wrong := make([]byte, ed25519.SignatureSize)
	for _, c := range []struct {
		name   string
		meddle cloudkmstest.Meddle
		op     string
		tries  int64
		want   []string
	}{
		{"the key's checksum", set(get, "pemCrc32c", "1"), get, 2, []string{cloudkmstest.Key, "a checksum does not fit"}},
		{"no checksum", set(get, "pemCrc32c", ""), get, 2, []string{"a checksum does not fit"}},
		{"another key", set(get, "name", cloudkmstest.Key+"2"), get, 1, []string{`the answer of Cloud KMS is that of "` + cloudkmstest.Key + `2"`}},
		{"an algorithm of digests", set(get, "algorithm", "EC_SIGN_P256_SHA256"), get, 1, []string{"EC_SIGN_P256_SHA256", "ec-sign-ed25519"}},
		{"a key of another algorithm", both(set(get, "pem", string(foreign)), set(get, "pemCrc32c", cloudkmstest.Checksum(foreign))), get, 1, []string{"*ecdsa.PublicKey", "ec-sign-ed25519"}},
		{"no PEM", both(set(get, "pem", "none"), set(get, "pemCrc32c", cloudkmstest.Checksum([]byte("none")))), get, 1, []string{"no PEM"}},
		{"no public key for you", refuse(get, 403, "PERMISSION_DENIED", "Permission 'cloudkms.cryptoKeyVersions.viewPublicKey' denied", ""), get, 1, []string{"403 PERMISSION_DENIED", "viewPublicKey", "roles/cloudkms.signerVerifier"}},
		{"a service that is off", refuse(get, 403, "PERMISSION_DENIED", "Cloud KMS API has not been used", "SERVICE_DISABLED"), get, 1, []string{"gcloud services enable cloudkms.googleapis.com"}},
		{"no such key", refuse(get, 404, "NOT_FOUND", "CryptoKeyVersion not found.", ""), get, 1, []string{"404 NOT_FOUND", "check the name"}},
		{"a disabled key", refuse(get, 400, "FAILED_PRECONDITION", "is not enabled, current state is: DISABLED.", ""), get, 1, []string{"DISABLED", "gcloud kms keys versions enable"}},
		{"the signature's checksum", set(sign, "signatureCrc32c", "1"), sign, 2, []string{cloudkmstest.Key + " does not sign", "a checksum does not fit"}},
		{"a message unchecked", set(sign, "verifiedDataCrc32c", false), sign, 2, []string{"a checksum does not fit"}},
		{"signed by another", set(sign, "name", cloudkmstest.Key+"2"), sign, 1, []string{`it was signed by Cloud KMS with "` + cloudkmstest.Key + `2"`}},
		{"a wrong signature", both(set(sign, "signature", wrong), set(sign, "signatureCrc32c", cloudkmstest.Checksum(wrong))), sign, 1, []string{"the public key does not verify"}},
		{"a short signature", both(set(sign, "signature", wrong[:8]), set(sign, "signatureCrc32c", cloudkmstest.Checksum(wrong[:8]))), sign, 1, []string{"the public key does not verify"}},
		{"no base64", set(sign, "signature", "!"), sign, 1, []string{"can't be read"}},
		{"no signature for you", refuse(sign, 403, "PERMISSION_DENIED", "Permission 'cloudkms.cryptoKeyVersions.useToSign' denied", ""), sign, 1, []string{"useToSign", "roles/cloudkms.signerVerifier"}},
		{"disabled since", refuse(sign, 400, "FAILED_PRECONDITION", "is not enabled, current state is: DISABLED.", ""), sign, 1, []string{"gcloud kms keys versions enable"}},
		{"too many", refuse(sign, 429, "RESOURCE_EXHAUSTED", "Quota exceeded", ""), sign, 2, []string{"429 RESOURCE_EXHAUSTED", "quota"}},
		{"away", refuse(sign, 503, "UNAVAILABLE", "The service is currently unavailable.", ""), sign, 2, []string{"503 UNAVAILABLE"}},
		{"broken", refuse(sign, 500, "INTERNAL", "Internal error encountered.", ""), sign, 1, []string{"500 INTERNAL"}},
		{"a proxy in between", func(op string, w http.ResponseWriter, _ *http.Request, _ map[string]any) bool {
			if op == sign {
				http.Error(w, "<html>no", http.StatusBadGateway)
			}
			return op == sign
		}, sign, 1, []string{"502"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kms := cloudkmstest.NewKMS(t)
				var err error
				before := int64(0)
				if c.op == get {
					kms.Meddle(c.meddle)
					_, err = cloudkms.NewSigner(t.Context(), options(t, kms))
				} else {
					s := open(t, kms)
					kms.Meddle(c.meddle)
					before = kms.Asked()
					var signature []byte
					if signature, err = s.Sign(t.Context(), []byte("message")); signature != nil {
						t.Errorf("a signature all the same: %x", signature)
					}
				}
				if err == nil {
					t.Fatal("no error")
				}
				for _, want := range c.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%v\nlacks %q", err, want)
					}
				}
				if n := kms.Asked() - before; n != c.tries {
					t.Errorf("%d requests, want %d", n, c.tries)
				}
			})
		})
	}
}

func TestToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kms := cloudkmstest.NewKMS(t)
		o := options(t, kms)
		o.Token = func(context.Context) (string, error) { return "another", nil }
		var refused *cloudkms.Error
		if _, err := cloudkms.NewSigner(t.Context(), o); !errors.As(err, &refused) || refused.Code != http.StatusUnauthorized || !strings.Contains(err.Error(), "check the credentials") {
			t.Errorf("a token of another: %v", err)
		}
		away := errors.New("the metadata server is away")
		o.Token = func(context.Context) (string, error) { return "", away }
		asked := kms.Asked()
		if _, err := cloudkms.NewSigner(t.Context(), o); !errors.Is(err, away) || kms.Asked() != asked {
			t.Errorf("no token: %v, after %d requests", err, kms.Asked()-asked)
		}
	})
}

// TestSecondTry has the first request to each operation fail.
func TestSecondTry(t *testing.T) {
	for name, c := range map[string]struct {
		code        int
		retryAfter  string
		least, most time.Duration
		again       bool
	}{
		"away, then good":       {503, "", 200 * time.Millisecond, 400 * time.Millisecond, true},
		"too many, then good":   {429, "1", time.Second, time.Second, true},
		"a date is no number":   {503, "Wed, 21 Oct 2026 07:28:00 GMT", 200 * time.Millisecond, 400 * time.Millisecond, true},
		"too long to wait for":  {503, "60", 0, 0, false},
		"what no wait may heal": {500, "1", 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kms := cloudkmstest.NewKMS(t)
				s := open(t, kms)
				var n atomic.Int64
				kms.Meddle(func(_ string, w http.ResponseWriter, _ *http.Request, _ map[string]any) bool {
					if n.Add(1) > 1 {
						return false
					}
					if c.retryAfter != "" {
						w.Header().Set("Retry-After", c.retryAfter)
					}
					cloudkmstest.Refuse(w, c.code, "", "", "")
					return true
				})
				begun := time.Now()
				_, err := s.Sign(t.Context(), []byte("message"))
				if took := time.Since(begun); (err == nil) != c.again || took < c.least || took > c.most {
					t.Errorf("%v after %v", err, took)
				}
			})
		})
	}
	t.Run("damaged once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			kms := cloudkmstest.NewKMS(t)
			s := open(t, kms)
			var n atomic.Int64
			kms.Meddle(func(_ string, _ http.ResponseWriter, _ *http.Request, answer map[string]any) bool {
				if n.Add(1) == 1 {
					answer["signature"] = []byte("not what was signed")
				}
				return false
			})
			if _, err := s.Sign(t.Context(), []byte("message")); err != nil {
				t.Error(err)
			}
		})
	})
}

// TestSlow wants the context's deadline kept: with a service that does not answer, and with one that wants to be asked later.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kms := cloudkmstest.NewKMS(t)
		s := open(t, kms)
		kms.Meddle(func(_ string, _ http.ResponseWriter, r *http.Request, _ map[string]any) bool {
			<-r.Context().Done()
			return true
		})
		within := func(name string, want time.Duration, do func(context.Context) error) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			begun := time.Now()
			err := do(ctx)
			if took := time.Since(begun); err == nil || took != want {
				t.Errorf("%s: %v after %v", name, err, took)
			}
		}
		sign := func(ctx context.Context) error { _, err := s.Sign(ctx, []byte("message")); return err }
		within("signing", 100*time.Millisecond, func(ctx context.Context) error {
			err := sign(ctx)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer of Cloud KMS in time") {
				t.Errorf("signing: %v", err)
			}
			return err
		})
		within("the public key", 100*time.Millisecond, func(ctx context.Context) error { _, err := cloudkms.NewSigner(ctx, options(t, kms)); return err })
		kms.Meddle(func(_ string, w http.ResponseWriter, _ *http.Request, _ map[string]any) bool {
			w.Header().Set("Retry-After", "1")
			cloudkmstest.Refuse(w, 503, "UNAVAILABLE", "", "")
			return true
		})
		asked := kms.Asked()
		within("a second try that is too late", 0, sign)
		if n := kms.Asked() - asked; n != 1 {
			t.Errorf("%d requests where there is no time for a second", n)
		}
	})
}
