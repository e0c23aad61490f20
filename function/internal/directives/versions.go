package directives

import (
	"context"
	"maps"
)

// Versions are those of what else the store keeps and instances remember, by name. A greater one says that it has changed.
// They are announced as directives are: every instance hears of a change, and reads for itself what has changed.
type Versions map[string]int64

// VersionStore keeps the versions.
type VersionStore interface {
	// Versions returns those of all that has ever changed.
	Versions(context.Context) (Versions, error)
}

// Beyond returns the versions that are greater than the others.
func (v Versions) Beyond(others Versions) Versions {
	var out Versions
	for name, version := range v {
		if version > others[name] {
			if out == nil {
				out = Versions{}
			}
			out[name] = version
		}
	}
	return out
}

// With returns the greater of each; neither is changed.
func (v Versions) With(others Versions) Versions {
	if later := others.Beyond(v); later != nil {
		out := Versions{}
		maps.Copy(out, v)
		maps.Copy(out, later)
		return out
	}
	return v
}
