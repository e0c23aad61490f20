package receipt

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"time"
)

// NewID makes the id of a request and of its receipts: a UUID version 7 (RFC 9562) whose last 32 bits are the tag of the
// instance's chain, so that id and tag lead to the segment before there is one. The other 42 bits beside the time come from the
// runtime's ChaCha8, which no one can predict from earlier ids.
func NewID(tag uint32, now time.Time) string {
	random := rand.Uint64()
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:], uint64(now.UnixMilli())<<16|0x7000|random&0x0fff)
	binary.BigEndian.PutUint64(raw[8:], 2<<62|random>>34<<32|uint64(tag))
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

var errID = errors.New("this is not the id of a receipt: it looks like 019b4f3a-7c55-7d1e-9a3b-04c26b1f90ee")

// Tag reads the chain tag and the time, to the millisecond, from an id.
func Tag(id string) (tag uint32, at time.Time, err error) {
	if len(id) != 36 || id[8] != '-' || id[13] != '-' || id[14] != '7' || id[18] != '-' || id[23] != '-' || id[19] < '8' || id[19] > 'b' || id[19] > '9' && id[19] < 'a' {
		return 0, time.Time{}, errID
	}
	var raw [16]byte
	for i, at := range [16]int{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34} {
		high, low := hexDigit[id[at]], hexDigit[id[at+1]]
		if high|low > 15 {
			return 0, time.Time{}, errID
		}
		raw[i] = high<<4 | low
	}
	ms := int64(binary.BigEndian.Uint64(raw[:8]) >> 16)
	return binary.BigEndian.Uint32(raw[12:]), time.UnixMilli(ms).UTC(), nil
}

// hexDigit is the value of a lower-case hexadecimal digit; of anything else it is more than 15.
var hexDigit = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i, c := range "0123456789abcdef" {
		t[c] = byte(i)
	}
	return t
}()

// CallKey is what segments are looked up by: the tag of an id, and its second.
func CallKey(tag uint32, at time.Time) int64 {
	return int64(uint64(tag)<<32 | uint64(uint32(at.Unix())))
}

// Fingerprint is the name of a caller as receipts have it: the first 32 hexadecimal digits of its hash under the key of a tenant, whose
// the caller is, or under that of none.
func Fingerprint(hash func(tenant string, raw []byte) Hash, tenant, name string) string {
	text := hash(tenant, []byte(name)).String()
	return text[:min(32, len(text))]
}
