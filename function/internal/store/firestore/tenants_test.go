package firestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/entitlement/entitlementtest"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/identity/identitytest"
)

var _ directives.VersionStore = (*Store)(nil)

func TestTenants(t *testing.T) {
	emulator(t)
	entitlementtest.TestStore(t, connect(t))
}

func TestKeys(t *testing.T) {
	emulator(t)
	identitytest.TestKeyStore(t, connect(t))
}

func nothing(*entitlement.Tenant) error { return nil }

func TestNewerFormats(t *testing.T) {
	emulator(t)
	ctx, s := t.Context(), connect(t)
	event := &entitlement.Event{ID: "1", Source: "market", Tenant: "other"}
	for _, c := range []struct {
		doc  *firestore.DocumentRef
		read map[string]func() error
	}{
		{s.tables.tenants.doc("acme"), map[string]func() error{
			"Tenant":       func() error { _, err := s.Tenant(ctx, "acme"); return err },
			"Tenants":      func() error { _, err := s.Tenants(ctx, "", 10); return err },
			"Changes":      func() error { _, err := s.Changes(ctx, 0); return err },
			"ChangeTenant": func() error { _, err := s.ChangeTenant(ctx, "acme", nil, nothing); return err },
		}},
		{s.tables.plans.doc("gold"), map[string]func() error{
			"Plans": func() error { _, err := s.Plans(ctx); return err },
			"ChangePlan": func() error {
				_, err := s.ChangePlan(ctx, "gold", func(*entitlement.Plan) error { return nil })
				return err
			},
		}},
		{s.tables.keys.doc("aaaaaaaa"), map[string]func() error{
			"Key":        func() error { _, err := s.Key(ctx, "aaaaaaaa"); return err },
			"Keys":       func() error { _, err := s.Keys(ctx, "", "", 10); return err },
			"KeyChanges": func() error { _, _, err := s.KeyChanges(ctx, 0); return err },
			"ChangeKey": func() error {
				_, err := s.ChangeKey(ctx, "aaaaaaaa", func(*identity.Key) error { return nil })
				return err
			},
			"AddKey": func() error { _, err := s.AddKey(ctx, identity.Key{ID: "aaaaaaaa"}); return err },
		}},
		{s.control.Collection(events).Doc(event.Key()), map[string]func() error{
			"ChangeTenant": func() error { _, err := s.ChangeTenant(ctx, "other", event, nothing); return err },
		}},
	} {
		if _, err := c.doc.Set(ctx, map[string]any{"format": format + 1, "id": "x", "changed": firestore.ServerTimestamp, "text": []byte("?")}); err != nil {
			t.Fatal(err)
		}
		for what, read := range c.read {
			if err := read(); err == nil || !strings.Contains(err.Error(), "deploy the newer version") {
				t.Errorf("%s of a newer format: %v", what, err)
			}
		}
	}
}

// TestBrokenKey wants that a key which can't be read keeps no other from being known.
func TestBrokenKey(t *testing.T) {
	emulator(t)
	ctx, s := t.Context(), connect(t)
	for _, id := range []string{"aaaaaaaa", "bbbbbbbb"} {
		if _, err := s.AddKey(ctx, identity.Key{ID: id, Tenant: "acme"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.tables.keys.doc("aaaaaaaa").Update(ctx, []firestore.Update{{Path: "text", Value: []byte("{")}, {Path: "changed", Value: firestore.ServerTimestamp}}); err != nil {
		t.Fatal(err)
	}
	changed, version, err := s.KeyChanges(ctx, 0)
	if err != nil || len(changed) != 2 || changed[0].ID != "bbbbbbbb" || changed[1].Revision != version || !reflect.DeepEqual(changed[1].Key, identity.Key{ID: "aaaaaaaa"}) {
		t.Errorf("%+v at %d, %v", changed, version, err)
	}
	if _, err := s.Key(ctx, "aaaaaaaa"); err == nil || !strings.Contains(err.Error(), "erlmcp-keys/aaaaaaaa@") {
		t.Errorf("the key itself: %v", err)
	}
}

// lossy opens a database whose commits succeed, and then fail as the function says.
func lossy(t *testing.T, fail func(commit int) error) *Store {
	t.Helper()
	commits := 0
	conn, err := grpc.NewClient(os.Getenv("FIRESTORE_EMULATOR_HOST"), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			err := invoke(ctx, method, req, reply, conn, opts...)
			if err == nil && strings.HasSuffix(method, "/Commit") {
				commits++
				err = fail(commits)
			}
			return err
		}))
	if err != nil {
		t.Fatal(err)
	}
	client, err := firestore.NewClient(t.Context(), fmt.Sprintf("test-%d", time.Now().UnixNano()), option.WithGRPCConn(conn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return newStore(client, client, client)
}

// TestLostAnswers wants each change once, though the answer to its commit was lost.
func TestLostAnswers(t *testing.T) {
	emulator(t)
	ctx := t.Context()
	for _, code := range []codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.PermissionDenied} {
		s := lossy(t, func(commit int) error {
			if commit%2 == 1 {
				return status.Error(code, "the answer was lost")
			}
			return nil
		})
		count := func(x *entitlement.Tenant) error {
			if x.Sources == nil {
				x.Sources = map[string]entitlement.Source{}
			}
			x.Sources[fmt.Sprint(len(x.Sources))] = entitlement.Source{}
			return nil
		}
		for i := range 3 {
			event := &entitlement.Event{ID: fmt.Sprint(i), Source: "market"}
			x, err := s.ChangeTenant(ctx, "acme", event, count)
			if err != nil || len(x.Sources) != 2*i+1 {
				t.Fatalf("%v: change %d leads to %+v, %v", code, i, x, err)
			}
			if x, err = s.ChangeTenant(ctx, "acme", nil, count); err != nil || len(x.Sources) != 2*i+2 {
				t.Fatalf("%v: change %d without an event leads to %+v, %v", code, i, x, err)
			}
			if _, err := s.ChangeTenant(ctx, "acme", event, count); !errors.Is(err, entitlement.ErrSeen) {
				t.Errorf("%v: the event again: %v", code, err)
			}
		}
		if k, err := s.AddKey(ctx, identity.Key{ID: "aaaaaaaa"}); err != nil || k.Revision == 0 {
			t.Errorf("%v: a key was added as %+v, %v", code, k, err)
		}
	}
}

// TestFaults wants an end where attempts are in vain, and the cause.
func TestFaults(t *testing.T) {
	emulator(t)
	s := connect(t)
	if _, err := s.ChangeTenant(t.Context(), strings.Repeat("x", 2000), nil, nothing); err == nil {
		t.Error("an id that Firestore does not take")
	}
	x, err := s.ChangeTenant(t.Context(), "acme", nil, nothing)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	begin, n := time.Now(), 0
	_, err = s.ChangeTenant(ctx, "acme", nil, func(*entitlement.Tenant) error { // another is always first
		n++
		_, err := s.tables.tenants.doc("acme").Update(t.Context(), []firestore.Update{{Path: "write", Value: fmt.Sprint("another ", n)}})
		return err
	})
	if took := time.Since(begin); err == nil || took > 3*time.Second {
		t.Errorf("a change that never comes through: %v after %v", err, took)
	}
	if again, err := s.Tenant(t.Context(), "acme"); err != nil || again.Revision <= x.Revision {
		t.Errorf("%+v, %v", again, err)
	}
}

// TestVersionsOfLateCommits has a change that the server got first and committed last.
func TestVersionsOfLateCommits(t *testing.T) {
	emulator(t)
	ctx, s := t.Context(), connect(t)
	follower := newStore(s.control, s.control, s.control) // with a memory of its own
	if v, err := follower.Versions(ctx); err != nil || v["tenants"] != 0 || v["keys"] != 0 {
		t.Fatalf("%v, %v", v, err)
	}
	a, err := s.ChangeTenant(ctx, "a", nil, nothing)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := follower.Versions(ctx); err != nil || v["tenants"] != a.Revision {
		t.Errorf("versions %v, %v, want %d", v, err, a.Revision)
	}
	c, err := s.Changes(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	late := s.tables.tenants.doc("late")
	r, err := late.Create(ctx, map[string]any{"format": format, "id": "late", "changed": time.UnixMicro(a.Revision).Add(-writeTime), "text": []byte(`{"id":"late"}`)})
	if err != nil {
		t.Fatal(err)
	}
	want := r.UpdateTime.UnixMicro()
	for range 2 {
		if v, err := follower.Versions(ctx); err != nil || v["tenants"] != want {
			t.Errorf("versions %v, %v, want %d", v, err, want)
		}
	}
	if c, err = s.Changes(ctx, c.Version); err != nil || c.Version != want || len(c.Tenants) != 2 || c.Tenants[1].ID != "late" {
		t.Errorf("changes %+v, %v", c, err)
	}
	// Once it is too late for that, a look at the version reads nothing that it knows.
	follower.tables.tenants.seen = time.Now().Add(time.Hour)
	if v, err := follower.Versions(ctx); err != nil || v["tenants"] != want {
		t.Errorf("versions %v, %v, want %d", v, err, want)
	}
	p, err := s.ChangePlan(ctx, "gold", func(*entitlement.Plan) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if v, err := follower.Versions(ctx); err != nil || v["tenants"] != p.Revision {
		t.Errorf("versions %v, %v, want %d", v, err, p.Revision)
	}
}

// TestManyTenants reads more than come at a time.
func TestManyTenants(t *testing.T) {
	emulator(t)
	ctx, s := t.Context(), connect(t)
	const many = 2*great + 3
	writer := s.control.BulkWriter(ctx)
	for i := range many {
		id := fmt.Sprintf("t%05d", i)
		if _, err := writer.Create(s.tables.tenants.doc(id), map[string]any{"format": format, "id": id, "changed": firestore.ServerTimestamp, "text": []byte(`{"id":"` + id + `"}`)}); err != nil {
			t.Fatal(err)
		}
	}
	writer.End()
	begin := time.Now()
	c, err := s.Changes(ctx, 0)
	if err != nil || len(c.Tenants) != many || c.Tenants[many-1].Revision != c.Version {
		t.Fatalf("%d tenants of %d, %v", len(c.Tenants), many, err)
	}
	t.Logf("%d tenants are read in %v", many, time.Since(begin).Round(time.Millisecond))
	known := map[string]bool{}
	for _, x := range c.Tenants {
		known[x.ID] = true
	}
	if len(known) != many {
		t.Errorf("%d tenants of %d", len(known), many)
	}
	if v, err := s.Version(ctx); err != nil || v != c.Version {
		t.Errorf("version %d, %v, want %d", v, err, c.Version)
	}
	if page, err := s.Tenants(ctx, "t00001", many); err != nil || len(page) != many-2 || page[many-3].ID != fmt.Sprintf("t%05d", many-1) {
		t.Errorf("%d tenants, %v", len(page), err)
	}
}

// TestFollowing has an instance follow while tenants and plans change, and wants that it never skips one.
func TestFollowing(t *testing.T) {
	emulator(t)
	ctx, s := t.Context(), connect(t)
	done := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	revisions := map[string]int64{}
	for i := range 4 {
		wg.Go(func() {
			for n := range 10 {
				name := fmt.Sprint(i, "-", n%3)
				x, err := s.ChangeTenant(ctx, name, nil, nothing)
				if err != nil {
					t.Error(err)
					return
				}
				p, err := s.ChangePlan(ctx, name, func(*entitlement.Plan) error { return nil })
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				revisions[name], revisions["plan "+name] = x.Revision, p.Revision
				mu.Unlock()
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	d := entitlement.NewDirectory()
	follow := func() {
		mu.Lock()
		committed := map[string]int64{}
		for name, r := range revisions {
			committed[name] = r
		}
		mu.Unlock()
		c, err := s.Changes(ctx, d.Version)
		if err != nil {
			t.Fatal(err)
		}
		d = d.With(c)
		for name, r := range committed {
			var known int64
			if p, ok := strings.CutPrefix(name, "plan "); ok {
				known = d.Plans[p].Revision
			} else {
				known = d.Tenants[name].Revision
			}
			if known < r || r > d.Version {
				t.Errorf("%s is known at %d of %d, the directory is at %d", name, known, r, d.Version)
			}
		}
	}
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(10 * time.Millisecond): // real time: the emulator is a process
		}
		follow()
	}
}
