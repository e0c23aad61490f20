package rotation

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/seal"
)

// history is a place in memory, the oldest version first.
type history []string

// Versions implements [Place].
func (h *history) Versions(context.Context) iter.Seq2[Version, error] {
	return func(yield func(Version, error) bool) {
		for n := len(*h); n > 0; n-- {
			if !yield(Version{Name: fmt.Sprint("version ", n), At: began.Add(time.Duration(n) * time.Hour), Keys: (*h)[n-1], number: n}, nil) {
				return
			}
		}
	}
}

// Append implements [Place].
func (h *history) Append(_ context.Context, keys string, behind Version) (Version, error) {
	if behind.number != len(*h) {
		return Version{}, errors.New("another has come between")
	}
	*h = append(*h, keys)
	return Version{Keys: keys, number: len(*h)}, nil
}

var began = time.Date(2026, 1, 26, 10, 0, 0, 0, time.UTC)

// keys writes keys as SEALING_KEYS has them: "12" are the first and the second.
func keys(digits string) string {
	var all []string
	for _, d := range []byte(digits) {
		all = append(all, base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{d}, seal.KeySize)))
	}
	return strings.Join(all, ",")
}

func ring(t *testing.T, text string) *seal.Ring {
	t.Helper()
	r, err := seal.ParseRing(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// opens tells whether one ring opens what another seals.
func opens(t *testing.T, by, sealed *seal.Ring) bool {
	t.Helper()
	now := time.Now()
	text := sealed.Seal("a round", nil, []byte("x"), now.Add(time.Hour))
	_, err := by.Open("a round", nil, text, now)
	if err != nil && !errors.Is(err, seal.ErrKey) {
		t.Fatal(err)
	}
	return err == nil
}

// TestSteps takes the three steps, twice. After each, instances that have taken it and instances that lag by it hear each other; one that
// lags by two does not, which is why each step waits for the one before.
func TestSteps(t *testing.T) {
	place := history{keys("1")}
	for _, step := range []Step{Add, Use, Drop, Add, Use, Drop} {
		s, err := Read(t.Context(), &place)
		if err != nil || s.Next != step {
			t.Fatalf("after %d versions the next step is %+v (%v), want %s", len(place), s, err, step)
		}
		if _, err := place.Append(t.Context(), s.Keys(), s.Newest); err != nil {
			t.Fatal(err)
		}
		n := len(place)
		has, lags := ring(t, place[n-1]), ring(t, place[n-2])
		if !opens(t, has, lags) || !opens(t, lags, has) {
			t.Errorf("%s: an instance that has taken it, and one that has not, don't hear each other", step)
		}
		if n < 3 || step == Add { // after drop, add takes nothing away from who lags by both
			continue
		}
		if late := ring(t, place[n-3]); opens(t, late, has) && opens(t, has, late) {
			t.Errorf("%s: an instance that lags by two steps hears all: then no step would have to wait", step)
		}
		if _, err := place.Append(t.Context(), s.Keys(), s.Newest); err == nil {
			t.Errorf("%s: it is taken once more", step)
		}
	}
	if first, last := ring(t, place[0]), ring(t, place[len(place)-1]); opens(t, last, first) {
		t.Error("what the first key has sealed opens, and it is dropped")
	}
	if old, dropped := ring(t, place[2]), ring(t, place[3]); !opens(t, dropped, old) || opens(t, dropped, ring(t, place[0])) {
		t.Error("after drop opens what was sealed after use, and nothing from before it: a drop before that is over fails it")
	}
}

// TestNext reads places that others have written to: the next step follows from what was before, or nothing does.
func TestNext(t *testing.T) {
	for _, c := range []struct {
		name     string
		versions []string
		want     Step
		fault    string
		at       int // the version since which the keys are what they are
	}{
		{"one key", []string{"1"}, Add, "", 1},
		{"a key beside it", []string{"1", "12"}, Use, "", 2},
		{"the new one seals", []string{"1", "12", "21"}, Drop, "", 3},
		{"the old one is dropped", []string{"1", "12", "21", "2"}, Add, "", 4},
		{"said twice", []string{"1", "12", "12"}, Use, "", 2},
		{"said twice after use", []string{"1", "12", "21", "21", "21"}, Drop, "", 3},
		{"back to one key, by hand", []string{"1", "12", "1"}, Add, "", 3},
		{"use, and back, by hand", []string{"1", "12", "21", "12"}, Drop, "", 4},
		{"use without add, by hand", []string{"1", "21"}, Drop, "", 2},
		{"two keys from the start", []string{"12"}, "", "can't be told", 0},
		{"two others before", []string{"1", "34", "12"}, "", "can't be told", 0},
		{"three keys before", []string{"1", "123", "12"}, "", "can't be told", 0},
		{"another key before", []string{"3", "12"}, "", "can't be told", 0},
		{"said too often", slices.Concat([]string{"1"}, slices.Repeat([]string{"12"}, maxVersions+1)), "", "can't be told", 0},
		{"three keys", []string{"1", "123"}, "", "has 3 keys", 0},
		{"a key twice", []string{"1", "11"}, "", "one or two different ones", 0},
		{"nothing", nil, "", "there is no version", 0},
	} {
		var place history
		for _, v := range c.versions {
			place = append(place, keys(v))
		}
		s, err := Read(t.Context(), &place)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v, want %q", c.name, err, c.fault)
			}
			continue
		}
		if err != nil || s.Next != c.want || !s.Newest.At.Equal(began.Add(time.Duration(c.at)*time.Hour)) {
			t.Errorf("%s: %+v (%v), want %s since version %d", c.name, s, err, c.want, c.at)
			continue
		}
		var first, second string
		newest := c.versions[len(c.versions)-1]
		after, _ := seal.ParseRing(s.Keys())
		if first = newest[:1]; len(newest) == 2 {
			second = newest[1:]
		}
		one, other := s.Keys(), s.Keys()
		switch want := map[Step]string{Use: second + first, Drop: first}[c.want]; {
		case c.want != Add && one != keys(want):
			t.Errorf("%s: the keys after %s are %v, want those of %s", c.name, s.Next, after.IDs(), want)
		case c.want == Add && (len(after.IDs()) != 2 || !strings.HasPrefix(one, keys(first)+",") || one == other):
			t.Errorf("%s: the keys after add are %v: the old one, and a new one each time, are wanted", c.name, after.IDs())
		}
	}
}

// TestFile keeps versions in the file itself, which servers read as its keys alone.
func TestFile(t *testing.T) {
	text, name := "# ours\n"+keys("1")+"\n", "the file"
	for i, v := range []string{"12", "21", "2"} {
		all, err := ReadFile(text, name)
		if err != nil || len(all) != i+1 {
			t.Fatalf("%+v %v", all, err)
		}
		now := began.Add(time.Duration(i) * 24 * time.Hour)
		made, got, err := WriteFile(text, keys(v), all[0], now)
		if err != nil || got.Keys != keys(v) || !got.At.Equal(now) || !slices.Equal(ring(t, made).IDs(), ring(t, keys(v)).IDs()) {
			t.Fatalf("%+v %v: %s", got, err, made)
		}
		if _, _, err := WriteFile(made, keys("3"), all[0], now); err == nil || !strings.Contains(err.Error(), "another has changed the keys") {
			t.Errorf("behind a version that is not the newest: %v", err)
		}
		text = made
	}
	all, err := ReadFile(text, name)
	if err != nil || len(all) != 4 || all[0].Keys != keys("2") || all[3].Keys != keys("1") || !all[3].At.IsZero() || !all[1].At.Equal(began.Add(24*time.Hour)) {
		t.Errorf("the versions are %+v (%v)", all, err)
	}
	byHand := strings.TrimSuffix(text, keys("2")+"\n") + keys("4")
	if all, err := ReadFile(byHand, name); err != nil || len(all) != 1 || all[0].Keys != keys("4") || !all[0].At.IsZero() {
		t.Errorf("a file that was changed by hand: %+v (%v)", all, err)
	}
	for _, bad := range []string{mark + "yesterday " + keys("1") + "\n" + keys("1"), mark + "x\n" + keys("1"), "", "hunter2"} {
		if _, err := ReadFile(bad, name); err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), keys("1")) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
