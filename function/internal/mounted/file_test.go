package mounted

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func parse(b []byte) (string, error) {
	if strings.HasPrefix(string(b), "bad") {
		return "", errors.New("it is bad")
	}
	return string(b), nil
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(path, parse, time.Now, slog.Default()); err == nil {
		t.Error("a file that is not there opens")
	}
	write("bad")
	if _, err := Open(path, parse, time.Now, slog.Default()); err == nil || err.Error() != path+": it is bad" {
		t.Errorf("a bad one: %v", err)
	}
	write("one")
	var clock atomic.Int64
	now := func() time.Time { return time.Unix(1e9+clock.Load(), 0) }
	f, err := Open(path, parse, now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	write("two")
	if v := f.Value(); v != "one" {
		t.Errorf("at once: %q", v)
	}
	clock.Add(10) // frozen for a while: the first use sees the change
	if v := f.Value(); v != "two" || f.Fault() != nil {
		t.Errorf("after a while: %q, %v", v, f.Fault())
	}
	for text, want := range map[string]string{"bad 1": "it is bad", "": "no such file"} {
		if write(text); text == "" {
			os.Remove(path)
		}
		clock.Add(10)
		if v := f.Value(); v != "two" || f.Fault() == nil || !strings.Contains(f.Fault().Error(), want) {
			t.Errorf("%q: %q, %v", text, v, f.Fault())
		}
	}
	write("three")
	clock.Add(10)
	if v := f.Value(); v != "three" || f.Fault() != nil {
		t.Errorf("mended: %q, %v", v, f.Fault())
	}
	write("four")
	clock.Add(3) // in use: beside it
	for end := time.Now().Add(5 * time.Second); f.Value() != "four"; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the change is never seen")
		}
	}
}

// TestHangingMount: a mount that does not answer holds no one up for long.
func TestHangingMount(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	var clock atomic.Int64
	hang := make(chan struct{})
	var hanging atomic.Bool
	f, err := Open(path, func(b []byte) (string, error) {
		if hanging.Load() {
			<-hang
		}
		return parse(b)
	}, func() time.Time { return time.Unix(1e9+clock.Load(), 0) }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	hanging.Store(true)
	os.WriteFile(path, []byte("two"), 0o600)
	clock.Add(10)
	begin := time.Now()
	if v := f.Value(); v != "one" || time.Since(begin) > 3*time.Second {
		t.Errorf("%q after %v", v, time.Since(begin))
	}
	close(hang)
}
