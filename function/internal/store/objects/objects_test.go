package objects

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/memnet"
	"example.com/erlmcp/function/internal/store/objects/objectstest"
)

func TestFolder(t *testing.T) { objectstest.TestObjects(t, Folder(t.TempDir()+"/new")) }

// TestFolderIsWritten wants no name out of the folder, and no part of a file under its name.
func TestFolderIsWritten(t *testing.T) {
	f := Folder(t.TempDir())
	for _, name := range []string{"", ".", "..", "../x", "/x", "a/../b", "a//b", `a\b`, ".hidden", "a/.partial-1"} {
		if err := f.Create(t.Context(), name, nil); err == nil {
			t.Errorf("%q is taken for the name of an object", name)
		}
	}
	if err := f.Create(t.Context(), "a/b", []byte("x")); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(string(f) + "/a")
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files (%v), want 1", len(entries), err)
	}
}

func TestOpen(t *testing.T) {
	t.Setenv(emulator, "127.0.0.1:1")
	for place, fails := range map[string]string{
		"": "which place", "s3://bucket": "neither a folder", "gs://": "names no bucket", "gs://UPPER/x": "names no bucket",
		"gs://bucket": "", "gs://bucket/a/b/": "", "folder": "",
	} {
		o, err := Open(t.Context(), place)
		switch {
		case fails == "" && (err != nil || o.String() != strings.TrimSuffix(place, "/")):
			t.Errorf("%q: %v %v", place, o, err)
		case fails != "" && (err == nil || !strings.Contains(err.Error(), fails)):
			t.Errorf("%q: %v, want %q", place, err, fails)
		}
	}
}

// inBucket runs a test against a bucket that is served, by the clock of a bubble.
func inBucket(t *testing.T, test func(*testing.T, *objectstest.Bucket, *Bucket)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fake := objectstest.NewBucket()
		fake.Token = "secret"
		var network memnet.Network
		client := network.Client(t)
		url := network.Serve(t, fake)
		b, err := OpenBucket(t.Context(), "gs://"+objectstest.Name+"/of/staging", BucketOptions{
			Endpoint: url, Client: client, Token: func(context.Context) (string, error) { return "secret", nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		test(t, fake, b)
	})
}

func TestBucket(t *testing.T) {
	for _, page := range []int{0, 1, 2, 3} {
		inBucket(t, func(t *testing.T, fake *objectstest.Bucket, b *Bucket) {
			fake.Page = page
			objectstest.TestObjects(t, b)
			if r := fake.Refused(); len(r) > 0 {
				t.Errorf("it tried to change what is there: %q", r)
			}
			for name := range fake.Objects() {
				if !strings.HasPrefix(name, "of/staging/") {
					t.Errorf("%s is outside of the prefix", name)
				}
			}
		})
	}
}

var whole = flag.Bool("whole", false, "try all seeds")

// TestFaultsOfABucket has any of the requests be refused for now, lost before or after it was done, or cut off, in schedules of a seed each:
// what is created is there as it was, and nothing was tried to be changed.
func TestFaultsOfABucket(t *testing.T) {
	seeds := uint64(8)
	if *whole {
		seeds = 60
	}
	for seed := range seeds {
		inBucket(t, func(t *testing.T, fake *objectstest.Bucket, b *Bucket) {
			random := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex
			faults := 0
			fake.Meddle = func(*http.Request) (f objectstest.Fault) {
				mu.Lock()
				defer mu.Unlock()
				if random.IntN(3) > 0 {
					return f
				}
				switch faults++; random.IntN(4) {
				case 0:
					f.Status = []int{408, 429, 500, 502, 503, 504}[random.IntN(6)]
				case 1:
					f.Lost = true
				case 2:
					f.Cut = true
				}
				return f
			}
			objectstest.TestObjects(t, b)
			if r := fake.Refused(); len(r) > 0 || faults == 0 {
				t.Errorf("seed %d: %d faults; it tried to change what is there: %q", seed, faults, r)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// TestRefusals says what to do about a refusal, and asks no more than a few times.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		status, asked int
		says          string
	}{
		{401, 1, "check the credentials"}, {403, 1, "roles/storage.objectCreator"}, {404, 1, "is there such a bucket"},
		{429, maxAttempts, "answers 429"}, {503, maxAttempts, "answers 503"}, {400, 1, "answers 400"},
	} {
		inBucket(t, func(t *testing.T, fake *objectstest.Bucket, b *Bucket) {
			asked := 0
			fake.Meddle = func(*http.Request) objectstest.Fault {
				asked++
				return objectstest.Fault{Status: c.status}
			}
			err := b.Create(t.Context(), "x", nil)
			if err == nil || !strings.Contains(err.Error(), c.says) || asked != c.asked {
				t.Errorf("%d: %v after %d requests, want %q after %d", c.status, err, asked, c.says, c.asked)
			}
		})
	}
}

// TestLeaving has a bucket that answers no request wait no longer than its caller.
func TestLeaving(t *testing.T) {
	inBucket(t, func(t *testing.T, fake *objectstest.Bucket, b *Bucket) {
		fake.Meddle = func(*http.Request) objectstest.Fault { return objectstest.Fault{Status: 503} }
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begin := time.Now()
		_, err := b.Read(ctx, "x")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 3*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

// TestNotThere tells an object that is missing from what can't be read.
func TestNotThere(t *testing.T) {
	inBucket(t, func(t *testing.T, fake *objectstest.Bucket, b *Bucket) {
		_, err := b.Read(t.Context(), "x")
		if !errors.Is(err, backup.ErrNotFound) || !strings.Contains(fmt.Sprint(err), "gs://"+objectstest.Name+"/of/staging/x") {
			t.Error(err)
		}
	})
}
