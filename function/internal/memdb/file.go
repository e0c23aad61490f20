package memdb

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/tenant"
)

// format is that of the file.
const format = 1

// every is how often the file is written at most.
const every = time.Second

// A header is the first line of the file; the content follows it.
type header struct {
	Format int64  `json:"format"`
	SHA256 string `json:"sha256"` // of the content
}

// content is all that the store keeps.
type content struct {
	Epoch        int64                 `json:"epoch"`
	Orders       governor.Orders       `json:"orders"`
	Quotas       []drawn               `json:"quotas,omitempty"`
	Entitlements int64                 `json:"entitlements"` // the version of tenants and plans
	Tenants      []*tenant.Tenant      `json:"tenants,omitempty"`
	Plans        []*tenant.Plan        `json:"plans,omitempty"`
	Events       []eventLine           `json:"events,omitempty"` // by time
	KeyVersion   int64                 `json:"keyVersion"`
	Keys         []*identity.StoredKey `json:"keys,omitempty"`
}

type drawn struct {
	Key  string `json:"key"`
	Day  string `json:"day"`
	Used int64  `json:"used"`
}

type eventLine struct {
	Key    string    `json:"key"`
	Digest string    `json:"digest"`
	At     time.Time `json:"at"`
}

// A file keeps a store on disk.
type file struct {
	path   string
	lock   *os.File
	logger *slog.Logger
	wake   chan struct{} // something has changed
	stop   chan struct{}
	ended  chan struct{}

	mu      sync.Mutex // one writes
	written int64      // the change up to which everything is in the file
	fault   error      // of the last writing
}

// Open returns a store that is kept in a file, which is made where there is none. What changes is written after a second at most,
// an epoch at once; a process that is killed loses what it changed since. Close writes the rest. No two processes share a file.
func Open(path string, logger *slog.Logger) (*Store, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s is in use by another process: stop it, or give each a file of its own", path)
		}
		return nil, fmt.Errorf("%s.lock: %w", path, err)
	}
	s := New()
	if err := s.load(path); err != nil {
		lock.Close()
		return nil, err
	}
	s.file = &file{path: path, lock: lock, logger: logger, wake: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{})}
	go s.file.keep(s)
	return s, nil
}

// Close writes what has changed to the file and lets go of it. What changes later is not kept.
func (s *Store) Close() error {
	f := s.file
	if f == nil {
		return nil
	}
	close(f.stop)
	<-f.ended
	return errors.Join(f.write(s), f.lock.Close())
}

// touch notes that something has changed. It is called with the lock.
func (s *Store) touch() {
	if s.file == nil {
		return
	}
	s.changes++
	select {
	case s.file.wake <- struct{}{}:
	default:
	}
}

func (f *file) keep(s *Store) {
	defer close(f.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-f.wake:
		case <-f.stop:
			return
		}
		if err := f.write(s); err != nil { // it is told once; another attempt follows
			select {
			case f.wake <- struct{}{}:
			default:
			}
		}
		timer.Reset(every)
		select {
		case <-timer.C:
		case <-f.stop:
			return
		}
	}
}

// write writes everything, unless it is written already.
func (f *file) write(s *Store) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.mu.Lock()
	changes := s.changes
	if changes == f.written {
		s.mu.Unlock()
		return nil
	}
	c := s.content()
	s.mu.Unlock()
	err := replace(f.path, c)
	switch {
	case err != nil && f.fault == nil:
		f.logger.Error("what is stored can't be written to its file: it is lost with this process", "file", f.path, "error", err)
	case err == nil && f.fault != nil:
		f.logger.Info("what is stored is written to its file again", "file", f.path)
	}
	if f.fault = err; err == nil {
		f.written = changes
	}
	return err
}

// content is what to write. Rows are never changed, so that they may be encoded without the lock.
func (s *Store) content() *content {
	c := &content{
		Epoch: s.epoch, Orders: clone(s.orders), Entitlements: *s.tenants.version, KeyVersion: *s.keys.version,
		Tenants: s.tenants.all(), Plans: s.plans.all(), Keys: s.keys.all(),
	}
	for q, used := range s.used {
		c.Quotas = append(c.Quotas, drawn{q.key, q.day, used})
	}
	slices.SortFunc(c.Quotas, func(a, b drawn) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Day, b.Day)) })
	for _, e := range s.events.order {
		c.Events = append(c.Events, eventLine{e.key, e.digest, e.at})
	}
	return c
}

// all returns the rows in the order of their ids.
func (t *table[T]) all() []*T {
	out := make([]*T, 0, len(t.rows))
	for _, id := range slices.Sorted(maps.Keys(t.rows)) {
		out = append(out, t.rows[id])
	}
	return out
}

// replace puts another file in the place of the one before. At any time one of the two is there as a whole.
func replace(path string, c *content) (err error) {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	first, err := json.Marshal(header{format, hash(text)})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, part := range [][]byte{first, []byte("\n"), text, []byte("\n")} {
		if _, err := f.Write(part); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// load reads the file, if there is one.
func (s *Store) load(path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	damaged := func(why string) error {
		return fmt.Errorf("%s is damaged: %s; put a copy of it in its place, or move it away to begin with nothing: its tenants, API keys, kill switches and used quotas are gone then", path, why)
	}
	first, rest, _ := bytes.Cut(text, []byte("\n"))
	rest = bytes.TrimSuffix(rest, []byte("\n"))
	var h header
	if err := json.Unmarshal(first, &h); err != nil || h.Format < 1 {
		return damaged("its first line is not that of such a file")
	}
	if h.Format > format {
		return fmt.Errorf("%s has format %d, and this version knows up to %d: run the newer version", path, h.Format, format)
	}
	if h.SHA256 != hash(rest) {
		return damaged("what is in it is not what was written")
	}
	var c content
	if err := json.Unmarshal(rest, &c); err != nil {
		return damaged(err.Error())
	}
	s.epoch, s.orders = c.Epoch, c.Orders
	for _, d := range c.Quotas {
		s.used[quota{d.Key, d.Day}] = d.Used
	}
	for _, t := range c.Tenants {
		s.tenants.rows[t.ID] = t
	}
	for _, p := range c.Plans {
		s.plans.rows[p.Name] = p
	}
	for _, k := range c.Keys {
		s.keys.rows[k.ID] = k
	}
	*s.tenants.version, *s.keys.version = c.Entitlements, c.KeyVersion
	for _, e := range c.Events {
		s.events.remember(&event{key: e.Key, digest: e.Digest}, e.At)
	}
	return nil
}
