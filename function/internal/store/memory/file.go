package memory

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/effect"
	"example.com/erlmcp/function/internal/receipt"
)

// format is that of the file. The first was one JSON text.
const format = 2

// A file is a bbolt database. What is in a row is JSON. A nil file keeps nothing.
type file struct {
	path string
	db   *bbolt.DB

	mu    sync.Mutex
	stuck bool // a panic has left bbolt's locks taken
}

// A row is what is kept of a kind under a key.
type row struct {
	kind, key string
	value     any // nil takes the row away
}

// The key of a kind that has one row is its name. The sum is that of all other rows.
const (
	kindFormat     = "format"
	kindSum        = "sum"
	kindEpoch      = "epoch"
	kindDirectives = "directives"
	kindQuotas     = "quotas"
	kindTenants    = "tenants"
	kindPlans      = "plans"
	kindKeys       = "keys"
	kindEvents     = "events"
	kindEffects    = "effects"
	kindSegments   = "segments"
	kindRoots      = "roots"
)

// Open has empty stores keep in a file what they hold, and reads it from there; the file is made where there is none. What a store has
// answered for is on disk, even where the process is killed or the machine loses power. [Store.Close] lets go of the file. No two
// processes share one.
func Open(path string, s *Store, r *Receipts, e *Effects) error {
	f := &file{path: path}
	if info, err := os.Stat(path); err == nil && info.Size() == 0 { // bbolt would begin anew
		return f.damaged("it is empty")
	}
	err := guarded(func() (err error) {
		f.db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
		return err
	})
	switch errno := syscall.Errno(0); {
	case errors.As(err, &errno):
		return fmt.Errorf("%s: %w", path, err)
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%s is in use by another process: stop it, or give each a file of its own", path)
	case err != nil:
		if text, _ := os.ReadFile(path); bytes.HasPrefix(text, []byte(`{"format":1,`)) {
			return fmt.Errorf("%s has format 1, and this version reads %d alone: run the version that wrote it, or %s", path, format, startOver)
		}
		return f.damaged(err.Error())
	}
	if err := f.load(s, r, e); err != nil {
		return errors.Join(err, f.close())
	}
	s.file, r.file, e.file = f, f, f
	return nil
}

// Close lets go of the file. What changes later is not kept, and an error.
func (s *Store) Close() error { return s.file.close() }

func (f *file) close() error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stuck {
		return f.damaged("it could not be written")
	}
	return f.db.Close()
}

const startOver = "move it away to begin with nothing: its tenants, API keys, kill switches, used quotas and receipts are gone then"

func (f *file) damaged(why string) error {
	return fmt.Errorf("%s is damaged: %s; put a copy of it in its place, or %s", f.path, why, startOver)
}

// guarded turns panics into errors: bbolt's at a page that makes no sense, and the machine's at one beyond the end of the file.
func guarded(run func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return run()
}

// A sum is of a set of rows: the hashes of all, combined by exclusive or. bbolt does not notice where bytes of a row have changed, or
// where rows are gone.
type sum [sha256.Size]byte

// toggle puts a row into the set, or takes it out.
func (s *sum) toggle(key, text []byte) {
	hash := sha256.Sum256(fmt.Appendf(nil, "%q %s", key, text))
	subtle.XORBytes(s[:], s[:], hash[:])
}

// All rows are in one bucket. There is an empty one in it, for bbolt to have pages of its own for it: where it is embedded in another's
// page, and that is damaged, bbolt may make pointers that end the process.
var bucketOfRows, apart = []byte("rows"), []byte("apart")

// put writes rows, all or none. Where it returns nil they are on disk.
func (f *file) put(rows ...row) error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stuck {
		return f.damaged("it could not be written")
	}
	f.stuck = true
	err := guarded(func() error {
		err := f.db.Update(func(tx *bbolt.Tx) error { return write(tx, rows) })
		if err == nil { // bbolt goes back by one transaction where the page with the last one's root is damaged: it is to lose nothing
			err = f.db.Update(func(*bbolt.Tx) error { return nil })
		}
		f.stuck = false
		return err
	})
	if f.stuck {
		err = f.damaged(err.Error())
	}
	return err
}

func write(tx *bbolt.Tx, rows []row) (err error) {
	b := tx.Bucket(bucketOfRows)
	if b == nil {
		if b, err = tx.CreateBucket(bucketOfRows); err == nil {
			_, err = b.CreateBucket(apart)
		}
		if err != nil {
			return err
		}
	}
	var all sum
	copy(all[:], b.Get([]byte(kindSum)))
	for _, r := range rows {
		key := []byte(r.kind + " " + r.key)
		if old := b.Get(key); old != nil {
			all.toggle(key, old)
		}
		if r.value == nil {
			err = b.Delete(key)
		} else {
			var text []byte
			if text, err = json.Marshal(r.value); err == nil {
				all.toggle(key, text)
				err = b.Put(key, text)
			}
		}
		if err != nil {
			return err
		}
	}
	return b.Put([]byte(kindSum), all[:])
}

// load reads every row.
func (f *file) load(s *Store, r *Receipts, e *Effects) error {
	read := readers(s, r, e)
	fresh, newer := false, 0
	err := guarded(func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			if fresh = tx.ID() < 2; fresh { // bbolt has written its first pages, and nothing was put
				return nil
			}
			b := tx.Bucket(bucketOfRows)
			if b == nil {
				return errors.New("it has no rows")
			}
			var found, want sum
			if json.Unmarshal(b.Get([]byte(kindFormat+" "+kindFormat)), &newer); newer > format {
				return nil
			}
			err := b.ForEach(func(name, text []byte) error {
				kind, key, _ := strings.Cut(string(name), " ")
				switch {
				case text == nil: // a bucket
					return nil
				case kind == kindSum:
					copy(want[:], text)
					return nil
				case read[kind] == nil:
					return fmt.Errorf("it has rows of the kind %q", kind)
				}
				found.toggle(name, text)
				return read[kind](key, text)
			})
			if err == nil && (found != want || newer != format) {
				err = errors.New("what is in it is not what was written")
			}
			return err
		})
	})
	switch {
	case err != nil:
		return f.damaged(err.Error())
	case newer > format:
		return fmt.Errorf("%s has format %d, and this version knows up to %d: run the newer version", f.path, newer, format)
	case fresh:
		return f.put(row{kindFormat, kindFormat, format})
	}
	s.events.sort()
	return nil
}

// readers put the rows of each kind where they belong.
func readers(s *Store, r *Receipts, e *Effects) map[string]func(key string, text []byte) error {
	return map[string]func(key string, text []byte) error{
		kindFormat:     func(string, []byte) error { return nil },
		kindEpoch:      into(func(_ string, epoch *int64) { s.epoch = *epoch }),
		kindDirectives: into(func(_ string, d *directives.Directives) { s.directives = *d }),
		kindQuotas: into(func(key string, used *int64) {
			day, of, _ := strings.Cut(key, " ")
			s.used[quota{of, day}] = *used
		}),
		kindTenants: into(s.tenants.put),
		kindPlans:   into(s.plans.put),
		kindKeys:    into(s.keys.put),
		kindEvents: into(func(key string, e *event) {
			e.key = key
			s.events.add(e)
		}),
		kindEffects:  into(func(key string, kept *effect.IdempotencyRecord) { e.kept[key] = *kept }),
		kindSegments: into(func(_ string, segment *receipt.Segment) { r.add(segment) }),
		kindRoots:    into(func(_ string, root *receipt.Root) { r.roots = append(r.roots, root) }),
	}
}

// into decodes the text of a row and hands it on.
func into[T any](put func(key string, value *T)) func(string, []byte) error {
	return func(key string, text []byte) error {
		value := new(T)
		err := json.Unmarshal(text, value)
		if err == nil {
			put(key, value)
		}
		return err
	}
}
