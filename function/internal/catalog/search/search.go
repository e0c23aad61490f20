// Package search ranks tools by how well their names and descriptions fit a question: by BM25 over the words of several fields, as in
// Robertson and Zaragoza, The Probabilistic Relevance Framework (2009), sections 3.3 and 3.6. An index never changes, so that any
// number of searches may use it at a time, and one catalog needs one.
package search

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"sync"
)

// A Document is what is known of a tool.
type Document struct {
	Name, Title, Description string
	Arguments                []string // their names
}

// fields are the parts of a document. Their weights say how much a word there counts, and their lengths how much less it counts in a long
// part: a description of ten lines has every word.
const (
	inName = iota
	inTitle
	inDescription
	inArguments
	fields
)

var (
	weight = [fields]float64{inName: 5, inTitle: 4, inDescription: 1, inArguments: 0.4}
	length = [fields]float64{inName: 0.3, inTitle: 0.3, inDescription: 0.7, inArguments: 0.7}
)

const (
	// saturation is k1 of BM25: from how many times on a word that comes again says nothing new.
	saturation = 2
	// unasked is what is lost of the score of a tool in whose name is nothing that is asked for.
	unasked = 0.5
	// sameStart is what counts of a word that begins as the one in the question does: repos and repository, org and organization.
	sameStart = 0.5
	// minStart is how many letters of a word are a beginning.
	minStart = 3
	// maxStarts bounds the words that one in the question begins.
	maxStarts = 50
	// synonym is what counts of a word that means about the same.
	synonym = 0.3
	// otherVerb is what is left of the score of a tool that does something else than what is asked for.
	otherVerb = 0.6
	// maxWords bounds a question.
	maxWords = 40
)

// An Index is what documents are found by.
type Index struct {
	names  []string  // in small letters
	does   []uint    // what the documents' tools do, by the verbs that say so
	named  []float32 // the rarity of all words of the names
	words  []string  // that are in any document, sorted
	where  [][]posting
	scores sync.Pool // of *[]tally, one for each document, all 0
}

// A posting says how much a word says of a document.
type posting struct {
	document int32
	tally
}

// A tally is how much words say of a document.
type tally struct {
	score float32 // in all
	named float32 // of what it is called: the rarity of the words that are in its name
}

// New makes an index. It takes some 3 ms for a thousand tools.
func New(documents []Document) *Index {
	x := &Index{names: make([]string, len(documents)), does: make([]uint, len(documents)), named: make([]float32, len(documents))}
	b := builder{ids: map[string]int32{}, written: map[string]int32{}}
	for i := range documents {
		x.names[i] = strings.ToLower(documents[i].Name)
		x.does[i] = doing(documents[i].Name) | doing(documents[i].Title) | doing(documents[i].Description)
		b.read(int32(i), &documents[i])
	}
	b.finish(x)
	x.scores.New = func() any { s := make([]tally, len(documents)); return &s }
	return x
}

// A builder counts words.
type builder struct {
	ids     map[string]int32 // of words
	written map[string]int32 // the same, as the words are written
	counts  [][]count        // by word, in the order of the documents
	sizes   [][fields]int32  // by document, in words
	total   [fields]float64
}

type count struct {
	document int32
	times    [fields]int32
}

func (b *builder) read(document int32, d *Document) {
	var size [fields]int32
	in := func(field int, text string) {
		for as := range split(text) {
			id, known := b.written[as]
			if !known {
				id = b.id(as)
			}
			c := b.counts[id]
			if len(c) == 0 || c[len(c)-1].document != document {
				c = append(c, count{document: document})
				b.counts[id] = c
			}
			c[len(c)-1].times[field]++
			size[field]++
		}
	}
	in(inName, d.Name)
	in(inTitle, d.Title)
	in(inDescription, d.Description)
	for _, name := range d.Arguments {
		in(inArguments, name)
	}
	b.sizes = append(b.sizes, size)
	for f, n := range size {
		b.total[f] += float64(n)
	}
}

// id is that of a word that is met for the first time as it is written.
func (b *builder) id(written string) int32 {
	word := stem(strings.ToLower(written))
	id, known := b.ids[word]
	if !known {
		id = int32(len(b.counts))
		b.ids[strings.Clone(word)] = id
		b.counts = append(b.counts, nil)
	}
	b.written[written] = id
	return id
}

// finish computes what each word says of each document, so that a search has only to add.
func (b *builder) finish(x *Index) {
	n := float64(len(b.sizes))
	for word := range b.ids {
		x.words = append(x.words, word)
	}
	slices.Sort(x.words)
	x.where = make([][]posting, len(x.words))
	for i, word := range x.words {
		counts := b.counts[b.ids[word]]
		rare := math.Log(1 + (n-said(counts)+0.5)/(said(counts)+0.5))
		postings := make([]posting, len(counts))
		for j, c := range counts {
			var times float64
			for f, t := range c.times {
				if t > 0 {
					relative := float64(b.sizes[c.document][f]) / (b.total[f] / n)
					times += weight[f] * float64(t) / (1 - length[f] + length[f]*relative)
				}
			}
			postings[j] = posting{c.document, tally{score: float32(rare * times / (saturation + times))}}
			if c.times[inName] > 0 {
				postings[j].named = float32(rare)
				x.named[c.document] += float32(rare)
			}
		}
		x.where[i] = postings
	}
}

// said is in how many documents there is a word, as what tells one from another: all of an interface may have an argument, and only some be
// about what it names.
func said(counts []count) (documents float64) {
	for _, c := range counts {
		if c.times[inName]+c.times[inTitle]+c.times[inDescription] > 0 {
			documents++
		}
	}
	return documents
}

// Find returns the positions of the documents that fit the question best and that admit lets through, the best first. It asks admit of no
// more documents than it takes to find so many.
func (x *Index) Find(question string, limit int, admit func(document int) bool) (found []int) {
	scores, wanted := x.scores.Get().(*[]tally), uint(0)
	asked := asked(question)
	touched := x.score(asked, *scores)
	for _, word := range asked {
		wanted |= does[word]
	}
	best := make([]ranked, len(touched))
	for i, d := range touched {
		sum := (*scores)[d]
		best[i] = ranked{d, sum.score * (1 - unasked*(1-sum.named/x.named[d]))}
		if wanted != 0 && x.does[d] != 0 && wanted&x.does[d] == 0 {
			best[i].score *= otherVerb
		}
		(*scores)[d] = tally{}
	}
	x.scores.Put(scores)
	exact := strings.ToLower(strings.TrimSpace(question))
	slices.SortFunc(best, func(a, b ranked) int {
		if named := x.names[b.document] == exact; named != (x.names[a.document] == exact) {
			if named {
				return 1
			}
			return -1
		}
		// Of what fits alike, the shorter name is of what is more general.
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(len(x.names[a.document]), len(x.names[b.document])), cmp.Compare(a.document, b.document))
	})
	for _, r := range best {
		if len(found) == limit {
			break
		}
		if admit(int(r.document)) {
			found = append(found, int(r.document))
		}
	}
	return found
}

type ranked struct {
	document int32
	score    float32
}

// score adds up what the words of a question say of the documents, and returns those of which they say anything.
func (x *Index) score(asked []string, scores []tally) (touched []int32) {
	seen := map[string]bool{}
	best := map[int32]tally{} // of a document that has the word, and others for it, the best counts
	var before string
	for _, word := range asked {
		terms := map[int]float32{}
		if before != "" {
			x.add(terms, before+word, 1) // web hook, as webhook
		}
		if before = word; !isFiller[word] && !seen[word] {
			seen[word] = true
			x.terms(terms, word)
		}
		clear(best)
		for term, share := range terms {
			for _, p := range x.where[term] {
				b := best[p.document]
				best[p.document] = tally{max(b.score, share*p.score), max(b.named, share*p.named)}
			}
		}
		for document, b := range best {
			if scores[document].score == 0 {
				touched = append(touched, document)
			}
			scores[document].score += b.score
			scores[document].named += b.named
		}
		if len(seen) == maxWords {
			break
		}
	}
	return touched
}

// add has a word of the documents count, if there is such.
func (x *Index) add(terms map[int]float32, word string, share float32) {
	if at, there := slices.BinarySearch(x.words, word); there {
		terms[at] = max(terms[at], share)
	}
}

// terms adds the words of documents that stand for one in a question, and how much of each counts.
func (x *Index) terms(terms map[int]float32, word string) {
	for _, other := range synonyms[word] {
		x.add(terms, other, synonym)
	}
	if asking[word] {
		return
	}
	x.add(terms, word, 1)
	if len(word) < minStart {
		return
	}
	from, _ := slices.BinarySearch(x.words, word)
	for at := from; at < len(x.words) && at < from+maxStarts && strings.HasPrefix(x.words[at], word); at++ {
		terms[at] = max(terms[at], sameStart)
	}
	for end := minStart; end < len(word); end++ {
		x.add(terms, word[:end], sameStart)
	}
}
