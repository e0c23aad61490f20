package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/fresh"
	"example.com/erlmcp/function/internal/gcp"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/redisdb"
	"example.com/erlmcp/function/internal/seal"
	"example.com/erlmcp/function/internal/telemetry"
)

// recorder writes the receipts of this instance, tells the fleet how far they have come, and has the chains of the fleet anchored.
type recorder struct {
	journal *receipt.Journal
	store   receipt.Store
	signer  receipt.Signer // nil where the operator has no key
	hasher  *receipt.Hasher
	heads   *headboard
	logger  *slog.Logger
	stop    func()
	done    sync.WaitGroup
}

// anchorEvery is how old the last root may be before an instance makes the next one.
const anchorEvery = time.Minute

// A recording is what a recorder works with.
type recording struct {
	*parts
	ring     *seal.Ring
	instance string
}

// hashes is what hashes of arguments and results are made for.
const hashes = "hashes in receipts"

// openRecorder returns nil where nothing is recorded.
func openRecorder(ctx context.Context, o *options, cfg *config.Config, p recording) (*recorder, error) {
	switch {
	case cfg.Receipts == "false":
		return nil, nil
	case p.receipts == nil && cfg.Receipts == "true":
		return nil, errors.New("GOOGLE_CLOUD_PROJECT: is not set, and RECEIPTS=true needs its Firestore to keep receipts in")
	case p.receipts == nil:
		return nil, nil
	}
	signer, err := openSigner(ctx, o, cfg)
	if err != nil {
		return nil, err
	}
	r := &recorder{store: p.receipts, signer: signer, hasher: receipt.NewHasher(p.ring.Derive(hashes)...), logger: o.logger}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	r.heads = &headboard{redis: p.redis, wake: make(chan struct{}, 1)}
	journal, err := receipt.Open(receipt.Options{Instance: p.instance, Store: p.receipts, Signer: r.signer, Hasher: r.hasher, Announce: r.heads.post, Logger: o.logger})
	if err != nil {
		cancel()
		return nil, err
	}
	r.journal = journal
	r.done.Go(func() { r.heads.run(ctx) })
	r.done.Go(func() { r.anchor(ctx) })
	return r, nil
}

// keyPatience is for a service that keeps the operator's key to say which one it is. A start does not go on without.
const keyPatience = 5 * time.Second

// openSigner returns who signs with the operator's key, or nil where the settings name none.
func openSigner(ctx context.Context, o *options, cfg *config.Config) (receipt.Signer, error) {
	switch {
	case cfg.ReceiptKeyFile != "":
		text, err := os.ReadFile(cfg.ReceiptKeyFile)
		if err != nil {
			return nil, fmt.Errorf("RECEIPT_KEY_FILE: %w", err)
		}
		signer, err := receipt.ParseSigner(text)
		if err != nil {
			return nil, fmt.Errorf("RECEIPT_KEY_FILE: %w", err)
		}
		return signer, nil
	case cfg.ReceiptKMSKey != "":
		ctx, done := context.WithTimeout(ctx, keyPatience)
		defer done()
		key := gcp.Options{Key: cfg.ReceiptKMSKey}
		if o.kms != nil {
			o.kms(&key)
		}
		signer, err := gcp.NewSigner(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("RECEIPT_KMS_KEY: %w", err)
		}
		return signer, nil
	}
	return nil, nil
}

// A ledger is the journal as those who record use it: what is more than a request of the data plane, which has its record in the
// log already, is told to the log too. A receipt with a detail is of an order: set, denied or failed.
type ledger struct {
	*receipt.Journal
	logger *slog.Logger
}

// ledger returns the journal for those who record.
func (r *recorder) ledger() ledger { return ledger{r.journal, r.logger} }

// Append implements [admission.Journal].
func (l ledger) Append(r receipt.Receipt) {
	l.Journal.Append(r)
	l.tell(context.Background(), &r, nil)
}

// Commit implements [admission.Journal].
func (l ledger) Commit(ctx context.Context, r receipt.Receipt) error {
	err := l.Journal.Commit(ctx, r)
	l.tell(ctx, &r, err)
	return err
}

func (l ledger) tell(ctx context.Context, r *receipt.Receipt, err error) {
	order := r.Kind == receipt.Changed || r.Kind == receipt.Killed || r.Kind == receipt.Entitled
	if !order && r.Detail == "" || r.Stranger() { // of whom the log has a record for each request

		return
	}
	level := slog.LevelInfo
	if r.Decision == receipt.Refuse || r.Kind == receipt.Failed || err != nil {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String("request_id", r.ID)}
	for _, a := range [...]struct{ name, value string }{
		{"method", r.Method}, {"tool", r.Tool}, {"tenant", r.Tenant}, {"principal", r.Principal}, {"decision", string(r.Decision)},
		{"reason", r.Reason}, {"limit", r.Limit}, {"detail", r.Detail},
	} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.name, a.value))
		}
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", "the receipt is not stored: "+err.Error()))
	}
	l.logger.LogAttrs(ctx, level, "recorded: "+string(r.Kind), attrs...)
}

// newID makes the ids of requests; nil leaves it to others.
func (r *recorder) newID() func() string {
	if r == nil {
		return nil
	}
	return r.journal.NewID
}

// close writes what waits until the deadline, ends the chain, anchors it if a root is due, and lets the fleet know.
func (r *recorder) close(deadline time.Time) {
	if r == nil {
		return
	}
	ctx, done := context.WithDeadline(context.Background(), deadline)
	defer done()
	if err := r.journal.Close(ctx); err != nil {
		r.logger.Error("not all receipts are stored", "error", err)
	} else {
		r.heads.tell(announcePatience) // so that the root has the end
		if err := r.anchorOnce(ctx); err != nil {
			r.logger.Warn("the end of the chain is not anchored: the next instance does it", "error", err)
		}
	}
	r.stop()
	ended := make(chan struct{})
	go func() { r.done.Wait(); close(ended) }()
	fresh.Await(context.Background(), ended, lastAnnouncement)
}

// anchor makes roots while there is none that is new, whichever instance comes first.
func (r *recorder) anchor(ctx context.Context) {
	ticker := time.NewTicker(anchorEvery)
	defer ticker.Stop()
	for failed := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := r.anchorOnce(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			r.logger.Error("the chains of receipts can't be anchored", "error", err)
		}
		failed = err != nil
	}
}

func (r *recorder) anchorOnce(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, anchorEvery/2)
	defer done()
	last, err := r.store.LastRoot(ctx)
	if err != nil || last != nil && time.Since(last.Time) < anchorEvery-time.Second {
		return err
	}
	heads, unheard := r.heads.read(ctx) // without some the store's own are anchored
	_, err = receipt.Anchor(ctx, r.store, r.signer, heads, time.Now())
	return errors.Join(err, unheard)
}

// A headboard is where instances announce how far their chains have come: Redis, or this process where it is alone.
type headboard struct {
	redis *redisdb.Counters // nil where the process is alone
	wake  chan struct{}

	mu     sync.Mutex
	latest *receipt.Head
	told   bool
}

// post takes note of a head, which goes out as soon as the one before has.
func (b *headboard) post(h receipt.Head) {
	b.mu.Lock()
	b.latest, b.told = &h, false
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// announcePatience is for one announcement. One that is lost is made up for by the next.
const announcePatience = 250 * time.Millisecond

func (b *headboard) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-b.wake:
		case <-ctx.Done():
		}
		b.tell(announcePatience)
	}
	b.tell(lastAnnouncement) // what came while it told
}

func (b *headboard) tell(patience time.Duration) {
	b.mu.Lock()
	h := b.latest
	if b.redis == nil || h == nil || b.told {
		b.mu.Unlock()
		return
	}
	b.mu.Unlock()
	text, err := json.Marshal(h)
	if err != nil {
		return // can't be: it holds nothing that has no JSON
	}
	ctx, done := context.WithTimeout(context.Background(), patience)
	defer done()
	err = b.redis.PutUp(ctx, redisdb.Heads, h.Chain, text) // Redis away is the governor's to say
	b.mu.Lock()
	b.told = err == nil && b.latest == h
	b.mu.Unlock()
}

// read returns the last heads of all instances.
func (b *headboard) read(ctx context.Context) (heads []receipt.Head, err error) {
	if b.redis == nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.latest != nil {
			heads = append(heads, *b.latest)
		}
		return heads, nil
	}
	return readHeads(ctx, b.redis)
}

// keepHeads is for how long announcements are kept. By then they are in a root.
const keepHeads = 48 * time.Hour

func readHeads(ctx context.Context, counters *redisdb.Counters) (heads []receipt.Head, err error) {
	announced, err := counters.Notes(ctx, redisdb.Heads)
	if err != nil {
		return nil, fmt.Errorf("what instances announced: %w", err)
	}
	var faults []error
	var old []string
	for chain, text := range announced {
		var h receipt.Head
		if err := json.Unmarshal(text, &h); err != nil || h.Chain != chain {
			faults = append(faults, fmt.Errorf("what was announced of the chain %s can't be read: %s", chain, text))
			continue
		}
		if time.Since(h.Time) > keepHeads {
			old = append(old, chain)
			continue
		}
		heads = append(heads, h)
	}
	if len(old) > 0 {
		faults = append(faults, counters.TakeDown(ctx, redisdb.Heads, old...))
	}
	return heads, errors.Join(faults...)
}

// degraded says what keeps receipts from being stored.
func (r *recorder) degraded() []string {
	if r == nil {
		return nil
	}
	if s := r.journal.Stats(); s.LastError != nil {
		return []string{fmt.Sprintf("receipts: the store does not take them; %d wait, %d were lost", s.Waiting, s.Lost)}
	}
	return nil
}

// metrics are those of receipts.
func (r *recorder) metrics() []telemetry.Metric {
	if r == nil {
		return nil
	}
	return []telemetry.Metric{
		{Name: "erlmcp_receipts_total", Help: "Receipts: stored; counted, refusals in the receipt of another; lost, for which there was no room.", Kind: telemetry.Counter, Labels: []string{"outcome"},
			Read: func(emit func(float64, ...string)) {
				s := r.journal.Stats()
				emit(float64(s.Stored), "stored")
				emit(float64(s.Counted), "counted")
				emit(float64(s.Lost+s.Late), "lost")
			}},
		{Name: "erlmcp_receipt_writes_total", Help: "Writes of receipts to the store, many at a time.", Kind: telemetry.Counter, Labels: []string{"outcome"},
			Read: func(emit func(float64, ...string)) {
				s := r.journal.Stats()
				emit(float64(s.Writes), "ok")
				emit(float64(s.Failures), "failed")
			}},
		{Name: "erlmcp_receipts_oldest_seconds", Help: "For how long the oldest receipt that is not stored has waited.", Kind: telemetry.Gauge,
			Read: func(emit func(float64, ...string)) { emit(r.journal.Stats().Oldest.Seconds()) }},
	}
}
