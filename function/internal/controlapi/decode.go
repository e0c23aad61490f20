package controlapi

import (
	"bytes"
	"fmt"
	"strconv"

	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/strictjson"
)

// decode reads a body of JSON into a struct, and lists all that is wrong with it.
func decode[T any](body []byte) (into T, faults []string) {
	if len(bytes.TrimSpace(body)) == 0 {
		return into, []string{"body: is missing"}
	}
	faults = entitlement.Faults(strictjson.Unmarshal(body, "body", &into, strictjson.Refuse))
	return into, faults
}

// page reads which page is asked for.
func (c *call) page() (after string, limit int, faults []string) {
	after, limit = c.values.Get("after"), 100
	if len(after) > 256 {
		faults = append(faults, "query: after is longer than 256 bytes")
	}
	if text := c.values.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			faults = append(faults, fmt.Sprintf("query: limit: %.20q is not a number from 1 to %d", text, maxPage))
		}
		limit = n
	}
	return after, limit, faults
}

const maxPage = 500

// cut shortens a list to a page, and returns after what the next one begins; "" where there is none.
func cut[T any](all []T, limit int, name func(T) string) (some []T, next string) {
	if len(all) <= limit {
		if all == nil {
			all = []T{}
		}
		return all, ""
	}
	return all[:limit], name(all[limit-1])
}
