package function

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"time"

	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/receipt"
)

// What is recorded, what a verification finds, and what it can be held against.
type (
	Receipt = receipt.Receipt
	Report  = receipt.Report
	Witness = receipt.Witness
)

// Records are the receipts of a fleet, for its operator and those who check on it.
type Records struct {
	parts  *parts
	signer receipt.Signer
	hasher *receipt.Hasher // nil where the fleet's keys are not known
	keys   []ed25519.PublicKey
	heads  func(context.Context) ([]receipt.Head, error)
	noted  []Witness
}

// OpenRecords connects to the store and the Redis that the settings name. The operator's public keys are those of a file in PEM, or
// else the one of RECEIPT_KEY_FILE or RECEIPT_KMS_KEY, where that is set; without any who signed is not verified. With [WithMemory] they
// are those of the servers that share it.
func OpenRecords(ctx context.Context, keyFile string, opts ...Option) (*Records, error) {
	o := options{getenv: os.Getenv, logger: slog.New(slog.DiscardHandler)}
	for _, opt := range opts {
		opt(&o)
	}
	cfg, err := config.Load(o.getenv, config.Machine{})
	if err == nil && cfg.Project == "" && o.memory == nil {
		err = errors.New("GOOGLE_CLOUD_PROJECT: is not set, and says whose receipts these are")
	}
	if err != nil {
		return nil, &StartError{err}
	}
	r := &Records{}
	if r.signer, err = openSigner(ctx, &o, cfg); err != nil {
		return nil, &StartError{err}
	}
	if r.signer != nil {
		r.keys = append(r.keys, r.signer.Public())
	}
	if keyFile != "" {
		if r.keys, err = PublicKeys(keyFile); err != nil {
			return nil, err
		}
	}
	if cfg.Keys != "" || o.memory != nil {
		ring, err := ringOf(&o, cfg)
		if err != nil {
			return nil, &StartError{err}
		}
		r.hasher = receipt.NewHasher(ring.Derive(hashes)...)
	}
	if r.parts, err = openParts(ctx, cfg, &o); err != nil {
		return nil, &StartError{err}
	}
	r.heads = r.announced
	return r, nil
}

// records are the receipts of the fleet that the server belongs to.
func (s *Server) records() *Records {
	r := &Records{parts: s.parts, heads: s.recorder.heads.read, hasher: s.recorder.hasher}
	if signer := s.recorder.signer; signer != nil {
		r.signer, r.keys = signer, []ed25519.PublicKey{signer.Public()}
	}
	return r
}

// PublicKeys reads a file of the operator's public keys in PEM.
func PublicKeys(file string) ([]ed25519.PublicKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	keys, err := receipt.ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return keys, nil
}

// Close ends the connections.
func (r *Records) Close() { r.parts.close() }

// announced are the last heads of the instances, and why they can't be read: a lost tail is found without them only as far as
// roots say.
func (r *Records) announced(ctx context.Context) ([]receipt.Head, error) {
	if r.parts.redis == nil {
		return nil, errors.New("REDIS_URL is not set: what instances have announced since the last root is not known")
	}
	return readHeads(ctx, r.parts.redis)
}

// Expect says which roots were noted elsewhere. Verify reports it where one is not there any more, or is another.
func (r *Records) Expect(noted ...Witness) { r.noted = noted }

// ParseWitness reads a root as a report ends with, NUMBER:HASH.
func ParseWitness(text string) (Witness, error) { return receipt.ParseWitness(text) }

// Verify proves that the receipts of a range of time are whole and in order; of one tenant, unless that is "". Zero times are no
// bound.
func (r *Records) Verify(ctx context.Context, tenant string, from, to time.Time) (*Report, error) {
	heads, missing := r.heads(ctx)
	report, err := r.verify(ctx, tenant, from, to, heads)
	if err == nil && missing != nil {
		report.Notes = append(report.Notes, missing.Error())
	}
	return report, err
}

func (r *Records) verify(ctx context.Context, tenant string, from, to time.Time, heads []receipt.Head) (*Report, error) {
	if tenant == "" {
		return receipt.Verify(ctx, r.parts.receipts, receipt.VerifyOptions{Keys: r.keys, Announced: heads, Witnesses: r.noted, From: from, To: to})
	}
	// An export for a tenant has in it what proves that it lacks nothing.
	in, out := io.Pipe()
	defer in.Close()
	go func() {
		_, err := receipt.Export(ctx, r.parts.receipts, out, receipt.ExportOptions{Tenant: tenant, From: from, To: to, Signer: r.signer, Announced: heads})
		out.CloseWithError(err)
	}()
	return receipt.VerifyExport(ctx, in, receipt.VerifyOptions{Keys: r.keys, Witnesses: r.noted})
}

// VerifyExport proves an export by the operator's public keys alone, and by roots that were noted elsewhere.
func VerifyExport(ctx context.Context, in io.Reader, keys []ed25519.PublicKey, noted ...Witness) (*Report, error) {
	return receipt.VerifyExport(ctx, in, receipt.VerifyOptions{Keys: keys, Witnesses: noted})
}

// Export writes receipts as JSON Lines that verify offline, and says how many. One for a tenant hands over the key of the tenant's hashes
// where ERLMCP_KEYS has what it comes from.
func (r *Records) Export(ctx context.Context, w io.Writer, tenant string, from, to time.Time) (receipts int64, err error) {
	heads, _ := r.heads(ctx)
	x, err := receipt.Export(ctx, r.parts.receipts, w, receipt.ExportOptions{Tenant: tenant, From: from, To: to, Signer: r.signer, Announced: heads, Hasher: r.hasher})
	return x.Receipts, err
}

// Find returns the receipts of a call, by the id that its caller was told, and what is wrong with them.
func (r *Records) Find(ctx context.Context, id string) ([]Receipt, *Report, error) {
	return receipt.Find(ctx, r.parts.receipts, id, r.keys)
}

// Newest yields the receipts of a range of time, the latest first; of a tenant, unless that is "".
func (r *Records) Newest(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[Receipt, error] {
	return receipt.Newest(ctx, r.parts.receipts, tenant, from, to)
}

// Select yields the receipts of a range of time, by their segments; of a tenant, unless that is "".
func (r *Records) Select(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[Receipt, error] {
	return receipt.Select(ctx, r.parts.receipts, tenant, from, to)
}
