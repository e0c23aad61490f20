package cloudkms_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/cloudkms"
	"example.com/erlmcp/function/internal/cloudkms/cloudkmstest"
)

// TestDefaultCredentials has a service account's file say who the process is.
func TestDefaultCredentials(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 1024) // soon made
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var mute atomic.Bool
		var given atomic.Int64
		tokens := network.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			given.Add(1)
			if r.ParseForm(); mute.Load() { // read, so that the server notices when the client leaves
				<-r.Context().Done()
				return
			}
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(map[string]any{"access_token": cloudkmstest.Token, "token_type": "Bearer", "expires_in": 3600})
		}))
		file := filepath.Join(t.TempDir(), "account.json")
		text, _ := json.Marshal(map[string]string{
			"type": "service_account", "project_id": "p", "client_email": "erlmcp@p.iam.gserviceaccount.com", "private_key_id": "1", "token_uri": tokens,
			"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "quota_project_id": "payer",
		})
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
		t.Setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "")

		kms := cloudkmstest.NewKMS(t)
		kms.Meddle(func(op string, _ http.ResponseWriter, r *http.Request, _ map[string]any) bool {
			if got := r.Header.Get("X-Goog-User-Project"); got != "payer" {
				t.Errorf("%s is paid by %q", op, got)
			}
			return false
		})
		o := options(t, kms)
		o.Client, o.Token = network.Client(t), nil
		s, err := cloudkms.NewSigner(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Sign(t.Context(), []byte("message")); err != nil || given.Load() != 1 {
			t.Errorf("%v, with %d tokens", err, given.Load())
		}

		mute.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		begun := time.Now()
		if _, err := cloudkms.NewSigner(ctx, o); err == nil || !strings.Contains(err.Error(), "no access token") || time.Since(begun) != 100*time.Millisecond {
			t.Errorf("no token: %v after %v", err, time.Since(begun))
		}
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "none.json"))
		if _, err := cloudkms.NewSigner(t.Context(), o); err == nil || !strings.Contains(err.Error(), "there are no credentials for Google Cloud") {
			t.Errorf("no file: %v", err)
		}
	})
}
