package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Cut is what is shown of an answer that is too long.
type Cut struct {
	Shown []byte
	// More says that there is more of one list whose items do not all fit, or of a text, from From on. It is not set where nothing is left, or where
	// what is left is no such tail: a list inside of an item, a long text in JSON.
	More bool
	// Path is where the list stands in the answer, such as data.items; "" for the answer itself. From is how many of its items are shown whole
	// by now, and so the number of the next one, of Total that there are. Of a text they count bytes.
	Path        string
	From, Total int
	// Notes say in words what is left out.
	Notes []string
}

// CutText shows the first bytes of a text, and no half of a character.
func CutText(text []byte, most int) Cut {
	if len(text) <= most {
		return Cut{Shown: text}
	}
	end := boundary(text, most)
	return Cut{Shown: text[:end], More: true, From: end, Total: len(text), Notes: []string{fmt.Sprintf("the first %d of %d bytes", end, len(text))}}
}

// textFrom shows so many bytes of a text, or one character that has more, from a place on where CutText or textFrom ended.
func textFrom(text []byte, from, most int) Cut {
	end := from + boundary(text[from:], most)
	if end == from && from < len(text) {
		_, size := utf8.DecodeRune(text[from:])
		end += size
	}
	return Cut{Shown: text[from:end], More: end < len(text), From: end, Total: len(text), Notes: []string{fmt.Sprintf("bytes %d to %d of %d", from+1, end, len(text))}}
}

// boundary is the last place up to most at which no character is cut.
func boundary(text []byte, most int) int {
	end := min(most, len(text))
	for n := 0; n < utf8.UTFMax && end > 0 && end < len(text) && !utf8.RuneStart(text[end]); n++ {
		end--
	}
	return end
}

// CutJSON shows JSON of so many bytes at most, which is JSON again. The longest list is cut at an item; where that is not enough, all that is long
// in it is cut: lists at items, texts at characters, objects at members. What has parts keeps some of them, or is left out.
func CutJSON(body []byte, most int) Cut {
	if len(body) <= most {
		return Cut{Shown: body}
	}
	return cutJSON(compact(body), most)
}

func cutJSON(body []byte, most int) Cut {
	if len(body) <= most {
		return Cut{Shown: body}
	}
	path, within, ok := longest(body)
	if ok {
		if c, ok := cutList(body, path, within, most); ok {
			return c
		}
	}
	c := Cut{Shown: []byte("null"), Notes: []string{fmt.Sprintf("nothing of %d bytes, of which %d have room", len(body), most)}}
	s := shortener{}
	if shown, some := s.fit(nil, body, most, nil); some {
		c = Cut{Shown: shown, Notes: s.notes}
	}
	if ok {
		c.Path = joinPath(path)
		c.From, c.Total = same(list(at(c.Shown, path)), list(within))
		c.More = c.From < c.Total && leads(body, c.Path, within)
	}
	return c
}

// compact is JSON without white space between its parts.
func compact(body []byte) []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, body); err != nil {
		return body
	}
	return b.Bytes()
}

// longest finds the one list that has most of an answer.
func longest(body []byte) (path []string, within []byte, ok bool) {
	for within = body; within[0] != '['; {
		if len(path) == maxNesting {
			return nil, nil, false
		}
		var longest item
		for i := range items(within) {
			if len(i.value) > len(longest.value) {
				longest = i
			}
		}
		if longest.key == nil || longest.value[0] != '[' && longest.value[0] != '{' {
			return nil, nil, false
		}
		path, within = append(path, longest.name()), longest.value
	}
	return path, within, true
}

// leads tells whether a path leads to a list again: two members of an object may have the same name.
func leads(body []byte, path string, within []byte) bool {
	there := at(body, pathOf(path))
	return len(there) == len(within) && offset(body, there) == offset(body, within)
}

// pathOf is the opposite of joinPath, but for a path of one empty name.
func pathOf(joined string) []string {
	if joined == "" {
		return nil
	}
	return splitPath(joined)
}

// cutList cuts a list of the answer, if that is enough.
func cutList(body []byte, path []string, within []byte, most int) (Cut, bool) {
	start := offset(body, within)
	all := list(within)
	shown := fitting(all, most-(len(body)-len(within))-len("[]"))
	if shown == 0 || shown == len(all) {
		return Cut{}, false
	}
	end := offset(within, all[shown-1].value) + len(all[shown-1].value)
	c := Cut{Path: joinPath(path), From: shown, Total: len(all)}
	c.More = leads(body, c.Path, within)
	c.Shown = slices.Concat(body[:start+end], []byte("]"), body[start+len(within):])
	c.Notes = []string{listNote(path, shown, len(all))}
	return c, true
}

// fitting is how many of the first items have room, with commas between them.
func fitting(all []item, room int) int {
	size := 0
	for n, i := range all {
		if size += len(i.value); size > room {
			return n
		}
		size++
	}
	return len(all)
}

// same is how many of the first items are shown as they are, of how many.
func same(shown, all []item) (n, of int) {
	for n < len(shown) && bytes.Equal(shown[n].value, all[n].value) {
		n++
	}
	return n, len(all)
}

// listFrom shows items of a list of JSON that CutJSON has cut, from one on, as a list. The JSON has no white space between its parts. An item that
// has no room by itself is shortened. It is not ok where there is no such item.
func listFrom(body []byte, path string, from, most int) (c Cut, ok bool) {
	names := pathOf(path)
	within := at(body, names)
	if len(within) == 0 || within[0] != '[' {
		return Cut{}, false
	}
	all := list(within)
	if from < 0 || from >= len(all) {
		return Cut{}, false
	}
	shown, room := fitting(all[from:], most-len("[]")), most-len("[]")
	c = Cut{Path: path, From: from + max(shown, 1), Total: len(all)}
	c.Notes = []string{itemsNote(names, from+1, c.From, len(all))}
	if shown > 0 {
		last := all[c.From-1].value
		c.Shown = slices.Concat([]byte("["), within[offset(within, all[from].value):offset(within, last)+len(last)], []byte("]"))
	} else {
		s := shortener{}
		c.Shown, _ = s.fit([]byte("["), all[from].value, room, append(names, strconv.Itoa(from)))
		c.Shown = append(c.Shown, ']')
		if c.Notes = append(c.Notes, s.notes...); s.notes == nil {
			c.Notes = append(c.Notes, fmt.Sprintf("nothing of the item's %d bytes, of which %d have room", len(all[from].value), room))
		}
	}
	c.More = c.From < c.Total
	return c, true
}

func itemsNote(path []string, first, last, total int) string {
	note := fmt.Sprintf("items %d to %d of %d", first, last, total)
	if len(path) == 0 {
		return note
	}
	return note + " of " + clip(joinPath(path), 100)
}

func listNote(path []string, shown, total int) string {
	if len(path) == 0 {
		return fmt.Sprintf("the first %d of %d items", shown, total)
	}
	return fmt.Sprintf("the first %d of %d items of %s", shown, total, clip(joinPath(path), 100))
}

// joinPath is the opposite of splitPath.
func joinPath(path []string) string {
	names := make([]string, len(path))
	for i, name := range path {
		names[i] = strings.NewReplacer(`\`, `\\`, `.`, `\.`).Replace(name)
	}
	return strings.Join(names, ".")
}

// offset is where a part of a text stands in it.
func offset(whole, part []byte) int { return cap(whole) - cap(part) }

// maxNotes is how many places a mark names.
const maxNotes = 5

// A shortener makes any JSON fit, and notes what it leaves out.
type shortener struct{ notes []string }

func (s *shortener) note(text string) {
	switch {
	case len(s.notes) < maxNotes:
		s.notes = append(s.notes, text)
	case len(s.notes) == maxNotes:
		s.notes = append(s.notes, "parts of more than these")
	}
}

// maxNesting is how deep a value may stand that is looked into: each level reads what is below it once more.
const maxNesting = 64

// fit appends a value of so many bytes at most, and tells whether there is room for any of it: an empty list in place of one that
// has items would be a wrong answer.
func (s *shortener) fit(out, raw []byte, room int, path []string) ([]byte, bool) {
	if len(raw) <= room {
		return append(out, raw...), true
	}
	before, some, notes := len(out), false, s.notes
	if len(path) == maxNesting {
		return out, false
	}
	switch raw[0] {
	case '"':
		out, some = s.text(out, raw, room, path)
	case '[':
		out, some = s.list(out, raw, room, path)
	case '{':
		out, some = s.object(out, raw, room, path)
	}
	if some = some && len(out)-before <= room; !some {
		s.notes = notes
	}
	return out, some
}

const ellipsis = "…"

// text cuts a string between its characters, escapes among them.
func (s *shortener) text(out, raw []byte, room int, path []string) ([]byte, bool) {
	room -= len(ellipsis) + len(`"`)
	end := 1
	for end < len(raw)-1 {
		var next int
		if raw[end] == '\\' {
			next = end + 2
			if raw[end+1] == 'u' {
				next = end + 6
				if high := raw[end+2 : end+6]; bytes.HasPrefix(bytes.ToLower(high), []byte("d")) && next+6 < len(raw) && raw[next] == '\\' && raw[next+1] == 'u' {
					next += 6 // the other half of a pair, most likely
				}
			}
		} else {
			_, size := utf8.DecodeRune(raw[end:])
			next = end + size
		}
		if next > room {
			break
		}
		end = next
	}
	if end == 1 {
		return out, false
	}
	s.note(fmt.Sprintf("the first %d of %d bytes of %s", end-1, len(raw)-2, orAnswer(clip(joinPath(path), 100))))
	return append(append(out, raw[:end]...), ellipsis+`"`...), true
}

// list keeps the items that fit, and a part of the next one where they leave much room.
func (s *shortener) list(out, raw []byte, room int, path []string) ([]byte, bool) {
	all := list(raw)
	start := len(out)
	out = append(out, '[')
	shown := 0
	for n, i := range all {
		left := room - (len(out) - start) - len(",]")
		if len(i.value) > left && n > 0 && left < room/2 {
			break
		}
		before := len(out)
		if n > 0 {
			out = append(out, ',')
		}
		some := false
		if out, some = s.fit(out, i.value, left, append(path, strconv.Itoa(n))); !some {
			out = out[:before]
			break
		}
		if shown++; len(i.value) > left {
			break
		}
	}
	if shown > 0 && shown < len(all) {
		s.note(listNote(path, shown, len(all)))
	}
	return append(out, ']'), shown > 0
}

// minMember is how many bytes of each member's value an object has room for, or it loses members.
const minMember = 16

// object shares the room among the members: short ones keep what they have, and the long ones are cut to the same length. Members that
// have no room are left out.
func (s *shortener) object(out, raw []byte, room int, path []string) ([]byte, bool) {
	all := list(raw)
	names, least := len("{}"), 0
	var sizes []int
	for _, i := range all {
		names += len(i.key) + len(":,")
		if least += min(len(i.value), minMember); names+least > room && len(sizes) > 0 {
			names -= len(i.key) + len(":,")
			break
		}
		sizes = append(sizes, len(i.value))
	}
	share := level(sizes, room-names)
	start, shown := len(out), 0
	out = append(out, '{')
	for _, i := range all[:len(sizes)] {
		before, left := len(out), room-(len(out)-start)-len(":,}")-len(i.key)
		if shown > 0 {
			out = append(out, ',')
		}
		out = append(append(out, i.key...), ':')
		some := false
		if out, some = s.fit(out, i.value, min(share, left), append(path, i.name())); !some {
			out = out[:before]
			continue
		}
		shown++
	}
	if shown > 0 && shown < len(all) {
		s.note(fmt.Sprintf("%d of %d members of %s", shown, len(all), orAnswer(clip(joinPath(path), 100))))
	}
	return append(out, '}'), shown > 0
}

func orAnswer(path string) string {
	if path == "" {
		return "the answer"
	}
	return path
}

// level is the size to which all larger ones are cut for their sum to fit.
func level(sizes []int, room int) int {
	sizes = slices.Clone(sizes)
	slices.Sort(sizes)
	for n, size := range sizes {
		rest := len(sizes) - n
		if size*rest > room {
			return max(room/rest, 0)
		}
		room -= size
	}
	return 1 << 62
}

// clip keeps the begin of a text, of so many bytes at most.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:boundary([]byte(text), most)], "") + ellipsis
}
