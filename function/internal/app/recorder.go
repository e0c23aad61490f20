package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

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
	o := journal.Options{Instance: p.instance, Store: p.stores.Receipts, Signer: func() receipt.Signer { return operator().signer }, Roots: rootSigner(operator), Hasher: r.hasher, Logger: p.logger}
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
