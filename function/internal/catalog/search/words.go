package search

import (
	"iter"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// words are the stems of a text's words, in small letters.
func words(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for word := range split(text) {
			if !yield(stem(strings.ToLower(word))) {
				return
			}
		}
	}
}

// split returns a text's words as they are: of names too, whose words begin with a capital letter or a digit, or are joined by anything
// that is neither letter nor digit.
func split(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		begin, last := 0, other
		for i, r := range text {
			is := classOf(r)
			switch {
			case is == last && is != alone:
				continue
			case last == upper && is == lower:
				// The last of several capital letters begins the next word, as in HTTPServer, but not in URLs.
				_, size := utf8.DecodeLastRuneInString(text[:i])
				if before := i - size; before > begin && !isPlural(text[i:]) {
					if !yield(text[begin:before]) {
						return
					}
					begin = before
				}
				last = lower
				continue
			}
			if last != other && !yield(text[begin:i]) {
				return
			}
			begin, last = i, is
		}
		if last != other {
			yield(text[begin:])
		}
	}
}

// isPlural tells of what follows on capital letters whether it is their plural.
func isPlural(rest string) bool {
	rest, ok := strings.CutPrefix(rest, "s")
	next, _ := utf8.DecodeRuneInString(rest)
	return ok && (rest == "" || classOf(next) != lower)
}

// A class is a kind of characters that words are made of.
type class int

const (
	other class = iota
	lower
	upper
	digit
	alone // a word by itself, as in Chinese
)

func classOf(r rune) class {
	switch {
	case 'a' <= r && r <= 'z':
		return lower
	case 'A' <= r && r <= 'Z':
		return upper
	case '0' <= r && r <= '9':
		return digit
	case r < utf8.RuneSelf:
		return other
	case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana):
		return alone
	case unicode.IsUpper(r):
		return upper
	case unicode.IsLetter(r) || unicode.IsMark(r):
		return lower
	case unicode.IsNumber(r):
		return digit
	}
	return other
}

// stem takes the commonest English endings away, so that lists, listed and listing are list. What it returns need not be a word: it is
// only compared.
func stem(word string) string {
	if len(word) < 3 {
		return word
	}
	switch {
	case len(word) > 4 && endsIn(word, "ies", "ied"):
		word = word[:len(word)-3] + "y"
	case endsIn(word, "sses", "shes", "ches", "xes", "zes"):
		word = word[:len(word)-2]
	case strings.HasSuffix(word, "s") && !endsIn(word, "ss", "us", "sis", "xis"):
		word = word[:len(word)-1]
	}
	if len(word) < 4 {
		return word
	}
	for _, ending := range []string{"ing", "ed", "ion", "ly"} { // creating, created, creation; publicly
		base, ok := strings.CutSuffix(word, ending)
		if !ok || len(base) < 3 || !strings.ContainsAny(base, "aeiouy") {
			continue
		}
		if n := len(base); n > 3 && base[n-1] == base[n-2] && !strings.ContainsRune("lsz", rune(base[n-1])) {
			base = base[:n-1] // stopping
		}
		word = base
		break
	}
	if len(word) > 3 {
		word = strings.TrimSuffix(word, "e") // create, as creat from creating
	}
	return word
}

func endsIn(word string, endings ...string) bool {
	for _, ending := range endings {
		if strings.HasSuffix(word, ending) {
			return true
		}
	}
	return false
}

func stems(list string) map[string]bool {
	out := map[string]bool{}
	for word := range words(list) {
		out[word] = true
	}
	return out
}

// isFiller tells the words, as stems, that say nothing of what a question is about.
var isFiller = stems(`a about all am an and any are as at be been being but by can could did do does doing done every for from had has have having
	he her here hers him his i if in into it its just like mine need no not now of on one or our ours please really she should so some
	someone something than that the their theirs them then there these they this those to too tool us want was we were will with without
	would you your yours`)

// verbs are groups of those that interfaces choose among as they like. Of questions that begin with a question word, what is asked for is
// read.
var verbs = []string{
	"get read retrieve fetch show view look see find return give which what who whom where when how is",
	"list show get enumerate find return which what who",
	"create add new make post insert open start",
	"update edit change modify patch set rename",
	"delete remove destroy drop erase clear",
	"send post deliver share",
	"cancel stop abort end",
	"search find query",
	"my me authenticated current own",
}

// asking are the question words, as stems, which documents are not asked for.
var asking = stems("which what who whom where when how is")

// synonyms are stems for which others stand in names and descriptions of operations, and does the groups that a stem is in, as bits.
var synonyms, does = func() (map[string][]string, map[string]uint) {
	synonyms, does := map[string][]string{}, map[string]uint{}
	for group, alike := range verbs {
		all := stems(alike)
		for word := range all {
			does[word] |= 1 << group
			for other := range all {
				if other != word && !asking[other] {
					synonyms[word] = append(synonyms[word], other)
				}
			}
		}
	}
	return synonyms, does
}()

// phrases are verbs of two words, as stems, and the one by which interfaces call the same. What a person acts on may stand between them.
var phrases = map[[2]string]string{}

func init() {
	for verb, alike := range map[string]string{
		"create": "set up", "delete": "get rid", "remove": "take away, take off, take out", "restore": "bring back, get back, put back",
		"enable": "turn on, switch on", "disable": "turn off, switch off", "get": "look up, find out, look at", "start": "kick off",
	} {
		for phrase := range strings.SplitSeq(alike, ", ") {
			first, second, _ := strings.Cut(phrase, " ")
			phrases[[2]string{stem(first), second}] = stem(verb)
		}
	}
}

// maxBetween is how many words may stand within a phrase, as in turn the lights off.
const maxBetween = 3

// asked are the words of a question, phrases replaced.
func asked(question string) (out []string) {
	for word := range words(question) {
		out = append(out, word)
	}
	for i := range out {
		for j := i + 1; j < len(out) && j <= i+1+maxBetween; j++ {
			if verb := phrases[[2]string{out[i], out[j]}]; verb != "" {
				out[i] = verb
				out = slices.Delete(out, j, j+1)
				break
			}
		}
	}
	return out
}

// doing returns what the first verb of a text does.
func doing(text string) uint {
	for word := range words(text) {
		if does[word] != 0 {
			return does[word]
		}
	}
	return 0
}
