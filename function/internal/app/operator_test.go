package app

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/cloudkms"
	"example.com/erlmcp/function/internal/cloudkms/cloudkmstest"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/receipt"
)

// keyFile writes a private key to a file in PEM.
func keyFile(t *testing.T, seed string) (file string, key ed25519.PublicKey) {
	t.Helper()
	private := ed25519.NewKeyFromSeed([]byte(seed))
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, private.Public().(ed25519.PublicKey)
}

// settings are those of a process, by name.
func settings(pairs ...string) func(string) string {
	return func(name string) string {
		if i := slices.Index(pairs, name); i >= 0 {
			return pairs[i+1]
		}
		return ""
	}
}

// recorderBy starts the recorder of a process with such settings.
func recorderBy(t *testing.T, memory *Memory, instance string, getenv func(string) string) *Recorder {
	t.Helper()
	o := &Options{Memory: memory, Getenv: getenv}
	o.Complete()
	cfg, err := config.Load(getenv, config.Machine{})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := ringOf(o, cfg)
	if err != nil {
		t.Fatal(err)
	}
	r, err := openRecorder(t.Context(), &recording{config: cfg, options: o, stores: &Stores{Receipts: memory.Receipts}, ring: ring(), instance: instance, logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// proved is what a verification finds, and who signed each root.
func proved(t *testing.T, memory *Memory, keys string, getenv func(string) string) (notes string, makers []string) {
	t.Helper()
	r, err := OpenRecords(t.Context(), keys, Options{Memory: memory, Getenv: getenv})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, tenant := range []string{"", "acme"} {
		report, _, err := r.Prove(t.Context(), tenant, time.Time{}, time.Time{})
		if err != nil || !report.OK() || report.Receipts == 0 {
			t.Errorf("%q: %v, %v", tenant, report, err)
			return "", nil
		}
		notes = strings.Join(report.Notes, "\n")
	}
	for root, err := range memory.Receipts.Roots(t.Context(), time.Time{}, time.Now().Add(time.Hour)) {
		if err != nil {
			t.Fatal(err)
		}
		h, err := receipt.ReadHeads(root.Text)
		if err != nil {
			t.Fatal(err)
		}
		if makers = append(makers, h.Operator); len(makers) > 1 && makers[len(makers)-2] == h.Operator {
			makers = makers[:len(makers)-1]
		}
	}
	return notes, makers
}

// TestRootsApart runs a data plane, which has the key of chains and no other, and a control plane, which has that of roots too. From the time
// that both are told, the control plane alone makes roots. All of it verifies by what either is told, and by the file of public keys.
func TestRootsApart(t *testing.T) {
	chainFile, chainKey := keyFile(t, "the operator's key, 32 bytes lon")
	rootFile, rootKey := keyFile(t, "the key of roots, 32 bytes long.")
	synctest.Test(t, func(t *testing.T) {
		memory := NewMemory()
		since := time.Now().Add(20 * time.Minute).UTC()
		data := settings("RECEIPT_KEY_FILE", chainFile, "RECEIPT_ROOTS_SINCE", since.Format(time.RFC3339))
		control := settings("RECEIPT_KEY_FILE", chainFile, "RECEIPT_ROOTS_SINCE", since.Format(time.RFC3339), "RECEIPT_ROOT_KEY_FILE", rootFile)
		work := func(minutes int, all ...*Recorder) {
			for range minutes {
				for _, r := range all {
					r.Append(receipt.Receipt{ID: r.NewID(), Kind: receipt.Completed, Tenant: "acme", Decision: receipt.Allow, Method: "tools/call", Tool: "echo"})
				}
				time.Sleep(time.Minute)
			}
		}
		shut := func(all ...*Recorder) {
			for _, r := range all {
				r.Close(time.Now().Add(10 * time.Second))
			}
		}
		alone := recorderBy(t, memory, "before", settings("RECEIPT_KEY_FILE", chainFile)) // of before the setting
		work(5, alone)
		shut(alone)
		d, c := recorderBy(t, memory, "data", data), recorderBy(t, memory, "control", control)
		work(30, d, c)
		shut(c)
		last, err := memory.Receipts.LastRoot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		work(3, d) // without the control plane there is no root
		if r, err := memory.Receipts.LastRoot(t.Context()); err != nil || r.Number != last.Number {
			t.Errorf("root %d was made by who has not the key (%v)", r.Number, err)
		}
		shut(d)
		c = recorderBy(t, memory, "control again", control) // as when it is asked to
		time.Sleep(time.Minute)
		if err := c.AnchorOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		shut(c)

		want := []string{receipt.KeyID(chainKey), receipt.KeyID(rootKey)}
		notes, makers := proved(t, memory, "", control)
		if !slices.Equal(makers, want) || strings.Contains(notes, "not verified") {
			t.Errorf("roots are made by %v, want %v: %s", makers, want, notes)
		}
		if notes, _ := proved(t, memory, "", data); !strings.Contains(notes, "is not verified: the key is not known here") {
			t.Errorf("where the key of roots is not known: %s", notes)
		}
		one, _ := receipt.FormatKey(chainKey)
		other, _ := receipt.FormatRootKey(rootKey, since)
		file := filepath.Join(t.TempDir(), "receipts.pub")
		if err := os.WriteFile(file, slices.Concat(one, other), 0o600); err != nil {
			t.Fatal(err)
		}
		if notes, _ := proved(t, memory, file, settings("RECEIPT_KEY_FILE", chainFile)); strings.Contains(notes, "not verified") {
			t.Errorf("by a file of public keys: %s", notes)
		}
	})
}

// TestRootKeys: the key of roots is another than that of chains, and may be in Cloud KMS.
func TestRootKeys(t *testing.T) {
	chainFile, _ := keyFile(t, "the operator's key, 32 bytes lon")
	kms := cloudkmstest.NewKMS(t)
	service := httptest.NewServer(kms)
	defer service.Close()
	open := func(pairs ...string) (func() operator, error) {
		o := &Options{Memory: NewMemory(), Getenv: settings(append(pairs, "RECEIPT_ROOTS_SINCE", "2026-11-30T00:00:00Z")...)}
		o.Stand.KMS = func(k *cloudkms.Options) {
			k.Endpoint, k.Token = service.URL, func(context.Context) (string, error) { return cloudkmstest.Token, nil }
		}
		o.Complete()
		cfg, err := config.Load(o.Getenv, config.Machine{})
		if err != nil {
			t.Fatal(err)
		}
		return openOperator(t.Context(), cfg, o)
	}
	if _, err := open("RECEIPT_KEY_FILE", chainFile, "RECEIPT_ROOT_KEY_FILE", chainFile); err == nil || !strings.Contains(err.Error(), "make another one for roots") {
		t.Errorf("one key for both: %v", err)
	}
	if _, err := open("RECEIPT_KEY_FILE", chainFile, "RECEIPT_ROOT_KEY_FILE", "/nowhere"); err == nil || !strings.Contains(err.Error(), "RECEIPT_ROOT_KEY_FILE: ") {
		t.Errorf("no file: %v", err)
	}
	current, err := open("RECEIPT_KEY_FILE", chainFile, "RECEIPT_ROOT_KMS_KEY", cloudkmstest.Key)
	if err != nil {
		t.Fatal(err)
	}
	want, err := receipt.ParseKeys(kms.PEM)
	if err != nil {
		t.Fatal(err)
	}
	signer, makes := rootSigner(current)(time.Now())
	if !makes || !signer.Public().Equal(want.Keys[0]) {
		t.Errorf("roots are signed by %v", signer)
	}
	if keys, err := current().judges(t.Context()); err != nil || len(keys.Keys) != 1 || len(keys.Roots.Keys) != 1 || !keys.Roots.Keys[0].Equal(want.Keys[0]) {
		t.Errorf("%+v, %v", keys, err)
	}
}
