package app

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/cloudkms"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/fleet"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/seal"
	"example.com/erlmcp/function/internal/telemetry"
)

// A Recorder writes the receipts of this instance. Nil is where nothing is recorded.
type Recorder struct {
	*journal.Recorder
	operator func() operator
	hasher   *receipt.Hasher
	logger   *slog.Logger
	keeper   *keeper // nil where roots are kept in the store alone
}

// An operator is who vouches for chains: the key that signs now, nil for none, and those by which signatures are judged.
type operator struct {
	signer receipt.Signer
	keys   []ed25519.PublicKey
	before func(context.Context) ([]ed25519.PublicKey, error) // further ones, which a service has; nil: none
}

// judges returns the keys by which signatures are judged, the one in use first.
func (o operator) judges(ctx context.Context) ([]ed25519.PublicKey, error) {
	if o.before == nil {
		return o.keys, nil
	}
	before, err := o.before(ctx)
	if err != nil {
		return nil, fmt.Errorf("RECEIPT_KMS_KEY: %w", err)
	}
	return append(slices.Clip(o.keys), before...), nil
}

// keptKeys asks for keys when they are first needed, so that no start waits for them, and no more once it has them.
func keptKeys(ask func(context.Context) ([]ed25519.PublicKey, error)) func(context.Context) ([]ed25519.PublicKey, error) {
	var mu sync.Mutex
	var keys []ed25519.PublicKey
	var known bool
	return func(ctx context.Context) (_ []ed25519.PublicKey, err error) {
		mu.Lock()
		defer mu.Unlock()
		if !known {
			keys, err = ask(ctx)
			known = err == nil
		}
		return keys, err
	}
}

// A recording is what a recorder works with.
type recording struct {
	config   *config.Config
	options  *Options
	stores   *Stores
	ring     *seal.Ring // of the start: what a chain hashes under is one key, and a call that runs has hashed under it
	instance string
	logger   *slog.Logger
}

// hashes is what hashes of arguments and results are made for.
const hashes = "hashes in receipts"

// openRecorder returns nil where nothing is recorded.
func openRecorder(ctx context.Context, p *recording) (*Recorder, error) {
	switch {
	case p.config.Receipts == "false":
		return nil, nil
	case p.stores.Receipts == nil && p.config.Receipts == "true":
		return nil, errors.New("GOOGLE_CLOUD_PROJECT: is not set, and RECEIPTS=true needs its Firestore to keep receipts in")
	case p.stores.Receipts == nil && p.config.BackupPlace != "":
		return nil, errors.New("BACKUP_PLACE: is set, and no receipts are kept that could be copied there: set GOOGLE_CLOUD_PROJECT or STORE_FILE")
	case p.stores.Receipts == nil:
		return nil, nil
	}
	operator, err := openOperator(ctx, p.config, p.options)
	if err != nil {
		return nil, err
	}
	r := &Recorder{operator: operator, hasher: receipt.NewHasher(p.ring.Derive(hashes)...), logger: p.logger}
	var board fleet.Board
	if p.stores.Redis != nil {
		board = p.stores.Redis
	}
	o := journal.Options{Instance: p.instance, Store: p.stores.Receipts, Signer: func() receipt.Signer { return operator().signer }, Hasher: r.hasher, Logger: p.logger}
	if p.config.BackupPlace != "" {
		r.keeper = newKeeper(p.config.BackupPlace, p.stores.Receipts)
		o.Keep = r.keeper.keep
	}
	r.Recorder, err = journal.Start(o, board)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// OpenOperatorsRecorder is the recorder of a command of the operator's: nil where its directives leave no receipts.
func OpenOperatorsRecorder(ctx context.Context, cfg *config.Config, s *Stores, instance string) (*Recorder, error) {
	o := &Options{}
	o.Complete()
	ring, err := ringOf(o, cfg)
	if err != nil {
		return nil, err
	}
	return openRecorder(ctx, &recording{config: cfg, options: o, stores: s, ring: ring(), instance: instance, logger: slog.New(slog.DiscardHandler)})
}

// keyTimeout is for a service that keeps the operator's key to say which one it is. A start does not go on without.
const keyTimeout = 5 * time.Second

// openOperator returns who vouches for chains, as it is now: nobody where the settings name no key.
func openOperator(ctx context.Context, cfg *config.Config, o *Options) (func() operator, error) {
	var known operator
	switch {
	case cfg.ReceiptKeyFile != "":
		current, err := readFile(o.files, cfg.ReceiptKeyFile, func(text []byte) (op operator, err error) {
			op.signer, op.keys, err = receipt.ParseSigner(text)
			return op, err
		})
		if err != nil {
			return nil, fmt.Errorf("RECEIPT_KEY_FILE: %w", err)
		}
		return current, nil
	case cfg.ReceiptKMSKey != "":
		ctx, done := context.WithTimeout(ctx, keyTimeout)
		defer done()
		key := cloudkms.Options{Key: cfg.ReceiptKMSKey}
		if o.Stand.KMS != nil {
			o.Stand.KMS(&key)
		}
		signer, err := cloudkms.NewSigner(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("RECEIPT_KMS_KEY: %w", err)
		}
		known = operator{signer: signer, keys: []ed25519.PublicKey{signer.Public()}, before: keptKeys(signer.Before)}
	}
	return func() operator { return known }, nil
}

// NewID makes the id of a request.
func (r *Recorder) NewID() string {
	if r == nil {
		return receipt.NewID(rand.Uint32(), time.Now())
	}
	return r.Journal.NewID()
}

// Close is [journal.Recorder.Close].
func (r *Recorder) Close(deadline time.Time) {
	if r != nil {
		r.Recorder.Close(deadline)
	}
}

// Logged returns the journal for those who record.
func (r *Recorder) Logged() journal.Logged {
	return journal.Logged{Journal: r.Journal, Logger: r.logger}
}

// degraded says what keeps receipts from being stored.
func (r *Recorder) degraded() []string {
	if r == nil {
		return nil
	}
	var degraded []string
	if s := r.Journal.Stats(); s.LastError != nil {
		degraded = append(degraded, fmt.Sprintf("receipts: the store does not take them; %d wait, %d were lost", s.Waiting, s.Lost))
	}
	if err := r.keeper.fault(); err != nil {
		degraded = append(degraded, fmt.Sprintf("receipts: roots are not copied to %s: %v", r.keeper.place, err))
	}
	return degraded
}

// metrics are those of receipts.
func (r *Recorder) metrics() []telemetry.Metric {
	if r == nil {
		return nil
	}
	return append(r.keeper.metrics(), []telemetry.Metric{
		{Name: "erlmcp_receipts_total", Help: "Receipts: stored; counted, refusals in the receipt of another; lost, for which there was no room.", Kind: telemetry.Counter, Labels: []string{"outcome"},
			Read: func(emit func(float64, ...string)) {
				s := r.Journal.Stats()
				emit(float64(s.Stored), "stored")
				emit(float64(s.Counted), "counted")
				emit(float64(s.Lost+s.Late), "lost")
			}},
		{Name: "erlmcp_receipt_writes_total", Help: "Writes of receipts to the store, many at a time.", Kind: telemetry.Counter, Labels: []string{"outcome"},
			Read: func(emit func(float64, ...string)) {
				s := r.Journal.Stats()
				emit(float64(s.Writes), "ok")
				emit(float64(s.Failures), "failed")
			}},
		{Name: "erlmcp_receipts_oldest_seconds", Help: "For how long the oldest receipt that is not stored has waited.", Kind: telemetry.Gauge,
			Read: func(emit func(float64, ...string)) { emit(r.Journal.Stats().Oldest.Seconds()) }},
	}...)
}
