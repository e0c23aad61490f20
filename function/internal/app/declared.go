package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/account"
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

// A Declared is the operator's catalog file, followed while the process runs.
type Declared struct {
	app     *App
	options catalogfile.Options
	outside egress.Options
	file    *refresh.File[*catalogfile.Catalog]
	taker   Taker // nil while the server is assembled

	mu        sync.Mutex
	files     *catalogfile.Files // of the last reading, which may have been refused
	failed    time.Time          // when it was; zero if it was not
	secrets   map[string]func() string
	databases map[string]*firestore.Collections
	documents map[string][]byte // that were fetched, by their hashes
}

// A Taker serves what is declared.
type Taker interface {
	Declare(catalog.Declaration) error
	// Reject tells that what should be declared can't be read. What is in force stays so.
	Reject(error)
}

// OpenDeclared reads the file that CATALOG_FILE names; it is nil where there is none.
func (a *App) OpenDeclared() (*Declared, error) {
	if a.Config.CatalogFile == "" {
		return nil, nil
	}
	own := &account.Own{}
	d := &Declared{app: a, secrets: map[string]func() string{}, databases: map[string]*firestore.Collections{}, documents: map[string][]byte{}}
	allowed, err := egress.ParseAllowed(a.Config.EgressAllow)
	if err != nil {
		return nil, fmt.Errorf("EGRESS_ALLOW: %w", err)
	}
	d.outside = egress.Options{Allow: allowed, Resolver: a.Options.Stand.Resolver, Dial: a.Options.Stand.Dial}
	d.options = catalogfile.Options{
		File: a.Config.CatalogFile, Getenv: a.Options.Getenv, Secret: d.secret, Fetch: d.fetch,
		Tokens: rest.NewTokens(time.Now), IDTokens: own, AccessToken: own.AccessToken, Collections: d.collections,
	}
	if d.file, err = refresh.OpenFile(a.Config.CatalogFile, d.parse, refresh.FileOptions{Now: time.Now, Logger: slog.New(slog.DiscardHandler), Age: a.Config.FileAge(), Changed: d.changed}); err != nil {
		return nil, fmt.Errorf("CATALOG_FILE: %w", err)
	}
	return d, nil
}

// Declaration is what the file declares, of none nothing.
func (d *Declared) Declaration() catalog.Declaration {
	if d == nil {
		return catalog.Declaration{}
	}
	read := d.file.Value()
	return catalog.Declaration{Entries: read.Entries, Hash: read.Hash}
}

// Follow hands each later content of the file to the taker, or what is wrong with it.
func (d *Declared) Follow(t Taker) {
	if d != nil {
		d.taker = t
	}
}

// Look sees to it that a change is taken, beside the caller or before it: see [refresh.File].
func (d *Declared) Look() {
	if d != nil {
		d.file.Value()
	}
}

// Close ends connections to databases.
func (d *Declared) Close() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, open := range d.databases {
		open.Close()
	}
}

// parse makes a catalog of the file, and has it taken.
func (d *Declared) parse(text []byte) (*catalogfile.Catalog, error) {
	ctx, stop := context.WithTimeout(context.Background(), documentTimeout)
	defer stop()
	o := d.options
	o.Files = &catalogfile.Files{}
	read, err := catalogfile.Read(ctx, text, o)
	switch {
	case d.taker == nil:
	case err != nil:
		d.taker.Reject(fmt.Errorf("%s: %w", d.app.Config.CatalogFile, err))
	default:
		err = d.taker.Declare(catalog.Declaration{Entries: read.Entries, Hash: read.Hash})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files, d.failed = o.Files, (time.Time{}); err != nil {
		d.failed = time.Now()
	}
	return read, err
}

// retryAge is after how long a file with a fault is tried again as it is: a secret that was missing may be there.
const retryAge = 10 * time.Second

func (d *Declared) changed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.files.Changed() || !d.failed.IsZero() && time.Since(d.failed) > retryAge
}

// secret finds what a reference of the file stands for.
func (d *Declared) secret(reference string) (func(context.Context) (string, error), error) {
	scheme, name, _ := strings.Cut(reference, ":")
	if scheme == "env" {
		v := d.app.Options.Getenv(name)
		if v == "" {
			return nil, fmt.Errorf("the environment has no variable %s", name)
		}
		return func(context.Context) (string, error) { return v, nil }, nil
	}
	dir := d.app.Config.CatalogSecrets
	if dir == "" {
		return nil, fmt.Errorf("set CATALOG_SECRETS to the folder that has the file %s", name)
	}
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("%s leads out of CATALOG_SECRETS: name a file in it", name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	value := d.secrets[name]
	if value == nil {
		var err error
		if value, err = readFile(d.app.Options.files, filepath.Join(dir, name), func(b []byte) (string, error) {
			text := strings.TrimRight(string(b), "\r\n")
			if text == "" {
				return "", fmt.Errorf("it is empty")
			}
			return text, nil
		}); err != nil {
			return nil, err
		}
		d.secrets[name] = value
	}
	return func(context.Context) (string, error) { return value(), nil }, nil
}

// collections opens a database of the operator's own, once.
func (d *Declared) collections(database string) (func(path string) documents.Collection, error) {
	cfg := d.app.Config
	if cfg.Project == "" {
		return nil, errors.New("set GOOGLE_CLOUD_PROJECT, whose collection is meant")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	name := cmp.Or(database, "(default)")
	open := d.databases[name]
	if open == nil {
		var err error
		if open, err = firestore.OpenCollections(context.Background(), firestore.Options{Project: cfg.Project, Databases: []string{name}, Emulator: cfg.Emulator}); err != nil {
			return nil, err
		}
		d.databases[name] = open
	}
	return open.Collection, nil
}

// fetch gets a document of the outside, once for each hash that is wanted.
func (d *Declared) fetch(ctx context.Context, url, sha256 string) ([]byte, error) {
	d.mu.Lock()
	known := d.documents[sha256]
	d.mu.Unlock()
	if known != nil {
		return known, nil
	}
	text, err := fetch(ctx, d.outside, url)
	if err == nil && sha256 != "" {
		d.mu.Lock()
		if len(d.documents) == maxDocuments { // of versions that were in force before
			clear(d.documents)
		}
		d.documents[sha256] = text
		d.mu.Unlock()
	}
	return text, err
}
