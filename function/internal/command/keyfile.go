package command

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"example.com/erlmcp/function/internal/identity"
)

func readKeys(text []byte, path string) (*identity.KeyFile, error) {
	file, err := identity.ReadKeyFile(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return file, nil
}

// changeFile has what a file says be changed, while no other command changes it, and replaces it in one step.
func changeFile(path string, change func(text []byte, err error) ([]byte, error)) error {
	path, err := target(path)
	if err != nil {
		return err
	}
	unlock, err := lock(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()
	text, err := change(os.ReadFile(path))
	if err != nil {
		return err
	}
	return replace(path, text)
}

// changeKeys reads the file of keys, has it changed and replaces it, while no other command does. Where there is no file it begins with
// an empty one, in which commands that look for a key find none.
func changeKeys(path string, change func(*identity.KeyFile) error) error {
	return changeFile(path, func(text []byte, err error) ([]byte, error) {
		file := &identity.KeyFile{}
		if err == nil {
			file, err = readKeys(text, path)
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err != nil {
			return nil, err
		}
		if err := change(file); err != nil {
			return nil, err
		}
		made, err := json.MarshalIndent(file, "", "  ")
		if err != nil {
			return nil, err
		}
		if _, err := identity.ReadKeyFile(made); err != nil {
			return nil, err
		}
		return append(made, '\n'), nil
	})
}

// maxLinks is as many as Linux follows.
const maxLinks = 40

// target follows links, to a file that need not be there yet: to replace the link would leave the file as it was.
func target(path string) (string, error) {
	at := path
	for range maxLinks {
		dir, name := filepath.Split(at) // which leaves .. as it is: behind a link to a folder it leads elsewhere
		dir, err := filepath.EvalSymlinks(cmp.Or(dir, "."))
		if err != nil {
			return "", err
		}
		at = filepath.Join(dir, name)
		to, err := os.Readlink(at)
		if err != nil { // it is no link, or not there
			return at, nil
		}
		if !filepath.IsAbs(to) {
			to = dir + string(filepath.Separator) + to
		}
		at = to
	}
	return "", fmt.Errorf("%s: there are more than %d links", path, maxLinks)
}

// How long a command waits for the others, each of which takes milliseconds.
const (
	lockTimeout = 10 * time.Second
	lockRetry   = 10 * time.Millisecond
)

// lock keeps other commands from changing files of a folder. The lock is on the folder, since each change puts another file in the
// place of the one before; it ends with the process at the latest.
func lock(dir string) (unlock func(), err error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for begin := time.Now(); ; time.Sleep(lockRetry) {
		switch err = syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case err == nil:
			return func() { folder.Close() }, nil
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EWOULDBLOCK):
			err = fmt.Errorf("%s can't be locked against other commands: %w", dir, err)
		case time.Since(begin) < lockTimeout:
			continue
		default:
			err = fmt.Errorf("another command has been at work in %s for %v: try again when it has ended", dir, lockTimeout)
		}
		folder.Close()
		return nil, err
	}
}

// replace replaces the file in one step, so that a server never reads half of it, by one of the same mode and owner, so that it can
// read it at all.
func replace(path string, text []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".keys-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(text)
	if err = errors.Join(err, likeBefore(temporary, path), temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// likeBefore gives a file the mode and the owner of the one that it replaces. A new one is its maker's alone.
func likeBefore(f *os.File, path string) error {
	before, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !before.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", path)
	}
	now, err := f.Stat()
	if err != nil {
		return err
	}
	was, is := before.Sys().(*syscall.Stat_t), now.Sys().(*syscall.Stat_t)
	if was.Uid != is.Uid || was.Gid != is.Gid {
		if err := f.Chown(int(was.Uid), int(was.Gid)); err != nil {
			return fmt.Errorf("%s belongs to the user %d and the group %d, and would not any more: run this as that user: %w", path, was.Uid, was.Gid, err)
		}
	}
	return f.Chmod(before.Mode().Perm())
}
