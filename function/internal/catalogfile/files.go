package catalogfile

import (
	"crypto/sha256"
	"fmt"
	"os"
	"time"
)

// Files are those that a catalog was made of, and folders.
type Files struct {
	stamps map[string]string
}

// Changed tells whether one of them has changed since.
func (f *Files) Changed() bool {
	for path, was := range f.stamps {
		if stamp(path) != was {
			return true
		}
	}
	return false
}

// read takes note of what a source was made of: its hash, and the stamp of the file that it is, "" for what is at a URL. The hash is of what files
// say, and of where they lie below the source's, so that it is the same on all instances and at all times.
func (r *reader) read(s *Source, path, at string, content []byte) {
	fmt.Fprintf(r.hash, "%q %q %x\n", s.Name, at, sha256.Sum256(content))
	if r.Files == nil || path == "" {
		return
	}
	if r.Files.stamps == nil {
		r.Files.stamps = map[string]string{}
	}
	r.Files.stamps[path] = stamp(path)
}

// stamp is another one when a file has changed, or what a folder holds. That of a file that has just changed is another one soon after: it may
// have changed once more within the same tick of its clock, or after it was read.
func stamp(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(info.Size(), " ", info.ModTime().UnixNano(), " ", time.Since(info.ModTime()) < settled)
}

// settled is how old a change is that no other may hide behind.
const settled = 2 * time.Second
