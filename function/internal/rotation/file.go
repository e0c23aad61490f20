package rotation

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/seal"
)

// mark begins the lines of a file that have its versions, the oldest first. Servers take them for notes. The last of them is the version in
// force; where it is not, someone has changed the file by hand.
const mark = "# erlmcp rotate "

const unknown = "-" // in place of a time

// ReadFile returns the versions that a file of keys has, the newest first.
func ReadFile(text, name string) ([]Version, error) {
	var all []Version
	var keys []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		note, ok := strings.CutPrefix(line, mark)
		switch {
		case ok:
			at, was, ok := strings.Cut(note, " ")
			v := Version{Keys: was}
			var err error
			if at != unknown {
				v.At, err = time.Parse(time.RFC3339, at)
			}
			if err != nil || !ok {
				return nil, fmt.Errorf("%s has a line that begins with %q and can't be read", name, mark)
			}
			v.Name = fmt.Sprintf("the version of %s in %s", at, name)
			all = append(all, v)
		case line != "" && !strings.HasPrefix(line, "#"):
			keys = append(keys, line)
		}
	}
	now := Version{Name: name, Keys: strings.Join(keys, "")}
	if _, err := seal.ParseRing(now.Keys); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if n := len(all); n > 0 && all[n-1].Keys == now.Keys {
		all[n-1].Name = name
		slices.Reverse(all)
		return all, nil
	}
	return []Version{now}, nil // by hand: of what was before nothing is known
}

// WriteFile returns what a file says with one more version, which holds from a time on.
func WriteFile(text, keys string, behind Version, now time.Time) (string, Version, error) {
	all, err := ReadFile(text, behind.Name)
	if err != nil {
		return "", Version{}, err
	}
	if all[0] != behind {
		return "", Version{}, errors.New("another has changed the keys meanwhile: look anew")
	}
	slices.Reverse(all)
	v := Version{Name: behind.Name, At: now.UTC().Truncate(time.Second), Keys: keys}
	var b strings.Builder
	for _, v := range append(all, v) {
		at := unknown
		if !v.At.IsZero() {
			at = v.At.Format(time.RFC3339)
		}
		fmt.Fprintf(&b, "%s%s %s\n", mark, at, v.Keys)
	}
	fmt.Fprintln(&b, keys)
	return b.String(), v, nil
}
