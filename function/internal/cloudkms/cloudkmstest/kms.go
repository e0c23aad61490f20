// Package cloudkmstest stands in for Google Cloud's services: so far Cloud KMS with one Ed25519 key, as the reference of its REST API
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
	"sync/atomic"
	"testing"
)

// The key of a [KMS], and the access token that it takes.
const (
	Key   = "projects/p/locations/europe-west1/keyRings/erlmcp/cryptoKeys/receipts/cryptoKeyVersions/1"
	Token = "token-of-the-instance"
)

// A KMS is a service with one enabled version of a key. It is a handler, for a test to serve.
type KMS struct {
	PEM []byte // the public key

	key    ed25519.PrivateKey
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
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return &KMS{key: private, PEM: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
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
	answer := map[string]any{"name": Key, "protectionLevel": "SOFTWARE"}
	var operation string
	switch rest, ok := strings.CutPrefix(r.URL.Path, "/v1/"+Key); {
	case ok && r.Method == http.MethodGet && rest == "/publicKey":
		operation = "publicKey"
		answer["pem"], answer["pemCrc32c"], answer["algorithm"] = string(k.PEM), Checksum(k.PEM), "EC_SIGN_ED25519"
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
		signature := ed25519.Sign(k.key, asked.Data)
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
