package edge

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"time"
)

// newRequestID makes a UUID version 7 (RFC 9562): ordered by time, so that records of one time lie together. Its
// randomness is that of the runtime's ChaCha8, which no one can predict from earlier ids.
func newRequestID() string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:], uint64(time.Now().UnixMilli())<<16|rand.Uint64()&0x0fff|0x7000)
	binary.BigEndian.PutUint64(raw[8:], rand.Uint64()&^(3<<62)|2<<62)
	var text [36]byte
	hex.Encode(text[:8], raw[:4])
	text[8] = '-'
	hex.Encode(text[9:13], raw[4:6])
	text[13] = '-'
	hex.Encode(text[14:18], raw[6:8])
	text[18] = '-'
	hex.Encode(text[19:23], raw[8:10])
	text[23] = '-'
	hex.Encode(text[24:], raw[10:])
	return string(text[:])
}
