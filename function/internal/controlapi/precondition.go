package controlapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// etag is that of a revision.
func etag(revision int64) string { return `"` + strconv.FormatInt(revision, 10) + `"` }

// A demand is whether a change of what exists must say which state of it was seen.
type demand bool

const (
	mustMatch demand = true
	mayMatch  demand = false
)

// unchanged holds the thing as it is against If-Match and If-None-Match (RFC 9110, section 13.1; RFC 6585, section 3).
func (c *call) unchanged(exists bool, tag string, d demand) error {
	match, none := c.r.Header.Values("If-Match"), c.r.Header.Values("If-None-Match")
	conflict := func(format string, args ...any) error {
		p := problem(http.StatusPreconditionFailed, "conflict", format, args...)
		if exists {
			p.etag = tag
		}
		return p
	}
	switch {
	case len(none) > 0 && (len(none) > 1 || none[0] != "*"):
		return problem(http.StatusBadRequest, "invalid", "If-None-Match takes * alone here: to make what is not there yet")
	case len(none) > 0 && exists:
		return conflict("it is there already, with the ETag %s", tag)
	case len(match) > 0 && !exists:
		return conflict("it is not there: without If-Match it is made")
	case len(match) > 0 && !matches(match, tag) && weak(match):
		return conflict("If-Match takes the ETag as it was sent, which is %s now: one that begins with W/ is weak, as a proxy may have made it, and never matches (RFC 9110, section 13.1.1)", tag)
	case len(match) > 0 && !matches(match, tag) && unquoted(match):
		return conflict("If-Match takes the ETag as it was sent, with its quotes, which is %s now", tag)
	case len(match) > 0 && !matches(match, tag):
		return conflict("it has changed since it was read, and has the ETag %s now: read it again, and decide anew", tag)
	case len(match) == 0 && exists && d == mustMatch:
		p := problem(http.StatusPreconditionRequired, "precondition", "it is there: send If-Match with the ETag that you have read, so that no other's change is lost")
		p.etag = tag
		return p
	}
	return nil
}

func matches(values []string, tag string) bool {
	return anyTag(values, func(t string) bool { return t == tag || t == "*" })
}

func weak(values []string) bool {
	return anyTag(values, func(t string) bool { return strings.HasPrefix(t, "W/") })
}

func unquoted(values []string) bool {
	return anyTag(values, func(t string) bool { return len(t) < 2 || t[0] != '"' || t[len(t)-1] != '"' })
}

func anyTag(values []string, is func(string) bool) bool {
	tags := strings.Split(strings.Join(values, ","), ",")
	return slices.ContainsFunc(tags, func(t string) bool { return is(strings.TrimSpace(t)) })
}
