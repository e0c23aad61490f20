package app

import (
	"context"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/archive"
	"example.com/erlmcp/function/internal/receipt/verify"
	"example.com/erlmcp/function/internal/store/objects"
)

// archived is where receipts are once the store has forgotten them: in BACKUP_PLACE, which is opened when it is first read. It is safe for
// concurrent use, and nil has none.
type archived struct {
	place  string
	keep   time.Duration // of receipts
	recent time.Duration // of the store; 0 where it keeps them for as long

	mu     sync.Mutex
	opened *archive.Archive
}

func newArchived(c *config.Config) *archived {
	if c.BackupPlace == "" {
		return nil
	}
	a := &archived{place: c.BackupPlace, keep: days(c.ReceiptRetentionDays)}
	if c.ReceiptStoreDays < c.ReceiptRetentionDays {
		a.recent = days(c.ReceiptStoreDays)
	}
	return a
}

func days(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

func (a *archived) open(ctx context.Context) (*archive.Archive, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.opened == nil {
		o, err := objects.Open(ctx, a.place)
		if err != nil {
			return nil, err
		}
		a.opened = archive.Open(o, a.keep, time.Now)
	}
	return a.opened, nil
}

// join has receipts of all ages in one store.
func (a *archived) join(ctx context.Context, recent receipt.Store) (receipt.Store, error) {
	if a == nil {
		return recent, nil
	}
	opened, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	return &archive.Store{Recent: recent, Archive: opened}, nil
}

// prove looks at each object of a range, and verifies receipts of all ages. What is damaged in the archive is among the report's faults.
func (a *archived) prove(ctx context.Context, recent receipt.Store, o verify.Options) (*verify.Report, error) {
	if a == nil {
		return verify.Store(ctx, recent, o)
	}
	opened, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	var faults []verify.Fault
	told := map[string]bool{}
	hear := func(d *archive.Damage) {
		if told[d.Object] {
			return
		}
		told[d.Object] = true
		kind := verify.Altered
		if d.Missing {
			kind = verify.Missing
		}
		faults = append(faults, verify.Fault{Kind: kind, Words: d.Words})
	}
	if err := opened.Check(ctx, o.From, o.To, a.recent, hear); err != nil {
		return nil, err
	}
	report, err := verify.Store(ctx, &archive.Store{Recent: recent, Archive: opened.Tolerant(hear)}, o)
	if err == nil {
		report.Add(faults)
	}
	return report, err
}
