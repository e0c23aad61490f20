package texts

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/mcp"
)

// A Document is a text to be ranked.
type Document struct {
	Path, Title, Description string
	Headings                 []string // of Markdown, which stand in the body, too
	Body                     string
}

// An Index returns the numbers of the documents that fit a query, the best first.
type Index func(query string) []int

// An Indexer makes an index of documents, whose numbers are those of the list.
type Indexer func([]Document) Index

const (
	maxQuery      = 400 // characters
	defaultHits   = 5
	maxHits       = 20
	excerptLength = 300 // bytes
)

var searchInput = fmt.Sprintf(`{"type":"object","properties":{
	"query":{"type":"string","minLength":1,"maxLength":%d,"description":"Words that the text should have."},
	"limit":{"type":"integer","minimum":1,"maximum":%d,"description":"How many texts at most; %d if it is not given."}},
	"required":["query"],"additionalProperties":false}`, maxQuery, maxHits, defaultHits)

// search is the tool that finds texts.
func (r *resources) search(files []file) *catalog.Tool {
	d := r.dir
	yes, no := true, false
	documents := make([]Document, len(r.all))
	for i, one := range r.all { // in the order of the files
		documents[i] = Document{Path: one.path, Title: one.title, Description: one.description, Headings: one.headings}
		if isText(one.media) {
			_, body, _ := split(files[i].text)
			documents[i].Body = string(body)
		}
	}
	indexer := d.Index
	if indexer == nil {
		indexer = Words
	}
	index := indexer(documents)
	about := d.Name
	if d.Description != "" {
		about += " (" + strings.TrimSuffix(d.Description, ".") + ")"
	}
	return &catalog.Tool{
		Name: d.Name + "_search", Title: d.Title, Input: json.RawMessage(searchInput), Lenient: true, Terms: d.Terms,
		Description: "Searches the texts of " + about + ". Answers with a link to each text that fits best, and an excerpt. Read a link as a resource to see the whole text.",
		Hints:       catalog.Hints{ReadOnly: &yes, Destructive: &no, Idempotent: &yes, OpenWorld: &no},
		Call: func(ctx context.Context, c *mcp.Call) (*mcp.Result, error) {
			query, _ := c.Arguments["query"].(string)
			limit := defaultHits
			if n, ok := c.Arguments["limit"].(int64); ok {
				limit = int(min(max(n, 1), maxHits))
			}
			return r.answer(ctx, c, index(query), query, limit)
		},
	}
}

// answer has the first of the texts that the caller may read, as they are now.
func (r *resources) answer(ctx context.Context, c *mcp.Call, ranked []int, query string, limit int) (*mcp.Result, error) {
	result := &mcp.Result{}
	for _, n := range ranked {
		if len(result.Content) == 2*limit {
			break
		}
		one := r.all[n]
		read, err := c.Read(ctx, one.uri)
		switch {
		case errors.Is(err, mcp.ErrUnavailable) || ctx.Err() != nil:
			return nil, err
		case err != nil: // it is gone, or not for this caller
			continue
		}
		text := cmp.Or(one.title, one.path) + "\n" + one.uri
		for _, contents := range read.Contents {
			_, body, _ := split([]byte(contents.Text))
			if found := excerpt(string(body), query); found != "" {
				text += "\n" + found
			}
		}
		result.Content = append(result.Content, mcp.Text(text),
			mcp.Content{Type: "resource_link", URI: one.uri, Name: one.path, Title: one.title, Description: one.description, MIMEType: one.media})
	}
	if len(result.Content) == 0 {
		result.Content = []mcp.Content{mcp.Text("No text has any of these words. Try other words, or fewer.")}
	}
	return result, nil
}

// words are the runs of letters and digits of a text, in small letters.
func words(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) })
}

// excerpt returns the paragraph of a text that has most of the query's words, cut around the first of them.
func excerpt(body, query string) string {
	asked := words(query)
	best, most := "", 0
	for paragraph := range strings.SplitSeq(strings.ReplaceAll(body, "\r\n", "\n"), "\n\n") {
		has := words(paragraph)
		n := 0
		for i, w := range asked {
			if slices.Contains(has, w) && !slices.Contains(asked[:i], w) {
				n++
			}
		}
		if n > most {
			best, most = paragraph, n
		}
	}
	if most == 0 {
		best, _, _ = strings.Cut(strings.TrimSpace(body), "\n\n")
	}
	best = strings.Join(strings.Fields(best), " ")
	if len(best) <= excerptLength {
		return best
	}
	from := 0
	if lower := strings.ToLower(best); most > 0 && len(lower) == len(best) {
		from = len(best)
		for _, w := range asked {
			if at := strings.Index(lower, w); at >= 0 {
				from = min(from, at)
			}
		}
		from = max(0, min(from, len(best))-excerptLength/3)
	}
	to := min(len(best), from+excerptLength)
	for from > 0 && !utf8.RuneStart(best[from]) {
		from--
	}
	for to < len(best) && !utf8.RuneStart(best[to]) {
		to--
	}
	cut := best[from:to]
	if from > 0 {
		cut = "… " + cut
	}
	if to < len(best) {
		cut += " …"
	}
	return cut
}

// Words is an [Indexer] that ranks by BM25 (Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009) with its usual k1 of 1.2 and
// b of 0.75. A word of a title counts as three, one
// of a path, a description or a heading as two more than one of the body.
func Words(documents []Document) Index {
	const k1, b = 1.2, 0.75
	type posting struct {
		document int
		count    float64
	}
	postings := map[string][]posting{}
	lengths := make([]float64, len(documents))
	total := 0.0
	for i, d := range documents {
		counts := map[string]float64{}
		for _, part := range []struct {
			text   string
			weight float64
		}{{d.Title, 3}, {strings.Join(d.Headings, " "), 2}, {d.Path + " " + d.Description, 2}, {d.Body, 1}} {
			for _, w := range words(part.text) {
				counts[w] += part.weight
				lengths[i] += part.weight
			}
		}
		for w, n := range counts {
			postings[w] = append(postings[w], posting{i, n})
		}
		total += lengths[i]
	}
	mean := max(1, total/float64(max(1, len(documents))))
	return func(query string) []int {
		scores := map[int]float64{}
		asked := words(query)
		slices.Sort(asked)
		for _, w := range slices.Compact(asked) {
			n := float64(len(postings[w]))
			idf := math.Log(1 + (float64(len(documents))-n+0.5)/(n+0.5))
			for _, p := range postings[w] {
				scores[p.document] += idf * p.count * (k1 + 1) / (p.count + k1*(1-b+b*lengths[p.document]/mean))
			}
		}
		ranked := make([]int, 0, len(scores))
		for i := range scores {
			ranked = append(ranked, i)
		}
		slices.SortFunc(ranked, func(i, j int) int { return cmp.Or(cmp.Compare(scores[j], scores[i]), cmp.Compare(i, j)) })
		return ranked
	}
}
