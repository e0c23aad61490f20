package firestore

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/directives/directivestest"
	"example.com/erlmcp/function/internal/governor/governortest"
)

// started is the emulator that the tests share.
var started *exec.Cmd

// TestMain stops the emulator.
func TestMain(m *testing.M) {
	if contends() {
		return
	}
	status := m.Run()
	if started != nil {
		started.Process.Kill()
		started.Wait()
	}
	os.Exit(status)
}

// emulator starts Firestore's emulator, which comes with the gcloud SDK, unless one runs. ERLMCP_TEST_ON asks for it, as make stores
// does; it must be there then.
func emulator(t *testing.T) {
	t.Helper()
	if !slices.Contains(strings.Fields(os.Getenv("ERLMCP_TEST_ON")), "firestore") {
		t.Skip("asked for with ERLMCP_TEST_ON=firestore")
	}
	if os.Getenv("FIRESTORE_EMULATOR_HOST") != "" {
		return
	}
	root, err := exec.Command("gcloud", "info", "--format=value(installation.sdk_root)").Output()
	jar := strings.TrimSpace(string(root)) + "/platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"
	if err == nil {
		_, err = os.Stat(jar)
	}
	if err != nil {
		t.Fatalf("there is no Firestore emulator (gcloud components install cloud-firestore-emulator): %v", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command("java", "-Xmx512m", "-Duser.language=en", "-cp", jar, "com.google.cloud.datastore.emulator.firestore.CloudFirestore",
		"start", "--host=127.0.0.1", "--port="+port)
	if err := cmd.Start(); err != nil {
		t.Fatalf("the emulator needs Java: %v", err)
	}
	started = cmd
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) { // real time: a process starts
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			break
		}
		if time.Since(begin) > 60*time.Second {
			t.Fatal("the emulator does not listen")
		}
	}
	os.Setenv("FIRESTORE_EMULATOR_HOST", addr)
}

// connect opens databases that are empty.
func connect(t *testing.T) *Store {
	t.Helper()
	s, err := Connect(t.Context(), Options{Project: fmt.Sprintf("test-%d", time.Now().UnixNano()), Databases: []string{"erlmcp", "erlmcp-usage", "erlmcp-receipts"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestDirectivesWrittenOver has the version before replace the document of the directives. What this one has written is kept, and tells what
// was lifted.
func TestDirectivesWrittenOver(t *testing.T) {
	emulator(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := connect(t)
	kill := func(scope string) directives.Directives {
		t.Helper()
		after, err := s.Change(ctx, func(o *directives.Directives) error { // as a writer does, which would wait less for the emulator
			*o = directives.Merge(*o, directives.Directives{}, time.Now())
			return o.Kill(directives.Kill{Scope: scope, Reason: "r", At: time.Now()})
		})
		if err != nil {
			t.Fatal(err)
		}
		return after
	}
	kill("tool:a")
	mine := kill("tool:b")
	doc := s.control.Collection(collection).Doc(directivesDoc)
	for i := range int64(2) { // as often as it likes
		text, err := json.Marshal(directives.Directives{Kills: mine.Kills[1:]})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := doc.Set(ctx, directivesDocument{format, mine.Version + 1 + i, string(text)}); err != nil {
			t.Fatal(err)
		}
		if o, err := s.Directives(ctx); err != nil || o.Merged || o.Version != mine.Version+1+i || len(o.Kills) != 1 || len(o.Gone) != 1 {
			t.Errorf("read %+v, %v", o, err)
		}
	}
	if after := kill("tool:c"); !after.Merged || len(after.Kills) != 2 || len(after.Gone) != 1 {
		t.Errorf("changed to %+v", after)
	}
	for _, id := range []string{directivesDoc, keptDoc} {
		o, err := s.document(id, func(doc *firestore.DocumentRef) (*firestore.DocumentSnapshot, error) { return doc.Get(ctx) })
		if err != nil || !o.Merged || len(o.Kills) != 2 || len(o.Gone) != 1 {
			t.Errorf("%s has %+v, %v", id, o, err)
		}
	}
	// The document was replaced again, and before what was kept is read someone has written it.
	if _, err := doc.Set(ctx, directivesDocument{format, mine.Version + 3, `{"kills":[]}`}); err != nil {
		t.Fatal(err)
	}
	if o, err := s.Directives(ctx); err != nil || !o.Merged || len(o.Kills) != 2 {
		t.Errorf("what was written meanwhile: %+v, %v", o, err)
	}
}

func TestStore(t *testing.T) {
	emulator(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := connect(t)
	governortest.TestStore(t, s)
	directivestest.TestStore(t, s)

	for doc, read := range map[*firestore.DocumentRef]func() error{
		s.usage.Collection(collection).Doc(ledgerDoc):       func() error { _, _, err := s.Next(ctx); return err },
		s.control.Collection(collection).Doc(directivesDoc): func() error { _, err := s.Directives(ctx); return err },
	} {
		if _, err := doc.Set(ctx, ledger{format + 1, 9}); err != nil {
			t.Fatal(err)
		}
		if err := read(); err == nil || !strings.Contains(err.Error(), "deploy the newer version") {
			t.Errorf("a newer format of %s: %v", doc.ID, err)
		}
	}
}
