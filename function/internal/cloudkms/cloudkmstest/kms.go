// Package cloudkmstest stands in for Google Cloud's services: so far Cloud KMS with an Ed25519 key, as the reference of its REST API
// describes it.
package cloudkmstest

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"hash/crc32"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// The first version of the key of a [KMS], and the access token that it takes.
const (
	Key   = versions + "1"
	Token = "token-of-the-instance"

	versions = "projects/p/locations/europe-west1/keyRings/erlmcp/cryptoKeys/receipts/cryptoKeyVersions/"
)

// A KMS is a service with a key, whose first version is enabled. It is a handler, for a test to serve.
type KMS struct {
	PEM []byte // the public key of the first version

	mu     sync.Mutex
	all    []version
	meddle atomic.Pointer[Meddle]
	signed atomic.Int64
	asked  atomic.Int64
}

// Meddle changes an answer, such as "signature", before it is sent; or answers itself, and returns true. The operation is
// publicKey or asymmetricSign.
type Meddle func(operation string, w http.ResponseWriter, r *http.Request, answer map[string]any) (answered bool)

// NewKMS returns a service with a key of its own.
func NewKMS(t testing.TB) *KMS {
	t.Helper()
	k := &KMS{}
	k.Rotate(t)
	k.PEM = k.all[0].pem
	return k
}

// A version of the key.
type version struct {
	key      ed25519.PrivateKey
	pem      []byte // of the public key
	disabled bool
}

// Rotate makes another version, and returns its name and its public key.
func (k *KMS) Rotate(t testing.TB) (name string, public ed25519.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, version{key: private, pem: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})})
	return versions + strconv.Itoa(len(k.all)), public
}

// Disable has a version be of no use.
func (k *KMS) Disable(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n, _ := strconv.Atoi(strings.TrimPrefix(name, versions))
	k.all[n-1].disabled = true
}

// version returns the one that a path names, and what the path says of it.
func (k *KMS) version(path string) (name string, v version, rest string, ok bool) {
	number, ok := strings.CutPrefix(path, "/v1/"+versions)
	end := strings.IndexAny(number, "/:")
	if !ok || end < 0 {
		return "", v, "", false
	}
	number, rest = number[:end], number[end:]
	k.mu.Lock()
	defer k.mu.Unlock()
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > len(k.all) {
		return "", v, "", false
	}
	return versions + number, k.all[n-1], rest, true
}

// Meddle has answers meddled with from now on; nil ends it.
func (k *KMS) Meddle(m Meddle) { k.meddle.Store(&m) }

// Signed counts signatures.
func (k *KMS) Signed() int64 { return k.signed.Load() }

// Asked counts requests.
func (k *KMS) Asked() int64 { return k.asked.Load() }

// Checksum is a CRC32C as the API writes it.
func Checksum(b []byte) string {
	return strconv.FormatUint(uint64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))), 10)
}

// Refuse answers with an error of the API.
func Refuse(w http.ResponseWriter, code int, status, message, reason string) {
	details := []any{}
	if reason != "" {
		details = append(details, map[string]any{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"})
	}
	send(w, code, map[string]any{"error": map[string]any{"code": code, "message": message, "status": status, "details": details}})
}

func send(w http.ResponseWriter, code int, answer any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(answer)
}

// ServeHTTP answers as the service does.
func (k *KMS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.asked.Add(1)
	if r.Header.Get("Authorization") != "Bearer "+Token {
		Refuse(w, http.StatusUnauthorized, "UNAUTHENTICATED", "Request had invalid authentication credentials.", "")
		return
	}
	name, v, rest, ok := k.version(r.URL.Path)
	answer := map[string]any{"name": name, "protectionLevel": "SOFTWARE"}
	var operation string
	switch {
	case v.disabled:
		Refuse(w, http.StatusBadRequest, "FAILED_PRECONDITION", name+" is not enabled, current state is: DISABLED.", "")
		return
	case ok && r.Method == http.MethodGet && rest == "/publicKey":
		operation = "publicKey"
		answer["pem"], answer["pemCrc32c"], answer["algorithm"] = string(v.pem), Checksum(v.pem), "EC_SIGN_ED25519"
	case ok && r.Method == http.MethodPost && rest == ":asymmetricSign":
		operation = "asymmetricSign"
		var asked struct {
			Data       []byte
			DataCrc32c *string
			Digest     any
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || asked.Digest != nil || len(asked.Data) == 0 {
			Refuse(w, http.StatusBadRequest, "INVALID_ARGUMENT", "The data field is required for algorithm EC_SIGN_ED25519.", "")
			return
		}
		if asked.DataCrc32c != nil && *asked.DataCrc32c != Checksum(asked.Data) {
			Refuse(w, http.StatusBadRequest, "INVALID_ARGUMENT", "The checksum in field data_crc32c did not match the data in field data.", "")
			return
		}
		k.signed.Add(1)
		signature := ed25519.Sign(v.key, asked.Data)
		answer["signature"], answer["signatureCrc32c"] = signature, Checksum(signature)
		answer["verifiedDataCrc32c"] = asked.DataCrc32c != nil
	default:
		Refuse(w, http.StatusNotFound, "NOT_FOUND", r.URL.Path+" not found.", "")
		return
	}
	if m := k.meddle.Load(); m != nil && *m != nil && (*m)(operation, w, r, answer) {
		return
	}
	send(w, http.StatusOK, answer)
}
