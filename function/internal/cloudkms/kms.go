// Package cloudkms is the rest of Google Cloud behind interfaces that others own: a signer whose key never leaves Cloud KMS. It
// speaks to the REST API with what the other Google clients in the binary bring along anyway.
package cloudkms

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/account"
)

// Options say which key a [Signer] signs with, and how Cloud KMS is reached.
type Options struct {
	Key      string                                // projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/V, of EC_SIGN_ED25519
	Endpoint string                                // "" for https://cloudkms.googleapis.com
	Client   *http.Client                          // for Cloud KMS and for access tokens; nil for one of its own
	Token    func(context.Context) (string, error) // returns an access token; nil for that of the Application Default Credentials
}

// A Signer signs with an Ed25519 key in Cloud KMS. It is safe for concurrent use.
type Signer struct {
	opts    Options
	account *account.Account // nil where the options have a token
	public  ed25519.PublicKey
}

const (
	patience   = 5 * time.Second        // for one operation, where the context has more
	retryAfter = 200 * time.Millisecond // and up to as much again, where the service does not say
	maxRetry   = 2 * time.Second        // a longer wait is the caller's to make
	maxAnswer  = 64 << 10               // bytes
	algorithm  = "EC_SIGN_ED25519"
	wantedKey  = "wanted is a version of a key with the purpose asymmetric-signing and the algorithm ec-sign-ed25519"
)

// NewSigner fetches the public key. It needs the permission cloudkms.cryptoKeyVersions.viewPublicKey, and signing
// cloudkms.cryptoKeyVersions.useToSign: roles/cloudkms.signerVerifier has both. Where the service refuses, the error wraps an [*Error].
func NewSigner(ctx context.Context, o Options) (*Signer, error) {
	if o.Endpoint == "" {
		o.Endpoint = "https://cloudkms.googleapis.com"
	}
	s := &Signer{opts: o}
	if o.Client == nil {
		// Signatures are minutes apart, and a connection that a process kept while it was frozen is dead.
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.DisableKeepAlives = true
		s.opts.Client = &http.Client{Transport: t}
	}
	if o.Token == nil {
		a, err := account.Default(ctx, o.Client, "https://www.googleapis.com/auth/cloudkms")
		if err != nil {
			return nil, err
		}
		s.account = a
	}
	if err := s.fetch(ctx); err != nil {
		return nil, fmt.Errorf("the public key of %s can't be had: %w", o.Key, err)
	}
	return s, nil
}

// Public returns the public key, which [NewSigner] has fetched.
func (s *Signer) Public() ed25519.PublicKey { return s.public }

// maxBefore is how many versions before a signer's are asked for.
const maxBefore = 20

// Before returns the public keys of the versions before the signer's, the latest first: what they have signed is to be believed still. Versions
// that are destroyed or disabled have none.
func (s *Signer) Before(ctx context.Context) (keys []ed25519.PublicKey, err error) {
	i := strings.LastIndexByte(s.opts.Key, '/') + 1
	number, err := strconv.Atoi(s.opts.Key[i:])
	if err != nil {
		return nil, fmt.Errorf("%s is not the name of a version", s.opts.Key)
	}
	for n := number - 1; n > max(0, number-1-maxBefore); n-- {
		other := *s
		other.opts.Key = s.opts.Key[:i] + strconv.Itoa(n)
		var refused *Error
		switch err := other.fetch(ctx); {
		case errors.As(err, &refused) && (refused.Code == http.StatusNotFound || refused.Status == "FAILED_PRECONDITION"):
		case err != nil:
			return nil, fmt.Errorf("the public key of %s can't be had: %w", other.opts.Key, err)
		default:
			keys = append(keys, other.public)
		}
	}
	return keys, nil
}

// publicKey is what getPublicKey answers:
// https://docs.cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys.cryptoKeyVersions/getPublicKey.
type publicKey struct {
	Name      string `json:"name"`
	PEM       string `json:"pem"`
	Checksum  string `json:"pemCrc32c"`
	Algorithm string `json:"algorithm"`
}

func (a *publicKey) whole() error {
	if a.Checksum != checksum([]byte(a.PEM)) {
		return errDamaged
	}
	return nil
}

func (s *Signer) fetch(ctx context.Context) error {
	a, err := ask[publicKey](ctx, s, http.MethodGet, "/publicKey", nil)
	switch {
	case err != nil:
		return err
	case a.Name != s.opts.Key:
		return fmt.Errorf("the answer of Cloud KMS is that of %q", a.Name)
	case a.Algorithm != algorithm:
		return fmt.Errorf("its algorithm is %s: %s", a.Algorithm, wantedKey)
	}
	block, _ := pem.Decode([]byte(a.PEM))
	if block == nil {
		return errors.New("the answer of Cloud KMS has no PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return err
	}
	public, ok := key.(ed25519.PublicKey)
	if !ok {
		return fmt.Errorf("it is one of %T: %s", key, wantedKey)
	}
	s.public = public
	return nil
}

// signRequest has the message itself: EC_SIGN_ED25519 is PureEdDSA (RFC 8032), which takes no digest.
type signRequest struct {
	Data     []byte `json:"data"`
	Checksum string `json:"dataCrc32c"`
}

// signature is what asymmetricSign answers:
// https://docs.cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys.cryptoKeyVersions/asymmetricSign.
type signature struct {
	Name      string `json:"name"`
	Signature []byte `json:"signature"`
	Checksum  string `json:"signatureCrc32c"`
	Verified  bool   `json:"verifiedDataCrc32c"`
}

func (a *signature) whole() error {
	if !a.Verified || a.Checksum != checksum(a.Signature) {
		return errDamaged
	}
	return nil
}

// Sign returns the signature of a message of at most 64 KiB, 64 bytes that the public key verifies.
func (s *Signer) Sign(ctx context.Context, message []byte) ([]byte, error) {
	a, err := ask[signature](ctx, s, http.MethodPost, ":asymmetricSign", signRequest{message, checksum(message)})
	switch {
	case err != nil:
	case a.Name != s.opts.Key:
		err = fmt.Errorf("it was signed by Cloud KMS with %q", a.Name)
	case !ed25519.Verify(s.public, message, a.Signature):
		err = errors.New("the answer of Cloud KMS is a signature that the public key does not verify")
	default:
		return a.Signature, nil
	}
	return nil, fmt.Errorf("%s does not sign: %w", s.opts.Key, err)
}

// errDamaged is told where a checksum does not fit, which the service asks to have tried again.
var errDamaged = errors.New("the request or the answer was damaged on the way: a checksum does not fit")

// checksum is a CRC32C as the API writes it, an integer in a string.
func checksum(b []byte) string {
	return strconv.FormatUint(uint64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))), 10)
}

// ask does an operation on the key, and tries once more where that may help and there is time for it.
func ask[A any, P interface {
	*A
	whole() error
}](ctx context.Context, s *Signer, method, operation string, body any) (*A, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	once := func() (*A, error) {
		a := new(A)
		if err := s.send(ctx, method, operation, body, a); err != nil {
			return nil, err
		}
		return a, P(a).whole()
	}
	a, err := once()
	wait, again := retry(err)
	if deadline, _ := ctx.Deadline(); !again || time.Until(deadline) <= wait {
		return a, err
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return nil, err
	case <-t.C:
		return once()
	}
}

// retry says whether a second try may help, and when.
func retry(err error) (wait time.Duration, again bool) {
	wait = retryAfter + rand.N(retryAfter)
	if refused := (*Error)(nil); errors.As(err, &refused) {
		if refused.Code != http.StatusTooManyRequests && refused.Code != http.StatusServiceUnavailable {
			return 0, false
		}
		if refused.RetryAfter > 0 {
			wait = refused.RetryAfter
		}
		return wait, wait <= maxRetry
	}
	return wait, errors.Is(err, errDamaged)
}

// send makes one request.
func (s *Signer) send(ctx context.Context, method, operation string, body, answer any) error {
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		text = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, s.opts.Endpoint+"/v1/"+s.opts.Key+operation, text)
	if err != nil {
		return err
	}
	if err := s.authorize(r); err != nil {
		return fmt.Errorf("there is no access token to be had: %w", err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.opts.Client.Do(r)
	if err != nil {
		return fmt.Errorf("no answer of Cloud KMS in time: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode != http.StatusOK {
		return refusal(resp, b)
	}
	if err == nil {
		err = json.Unmarshal(b, answer)
	}
	if err != nil {
		return fmt.Errorf("the answer of Cloud KMS can't be read: %w", err)
	}
	return nil
}

func (s *Signer) authorize(r *http.Request) (err error) {
	if s.account != nil {
		return s.account.Authorize(r)
	}
	token, err := s.opts.Token(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return err
}

// An Error is a refusal of Cloud KMS: https://docs.cloud.google.com/apis/design/errors.
type Error struct {
	Code       int           // HTTP status
	Status     string        // such as PERMISSION_DENIED; "" where something else than the service answers
	Reason     string        // such as SERVICE_DISABLED
	Message    string        // the service's own words
	RetryAfter time.Duration // 0 where it does not say
}

// Error says what was refused, and what to do.
func (e *Error) Error() string {
	said := strings.TrimSpace(fmt.Sprintf("%d %s", e.Code, e.Status))
	if e.Message != "" {
		said += ": " + e.Message
	}
	if todo := e.remedy(); todo != "" {
		said += ": " + todo
	}
	return said
}

func (e *Error) remedy() string {
	switch {
	case e.Reason == "SERVICE_DISABLED":
		return "enable the service in the key's project, with: gcloud services enable cloudkms.googleapis.com"
	case e.Code == http.StatusUnauthorized:
		return "check the credentials that the process runs with"
	case e.Code == http.StatusForbidden:
		return "grant the service account roles/cloudkms.signerVerifier on the key, which has useToSign and viewPublicKey"
	case e.Code == http.StatusNotFound:
		return "check the name; there is one with: gcloud kms keys versions list"
	case e.Status == "FAILED_PRECONDITION":
		return "the version must be enabled, with: gcloud kms keys versions enable; and " + wantedKey
	case e.Code == http.StatusTooManyRequests:
		return "the project's quota of Cloud KMS is used up"
	}
	return ""
}

func refusal(resp *http.Response, body []byte) *Error {
	var a struct {
		Error struct {
			Status, Message string
			Details         []struct{ Reason string }
		}
	}
	json.Unmarshal(body, &a) // a proxy may answer with something else
	e := &Error{Code: resp.StatusCode, Status: a.Error.Status, Message: a.Error.Message}
	for _, d := range a.Error.Details {
		if d.Reason != "" {
			e.Reason = d.Reason
		}
	}
	if s, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	return e
}
