package receipt

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The canonical form is JSON as RFC 8785 wants it: members sorted, no spaces, the shortest escapes, integers below 2^53. The
// members are fixed, so that no sorting is needed; TestCanonical holds the form against a library.

// appendReceipt appends the canonical form without the member hash, and tells where that belongs.
func appendReceipt(b []byte, r *Receipt) (out []byte, hashAt int) {
	start := len(b)
	b = appendHash(b, `,"arguments":`, &r.Arguments)
	b = appendText(b, `,"catalog":`, r.Catalog)
	b = appendText(b, `,"decision":`, string(r.Decision))
	b = appendText(b, `,"detail":`, r.Detail)
	b = appendInt(b, `,"durationUs":`, r.Duration.Microseconds())
	b = appendText(b, `,"era":`, r.Era)
	hashAt = len(b)
	b = appendString(append(b, `,"id":`...), r.ID)
	b = appendText(b, `,"instance":`, r.Instance)
	b = appendText(b, `,"kind":`, string(r.Kind))
	b = appendText(b, `,"limit":`, r.Limit)
	b = appendText(b, `,"method":`, r.Method)
	b = appendInt(b, `,"more":`, r.More)
	b = appendText(b, `,"policy":`, r.Policy)
	b = appendHash(b, `,"previous":`, &r.Previous)
	b = appendText(b, `,"principal":`, r.Principal)
	b = appendText(b, `,"reason":`, r.Reason)
	b = appendHash(b, `,"result":`, &r.Result)
	b = appendInt(b, `,"seq":`, r.Seq)
	b = appendText(b, `,"tenant":`, r.Tenant)
	b = appendTime(append(b, `,"time":`...), r.Time)
	b = appendText(b, `,"tool":`, r.Tool)
	b = appendText(b, `,"trace":`, r.Trace)
	b = append(b, '}')
	b[start] = '{'
	return b, hashAt
}

// hashMember is the length of the member hash.
const hashMember = len(`,"hash":""`) + 2*sha256.Size

// insertHash inserts the member hash at its place in the form that begins at start.
func insertHash(b []byte, start, at int, h *Hash) []byte {
	end := len(b)
	b = append(b, make([]byte, hashMember)...)
	copy(b[at+hashMember:], b[at:end])
	appendHash(b[:at], `,"hash":`, h)
	b[at+hashMember] = ',' // the first member's comma is the brace
	b[start] = '{'
	return b
}

// Append appends the canonical form of the receipt, with its hash, in which r.Hash is then set.
func (r *Receipt) Append(b []byte) []byte {
	start := len(b)
	b, at := appendReceipt(b, r)
	r.Hash = sha256.Sum256(b[start:])
	return insertHash(b, start, at, &r.Hash)
}

func appendText(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	return appendString(append(b, name...), s)
}

func appendInt(b []byte, name string, n int64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(append(b, name...), n, 10)
}

func appendHash(b []byte, name string, h *Hash) []byte {
	if h.IsZero() {
		return b
	}
	b = append(append(b, name...), '"')
	return append(hex.AppendEncode(b, h[:]), '"')
}

// timeForm is RFC 3339 in UTC with all six digits of the microseconds.
const timeForm = "2006-01-02T15:04:05.000000Z"

// FormatTime is the time as receipts have it.
func FormatTime(t time.Time) string { return t.UTC().Format(timeForm) }

// Truncate is the time as receipts keep it: in UTC, to the microsecond.
func Truncate(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func appendTime(b []byte, t time.Time) []byte {
	b = append(b, '"')
	return append(t.UTC().AppendFormat(b, timeForm), '"')
}

// plain are the bytes that stand for themselves in a JSON string, beside those of UTF-8 sequences.
var plain = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// appendString appends a JSON string; bytes that are not UTF-8 become U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if plain[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			if r, n := utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
			b = append(append(b, s[from:i]...), "\ufffd"...)
			i++
			from = i
			continue
		}
		b = append(b, s[from:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, `\b`...)
		case '\t':
			b = append(b, `\t`...)
		case '\n':
			b = append(b, `\n`...)
		case '\f':
			b = append(b, `\f`...)
		case '\r':
			b = append(b, `\r`...)
		default:
			const digits = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
		i++
		from = i
	}
	return append(append(b, s[from:]...), '"')
}

// Parse reads a receipt from its canonical form and from no other, and verifies its hash: what it accepts, [Receipt.Append] gives
// back byte for byte.
func Parse(line []byte) (Receipt, error) {
	var p Parser
	err := p.Parse(line)
	return p.Receipt, err
}

// ErrHash is that a receipt was altered after it was recorded.
var ErrHash = errors.New("its content does not give its hash")

var errForm = errors.New("it is not a receipt in canonical form")

// A Parser reads receipts one after another with one buffer.
type Parser struct {
	Receipt
	buf  []byte
	text string
	at   int
}

// Parse reads the next receipt. With [ErrHash] the receipt can be read, and with any other error it can't.
func (p *Parser) Parse(line []byte) error {
	p.Receipt = Receipt{}
	if !p.members(string(line)) {
		return errForm
	}
	var at int
	p.buf, at = appendReceipt(p.buf[:0], &p.Receipt)
	content := sha256.Sum256(p.buf)
	p.buf = insertHash(p.buf, 0, at, &p.Hash)
	if string(p.buf) != p.text {
		return errForm
	}
	if content != p.Hash {
		return ErrHash
	}
	return nil
}

// members reads an object. It takes what is not canonical too: the comparison finds that.
func (p *Parser) members(text string) bool {
	p.text, p.at = text, 0
	if !p.skip('{') {
		return false
	}
	for {
		end := strings.IndexByte(p.text[p.at:], ':')
		if end < 0 {
			return false
		}
		name := p.text[p.at : p.at+end]
		p.at += end + 1
		if !p.member(name) {
			return false
		}
		if p.skip('}') {
			return p.at == len(p.text)
		}
		if !p.skip(',') {
			return false
		}
	}
}

func (p *Parser) skip(c byte) bool {
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *Parser) member(name string) bool {
	switch name {
	case `"arguments"`:
		return p.hash(&p.Arguments)
	case `"catalog"`:
		return p.string(&p.Catalog)
	case `"decision"`:
		return p.string((*string)(&p.Decision))
	case `"detail"`:
		return p.string(&p.Detail)
	case `"durationUs"`:
		var n int64
		ok := p.int(&n) && n < int64(1<<63-1)/1000
		p.Duration = time.Duration(n) * time.Microsecond
		return ok
	case `"era"`:
		return p.string(&p.Era)
	case `"hash"`:
		return p.hash(&p.Hash)
	case `"id"`:
		return p.string(&p.ID)
	case `"instance"`:
		return p.string(&p.Instance)
	case `"kind"`:
		return p.string((*string)(&p.Kind))
	case `"limit"`:
		return p.string(&p.Limit)
	case `"method"`:
		return p.string(&p.Method)
	case `"more"`:
		return p.int(&p.More)
	case `"policy"`:
		return p.string(&p.Policy)
	case `"previous"`:
		return p.hash(&p.Previous)
	case `"principal"`:
		return p.string(&p.Principal)
	case `"reason"`:
		return p.string(&p.Reason)
	case `"result"`:
		return p.hash(&p.Result)
	case `"seq"`:
		return p.int(&p.Seq)
	case `"tenant"`:
		return p.string(&p.Tenant)
	case `"time"`:
		var s string
		ok := p.string(&s) && readTime(&p.Time, s)
		return ok
	case `"tool"`:
		return p.string(&p.Tool)
	case `"trace"`:
		return p.string(&p.Trace)
	}
	return false
}

func (p *Parser) int(n *int64) bool {
	start := p.at
	for p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9' && p.at-start < 17 {
		*n = *n*10 + int64(p.text[p.at]-'0')
		p.at++
	}
	return p.at > start && *n <= maxInt
}

func (p *Parser) hash(h *Hash) bool {
	var s string
	return p.string(&s) && readHash(h, s)
}

func readHash(h *Hash, s string) bool {
	if len(s) != 2*len(h) {
		return false
	}
	for i := range h {
		high, low := hexDigit[s[2*i]], hexDigit[s[2*i+1]]
		if high|low > 15 {
			return false
		}
		h[i] = high<<4 | low
	}
	return true
}

// string reads a JSON string; one without escapes is a part of the text.
func (p *Parser) string(s *string) bool {
	if !p.skip('"') {
		return false
	}
	start := p.at
	for p.at < len(p.text) && p.text[p.at] != '"' && p.text[p.at] != '\\' {
		p.at++
	}
	if p.skip('"') {
		*s = p.text[start : p.at-1]
		return true
	}
	b := []byte(p.text[start:p.at])
	for p.at < len(p.text) {
		c := p.text[p.at]
		p.at++
		switch c {
		case '"':
			*s = string(b)
			return true
		case '\\':
			if p.at == len(p.text) {
				return false
			}
			c = p.text[p.at]
			p.at++
			switch c {
			case '"', '\\':
			case 'b':
				c = '\b'
			case 't':
				c = '\t'
			case 'n':
				c = '\n'
			case 'f':
				c = '\f'
			case 'r':
				c = '\r'
			case 'u': // of control characters alone
				if p.at+4 > len(p.text) || p.text[p.at:p.at+2] != "00" {
					return false
				}
				high, low := hexDigit[p.text[p.at+2]], hexDigit[p.text[p.at+3]]
				if high|low > 15 {
					return false
				}
				c = high<<4 | low
				p.at += 4
			default:
				return false
			}
		}
		b = append(b, c)
	}
	return false
}

// readTime reads timeForm, and no date that there is not.
func readTime(t *time.Time, s string) bool {
	if len(s) != len(timeForm) {
		return false
	}
	for i := range len(s) {
		if digit := timeForm[i] >= '0' && timeForm[i] <= '9'; digit && (s[i] < '0' || s[i] > '9') || !digit && s[i] != timeForm[i] {
			return false
		}
	}
	n := func(from, to int) (n int) {
		for _, c := range []byte(s[from:to]) {
			n = n*10 + int(c-'0')
		}
		return n
	}
	year, month, day, hour, minute, second := n(0, 4), n(5, 7), n(8, 10), n(11, 13), n(14, 16), n(17, 19)
	if month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return false
	}
	*t = time.Date(year, time.Month(month), day, hour, minute, second, 1000*n(20, 26), time.UTC)
	return t.Day() == day
}
