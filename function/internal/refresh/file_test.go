package refresh

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func parse(b []byte) (string, error) {
	if strings.HasPrefix(string(b), "bad") {
		return "", errors.New("it is bad")
	}
	return string(b), nil
}

func logTo(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func TestFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		write := func(text string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := OpenFile(path, parse, FileOptions{Now: time.Now, Logger: logTo(t)}); err == nil {
			t.Error("a file that is not there opens")
		}
		write("bad")
		if _, err := OpenFile(path, parse, FileOptions{Now: time.Now, Logger: logTo(t)}); err == nil || err.Error() != path+": it is bad" {
			t.Errorf("a bad one: %v", err)
		}
		write("one")
		f, err := OpenFile(path, parse, FileOptions{Now: time.Now, Logger: logTo(t)})
		if err != nil {
			t.Fatal(err)
		}
		write("two")
		if v := f.Value(); v != "one" {
			t.Errorf("at once: %q", v)
		}
		time.Sleep(10 * time.Second) // frozen for a while: the first use sees the change
		if v := f.Value(); v != "two" || f.Fault() != nil {
			t.Errorf("after a while: %q, %v", v, f.Fault())
		}
		// Who asks what is wrong sees it at once, used or not, and that it is mended.
		for _, text := range []string{"bad", "two", "bad again", "bad", "two"} {
			write(text)
			if err := f.Fault(); (err != nil) != strings.HasPrefix(text, "bad") {
				t.Errorf("%q: %v", text, err)
			}
		}
		for text, want := range map[string]string{"bad 1": "it is bad", "": "no such file"} {
			if write(text); text == "" {
				os.Remove(path)
			}
			time.Sleep(10 * time.Second)
			if v := f.Value(); v != "two" || f.Fault() == nil || !strings.Contains(f.Fault().Error(), want) {
				t.Errorf("%q: %q, %v", text, v, f.Fault())
			}
		}
		write("three")
		time.Sleep(10 * time.Second)
		if v := f.Value(); v != "three" || f.Fault() != nil {
			t.Errorf("mended: %q, %v", v, f.Fault())
		}
		write("four")
		time.Sleep(3 * time.Second) // in use: beside it
		f.Value()
		synctest.Wait()
		if v := f.Value(); v != "four" {
			t.Errorf("in use: %q", v)
		}
	})
}

// TestHangingMount: a mount that does not answer holds no one up for long.
func TestHangingMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte("one"), 0o600); err != nil {
			t.Fatal(err)
		}
		hang := make(chan struct{})
		var hanging atomic.Bool
		f, err := OpenFile(path, func(b []byte) (string, error) {
			if hanging.Load() {
				<-hang
			}
			return parse(b)
		}, FileOptions{Now: time.Now, Logger: logTo(t)})
		if err != nil {
			t.Fatal(err)
		}
		hanging.Store(true)
		os.WriteFile(path, []byte("two"), 0o600)
		time.Sleep(10 * time.Second)
		for _, most := range []time.Duration{lookTimeout, 0} { // the next one need not wait as well
			begin := time.Now()
			if v := f.Value(); v != "one" || time.Since(begin) != most {
				t.Errorf("%q after %v, want %v", v, time.Since(begin), most)
			}
		}
		close(hang)
		synctest.Wait()
		if v := f.Value(); v != "two" {
			t.Errorf("%q of a mount that answers again", v)
		}
	})
}

// TestLooksThatCost has a file be used and asked about all the time: it is looked at once in its age, and a process that was frozen sees a
// change first.
func TestLooksThatCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte("bad 0"), 0o600); err != nil {
			t.Fatal(err)
		}
		looks := 0
		const age = 30 * time.Second
		f, err := OpenFile(path, func(b []byte) (string, error) {
			if looks++; looks > 1 {
				return parse(b)
			}
			return string(b), nil
		}, FileOptions{Now: time.Now, Logger: logTo(t), Age: age, Changed: func() bool { looks++; return false }}) // which each look asks that reads the same
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("bad 1"), 0o600); err != nil {
			t.Fatal(err)
		}
		for begin := time.Now(); time.Since(begin) < 10*age; time.Sleep(500 * time.Millisecond) {
			f.Value()
			f.Fault()
			synctest.Wait()
		}
		if looks != 10 { // the first of them at the start
			t.Errorf("%d looks in ten times the age", looks)
		}
		if err := os.WriteFile(path, []byte("one"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * age)
		if v := f.Value(); v != "one" || f.Fault() != nil {
			t.Errorf("after a while: %q, %v", v, f.Fault())
		}
	})
}

// TestFileOfOthers changes another file, of which the value was made.
func TestFileOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte("names another"), 0o600); err != nil {
			t.Fatal(err)
		}
		other, seen := 1, 0
		f, err := OpenFile(path, func([]byte) (int, error) {
			if seen = other; other == 13 {
				return 0, errors.New("the other is bad")
			}
			return other, nil
		}, FileOptions{Now: time.Now, Logger: logTo(t), Changed: func() bool { return seen != other }})
		if err != nil || f.Value() != 1 {
			t.Fatal(err)
		}
		for _, c := range []struct {
			other, want int
			fault       bool
		}{{2, 2, false}, {2, 2, false}, {13, 2, true}, {3, 3, false}} {
			other = c.other
			time.Sleep(10 * time.Second)
			if got := f.Value(); got != c.want || (f.Fault() != nil) != c.fault {
				t.Errorf("another of %d: %d, %v", c.other, got, f.Fault())
			}
		}
	})
}

// TestGone has a file be away for a while: that is told once each time, and what it says is made again when it is back, though it is the same.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte("one"), 0o600); err != nil {
			t.Fatal(err)
		}
		made, gone := 0, 0
		f, err := OpenFile(path, func(b []byte) (string, error) { made++; return parse(b) },
			FileOptions{Now: time.Now, Logger: logTo(t), Gone: func(error) { gone++ }})
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= 2; n++ {
			os.Rename(path, path+".away")
			for range 3 {
				time.Sleep(10 * time.Second)
				f.Value()
			}
			os.Rename(path+".away", path)
			time.Sleep(10 * time.Second)
			if v := f.Value(); v != "one" || f.Fault() != nil || made != 1+n || gone != n {
				t.Errorf("%q, %v, made %d times, told %d times", v, f.Fault(), made, gone)
			}
		}
	})
}
