package judge

import "math"

// A Trend tests, while values come in, whether they rise: whether memory leaks. It may be looked at after each value.
//
// As long as values have no trend, each is equally likely to be the largest, the second largest and so on of all so far, independently of
// the ranks before. What a bet on high ranks has won is then a nonnegative supermartingale that begins at 1, an e-value as in
// [Proportions]. The bets are the power martingales of V. Vovk, I. Nouretdinov and A. Gammerman, Testing exchangeability on-line, ICML
// 2003: a rank that only a share p of all reaches pays e·p^(e-1), and stakes are spread over some e. Equal values count against a rise.
type Trend struct {
	values []float64
	logs   []float64
}

var exponents = []float64{0.15, 0.3, 0.5}

// Add takes a value.
func (t *Trend) Add(v float64) {
	t.values = append(t.values, v)
	reach := 0
	for _, other := range t.values {
		if other >= v {
			reach++
		}
	}
	p := float64(reach) / float64(len(t.values))
	if t.logs == nil {
		t.logs = make([]float64, len(exponents))
	}
	for i, e := range exponents {
		t.logs[i] += math.Log(e) + (e-1)*math.Log(p)
	}
}

// Log is the natural logarithm of the e-value.
func (t *Trend) Log() float64 {
	if t.logs == nil {
		return 0
	}
	return logMean(t.logs)
}

// fewest is of how many values quarters are made.
const fewest = 12

// quarters are the means of the first, second, third and last quarter of the values.
func (t *Trend) quarters() (means [4]float64, ok bool) {
	n := len(t.values)
	if n < fewest {
		return means, false
	}
	for q := range means {
		part := t.values[q*n/4 : (q+1)*n/4]
		for _, v := range part {
			means[q] += v / float64(len(part))
		}
	}
	return means, true
}

// Growth is by how much the last quarter is above the first. Steady tells whether it goes on: what a process fills at its beginning and
// then keeps, such as caches, grows less and less.
func (t *Trend) Growth() (growth float64, steady bool) {
	m, ok := t.quarters()
	if !ok {
		return 0, false
	}
	return m[3] - m[0], m[3]-m[2] >= (m[1]-m[0])/2 && m[2] > m[1] && m[3] > m[2]
}
