package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/fleet"
	"example.com/erlmcp/function/internal/receipt"
)

// heads are how far chains have come, as instances announce it on a board, or this process alone.
type heads struct {
	board fleet.Board // nil where the process is alone
	wake  chan struct{}

	mu     sync.Mutex
	latest *receipt.Head
	told   bool
	ended  []receipt.Head // of the chains before, which are not told yet
}

// post takes note of a head, which goes out as soon as the one before has.
func (b *heads) post(h receipt.Head) {
	b.mu.Lock()
	if b.latest != nil && b.latest.Chain != h.Chain && !b.told {
		b.ended = append(b.ended, *b.latest)
	}
	b.latest, b.told = &h, false
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// headTimeout is for one announcement. One that is lost is made up for by the next.
const headTimeout = 250 * time.Millisecond

func (b *heads) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-b.wake:
		case <-ctx.Done():
		}
		b.tell(headTimeout)
	}
	b.tell(CloseTimeout) // what came while it told
}

func (b *heads) tell(timeout time.Duration) {
	b.mu.Lock()
	h, ended := b.latest, b.ended
	if b.board == nil || h == nil || b.told {
		b.mu.Unlock()
		return
	}
	b.mu.Unlock()
	ctx, done := context.WithTimeout(context.Background(), timeout)
	defer done()
	all := 0
	for _, h := range append(slices.Clip(ended), *h) {
		text, err := json.Marshal(h)
		if err != nil {
			return // can't be: it holds nothing that has no JSON
		}
		if b.board.PutUp(ctx, fleet.Heads, h.Chain, text) != nil { // Redis away is the governor's to say
			break
		}
		all++
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = b.ended[min(all, len(ended)):]
	b.told = all > len(ended) && b.latest == h
}

// read returns the last heads of all instances.
func (b *heads) read(ctx context.Context) (all []receipt.Head, err error) {
	if b.board == nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.latest != nil {
			all = append(all, *b.latest)
		}
		return all, nil
	}
	return ReadHeads(ctx, b.board)
}

// keepHeads is for how long announcements are kept. By then they are in a root.
const keepHeads = 48 * time.Hour

// ReadHeads returns the last heads of all instances that a board has, and takes down those that are old. With an error they are those that could
// be read.
func ReadHeads(ctx context.Context, board fleet.Board) (all []receipt.Head, err error) {
	announced, err := board.Notes(ctx, fleet.Heads)
	if err != nil {
		return nil, fmt.Errorf("what instances announced: %w", err)
	}
	var errs []error
	var old []string
	for chain, text := range announced {
		var h receipt.Head
		if err := json.Unmarshal(text, &h); err != nil || h.Chain != chain {
			errs = append(errs, fmt.Errorf("what was announced of the chain %s can't be read: %s", chain, text))
			continue
		}
		if time.Since(h.Time) > keepHeads {
			old = append(old, chain)
			continue
		}
		all = append(all, h)
	}
	if len(old) > 0 {
		errs = append(errs, board.TakeDown(ctx, fleet.Heads, old...))
	}
	return all, errors.Join(errs...)
}
