package texts

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"example.com/erlmcp/function/internal/mcp"
)

// A file is one that was found.
type file struct {
	path string // below the directory, with slashes
	text []byte // when it was found
}

// A scanner collects the files below a root.
type scanner struct {
	root   *os.Root
	reads  func(path string, text []byte)
	dir    string // for faults
	files  []file
	bytes  int64
	faults []error
}

// errEnough ends a scan that has met a bound.
var errEnough = errors.New("enough")

// scan returns the files of a directory in the order of their paths.
func scan(dir string, reads func(path string, text []byte)) ([]file, error) {
	if reads == nil {
		reads = func(string, []byte) {}
	}
	reads(".", nil)
	if dir == "" {
		return nil, errors.New("dir: name the directory of the texts")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("dir: %w", err)
	}
	defer root.Close()
	s := &scanner{root: root, dir: dir, reads: reads}
	if err := s.folder(".", nil); err == nil && len(s.files) == 0 && len(s.faults) == 0 {
		s.fault(".", "there is no file in it whose name begins with no dot")
	}
	slices.SortFunc(s.files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return s.files, errors.Join(s.faults...)
}

func (s *scanner) fault(at, format string, args ...any) {
	s.faults = append(s.faults, fmt.Errorf("%s: "+format, append([]any{filepath.Join(s.dir, filepath.FromSlash(at))}, args...)...))
}

// folder adds what is in a folder; above are the folders that it is in. Its error is [errEnough] or nil.
func (s *scanner) folder(at string, above []fs.FileInfo) error {
	info, err := s.root.Stat(at)
	if err != nil {
		s.fault(at, "%v", err)
		return nil
	}
	if slices.ContainsFunc(above, func(a fs.FileInfo) bool { return os.SameFile(a, info) }) {
		s.fault(at, "it is a link to a folder that it is in: remove it")
		return nil
	}
	if len(above) > maxDepth {
		s.fault(at, "it is more than %d folders deep: move it up, or begin its name with a dot to leave it out", maxDepth)
		return nil
	}
	list, err := fs.ReadDir(s.root.FS(), at)
	if err != nil {
		s.fault(at, "%v", err)
		return nil
	}
	for _, e := range list {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err := s.entry(path.Join(at, e.Name()), append(above[:len(above):len(above)], info)); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) entry(at string, above []fs.FileInfo) error {
	if !utf8.ValidString(at) || strings.ContainsFunc(at, unicode.IsControl) {
		s.fault(strings.ToValidUTF8(at, "?"), "its name is not of printable characters in UTF-8: rename it")
		return nil
	}
	info, err := s.root.Stat(at)
	if err != nil || !info.Mode().IsRegular() {
		s.reads(at, nil)
	}
	switch {
	case err != nil:
		s.fault(at, "it can't be read, or is a link that leads out of the directory: put a copy in its place, or begin its name with a dot to leave it out (%v)", err)
		return nil
	case info.IsDir():
		return s.folder(at, above)
	case !info.Mode().IsRegular():
		s.fault(at, "it is no regular file: begin its name with a dot to leave it out")
		return nil
	case len(s.files) == maxFiles:
		s.fault(".", "there are more than %d files: divide them among several sources", maxFiles)
		return errEnough
	}
	text, err := read(s.root, at)
	s.reads(at, text)
	if err != nil {
		s.fault(at, "%v", err)
		return nil
	}
	if s.bytes += int64(len(text)); s.bytes > maxBytes {
		s.fault(".", "the files have more than %d MiB together: divide them among several sources", maxBytes>>20)
		return errEnough
	}
	s.files = append(s.files, file{at, text})
	return nil
}

// errLarge is why a file is not read.
var errLarge = fmt.Errorf("it has more than %d bytes, which no text of a model's should: divide it", maxFileBytes)

// read returns what is in a file below the root. What is no regular file is [mcp.ErrUnknown], and it is not waited for.
func read(root *os.Root, at string) ([]byte, error) {
	f, err := root.OpenFile(filepath.FromSlash(at), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(mcp.ErrUnknown, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(text) > maxFileBytes {
		err = errLarge
	}
	return text, err
}

// current returns what is in a file now. The directory is opened anew, as another may have been put in its place.
func (d *Directory) current(at string) ([]byte, error) {
	root, err := os.OpenRoot(d.Dir)
	if err == nil {
		defer root.Close()
		var text []byte
		if text, err = read(root, at); err == nil {
			return text, nil
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, mcp.ErrUnknown):
		return nil, mcp.ErrUnknown
	case errors.Is(err, errLarge):
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	// The error names a directory of the server's, which is no matter of a caller's.
	return nil, fmt.Errorf("%s can't be read at the moment: %w", at, mcp.ErrUnavailable)
}
