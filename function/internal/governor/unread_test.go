package governor_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/governor"
)

// halfway is a fleet whose counters count, and whose snapshot can't be read or written.
type halfway struct {
	*fleet
	unread, unwritten bool
}

var errHalfway = errors.New("in another form")

func (f *halfway) is(what *bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *what
}

func (f *halfway) Snapshot(ctx context.Context) (directives.Snapshot, error) {
	if f.is(&f.unread) {
		return directives.Snapshot{}, errHalfway
	}
	return f.fleet.Snapshot(ctx)
}

func (f *halfway) Publish(ctx context.Context, before int64, o directives.Directives) (bool, error) {
	if f.is(&f.unwritten) {
		return false, errHalfway
	}
	return f.fleet.Publish(ctx, before, o)
}

// TestHalfOfRedis has counters that answer and do not tell, or take, what was ordered: the store's directives are in force, and it is said
// once each time.
func TestHalfOfRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &halfway{fleet: newFleet(), unread: true}
		kill(t, f.fleet, directives.Kill{Scope: "tool:search", Reason: "r", At: time.Now()})
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(io.MultiWriter(&log, t.Output()), nil))
		g := governor.New(governor.Options{Instance: "n", Counters: f, Epochs: f, Directives: f, Logger: logger})
		t.Cleanup(g.Close)
		said := func(text string, want int) {
			t.Helper()
			synctest.Wait()
			if n := strings.Count(log.String(), text); n != want {
				t.Errorf("%q is logged %d times, want %d", text, n, want)
			}
		}
		degraded := func(want string) {
			t.Helper()
			if says := strings.Join(g.Degraded(), "\n"); !strings.Contains(says, want) || want == "" && says != "" || strings.Contains(says, "\n") {
				t.Errorf("it says %q, want %q", says, want)
			}
		}
		inForce := func(c *governor.Call, why governor.Reason) {
			t.Helper()
			if took := within(t, g, c, why); took > 2*time.Second {
				t.Errorf("in force after %v", took)
			}
			for range 50 {
				if d := admit(t, g, c); d.Reason != why {
					t.Fatalf("%+v", d)
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
		const cant, again, behind, same = "can't be read: those that the store has are in force", "can be read again", "can't be brought to the other", "have the same"
		inForce(search, governor.Killed)
		inForce(other, governor.Admitted)
		said(cant, 1)
		degraded("what Redis has of kill switches and overridden limits can't be read")
		kill(t, f.fleet, directives.Kill{Scope: "tool:other", Reason: "r", At: time.Now()})
		inForce(other, governor.Killed)
		f.set(func() { f.unread = false })
		inForce(other, governor.Killed)
		said(again, 1)
		degraded("")
		f.set(func() { f.unread = true })
		inForce(other, governor.Killed)
		said(cant, 2)
		f.set(func() { f.unread, f.unwritten = false, true })
		inForce(other, governor.Killed)
		degraded("")
		log.Reset()
		kill(t, f.fleet, directives.Kill{Scope: "tool:third", Reason: "r", At: time.Now()})
		inForce(&governor.Call{Weight: 1, Scopes: []string{"tool:third"}}, governor.Killed)
		said(behind, 1)
		degraded("orders are in the store alone, until Redis takes them: tool:third")
		f.set(func() { f.unwritten = false })
		inForce(other, governor.Killed)
		said(behind, 1)
		said(same, 1)
		degraded("")

		// A Redis that is away says so alone.
		log.Reset()
		f.set(func() { f.down = true })
		inForce(other, governor.Killed)
		said(cant, 0)
		said(behind, 0)
	})
}
