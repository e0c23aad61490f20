package gocommand

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLeftBehind starts what outlives the command that it was started by, and what ends with its context alone.
func TestLeftBehind(t *testing.T) {
	out, err := Output(New(t.Context(), t.TempDir(), "sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $!"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	state := filepath.Join("/proc", strings.TrimSpace(string(out)), "stat")
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		s, err := os.ReadFile(state)
		if err != nil || strings.Contains(string(s), ") Z ") {
			break
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("the process is still there: %s", s)
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := Output(New(ctx, t.TempDir(), "sh", "-c", "sleep 300; echo")); err == nil || time.Since(begin) > 10*time.Second {
		t.Errorf("the command ended with %v after %v, though its context was done", err, time.Since(begin))
	}
}

func TestList(t *testing.T) {
	all, err := List(t.Context(), "..", "./gocommand", "./coldstart")
	if err != nil || len(all) != 2 || all[1].Name(filepath.Dir(all[0].Dir)) != "coldstart" || !all[0].Tested() || all[1].Tested() {
		t.Errorf("%+v %v", all, err)
	}
	if _, err := List(t.Context(), "..", "./nowhere"); err == nil || !strings.Contains(err.Error(), "go list ./nowhere in ..: exit status 1: ") {
		t.Errorf("a package that is not there: %v", err)
	}
}
