package memory

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnswersCountOnceWhileTheyAreValid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAnswers()
		see := func(id string, want bool) {
			t.Helper()
			if got := a.First(id, time.Minute); got != want {
				t.Errorf("%s is the first: %t", id, got)
			}
		}
		see("a", true)
		see("a", false)
		see("b", true)
		a.Forget("a")
		see("a", true)
		time.Sleep(time.Minute - 1)
		see("a", false)
		time.Sleep(time.Nanosecond)
		see("a", true)
		for i := range 5 * fewAnswers { // what has expired does not pile up
			see(fmt.Sprint(i), true)
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(a.used); n > 2*fewAnswers {
			t.Errorf("%d are kept", n)
		}
	})
}
