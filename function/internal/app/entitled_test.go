package app

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/receipt/journal"
)

// TestManyTransitionsAtOnce has a thousand tenants expire in a store that does not answer: they take one goroutine and none of the
// plans, and the end does not wait for them.
func TestManyTransitionsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := NewMemory()
		for i := range 1000 {
			if _, err := memory.Store.ChangeTenant(t.Context(), fmt.Sprint("t", i), nil, func(x *entitlement.Tenant) error {
				x.Apply(&entitlement.Event{Source: "shop", Type: entitlement.Grant, Time: time.Now(), Plan: "base"})
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		store := &mute{Store: memory.Store, asked: make(chan string, 1000)}
		logger := slog.New(slog.NewTextHandler(t.Output(), nil))
		e := OpenEntitled(&Stores{Tenants: store, Keys: memory.Store}, nil, logger)
		j, err := journal.Open(journal.Options{Instance: "i", Store: memory.Receipts})
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close(t.Context())
		e.Record(entitlement.NewProcessor(entitlement.ProcessorOptions{Tenants: store, Recorder: j, Logger: logger}), j.NewID)
		d, known := e.Directory.Get(t.Context(), time.Now())
		if !known || len(d.Tenants) != 1000 {
			t.Fatalf("the directory is %+v", d)
		}
		before := runtime.NumGoroutine()
		for id := range d.Tenants {
			e.Note(id)
		}
		<-store.asked
		if n := runtime.NumGoroutine() - before; n > 2 {
			t.Errorf("a thousand transitions have %d goroutines more", n)
		}
		if n := len(e.queue); n != maxNoting && n != maxNoting-1 {
			t.Errorf("%d tenants wait, want %d", n, maxNoting)
		}
		begun := time.Now()
		e.Close()
		if took := time.Since(begun); took > 0 {
			t.Errorf("the end took %v", took)
		}
		if n := store.plans.Load(); n > 0 {
			t.Errorf("the plans were read %d times", n)
		}
	})
}

// mute is a store that does not answer for a tenant.
type mute struct {
	entitlement.Store
	asked chan string
	plans atomic.Int64
}

func (m *mute) Tenant(ctx context.Context, id string) (*entitlement.Tenant, error) {
	m.asked <- id
	<-ctx.Done()
	return nil, ctx.Err()
}

func (m *mute) Plans(ctx context.Context) ([]*entitlement.Plan, error) {
	m.plans.Add(1)
	return m.Store.Plans(ctx)
}
