package firestoredb

import (
	"context"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// emulator starts Firestore's emulator, which comes with the gcloud SDK. Where that is installed it must run in CI.
func emulator(t *testing.T) {
	t.Helper()
	if os.Getenv("FIRESTORE_EMULATOR_HOST") != "" {
		return
	}
	root, err := exec.Command("gcloud", "info", "--format=value(installation.sdk_root)").Output()
	jar := strings.TrimSpace(string(root)) + "/platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"
	if err == nil {
		_, err = os.Stat(jar)
	}
	if err != nil {
		t.Skip("NOT TESTED: there is no Firestore emulator here (gcloud components install cloud-firestore-emulator)")
	}
	if testing.Short() && os.Getenv("CI") == "" {
		t.Skip("NOT TESTED: the emulator takes seconds to start")
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
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			break
		}
		if time.Since(begin) > 60*time.Second {
			t.Fatal("the emulator does not listen")
		}
	}
	t.Setenv("FIRESTORE_EMULATOR_HOST", addr)
}

func TestEpochs(t *testing.T) {
	emulator(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := Connect(ctx, "test-"+strings.ToLower(time.Now().UTC().Format("20060102t150405")))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if epoch, first, err := s.Next(ctx); epoch != 1 || !first || err != nil {
		t.Fatalf("the first epoch: %d %t %v", epoch, first, err)
	}
	// Instances that find the ledger lost together get epochs of their own.
	var mu sync.Mutex
	var got []int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			epoch, first, err := s.Next(ctx)
			if err != nil || first {
				t.Errorf("a later epoch: %d %t %v", epoch, first, err)
			}
			mu.Lock()
			defer mu.Unlock()
			got = append(got, epoch)
		})
	}
	wg.Wait()
	if slices.Sort(got); !slices.Equal(got, []int64{2, 3, 4, 5}) {
		t.Errorf("epochs %v", got)
	}
	if _, err := s.client.Collection(collection).Doc(ledgerDoc).Set(ctx, ledger{format + 1, 9}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Next(ctx); err == nil || !strings.Contains(err.Error(), "deploy the newer version") {
		t.Errorf("a newer format: %v", err)
	}
}
