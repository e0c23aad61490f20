package recovery_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/backup/backuptest"
	"example.com/erlmcp/function/internal/controlapi"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/receipt/receipttest"
	"example.com/erlmcp/function/internal/recovery"
	"example.com/erlmcp/function/internal/store/memory"
)

// A shop is a store, and the control plane by which it is changed, in a bubble.
type shop struct {
	t        *testing.T
	store    *memory.Store
	receipts *memory.Receipts
	records  backup.Store
	journal  *journal.Journal
	plane    *controlapi.Plane
	events   *entitlement.Processor
}

// fleet changes directives as a control plane does.
type fleet struct{ *directives.Writer }

func (fleet) Limits(context.Context) ([]controlapi.LimitInUse, int, error) { return nil, -1, nil }

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{t: t, store: memory.New(), receipts: memory.NewReceipts(0)}
	s.records = memory.NewRecords(s.store, s.receipts)
	return s
}

// open has it have a journal and a control plane.
func (s *shop) open(tag uint32) {
	s.t.Helper()
	s.journal = receipttest.Open(s.t, s.receipts, func(o *journal.Options) { o.Instance, o.Tag = "taiea", tag })
	logged := journal.Logged{Journal: s.journal, Logger: slog.New(slog.DiscardHandler)}
	var err error
	s.plane, err = controlapi.New(controlapi.Options{
		Operators: identity.New(identity.Options{Local: true}), Role: func(*identity.Principal) controlapi.Role { return controlapi.Admin },
		RequestID: func(*http.Request) string { return s.journal.NewID() }, Tenants: s.store, Keys: s.store, Effects: memory.NewEffects(),
		Directives: fleet{s.writer()}, Journal: logged,
		Seal: func(b []byte) []byte { return b }, Open: func(b []byte) ([]byte, error) { return b, nil },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.events = entitlement.NewProcessor(entitlement.ProcessorOptions{Tenants: s.store, Recorder: logged})
}

func (s *shop) writer() *directives.Writer { return &directives.Writer{Store: s.store, Now: time.Now} }

// close ends the chain.
func (s *shop) close() {
	s.t.Helper()
	if err := s.journal.Close(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.anchor()
}

func (s *shop) anchor() {
	s.t.Helper()
	if _, err := journal.Anchor(s.t.Context(), s.receipts, receipttest.By(receipttest.Operator), nil, time.Now()); err != nil {
		s.t.Fatal(err)
	}
}

// order asks the control plane, and returns its answer.
func (s *shop) order(method, path, body string) (int, map[string]any) {
	s.t.Helper()
	r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if strings.HasPrefix(path, "/v1/tenants/") && method != http.MethodPost {
		if t, err := s.store.Tenant(s.t.Context(), strings.SplitN(strings.TrimPrefix(path, "/v1/tenants/"), "?", 2)[0]); err == nil && t.Revision > 0 {
			r.Header.Set("If-Match", "*")
		} else {
			r.Header.Set("If-None-Match", "*")
		}
	}
	w := httptest.NewRecorder()
	s.plane.ServeHTTP(w, r)
	text, _ := io.ReadAll(w.Body)
	var answer map[string]any
	json.Unmarshal(text, &answer)
	time.Sleep(time.Second) // in a bubble
	return w.Code, answer
}

// must wants an order be carried out.
func (s *shop) must(method, path, body string) map[string]any {
	s.t.Helper()
	code, answer := s.order(method, path, body)
	if code >= 300 {
		s.t.Fatalf("%s %s %s: %d %v", method, path, body, code, answer)
	}
	return answer
}

// backup takes one, signed.
func (s *shop) backup(to backup.Objects) *backup.Manifest {
	s.t.Helper()
	time.Sleep(2 * time.Second) // in a bubble
	m, err := recovery.Backup(s.t.Context(), s.records, s.store, to, backup.Options{Version: "1.2.3", Signer: receipttest.Operator})
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// ship does what is done each minute.
func (s *shop) ship(to backup.Objects) *recovery.Shipped {
	s.t.Helper()
	s.anchor()
	shipped, err := recovery.Ship(s.t.Context(), s.receipts, to, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return shipped
}

func (s *shop) restore(from backup.Objects) *recovery.Restore {
	return &recovery.Restore{
		From: from, Keys: receipttest.Keys, Store: s.records, Directives: s.writer(), Receipts: s.receipts, Now: time.Now,
	}
}

// confirm returns what opens it; it has a journal first.
func (s *shop) confirm(from backup.Objects) *recovery.Confirm {
	return &recovery.Confirm{
		From: from, Keys: receipttest.Keys, Directives: s.writer(), Tenants: s.store, APIKeys: s.store, NewID: s.journal.NewID, Now: time.Now,
		Changes: &receipt.Changes{
			Recorder: journal.Logged{Journal: s.journal, Logger: slog.New(slog.DiscardHandler)}, Logger: slog.New(slog.DiscardHandler),
			Explain: func(err error) (string, string) { return "store", err.Error() },
		},
	}
}

// open restores from a place, confirms, and returns what was planned.
func reopened(t *testing.T, from *backuptest.Objects) (*shop, *recovery.Plan) {
	t.Helper()
	s := newShop(t)
	if _, err := s.restore(from).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.closed()
	s.open(99)
	c := s.confirm(from)
	p, err := c.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.closed()
	if err := c.Run(t.Context(), p, func(recovery.Order, string) {}); err != nil {
		t.Fatal(err)
	}
	return s, p
}

// closed wants that every call is refused.
func (s *shop) closed() {
	s.t.Helper()
	d, err := s.store.Directives(s.t.Context())
	if err != nil || d.Killed(time.Now(), nil) == nil {
		s.t.Fatalf("calls are admitted by %+v (%v)", d, err)
	}
}
