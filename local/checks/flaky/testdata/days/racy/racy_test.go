// Package racy has a test that only the race detector finds fault with.
package racy

import "testing"

func TestRacy(t *testing.T) {
	done := make(chan struct{})
	n := 0
	go func() {
		n++
		close(done)
	}()
	n++
	<-done
}
