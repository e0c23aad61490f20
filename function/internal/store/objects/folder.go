// Package objects keeps objects that are written once: in a folder, or in a bucket of Cloud Storage.
package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.com/erlmcp/function/internal/backup"
)

// Open returns the objects of a place: gs://BUCKET/PREFIX, or a folder.
func Open(ctx context.Context, place string) (backup.Objects, error) {
	switch {
	case place == "":
		return nil, errors.New("which place? Give a folder, or gs://BUCKET/PREFIX")
	case strings.HasPrefix(place, "gs://"):
		return OpenBucket(ctx, place, BucketOptions{})
	case strings.Contains(place, "://"):
		return nil, fmt.Errorf("%q is neither a folder nor gs://BUCKET/PREFIX", place)
	}
	return Folder(place), nil
}

// A Folder implements [backup.Objects] by files. It is made where it is not there.
type Folder string

// String implements [backup.Objects].
func (f Folder) String() string { return string(f) }

// partial begins the names of files that are being written.
const partial = ".partial-"

func (f Folder) path(name string) (string, error) {
	if !fs.ValidPath(name) || strings.Contains(name, "\\") || strings.HasPrefix(filepath.Base(name), ".") {
		return "", fmt.Errorf("%q is not the name of an object", name)
	}
	return filepath.Join(string(f), filepath.FromSlash(name)), nil
}

// Create implements [backup.Objects]. The file has its name once all of it is on disk.
func (f Folder) Create(ctx context.Context, name string, content []byte) (err error) {
	path, err := f.path(name)
	if err := errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, partial+"*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	err = os.Link(file.Name(), path) // which replaces nothing
	if errors.Is(err, fs.ErrExist) {
		old, err := os.ReadFile(path)
		if err == nil && !bytes.Equal(old, content) {
			err = fmt.Errorf("%s: %w", path, backup.ErrExists)
		}
		return err
	}
	if err != nil {
		return err
	}
	return syncFolder(dir)
}

// syncFolder has a folder keep the names in it when power is lost.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Read implements [backup.Objects].
func (f Folder) Read(ctx context.Context, name string) ([]byte, error) {
	path, err := f.path(name)
	if err := errors.Join(err, ctx.Err()); err != nil {
		return nil, err
	}
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s: %w", path, backup.ErrNotFound)
	}
	return content, err
}

// List implements [backup.Objects].
func (f Folder) List(ctx context.Context, prefix, from string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		var names []string
		dir := prefix[:strings.LastIndexByte(prefix, '/')+1] // nothing else has names that begin so
		err := filepath.WalkDir(filepath.Join(string(f), filepath.FromSlash(dir)), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), partial) {
				return err
			}
			name, err := filepath.Rel(string(f), path)
			if name = filepath.ToSlash(name); err == nil && strings.HasPrefix(name, prefix) && name >= from {
				names = append(names, name)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			yield("", err)
			return
		}
		slices.Sort(names)
		for _, name := range names {
			if !yield(name, ctx.Err()) || ctx.Err() != nil {
				return
			}
		}
	}
}

// Folders implements [backup.Objects].
func (f Folder) Folders(ctx context.Context, prefix string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(string(f), filepath.FromSlash(prefix)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, ctx.Err()
}
