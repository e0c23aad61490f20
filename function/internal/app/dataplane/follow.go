package dataplane

import (
	"cmp"
	"context"
	hash "crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/account"
	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/backend/firestore/documents"
	"example.com/erlmcp/function/internal/backend/rest"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/catalogfile"
	"example.com/erlmcp/function/internal/egress"
	"example.com/erlmcp/function/internal/refresh"
	"example.com/erlmcp/function/internal/store/firestore"
)

// maxDocuments are kept, by their hashes.
const maxDocuments = 16

// A catalogFile is the operator's, followed while the process runs.
type catalogFile struct {
	plane   *Plane
	options catalogfile.Options
	outside egress.Options
	file    *refresh.File[*catalogfile.Catalog]
	follow  bool // what it says later is declared

	mu        sync.Mutex
	files     *catalogfile.Files // of the last reading, which may have been refused
	failed    time.Time          // when it was; zero if it was not
	secrets   map[string]func() string
	databases map[string]*firestore.Collections
	documents map[string][]byte // that were fetched, by their hashes
}

// openCatalogFile reads the file that CATALOG_FILE names; it is nil where there is none.
func (p *Plane) openCatalogFile() (*catalogFile, error) {
	if p.Config.CatalogFile == "" {
		return nil, nil
	}
	own := &account.Own{}
	f := &catalogFile{plane: p, secrets: map[string]func() string{}, databases: map[string]*firestore.Collections{}, documents: map[string][]byte{}}
	allowed, err := egress.ParseAllowed(p.Config.EgressAllow)
	if err != nil {
		return nil, fmt.Errorf("EGRESS_ALLOW: %w", err)
	}
	f.outside = egress.Options{Allow: allowed, Resolver: p.Options.Stand.Resolver, Dial: p.Options.Stand.Dial}
	f.options = catalogfile.Options{
		File: p.Config.CatalogFile, Getenv: p.Options.Getenv, Secret: f.secret, Fetch: f.fetch,
		Tokens: rest.NewTokens(time.Now), IDTokens: own, AccessToken: own.AccessToken, Collections: f.collections,
	}
	if f.file, err = refresh.OpenFile(p.Config.CatalogFile, f.parse, refresh.FileOptions{Now: time.Now, Logger: slog.New(slog.DiscardHandler), Age: p.Config.FileAge(), Changed: f.changed, Gone: f.gone}); err != nil {
		return nil, fmt.Errorf("CATALOG_FILE: %w", err)
	}
	return f, nil
}

// declaration is what the file declares, of none nothing.
func (f *catalogFile) declaration() catalog.Declaration {
	if f == nil {
		return catalog.Declaration{}
	}
	read := f.file.Value()
	return catalog.Declaration{Entries: read.Entries, Hash: read.Hash}
}

// look sees to it that a change is taken, beside the caller or before it: see [refresh.File].
func (f *catalogFile) look() {
	if f != nil {
		f.file.Value()
	}
}

// close ends connections to databases.
func (f *catalogFile) close() {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, open := range f.databases {
		open.Close()
	}
}

// parse makes a catalog of the file, and has it taken.
func (f *catalogFile) parse(text []byte) (read *catalogfile.Catalog, err error) {
	ctx, stop := context.WithTimeout(context.Background(), app.DocumentTimeout)
	defer stop()
	o := f.options
	o.Files = &catalogfile.Files{}
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.files, f.failed = o.Files, (time.Time{}); err != nil {
			f.failed = time.Now()
		}
	}()
	if read, err = f.read(ctx, text, o); !f.follow {
		return read, err
	}
	if err != nil {
		f.plane.Reject(fmt.Errorf("%s: %w", f.plane.Config.CatalogFile, err))
		return nil, err
	}
	return read, f.plane.Declare(catalog.Declaration{Entries: read.Entries, Hash: read.Hash})
}

// read reads the file. A document that the program stumbles over is at fault, and does not end the process.
func (f *catalogFile) read(ctx context.Context, text []byte, o catalogfile.Options) (read *catalogfile.Catalog, err error) {
	defer func() {
		if p := recover(); p != nil {
			f.plane.Logger.Error("a catalog file made the program fail", "panic", p, "stack", string(debug.Stack()))
			read, err = nil, fmt.Errorf("reading it made the program fail, which is a fault of the program: %.200v", p)
		}
	}()
	return catalogfile.Read(ctx, text, o)
}

// gone tells that the file can't be read any more.
func (f *catalogFile) gone(err error) {
	if f.follow {
		f.plane.Reject(fmt.Errorf("CATALOG_FILE: %w", err))
	}
}

// retryAge is after how long a file with a fault is tried again as it is: a secret that was missing may be there.
const retryAge = 10 * time.Second

func (f *catalogFile) changed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.files.Changed() || !f.failed.IsZero() && time.Since(f.failed) > retryAge
}

// secret finds what a reference of the file stands for.
func (f *catalogFile) secret(reference string) (func(context.Context) (string, error), error) {
	scheme, name, _ := strings.Cut(reference, ":")
	if scheme == "env" {
		v := f.plane.Options.Getenv(name)
		if v == "" {
			return nil, fmt.Errorf("the environment has no variable %s", name)
		}
		return func(context.Context) (string, error) { return v, nil }, nil
	}
	dir := f.plane.Config.CatalogSecrets
	if dir == "" {
		return nil, fmt.Errorf("set CATALOG_SECRETS to the folder that has the file %s", name)
	}
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("%s leads out of CATALOG_SECRETS: name a file in it", name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	value := f.secrets[name]
	if value == nil {
		var err error
		if value, err = app.ReadFile(f.plane.App, filepath.Join(dir, name), func(b []byte) (string, error) {
			text := strings.TrimRight(string(b), "\r\n")
			if text == "" {
				return "", fmt.Errorf("it is empty")
			}
			return text, nil
		}); err != nil {
			return nil, err
		}
		f.secrets[name] = value
	}
	return func(context.Context) (string, error) { return value(), nil }, nil
}

// collections opens a database of the operator's own, once.
func (f *catalogFile) collections(database string) (func(path string) documents.Collection, error) {
	cfg := f.plane.Config
	if cfg.Project == "" {
		return nil, errors.New("set GOOGLE_CLOUD_PROJECT, whose collection is meant")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	name := cmp.Or(database, "(default)")
	open := f.databases[name]
	if open == nil {
		var err error
		if open, err = firestore.OpenCollections(context.Background(), firestore.Options{Project: cfg.Project, Databases: []string{name}, Emulator: cfg.Emulator}); err != nil {
			return nil, err
		}
		f.databases[name] = open
	}
	return open.Collection, nil
}

// fetch gets a document of the outside, once for each hash that is wanted.
func (f *catalogFile) fetch(ctx context.Context, url, sha256 string) ([]byte, error) {
	f.mu.Lock()
	known := f.documents[sha256]
	f.mu.Unlock()
	if known != nil {
		return known, nil
	}
	text, err := app.FetchDocument(ctx, f.outside, url)
	if is := hash.Sum256(text); err == nil && hex.EncodeToString(is[:]) == sha256 { // another one is asked for again
		f.mu.Lock()
		if len(f.documents) == maxDocuments { // of versions that were in force before
			clear(f.documents)
		}
		f.documents[sha256] = text
		f.mu.Unlock()
	}
	return text, err
}
