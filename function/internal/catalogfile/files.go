package catalogfile

import (
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

// depends takes note of a file or a folder. The hash of the catalog is of what files say, and not of when they were written: it is the same on all
// instances.
func (r *reader) depends(path string) {
	if r.Files != nil {
		if r.Files.stamps == nil {
			r.Files.stamps = map[string]string{}
		}
		r.Files.stamps[path] = stamp(path)
	}
	if content, err := os.ReadFile(path); err == nil { // a folder has none
		r.hash.Write(content)
	}
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
