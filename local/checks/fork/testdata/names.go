package tools

import "context"

// Names that rooms of the product have as well: what an author calls their own is theirs.

type (
	question string
	rule     struct{ Most int }
	health   bool
	span     struct{ From, To int }
	known    map[question]span
	support  struct {
		Question question `json:"question"`
	}
)

func answer(_ context.Context, in support) (string, error) {
	limit, well := rule{Most: 3}, health(true)
	if place, ok := (known{"where": {From: 1, To: limit.Most}})[in.Question]; ok && bool(well) {
		return "here"[place.From-1 : place.To+1], nil
	}
	return "ask another", nil
}
