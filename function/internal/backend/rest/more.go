package rest

import (
	"bytes"
	"crypto/sha256"
	"errors"

	"example.com/erlmcp/function/internal/mcp"
)

// errChanged says that an answer is not the one that was cut. What follows of this one does not follow what was read.
var errChanged = errors.New("the answer has changed since it was cut, so it can't be read on: call the tool again for the new one")

// part is what a call shows of an answer, of JSON without white space between its parts: its beginning, or what is at the place where it reads on.
func (t *tool) part(c *mcp.Call, whole []byte, isJSON bool) (Cut, error) {
	most := t.answer.maxBytes()
	switch {
	case c.From == nil && isJSON:
		return cutJSON(whole, most), nil
	case c.From == nil:
		return CutText(whole, most), nil
	case !bytes.Equal(c.From.Hash, hashOf(whole, isJSON)):
		return Cut{}, errChanged
	case isJSON:
		if cut, ok := listFrom(whole, c.From.Path, c.From.From, most); ok {
			return cut, nil
		}
	case c.From.From >= 0 && c.From.From < len(whole):
		return textFrom(whole, c.From.From, most), nil
	}
	return Cut{}, errChanged
}

// hashOf is unlike that of any other answer.
func hashOf(whole []byte, isJSON bool) []byte {
	kind := byte('t')
	if isJSON {
		kind = 'j'
	}
	h := sha256.New()
	h.Write([]byte{kind})
	h.Write(whole)
	return h.Sum(nil)[:16]
}
