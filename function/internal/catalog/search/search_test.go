package search

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

func all(int) bool { return true }

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "",
		"issues/add-labels":                  "issu add label",
		"GetSubscriptionSchedulesSchedule":   "get subscript schedul schedul",
		"HTTPServer2xx":                      "http server 2 xx",
		"listDAGs and URLs of the APIs":      "list dag and url of the api",
		"IDs":                                "id",
		"creating created creates creation.": "creat creat creat creat",
		"try tried tries trying":             "try try try try",
		"stopping boxes classes status":      "stop box class status",
		"analysis publicly bus gas":          "analysis public bus ga",
		"Straßen-Übersicht ÉTATS":            "straßen übersicht état",
		"列出用户 v1":                            "列 出 用 户 v 1",
		"x\xffy \x00--__":                    "x y",
	} {
		if got := strings.Join(slices.Collect(words(text)), " "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestAsked(t *testing.T) {
	for question, want := range map[string]string{
		"set up a site":                 "creat a sit",
		"turn the lights off":           "disabl the light",
		"look up users":                 "get user",
		"set the colour of what is up":  "set the colour of what is up", // too far apart
		"up":                            "up",
		"get rid of the turn back sign": "delet of the turn back sign",
	} {
		if got := strings.Join(asked(question), " "); got != want {
			t.Errorf("%q: %q, want %q", question, got, want)
		}
	}
}

func TestFind(t *testing.T) {
	documents := []Document{
		{Name: "orders_list", Description: "Lists the orders of a customer.", Arguments: []string{"customer", "since"}},
		{Name: "orders_delete", Description: "Deletes an order for good."},
		{Name: "getInvoiceByID", Title: "Get an invoice", Description: "Returns one invoice of a customer."},
		{Name: "usergroups_list", Description: "All of them."},
		{Name: "repository_create", Description: "Makes a new repository, as an order of its own."},
		{Name: "find", Description: "Finds."},
	}
	x := New(documents)
	for question, want := range map[string]string{
		"which orders does this customer have": "orders_list",
		"get rid of an order":                  "orders_delete",
		"invoices":                             "getInvoiceByID",
		"who is in the user group":             "usergroups_list",
		"add a repo":                           "repository_create",
		"FIND":                                 "find",
		" orders_list ":                        "orders_list",
		"since":                                "orders_list",
	} {
		if found := x.Find(question, 1, all); len(found) != 1 || documents[found[0]].Name != want {
			t.Errorf("%q: %v, want %s", question, found, want)
		}
	}
	for _, nothing := range []string{"", "the of a", "zebra", "\xff", strings.Repeat("x", 1000)} {
		if found := x.Find(nothing, 10, all); len(found) > 0 {
			t.Errorf("%q finds %v", nothing, found)
		}
	}
	if found := x.Find("orders", 0, all); len(found) > 0 {
		t.Errorf("none of 0: %v", found)
	}
	if found := New(nil).Find("orders", 3, all); len(found) > 0 {
		t.Errorf("nothing has %v", found)
	}
}

// TestFormula holds the scores against the formula as it is written, on documents of one field: the sum over the words of the question of
// idf·tf/(k1+tf), with tf = weight·n/(1-b+b·length/average) and idf = ln(1+(N-df+0.5)/(df+0.5)).
func TestFormula(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 8))
	vocabulary := strings.Fields("kxa kxb kxc kxd kxe kxf kxg") // none begins another, or means one
	var documents []Document
	var texts [][]string
	total := 0
	for range 60 {
		var text []string
		for range 1 + random.IntN(12) {
			text = append(text, vocabulary[random.IntN(len(vocabulary))])
		}
		total += len(text)
		texts = append(texts, text)
		documents = append(documents, Document{Description: strings.Join(text, " ")})
	}
	x := New(documents)
	n, average := float64(len(texts)), float64(total)/float64(len(texts))
	for range 200 {
		question := map[string]bool{vocabulary[random.IntN(7)]: true, vocabulary[random.IntN(7)]: true}
		var words []string
		want := make([]float64, len(texts))
		for word := range question {
			words = append(words, word)
			df := 0.0
			for _, text := range texts {
				if slices.Contains(text, word) {
					df++
				}
			}
			for i, text := range texts {
				times := 0.0
				for _, w := range text {
					if w == word {
						times++
					}
				}
				b := length[inDescription]
				tf := weight[inDescription] * times / (1 - b + b*float64(len(text))/average)
				want[i] += math.Log(1+(n-df+0.5)/(df+0.5)) * tf / (saturation + tf)
			}
		}
		got := make([]tally, len(texts))
		x.score(words, got)
		for i := range got {
			if math.Abs(float64(got[i].score)-want[i]) > 1e-5 {
				t.Fatalf("%v in %v: %v, want %v", words, texts[i], got[i].score, want[i])
			}
		}
	}
}

// TestAdmitted searches generated documents through generated views: what is found is what is found without a view, but for what the view
// takes away, and nothing that it does.
func TestAdmitted(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 18))
	vocabulary := strings.Fields("list get create delete user order invoice group label page of the a for name id state limit since")
	text := func(words int) string {
		var out []string
		for range 1 + random.IntN(words) {
			out = append(out, vocabulary[random.IntN(len(vocabulary))])
		}
		return strings.Join(out, " ")
	}
	for range 50 {
		var documents []Document
		for i := range random.IntN(200) {
			documents = append(documents, Document{Name: fmt.Sprint(strings.ReplaceAll(text(3), " ", "_"), i), Description: text(10), Arguments: strings.Fields(text(3))})
		}
		x := New(documents)
		share := random.Float64()
		hidden := make([]bool, len(documents))
		for i := range hidden {
			hidden[i] = random.Float64() < share
		}
		var wait sync.WaitGroup
		for range 50 {
			question, limit := text(5), 1+random.IntN(20)
			wait.Go(func() {
				want := slices.DeleteFunc(x.Find(question, len(documents), all), func(d int) bool { return hidden[d] })
				found := x.Find(question, limit, func(d int) bool { return !hidden[d] })
				if !slices.Equal(found, want[:min(limit, len(want))]) {
					t.Errorf("%q finds %v of %v", question, found, want)
				}
			})
		}
		wait.Wait()
	}
}
