package firestore

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
)

// contender names the database and the number of a process that [TestProcesses] starts.
const contender = "ERLMCP_TEST_CONTENDER"

// contends tells whether this is such a process, and does its work.
func contends() bool {
	project, number, ok := strings.Cut(os.Getenv(contender), " ")
	if !ok {
		return false
	}
	if err := contend(project, number); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

const (
	contenders = 4
	each       = 25 // events and changes of a key
)

// contend applies events to the one tenant, and those that all have in common, and changes the one key.
func contend(project, number string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s, err := Connect(ctx, Options{Project: project, Databases: []string{"(default)"}})
	if err != nil {
		return err
	}
	defer s.Close()
	for i := range each {
		own := fmt.Sprint(number, "-", i)
		if _, err := s.ChangeTenant(ctx, "acme", &entitlement.Event{ID: own, Source: "market"}, func(x *entitlement.Tenant) error {
			if x.Sources == nil {
				x.Sources = map[string]entitlement.Source{}
			}
			x.Sources[own] = entitlement.Source{}
			x.Sources["all"] = entitlement.Source{Reason: x.Sources["all"].Reason + "x"}
			return nil
		}); err != nil {
			return err
		}
		if _, err := s.ChangeKey(ctx, "aaaaaaaa", func(k *identity.Key) error { k.Scopes = append(k.Scopes, own); return nil }); err != nil {
			return err
		}
	}
	return nil
}

// TestProcesses has four processes change one tenant and one key, and wants that no change is lost.
func TestProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("of the race detector, which does not see from one process into another")
	}
	emulator(t)
	ctx := t.Context()
	project := fmt.Sprintf("test-%d", time.Now().UnixNano())
	s, err := Connect(ctx, Options{Project: project, Databases: []string{"(default)"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.AddKey(ctx, identity.Key{ID: "aaaaaaaa"}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range contenders {
		wg.Go(func() {
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", contender, project, i))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("process %d: %v\n%s", i, err, out)
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	x, err := s.Tenant(ctx, "acme")
	if err != nil {
		t.Fatal(err)
	}
	if all := len(x.Sources["all"].Reason); len(x.Sources) != contenders*each+1 || all != contenders*each {
		t.Errorf("%d events of %d are there, %d changes", len(x.Sources)-1, contenders*each, all)
	}
	k, err := s.Key(ctx, "aaaaaaaa")
	if err != nil {
		t.Fatal(err)
	}
	if len(k.Scopes) != contenders*each {
		t.Errorf("%d changes of the key of %d are there", len(k.Scopes), contenders*each)
	}
	t.Logf("%d processes: %d events on one tenant and as many changes of one key in %v, %.0f events/s", contenders, contenders*each, took.Round(time.Millisecond), contenders*each/took.Seconds())
}
