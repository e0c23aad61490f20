package main

import (
	"regexp"
)

var (
	ofTest = regexp.MustCompile(`^\s*(?:=== \w+\s+|--- \w+: )(\S+)`)
	fails  = regexp.MustCompile(`^\s*--- FAIL: (\S+)`)
	words  = regexp.MustCompile(`^\s+\w+_test\.go:\d+: .{1,400}`)
)

// said is what tests that failed gave as the reason, from what go test prints: up to three lines before each failure, where they stand
// with -v, and three after it, where they stand without. It is repeated at the very end, since whoever looks at a failure from afar is
// often shown the last lines alone.
func said(log []string) (lines []string) {
	const most = 40
	var since []string // since a test was named last
	failure := false   // whether it was named as one that failed
	for _, l := range log {
		switch {
		case fails.MatchString(l):
			if !failure {
				lines = append(lines, since...)
			}
			lines = append(lines, "failed: "+fails.FindStringSubmatch(l)[1])
			since, failure = nil, true
		case ofTest.MatchString(l):
			since, failure = nil, false
		case words.MatchString(l) && len(since) < 3:
			since = append(since, words.FindString(l))
			if failure {
				lines = append(lines, words.FindString(l))
			}
		}
	}
	return lines[:min(most, len(lines))]
}
