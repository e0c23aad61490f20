package receipt

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// What is written has the version of its form: certificates, roots and exports, and segments and exports whose hashes of arguments,
// results and callers' names have a key. What has a newer one is not guessed at.
const (
	Format      = 1
	formatKeyed = 2
)

// FormatOf is that of a segment or an export: whether hashes in it have a key.
func FormatOf(keyed bool) int64 {
	if keyed {
		return formatKeyed
	}
	return Format
}

// Bytes are shown in lower-case hexadecimal digits.
type Bytes []byte

// MarshalText implements [encoding.TextMarshaler].
func (b Bytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, b), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *Bytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.AppendDecode(nil, text)
	return err
}

func appendBytes(b []byte, name string, bytes []byte) []byte {
	if len(bytes) == 0 {
		return b
	}
	b = append(append(b, name...), '"')
	return append(hex.AppendEncode(b, bytes), '"')
}

// closeObject makes an object of the members from start on, the first of which begins with a comma.
func closeObject(b []byte, start int) []byte {
	if len(b) == start {
		return append(b, "{}"...)
	}
	b[start] = '{'
	return append(b, '}')
}

// A statement is what has a canonical form beside receipts.
type statement interface {
	append(b []byte, signed bool) []byte
}

var errStatement = errors.New("is not in canonical form")

// read reads a statement from its canonical form and from no other, up to a format that is known.
func read[S statement](line []byte, s S, format *int64, known int64) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		var newer struct{ Format int64 }
		if json.Unmarshal(line, &newer) == nil && newer.Format > known {
			return badFormat(newer.Format, known)
		}
		return errStatement
	}
	if *format > known {
		return badFormat(*format, known)
	}
	if !bytes.Equal(s.append(nil, true), line) {
		return errStatement
	}
	return nil
}

func badFormat(version, known int64) error {
	return fmt.Errorf("has format %d, and this version knows up to %d: verify with the newer version", version, known)
}
