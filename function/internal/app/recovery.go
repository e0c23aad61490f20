package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/archive"
	"example.com/erlmcp/function/internal/recovery"
	"example.com/erlmcp/function/internal/serve"
	"example.com/erlmcp/function/internal/store/objects"
)

// A Recovery backs a fleet's store up to a place, a folder or gs://BUCKET/PREFIX, and has it back from there.
type Recovery struct {
	options  Options
	config   *config.Config
	stores   *Stores
	signer   receipt.Signer // nil where the operator has no key
	keys     receipt.PublicKeys
	recorder *Recorder // nil until something is to be recorded, or where nothing is
}

// OpenRecovery connects to the store, and the Redis, that the settings name. The operator's public keys are as in [OpenRecords].
func OpenRecovery(ctx context.Context, keyFile string, o Options) (*Recovery, error) {
	o.Complete()
	cfg, err := config.Load(o.Getenv, config.Machine{})
	if err == nil && cfg.Project == "" && cfg.StoreFile == "" && o.Memory == nil {
		err = errors.New("GOOGLE_CLOUD_PROJECT or STORE_FILE: neither is set, and they say which store this is about")
	}
	if err != nil {
		return nil, &serve.StartError{Faults: err}
	}
	r := &Recovery{options: o, config: cfg}
	current, err := judgedBy(ctx, cfg, &o, keyFile)
	if err != nil {
		return nil, err
	}
	operator := current() // once: who signs is one of those by whom it is judged
	r.signer = operator.signer
	if r.keys, err = operator.judges(ctx); err != nil {
		return nil, &serve.StartError{Faults: err}
	}
	if r.stores, err = OpenStores(ctx, cfg, &o); err != nil {
		return nil, &serve.StartError{Faults: err}
	}
	return r, nil
}

// Close writes the receipts that wait, and ends the connections.
func (r *Recovery) Close() {
	r.recorder.Close(time.Now().Add(LastReceipts))
	r.stores.Close()
}

// LastReceipts is how long a command waits at its end for what is still to be stored of its receipts.
const LastReceipts = 5 * time.Second

// Progress hears how many records of a kind are done.
type Progress = func(kind backup.Kind, records int64)

// Backup makes a backup, of the store as it was at a time; zero is now.
func (r *Recovery) Backup(ctx context.Context, place string, at time.Time, progress Progress) (*backup.Manifest, error) {
	to, err := objects.Open(ctx, place)
	if err != nil {
		return nil, err
	}
	return recovery.Backup(ctx, r.stores.Records, r.stores.Directives, to, backup.Options{At: at, Version: Version, Signer: r.signer, Progress: progress})
}

// Archive copies the receipts of the days that are over to a place, where the settings have them leave the store before they need not be kept
// any more; else it is nil. Another place than BACKUP_PLACE is not read afterwards, so nothing is archived there.
func (r *Recovery) Archive(ctx context.Context, place string) (*archive.Done, error) {
	c := r.config
	if c.ReceiptStoreDays == c.ReceiptRetentionDays || place != c.BackupPlace {
		return nil, nil
	}
	to, err := objects.Open(ctx, place)
	if err != nil {
		return nil, err
	}
	w := &archive.Writer{Store: r.stores.Receipts, To: to, Keep: days(c.ReceiptStoreDays), Now: time.Now}
	return w.Run(ctx)
}

// Ship puts the newest roots, and the receipts of changes, into a place.
func (r *Recovery) Ship(ctx context.Context, place string) (*recovery.Shipped, error) {
	to, err := objects.Open(ctx, place)
	if err != nil {
		return nil, err
	}
	return recovery.Ship(ctx, r.stores.Receipts, to, time.Now())
}

// Restore restores a backup, "" for the newest, into the store, which must be empty.
func (r *Recovery) Restore(ctx context.Context, place, name string, progress Progress) (*recovery.Restored, error) {
	from, err := objects.Open(ctx, place)
	if err != nil {
		return nil, err
	}
	restore := r.restore(from, progress)
	restore.Backup = name
	return restore.Run(ctx)
}

// Adopt closes a store that was restored by other means.
func (r *Recovery) Adopt(ctx context.Context, place string) (*recovery.Restored, error) {
	from, err := objects.Open(ctx, place)
	if err != nil {
		return nil, err
	}
	return r.restore(from, nil).Adopt(ctx)
}

func (r *Recovery) restore(from backup.Objects, progress Progress) *recovery.Restore {
	s := r.stores
	return &recovery.Restore{From: from, Keys: r.keys.Keys, Store: s.Records, Directives: r.writer(), Receipts: s.Receipts, Progress: progress, Now: time.Now}
}

// Confirm says what was ordered since the backup that the store was restored from, and has what is needed to replay it where it is to be.
func (r *Recovery) Confirm(ctx context.Context, place string, replay bool) (*recovery.Confirm, *recovery.Plan, error) {
	from, err := objects.Open(ctx, place)
	if err != nil {
		return nil, nil, err
	}
	c, err := r.confirm(ctx, from, replay)
	if err != nil {
		return nil, nil, err
	}
	p, err := c.Plan(ctx)
	return c, p, err
}

func (r *Recovery) confirm(ctx context.Context, from backup.Objects, record bool) (*recovery.Confirm, error) {
	var err error
	if record && r.recorder == nil {
		if r.recorder, err = OpenOperatorsRecorder(ctx, r.config, r.stores, fmt.Sprintf("operator-%08x", rand.Uint32())); err != nil {
			return nil, err
		}
	}
	changes := &receipt.Changes{Recorder: Unrecorded{}, Logger: slog.New(slog.DiscardHandler), Explain: func(err error) (reason, words string) { return "store", err.Error() }}
	if r.recorder != nil {
		changes.Recorder = r.recorder.Logged()
	}
	s := r.stores
	return &recovery.Confirm{
		From: from, Keys: r.keys.Keys, Directives: r.writer(), Tenants: s.Tenants, APIKeys: s.Keys, Changes: changes, NewID: r.recorder.NewID, Announce: s.Announce, Now: time.Now,
	}, nil
}

// writer changes the directives, on the board too where the settings name a Redis.
func (r *Recovery) writer() *directives.Writer {
	w := &directives.Writer{Store: r.stores.Directives, Now: time.Now}
	if r.stores.Redis != nil {
		w.Board = r.stores.Redis
	}
	return w
}

// Drill shows that the store can be had back from a place, in another database of the project, or another file, that is empty.
func (r *Recovery) Drill(ctx context.Context, place string, what recovery.DrillOptions) (_ *recovery.Report, err error) {
	into, clear, progress := what.Into, what.Empty, what.Progress
	to, err := objects.Open(ctx, place)
	if err != nil {
		return nil, err
	}
	name, err := r.apart(into, clear)
	if err != nil {
		return nil, err
	}
	if clear && r.config.Project == "" {
		if same(into, r.config.StoreFile) {
			return nil, fmt.Errorf("%s is the store that serves, %s, by another name", into, r.config.StoreFile)
		}
		if err := remove(into); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, remove(into)) }()
	}
	other, err := OpenRecovery(ctx, "", r.optionsFor(name, into))
	if err != nil {
		return nil, fmt.Errorf("the store for the drill, %s: %w", into, err)
	}
	defer other.Close()
	other.keys = r.keys
	if records, ok := other.stores.Records.(interface{ Clear(context.Context) error }); ok && clear {
		if err := records.Clear(ctx); err != nil {
			return nil, fmt.Errorf("%s can't be emptied: %w", into, err)
		}
		defer func() {
			other.recorder.Close(time.Now().Add(LastReceipts)) // which writes there, too
			other.recorder = nil
			err = errors.Join(err, records.Clear(ctx))
		}()
	}
	confirm, err := other.confirm(ctx, to, true)
	if err != nil {
		return nil, err
	}
	d := &recovery.Drill{
		Place: to, Store: r.stores.Records, Directives: r.stores.Directives, Receipts: r.stores.Receipts, Ending: what.Ending, Restore: other.restore(to, progress), Confirm: confirm,
		Into: into, Version: Version, Keys: r.keys.Keys, Roots: r.keys.Roots, Signer: r.signer, Progress: progress, Now: time.Now,
	}
	return d.Run(ctx)
}

// apart returns the setting that names stores, and wants of a name that it is that of another store than those at hand, and that it says
// so where that is emptied.
func (r *Recovery) apart(into string, clear bool) (name string, err error) {
	name, current := "FIRESTORE_DATABASE", r.config.Databases
	fresh := strings.Split(into, ",")
	if r.config.Project == "" {
		name, current, fresh = "STORE_FILE", []string{r.config.StoreFile}, []string{into}
	}
	for _, store := range fresh {
		store = strings.TrimSpace(store)
		if slices.Contains(current, store) {
			return "", fmt.Errorf("a drill restores into another store than %s: name an empty one", store)
		}
		if clear && store != "drill" && !strings.HasSuffix(strings.TrimSuffix(store, filepath.Ext(store)), "drill") {
			return "", fmt.Errorf("%s is not emptied, as its name does not say that it is for drills: name one that ends in drill, or leave -empty out", store)
		}
	}
	return name, nil
}

// optionsFor are those of this command with another store, and with nothing that is the fleet's.
func (r *Recovery) optionsFor(name, into string) Options {
	o := r.options
	o.Memory = nil
	o.Getenv = func(setting string) string {
		switch setting {
		case name:
			return into
		case "REDIS_URL", "REDIS_URL_FILE", "REDIS_CA", "BACKUP_PLACE", "RECEIPT_STORE_DAYS": // whose roots and archive are the fleet's
			return ""
		case "GOVERNOR_SCOPE":
			return "instance"
		}
		return r.options.Getenv(setting)
	}
	return o
}

// same tells whether two names are of one file that is there.
func same(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// remove removes a file, unless there is none.
func remove(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the store for the drill can't be emptied: %w", err)
	}
	return nil
}

// ListBackups returns the manifests in a place, at most so many, the newest first, and the names of backups that were not finished.
func ListBackups(ctx context.Context, place string, most int) (all []*backup.Manifest, unfinished []string, err error) {
	from, err := objects.Open(ctx, place)
	if err != nil {
		return nil, nil, err
	}
	return backup.List(ctx, from, most)
}

// Unrecorded is a journal where there is no store to keep receipts in.
type Unrecorded struct{}

// Append implements [receipt.Recorder].
func (Unrecorded) Append(receipt.Receipt) {}

// Hash implements [receipt.Recorder].
func (Unrecorded) Hash(string, []byte) receipt.Hash { return receipt.Hash{} }

// Commit implements [receipt.Recorder].
func (Unrecorded) Commit(context.Context, receipt.Receipt) error { return nil }
