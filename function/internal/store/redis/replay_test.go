package redis

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"example.com/erlmcp/function/internal/governor"
)

// TestScriptsAnswerAsTheReference sends the same random messages to the scripts and to the state machine that the simulation
// proves, at the same times, and wants the same answers.
func TestScriptsAnswerAsTheReference(t *testing.T) {
	eachRedis(t, func(t *testing.T, client *redis.Client, embedded bool) {
		rounds := 40
		if embedded { // whose Lua is slow
			rounds = 15
		}
		granted, refused, statuses := 0, 0, map[governor.Status]int{}
		for seed := range uint64(rounds) {
			client.FlushAll(t.Context())
			messages := randomMessages(seed)
			steps := make([]step, len(messages))
			for i, m := range messages {
				steps[i] = m.step
			}
			for i, answer := range replay(t, client, steps) {
				m := messages[i]
				if m.draw == nil {
					if answer != m.want {
						t.Fatalf("seed %d message %d: got %v, want %v", seed, i, answer, m.want)
					}
					continue
				}
				got, err := read(answer.([]any), m.draw)
				if err != nil {
					t.Fatalf("seed %d message %d: %v", seed, i, err)
				}
				if want := m.want.(governor.LeaseResponse); !reflect.DeepEqual(normal(got), normal(want)) {
					t.Fatalf("seed %d message %d: %+v\n got %+v\nwant %+v", seed, i, m.draw, got, want)
				}
				statuses[got.Status]++
				for _, g := range got.Granted {
					if g.Amounts == nil {
						refused++
					} else {
						granted++
					}
				}
			}
		}
		if granted < rounds || refused < rounds || len(statuses) != 3 {
			t.Errorf("too little was exercised: %d granted, %d refused, statuses %v", granted, refused, statuses)
		}
	})
}

// A message is a step, and what the reference answers to it.
type message struct {
	step
	draw *governor.LeaseRequest // nil: it is none
	want any
}

func randomMessages(seed uint64) (all []message) {
	rng := rand.New(rand.NewPCG(seed, 1))
	reference := governor.NewReferenceCounters()
	at := int64(1_700_000_000_000_000)
	seqs := map[string]int64{}
	first := rng.IntN(2) == 0
	for n := range 150 {
		at += rng.Int64N(200_000)
		if rng.IntN(40) == 0 {
			at += rng.Int64N(900_000_000)
		}
		if rng.IntN(40) == 0 { // the clock is set back
			at -= rng.Int64N(9_000_000)
		}
		if n == 3 || n > 3 && rng.IntN(30) == 0 {
			want := reference.Open(at, 7, first, 2_000_000)
			all = append(all, message{step{at, openSource, prefix, []any{7, first, 2_000_000}}, nil, want})
		}
		if n > 10 && rng.IntN(20) == 0 {
			reference.Announce()
			all = append(all, message{step{at, tripSource, prefix, []any{"tool:x", rng.IntN(2) * 1_000_000}}, nil, int64(1)})
		}
		d := randomDraw(rng, seqs)
		all = append(all, message{step{at, drawSource, prefix, arguments(d)}, d, reference.Lease(at, d)})
	}
	return all
}

// normal makes empty lists nil, so that answers compare.
func normal(r governor.LeaseResponse) governor.LeaseResponse {
	if len(r.Granted) == 0 {
		r.Granted = nil
	}
	return r
}

func randomDraw(rng *rand.Rand, seqs map[string]int64) *governor.LeaseRequest {
	name := fmt.Sprint("n", rng.IntN(4))
	if seqs[name]++; rng.IntN(15) == 0 {
		seqs[name] -= 2 // an old message
	}
	d := &governor.LeaseRequest{Instance: name, Seq: max(seqs[name], 1), Epoch: 7, Lease: 2_000_000, Full: rng.IntN(2) == 0}
	if rng.IntN(25) == 0 {
		d.Epoch = 6
	}
	for i := range rng.IntN(3) {
		d.Holdings = append(d.Holdings, governor.Holding{Key: fmt.Sprint("c:k", i), Slots: rng.Int64N(5)})
	}
	for range rng.IntN(4) {
		var g governor.Group
		for i := range 1 + rng.IntN(3) {
			n := governor.Need{Min: 1 + rng.Int64N(3)}
			n.Max = n.Min + rng.Int64N(5)
			if rng.IntN(2) == 0 {
				n.Key, n.Kind, n.Cap = fmt.Sprint("c:k", i), governor.Slots, 8
			} else {
				n.Key, n.Kind, n.Period, n.Cap = fmt.Sprint([]string{"r:k", governor.Forgettable}[rng.IntN(2)], i), governor.Tokens, 1+100_000*rng.Float64(), 3000+rng.Int64N(30_000)
				n.Hold = rng.Int64N(2) * rng.Int64N(300_000)
			}
			n.Tenant = []string{"", "a", "b", "c"}[rng.IntN(4)]
			g = append(g, n)
		}
		d.Groups = append(d.Groups, g)
	}
	return d
}

// A step is a script of a schedule.
type step struct {
	at     int64 // by the clock of the schedule, µs
	script string
	key    string
	args   []any
}

// replay runs a schedule in one script, in which each step is a function, as its script is written, with arguments and a clock of
// its own: most of the work that miniredis has with a script is its start. It returns the answers.
func replay(t *testing.T, client *redis.Client, steps []step) []any {
	t.Helper()
	var functions strings.Builder
	number := map[string]int{}
	var args []any
	for _, s := range steps {
		if number[s.script] == 0 {
			number[s.script] = len(number) + 1
			fmt.Fprintf(&functions, "function(KEYS, ARGV) %s end,\n", s.script)
		}
		args = append(append(args, s.at/1e6, s.at%1e6, number[s.script], s.key, len(s.args)), s.args...)
	}
	answers, err := client.Eval(t.Context(), fmt.Sprintf(`
local real, steps, now = redis, ARGV, nil
local redis = setmetatable({call = function(name, ...)
  if name == 'TIME' then return now end
  return real.call(name, ...)
end}, {__index = real})
local scripts = {%s}
local answers, i = {}, 1
while i < #steps do
  local script, key, n, args = scripts[tonumber(steps[i + 2])], steps[i + 3], tonumber(steps[i + 4]), {}
  now = {steps[i], steps[i + 1]}
  for k = 1, n do args[k] = steps[i + 4 + k] end
  answers[#answers + 1] = script({key}, args)
  i = i + 5 + n
end
return answers`, functions.String()), []string{prefix}, args...).Slice()
	if err != nil || len(answers) != len(steps) {
		t.Fatalf("%d answers to %d steps, %v", len(answers), len(steps), err)
	}
	return answers
}
