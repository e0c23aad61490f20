package journal

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"example.com/erlmcp/function/internal/fleet"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/refresh"
)

// A Recorder writes the receipts of this instance, tells the fleet how far they have come, and has the chains of the fleet anchored.
type Recorder struct {
	*Journal
	heads  *heads
	unkept atomic.Bool // whether there may be a root that is not kept elsewhere
	stop   context.CancelFunc
	done   sync.WaitGroup
}

const (
	// anchorEvery is how old the last root may be before an instance makes the next one.
	anchorEvery = time.Minute
	// CloseTimeout is how long [Recorder.Close] may take beyond its deadline, for the fleet to hear of the last receipts.
	CloseTimeout = 150 * time.Millisecond
)

// Start opens a journal, and announces and anchors until the recorder is closed. The board is nil where the process is alone.
func Start(o Options, board fleet.Board) (*Recorder, error) {
	r := &Recorder{heads: &heads{board: board, wake: make(chan struct{}, 1)}}
	o.Announce = r.heads.post
	var err error
	if r.Journal, err = Open(o); err != nil {
		return nil, err
	}
	r.unkept.Store(true) // what the last instance has made
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.done.Go(func() { r.heads.run(ctx) })
	r.done.Go(func() { r.anchor(ctx) })
	return r, nil
}

// Close writes what waits until the deadline, ends the chain, anchors it if a root is due, and lets the fleet know.
func (r *Recorder) Close(deadline time.Time) {
	ctx, done := context.WithDeadline(context.Background(), deadline)
	defer done()
	if err := r.Journal.Close(ctx); err != nil {
		r.opts.Logger.Error("not all receipts are stored", "error", err)
	} else {
		r.heads.tell(headTimeout) // so that the root has the end
		if err := r.AnchorOnce(ctx); err != nil {
			r.opts.Logger.Warn("the end of the chain is not anchored: the next instance does it", "error", err)
		}
	}
	r.stop()
	ended := make(chan struct{})
	go func() { r.done.Wait(); close(ended) }()
	refresh.Await(context.Background(), ended, CloseTimeout)
}

// anchor makes roots while there is none that is new, whichever instance comes first.
func (r *Recorder) anchor(ctx context.Context) {
	ticker := time.NewTicker(anchorEvery)
	defer ticker.Stop()
	for failed := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := r.AnchorOnce(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			r.opts.Logger.Error("the chains of receipts can't be anchored, or their roots not be kept", "error", err)
		}
		failed = err != nil
	}
}

// AnchorOnce makes a root, unless there is one that is new or nothing has happened since, and has it kept elsewhere. What this instance
// could not have kept it tries again the next time, whoever made the last root. Where others make the roots, it leaves all of that to them.
func (r *Recorder) AnchorOnce(ctx context.Context) error {
	if _, makes := r.opts.Roots(time.Now()); !makes {
		return nil
	}
	ctx, done := context.WithTimeout(ctx, anchorEvery/2)
	defer done()
	last, err := r.opts.Store.LastRoot(ctx)
	if err != nil {
		return err
	}
	var unheard error
	if last == nil || time.Since(last.Time) >= anchorEvery-time.Second {
		var heads []receipt.Head
		heads, unheard = r.Heads(ctx) // without some the store's own are anchored
		root, err := Anchor(ctx, r.opts.Store, r.opts.Roots, heads, time.Now())
		if err != nil {
			return errors.Join(err, unheard)
		}
		if root != nil && (last == nil || root.Number > last.Number) {
			r.unkept.Store(true)
		}
	}
	if r.opts.Keep != nil && r.unkept.Load() {
		err = r.opts.Keep(ctx)
		r.unkept.Store(err != nil)
	}
	return errors.Join(err, unheard)
}

// Heads returns what the instances of the fleet have announced last.
func (r *Recorder) Heads(ctx context.Context) ([]receipt.Head, error) { return r.heads.read(ctx) }

// A Logged journal is one as those who record use it: what is more than a request of the data plane, which has its record in the log
// already, is told to the log too. A receipt with a detail is of an order: set, denied or failed.
type Logged struct {
	*Journal
	Logger *slog.Logger
}

// Append implements [receipt.Recorder].
func (l Logged) Append(r receipt.Receipt) {
	l.Journal.Append(r)
	l.tell(context.Background(), &r, nil)
}

// Commit implements [receipt.Recorder].
func (l Logged) Commit(ctx context.Context, r receipt.Receipt) error {
	err := l.Journal.Commit(ctx, r)
	l.tell(ctx, &r, err)
	return err
}

func (l Logged) tell(ctx context.Context, r *receipt.Receipt, err error) {
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
	l.Logger.LogAttrs(ctx, level, "recorded: "+string(r.Kind), attrs...)
}
