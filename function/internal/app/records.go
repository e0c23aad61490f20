package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/receipt/verify"
	"example.com/erlmcp/function/internal/recovery"
	"example.com/erlmcp/function/internal/serve"
	"example.com/erlmcp/function/internal/store/objects"
)

// Records are the receipts of a fleet, for its operator and those who check on it.
type Records struct {
	stores   *Stores
	operator func() operator
	hasher   *receipt.Hasher // nil where the fleet's keys are not known
	heads    func(context.Context) ([]receipt.Head, error)
	noted    []verify.Witness
	kept     verify.Kept
	archived *archived // nil where receipts are in the store alone
}

// OpenRecords connects to the store and the Redis that the settings name. The operator's public keys are those of a file in PEM, or
// else those of RECEIPT_KEY_FILE or of RECEIPT_KMS_KEY and the versions before it, where that is set; without any who signed is not verified. With Memory they
// are those of the servers that share it.
func OpenRecords(ctx context.Context, keyFile string, o Options) (*Records, error) {
	o.Complete()
	cfg, err := config.Load(o.Getenv, config.Machine{})
	if err == nil && cfg.Project == "" && cfg.StoreFile == "" && o.Memory == nil {
		err = errors.New("GOOGLE_CLOUD_PROJECT: is not set, and says whose receipts these are")
	}
	if err != nil {
		return nil, &serve.StartError{Faults: err}
	}
	r := &Records{}
	if r.operator, err = judgedBy(ctx, cfg, &o, keyFile); err != nil {
		return nil, err
	}
	if cfg.Keys != "" || cfg.KeysFile != "" || o.Memory != nil {
		ring, err := ringOf(&o, cfg)
		if err != nil {
			return nil, &serve.StartError{Faults: err}
		}
		r.hasher = receipt.NewHasher(ring().Derive(hashes)...)
	}
	if r.stores, err = OpenStores(ctx, cfg, &o); err != nil {
		return nil, &serve.StartError{Faults: err}
	}
	r.heads, r.archived = r.announced, newArchived(cfg)
	return r, nil
}

// Records are the receipts of the fleet that the server belongs to.
func (a *App) Records() *Records {
	return &Records{stores: a.Stores, heads: a.Recorder.Heads, hasher: a.Recorder.hasher, operator: a.Recorder.operator, archived: newArchived(a.Config)}
}

// Keys are the operator's public keys, the one in use first.
func (r *Records) Keys(ctx context.Context) (receipt.PublicKeys, error) {
	return r.operator().judges(ctx)
}

// PublicKeys reads a file of the operator's public keys in PEM.
func PublicKeys(file string) (keys receipt.PublicKeys, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return keys, err
	}
	if keys, err = receipt.ParseKeys(text); err != nil {
		return keys, fmt.Errorf("%s: %w", file, err)
	}
	return keys, nil
}

// VerifyExport proves an export by the operator's public keys alone, and by roots that were noted elsewhere.
func VerifyExport(ctx context.Context, in io.Reader, keys receipt.PublicKeys, noted ...verify.Witness) (*verify.Report, error) {
	return verify.Export(ctx, in, verify.Options{Keys: keys.Keys, Roots: keys.Roots, Witnesses: noted})
}

// Close ends the connections.
func (r *Records) Close() { r.stores.close() }

// judgedBy is who the settings have sign. The public keys by which signatures are judged are those of a file where one is named.
func judgedBy(ctx context.Context, cfg *config.Config, o *Options, keyFile string) (func() operator, error) {
	current, err := openOperator(ctx, cfg, o)
	if err != nil {
		return nil, &serve.StartError{Faults: err}
	}
	if keyFile == "" {
		return current, nil
	}
	keys, err := PublicKeys(keyFile)
	if err != nil {
		return nil, err
	}
	return func() operator {
		o := current()
		return operator{vouching{signer: o.signer, keys: keys.Keys}, vouching{signer: o.roots.signer, keys: keys.Roots.Keys}, keys.Roots.Since}
	}, nil
}

// announced are the last heads of the instances, and why they can't be read: a lost tail is found without them only as far as
// roots say.
func (r *Records) announced(ctx context.Context) ([]receipt.Head, error) {
	if r.stores.Redis == nil {
		return nil, errors.New("REDIS_URL is not set: what instances have announced since the last root is not known")
	}
	return journal.ReadHeads(ctx, r.stores.Redis)
}

// Expect says which roots were noted elsewhere. Verify reports it where one is not there any more, or is another.
func (r *Records) Expect(noted ...verify.Witness) { r.noted = noted }

// Hold says where roots are kept, in a folder or gs://BUCKET/PREFIX, that the store must have: those from the day of a time on.
func (r *Records) Hold(ctx context.Context, place string, from time.Time) error {
	o, err := objects.Open(ctx, place)
	if err == nil {
		r.kept = verify.Kept{Place: o.String(), Roots: recovery.Roots(ctx, o, from)}
	}
	return err
}

// Verify is [Records.Prove] with a note in the report where it is not known what instances have announced.
func (r *Records) Verify(ctx context.Context, tenant string, from, to time.Time) (*verify.Report, error) {
	report, unheard, err := r.Prove(ctx, tenant, from, to)
	if err == nil && unheard != nil {
		report.Notes = append(report.Notes, unheard.Error())
	}
	return report, err
}

// Prove proves that the receipts of a range of time are whole and in order; of one tenant, unless that is "". Zero times are no
// bound. Unheard is why it is not known what instances have announced since the last root.
func (r *Records) Prove(ctx context.Context, tenant string, from, to time.Time) (report *verify.Report, unheard, err error) {
	heads, unheard := r.heads(ctx)
	operator := r.operator() // once: who signs here must be one of those by whom it is judged
	keys, err := operator.judges(ctx)
	if err != nil {
		return nil, unheard, err
	}
	if tenant == "" {
		report, err = r.archived.prove(ctx, r.stores.Receipts, verify.Options{Keys: keys.Keys, Roots: keys.Roots, Announced: heads, Witnesses: r.noted, Kept: r.kept, From: from, To: to})
		return report, unheard, err
	}
	store, err := r.archived.join(ctx, r.stores.Receipts)
	if err != nil {
		return nil, unheard, err
	}
	// An export for a tenant has in it what proves that it lacks nothing.
	in, out := io.Pipe()
	defer in.Close()
	go func() {
		_, err := verify.WriteExport(ctx, store, out, verify.ExportOptions{Tenant: tenant, From: from, To: to, Signer: operator.signer, Announced: heads})
		out.CloseWithError(err)
	}()
	report, err = verify.Export(ctx, in, verify.Options{Keys: keys.Keys, Roots: keys.Roots, Witnesses: r.noted})
	return report, unheard, err
}

// Export writes receipts as JSON Lines that verify offline, and says how many. One for a tenant hands over the key of the tenant's hashes
// where SEALING_KEYS has what it comes from.
func (r *Records) Export(ctx context.Context, w io.Writer, tenant string, from, to time.Time) (receipts int64, err error) {
	heads, _ := r.heads(ctx)
	store, err := r.archived.join(ctx, r.stores.Receipts)
	if err != nil {
		return 0, err
	}
	x, err := verify.WriteExport(ctx, store, w, verify.ExportOptions{Tenant: tenant, From: from, To: to, Signer: r.operator().signer, Announced: heads, Hasher: r.hasher})
	return x.Receipts, err
}

// Find returns the receipts of a call, by the id that its caller was told, and what is wrong with them.
func (r *Records) Find(ctx context.Context, id string) ([]receipt.Receipt, *verify.Report, error) {
	store, err := r.archived.join(ctx, r.stores.Receipts)
	if err != nil {
		return nil, nil, err
	}
	keys, err := r.operator().judges(ctx)
	if err != nil {
		return nil, nil, err
	}
	return verify.Find(ctx, store, id, keys.Keys)
}

// Newest yields the receipts of a range of time, the latest first; of a tenant, unless that is "".
func (r *Records) Newest(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[receipt.Receipt, error] {
	return r.read(ctx, func(store receipt.Store) iter.Seq2[receipt.Receipt, error] {
		return verify.Newest(ctx, store, tenant, from, to)
	})
}

// Select yields the receipts of a range of time, by their segments; of a tenant, unless that is "".
func (r *Records) Select(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[receipt.Receipt, error] {
	return r.read(ctx, func(store receipt.Store) iter.Seq2[receipt.Receipt, error] {
		return verify.Select(ctx, store, tenant, from, to)
	})
}

// read yields what is read of receipts of all ages.
func (r *Records) read(ctx context.Context, of func(receipt.Store) iter.Seq2[receipt.Receipt, error]) iter.Seq2[receipt.Receipt, error] {
	return func(yield func(receipt.Receipt, error) bool) {
		store, err := r.archived.join(ctx, r.stores.Receipts)
		if err != nil {
			yield(receipt.Receipt{}, err)
			return
		}
		of(store)(yield)
	}
}
