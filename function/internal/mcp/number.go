package mcp

import (
	"bytes"
	"math"
	"strconv"
)

// number returns the value of a JSON number: an int64 or uint64 where it is a whole number, whatever its spelling, and else the float64 that is
// nearest. What none of them holds is refused, and so are a whole number that is written as a float and is none, and a fraction of which
// a float has but the whole: rules and a tool would see neighbours. The second result says why.
func number(text []byte) (any, string) {
	if n, ok := small(text); ok {
		return n, ""
	}
	if !bytes.ContainsAny(text, ".eE") {
		if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
			return n, ""
		}
		if n, err := strconv.ParseUint(string(text), 10, 64); err == nil {
			return n, ""
		}
		if f, err := strconv.ParseFloat(string(text), 64); err == nil && strconv.FormatFloat(f, 'f', -1, 64) == string(text) {
			return f, "" // programs that have but doubles write such digits
		}
		return nil, "a whole number has more than 64 bits"
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return nil, "number out of range"
	}
	digits, whole := wholeDigits(text)
	switch {
	case f == 0 && digits != "":
		return nil, "number out of range"
	case !whole && f == math.Trunc(f):
		return nil, "a fraction can't be held exactly: it has more digits than a double"
	case !whole:
		return f, ""
	case digits == "": // which is so of 0 alone
		return int64(0), ""
	}
	if text[0] == '-' {
		digits = "-" + digits
	}
	var exact bool
	var n any = f // where no integer type holds it
	if i, err := strconv.ParseInt(digits, 10, 64); err == nil {
		n, exact = i, f < -math.MinInt64 && int64(f) == i
	} else if u, err := strconv.ParseUint(digits, 10, 64); err == nil {
		n, exact = u, f < 1<<64 && uint64(f) == u
	} else {
		exact = true
	}
	if !exact {
		return nil, "a whole number that is written as a fraction or with an exponent can't be held exactly: write its digits"
	}
	return n, ""
}

// small reads a whole number of at most 18 digits without an allocation but that of the answer.
func small(text []byte) (int64, bool) {
	digits := bytes.TrimPrefix(text, []byte("-"))
	if len(digits) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	if len(digits) < len(text) {
		n = -n
	}
	return n, true
}

const maxDigits = 20 // of the largest uint64

// wholeDigits returns the digits of a number without leading zeros, "" for 0, and whether it is whole. Of one that is longer than any integer
// type holds only so many zeros are there.
func wholeDigits(text []byte) (digits string, whole bool) {
	mantissa, exponent := bytes.TrimPrefix(text, []byte("-")), 0
	if i := bytes.IndexAny(mantissa, "eE"); i >= 0 {
		var err error
		if exponent, err = strconv.Atoi(string(mantissa[i+1:])); err != nil { // out of any range: of the mantissa only whether it is 0 matters
			exponent = math.MinInt32
		}
		mantissa = mantissa[:i]
	}
	before, after, _ := bytes.Cut(mantissa, []byte("."))
	all := append(append(make([]byte, 0, len(mantissa)), before...), after...)
	exponent -= len(after)
	kept := bytes.TrimRight(all, "0")
	exponent += len(all) - len(kept)
	kept = bytes.TrimLeft(kept, "0")
	if len(kept) == 0 {
		return "", true
	}
	if exponent > 0 {
		kept = append(kept, bytes.Repeat([]byte("0"), min(exponent, maxDigits+1))...)
	}
	return string(kept), exponent >= 0
}
