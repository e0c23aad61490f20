// Package idle has no tests.
package idle
