package firestore

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"example.com/erlmcp/function/internal/backend/firestore/documents"
	"example.com/erlmcp/function/internal/identity"
)

// An ownership is a field that is equal to something of the caller's.
type ownership struct {
	field string
	of    string // tenant, subject, issuer, or claims.NAME
}

var ownClause = regexp.MustCompile(`^([A-Za-z0-9_.]+) *== *principal\.(tenant|subject|issuer|claims\.[A-Za-z_][A-Za-z0-9_]*)$`)

func parseOwn(text string) (own []ownership, err error) {
	var faults []error
	for clause := range strings.SplitSeq(text, "&&") {
		found := ownClause.FindStringSubmatch(strings.TrimSpace(clause))
		if found == nil {
			faults = append(faults, fmt.Errorf("%q is not FIELD == principal.tenant, or subject, issuer or claims.NAME in place of tenant; several are joined with &&", strings.TrimSpace(clause)))
			continue
		}
		if err := documents.CheckPath(found[1]); err != nil {
			faults = append(faults, err)
		}
		if slices.ContainsFunc(own, func(o ownership) bool { return o.field == found[1] }) {
			faults = append(faults, fmt.Errorf("%s is there twice: leave one out", found[1]))
		}
		own = append(own, ownership{found[1], found[2]})
	}
	return own, errors.Join(faults...)
}

// owned returns the fields of what is the caller's own. Without a value for each of them there is an error, and so nothing is read.
func (p *plan) owned(caller *identity.Principal) ([]documents.Field, error) {
	var fields []documents.Field
	for _, o := range p.own {
		if caller == nil {
			return nil, errors.New("it is not known who calls, and so not what is the caller's own")
		}
		var value any
		switch o.of {
		case "tenant":
			value = caller.Tenant
		case "subject":
			value = caller.Subject
		case "issuer":
			value = caller.Issuer
		default:
			value = caller.Claims[strings.TrimPrefix(o.of, "claims.")]
		}
		switch value.(type) {
		case string, int64, bool:
		default: // a number that is not whole, a list or an object owns nothing
			value = ""
		}
		if value == "" {
			return nil, fmt.Errorf("the caller has no %s, by which it would be known what is the caller's own", o.of)
		}
		fields = append(fields, documents.Field{Path: o.field, Value: value})
	}
	return fields, nil
}

// isOwn tells whether a document has the values of the caller's own, as the database compares them: numbers by their value, and others of the
// same type.
func isOwn(d *documents.Document, own []documents.Field) bool {
	for _, f := range own {
		value, ok := documents.Lookup(d.Fields, f.Path)
		switch v := value.(type) {
		case string, int64, bool:
			ok = ok && v == f.Value
		case float64:
			n, whole := f.Value.(int64)
			ok = ok && whole && v >= math.MinInt64 && v < -math.MinInt64 && int64(v) == n && v == math.Trunc(v)
		default:
			ok = false
		}
		if !ok {
			return false
		}
	}
	return true
}
