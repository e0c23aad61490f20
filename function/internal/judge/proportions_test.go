package judge

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// TestPublishedTables: the odds ratios that maximise the conditional likelihood of two tables of R. A. Fisher's are printed in the
// documentation of R's fisher.test (TeaTasting, Convictions). There the mean of the distribution is what was observed. So are the
// one-sided p-values.
func TestPublishedTables(t *testing.T) {
	for _, c := range []struct {
		name     string
		k, m     int
		n        [2]int
		odds     float64
		p        float64
		atLeast  bool
		rounding float64
	}{
		{"tea", 3, 4, [2]int{4, 4}, 6.408309, 0.2429, true, 5e-5},
		{"convictions", 2, 17, [2]int{12, 18}, 0.04693661, 0.0004652, false, 5e-8},
	} {
		const h = 1e-5
		mean := (logNormalizer(c.m, c.n, c.odds*(1+h)) - logNormalizer(c.m, c.n, c.odds*(1-h))) / (math.Log1p(h) - math.Log1p(-h))
		if math.Abs(mean-float64(c.k)) > 1e-5 {
			t.Errorf("%s: at the odds ratio %g the mean is %g, want %d", c.name, c.odds, mean, c.k)
		}
		p := 0.0
		for j := range c.m + 1 {
			if j <= c.n[0] && c.m-j <= c.n[1] && (j >= c.k) == c.atLeast || j == c.k {
				p += math.Exp(logChoose(c.n[0], j) + logChoose(c.n[1], c.m-j) - logNormalizer(c.m, c.n, 1))
			}
		}
		if math.Abs(p-c.p) > c.rounding {
			t.Errorf("%s: p is %g, want %g", c.name, p, c.p)
		}
	}
}

// TestNormalizer computes the sums anew in whole numbers, over the whole range of small tables.
func TestNormalizer(t *testing.T) {
	for a := 1; a <= 9; a++ {
		for b := 1; b <= 9; b++ {
			for m := 0; m <= a+b; m++ {
				for _, odds := range []int64{1, 2, 30, 5000} {
					sum := new(big.Int)
					for j := 0; j <= min(m, a); j++ {
						term := new(big.Int).Exp(big.NewInt(odds), big.NewInt(int64(j)), nil)
						term.Mul(term, new(big.Int).Binomial(int64(a), int64(j)))
						if m-j > b {
							continue
						}
						sum.Add(sum, term.Mul(term, new(big.Int).Binomial(int64(b), int64(m-j))))
					}
					exact, _ := new(big.Float).SetInt(sum).Float64()
					if got := logNormalizer(m, [2]int{a, b}, float64(odds)); math.Abs(got-math.Log(exact)) > 1e-9 {
						t.Fatalf("n %d %d, m %d, odds %d: %g, want %g", a, b, m, odds, got, math.Log(exact))
					}
				}
			}
		}
	}
	// What it leaves out of large ones is nothing: all of the marks' places are C(a+b, m).
	if got, want := logNormalizer(60_000, [2]int{100_000, 900_000}, 1), logChoose(1_000_000, 60_000); math.Abs(got-want) > 1e-6 {
		t.Errorf("%g, want %g", got, want)
	}
}

// TestBatchIsFair: whatever the table and the odds ratio that is borne, what a batch multiplies the e-value by is 1 in the mean or less,
// also where the true odds ratio is below the one that is borne, and for each alternative by itself.
func TestBatchIsFair(t *testing.T) {
	for a := 1; a <= 7; a++ {
		for b := 1; b <= 7; b++ {
			for m := 1; m < a+b; m++ {
				for _, null := range []float64{1, 1.25, 2} {
					for _, part := range []float64{0.3, 0.8, 1} {
						for _, power := range []float64{0.25, 1} {
							means := make([]float64, len(alternatives))
							for k := max(0, m-b); k <= min(m, a); k++ {
								p := Proportions{Null: null, Power: power, MostOfBatch: math.Inf(1)}
								p.Add(Table{[2]float64{float64(k), float64(m - k)}, [2]float64{float64(a), float64(b)}})
								chance := math.Exp(logChoose(a, k) + logChoose(b, m-k) + float64(k)*math.Log(null*part) - logNormalizer(m, [2]int{a, b}, null*part))
								for i := range means {
									means[i] += chance * math.Exp(p.logs[i])
								}
							}
							for i, mean := range means {
								if mean > 1+1e-9 {
									t.Fatalf("n %d %d, m %d, null %g, true %g, power %g, alternative %d: mean %g", a, b, m, null, null*part, power, i, mean)
								}
								if power == 1 && part == 1 && math.Abs(mean-1) > 1e-9 {
									t.Fatalf("n %d %d, m %d, null %g: at the odds ratio that is borne the mean is %g: evidence is given away", a, b, m, null, mean)
								}
							}
						}
					}
				}
			}
		}
	}
}

// TestTrendIsFair goes through all orders of values: the mean of the e-value is at most 1, with and without values that are equal.
func TestTrendIsFair(t *testing.T) {
	for _, values := range [][]float64{{1, 2, 3, 4, 5, 6, 7}, {1, 1, 2, 2, 3, 3, 3}, {5, 5, 5, 5, 5, 5, 5}} {
		sum, n := 0.0, 0
		permute(values, func(order []float64) {
			var trend Trend
			for _, v := range order {
				trend.Add(v)
			}
			sum += math.Exp(trend.Log())
			n++
		})
		if mean := sum / float64(n); n != 5040 || mean > 1 {
			t.Errorf("%v: the mean of %d orders is %g", values, n, mean)
		}
	}
}

func permute(values []float64, do func([]float64)) {
	var place func(int)
	place = func(i int) {
		if i == len(values) {
			do(values)
			return
		}
		for j := i; j < len(values); j++ {
			values[i], values[j] = values[j], values[i]
			place(i + 1)
			values[i], values[j] = values[j], values[i]
		}
	}
	place(0)
}

// TestSequentialLevel looks at equal shares after every batch, and stops at the first that says otherwise: over all bakes together that
// happens no more often than stated, at many rates, sizes and levels, also where the share changes all the time. The same looks at the
// usual test for two proportions alarm several times as often as they state: the simulation can tell.
func TestSequentialLevel(t *testing.T) {
	bakes := 120
	if number() > 3 {
		bakes = 800
	}
	naive, total := 0, 0
	for i, rate := range []float64{0.001, 0.02, 0.3, 0.9} {
		for j, sizes := range [][2]int{{2, 20}, {20, 180}, {100, 100}} {
			for _, level := range []float64{0.2, 0.02} {
				t.Run(fmt.Sprintf("rate %g, sizes %d, level %g", rate, sizes, level), func(t *testing.T) {
					r := rand.New(rand.NewPCG(uint64(i), uint64(j)))
					alarms := 0
					for range bakes {
						p := Proportions{Null: 1, Power: 1, MostOfBatch: math.Inf(1)}
						alarm, early := false, false
						for range 60 {
							now := min(1, rate*2*r.Float64())
							marked := [2]float64{binomial(r, sizes[0], now), binomial(r, sizes[1], now)}
							p.Add(Table{marked, [2]float64{float64(sizes[0]), float64(sizes[1])}})
							alarm = alarm || p.Log() >= -math.Log(level)
							early = early || usual(&p) > 2.054 // 0.02 of one side
						}
						if alarm {
							alarms++
						}
						if early && level == 0.02 && rate > 0.001 {
							naive++
						}
						if level == 0.02 && rate > 0.001 {
							total++
						}
					}
					most := level*float64(bakes) + 3*math.Sqrt(level*float64(bakes))
					if float64(alarms) > most {
						t.Errorf("%d alarms in %d bakes", alarms, bakes)
					}
				})
			}
		}
	}
	if part := float64(naive) / float64(total); part < 0.04 {
		t.Errorf("the usual test, looked at again and again, alarms in a part of %g of bakes: the simulation finds nothing", part)
	}
}

// usual is the statistic of the test for two proportions that is not meant to be looked at twice.
func usual(p *Proportions) float64 {
	n, m := p.all[0]+p.all[1], p.marked[0]+p.marked[1]
	pooled := m / n
	if spread := math.Sqrt(pooled * (1 - pooled) * (1/p.all[0] + 1/p.all[1])); spread > 0 {
		return (p.Share(Canary) - p.Share(Baseline)) / spread
	}
	return 0
}

func binomial(r *rand.Rand, n int, p float64) float64 {
	k := 0
	for range n {
		if r.Float64() < p {
			k++
		}
	}
	return float64(k)
}
