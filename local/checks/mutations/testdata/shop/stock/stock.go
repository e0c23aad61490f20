// Package stock has a test that holds Enough to its bound and looks at nothing else.
package stock

// Enough is true where there is as much as is wanted.
func Enough(have, want int) bool { return have >= want }

// Left is what stays, of which a test of another package knows.
func Left(have, want int) int { return have - want }

// Both is what no test calls.
func Both(a, b bool) bool { return a && b }
