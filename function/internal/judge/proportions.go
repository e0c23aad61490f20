package judge

import (
	"math"
	"slices"
	"sort"
)

// Proportions tests, while batches come in, whether a share of the canary's calls is larger than that of the baseline's: of calls that
// failed, say, or that were slow. It may be looked at after each batch and stopped at will.
//
// Of each batch only that is used which of its marked calls are the canary's. Under the hypothesis that the odds of a mark are at most
// Null times as high at the canary, that has Fisher's noncentral hypergeometric distribution or is smaller, whatever the share itself is
// and however it changes from batch to batch. The likelihood ratio against each of some larger odds ratios is then a nonnegative
// supermartingale that begins at 1, and so is their mean, the e-value: by Ville's inequality the chance that it ever reaches x is at most
// 1/x. The construction is that of the safe logrank test with ties (P. Grünwald, A. Ly, M. Pérez-Ortiz and J. ter Schure, The safe logrank
// test: error control under optional stopping, continuation and prior misspecification, PMLR 146, 2021, arXiv:2011.06931); R. Turner,
// A. Ly and P. Grünwald, Generic E-variables for exact sequential k-sample tests that allow for optional stopping, Journal of Statistical
// Planning and Inference 230, 2024, arXiv:2106.02693, is its unconditional relative.
//
// Two changes make it smaller, never larger, so that the bound stands. Power is an exponent below 1, by Jensen's inequality: with 1/2, two
// marks that always come together, such as a client that tries twice, count as one. MostOfBatch caps what one batch may say for the canary
// being worse: one bad second at one of both is no evidence about a version, and many are.
type Proportions struct {
	Null        float64 // odds ratio that is borne, at least 1
	Power       float64 // exponent, above 0 and at most 1
	MostOfBatch float64 // natural logarithm
	logs        []float64
	marked, all [2]float64
}

// A Side is one of the two that are compared.
type Side int

// Sides, as indices.
const (
	Canary Side = iota
	Baseline
)

func (s Side) String() string { return [...]string{"canary", "baseline"}[s] }

// alternatives are the odds ratios against which the hypothesis is held, as multiples of the one that is borne.
var alternatives = []float64{2, 5, 20, 200}

// A Table is of how many calls of each side how many are marked.
type Table struct{ Marked, All [2]float64 }

// Add takes a batch: a table, or several that have shares of their own, such as those of several tools.
func (p *Proportions) Add(batch ...Table) {
	if p.logs == nil {
		p.logs = make([]float64, len(alternatives))
	}
	ratios := make([]float64, len(alternatives))
	for _, t := range batch {
		var k, n [2]int
		for s := range k {
			n[s] = int(math.Round(max(t.All[s], t.Marked[s], 0)))
			k[s] = int(math.Round(max(t.Marked[s], 0)))
			p.marked[s] += float64(k[s])
			p.all[s] += float64(n[s])
		}
		m := k[Canary] + k[Baseline]
		if m == 0 || n[Canary] == 0 || n[Baseline] == 0 {
			continue // whose they are is certain
		}
		null := logNormalizer(m, n, p.Null)
		for i, times := range alternatives {
			ratios[i] += float64(k[Canary])*math.Log(times) + null - logNormalizer(m, n, p.Null*times)
		}
	}
	for i, ratio := range ratios {
		p.logs[i] += min(p.Power*ratio, p.MostOfBatch)
	}
}

// Log is the natural logarithm of the e-value.
func (p *Proportions) Log() float64 {
	if p.logs == nil {
		return 0
	}
	return logMean(p.logs)
}

// Share is that of marked calls at a side, 0 where there is no call.
func (p *Proportions) Share(s Side) float64 {
	if p.all[s] == 0 {
		return 0
	}
	return p.marked[s] / p.all[s]
}

// logMean is the logarithm of the mean of what logarithms are given of.
func logMean(logs []float64) float64 {
	top := slices.Max(logs)
	sum := 0.0
	for _, l := range logs {
		sum += math.Exp(l - top)
	}
	return top + math.Log(sum/float64(len(logs)))
}

// logNormalizer is the logarithm of the sum, over all j, of C(n[Canary], j) C(n[Baseline], m-j) odds^j: the probabilities of j of m marks
// being the canary's, times the same factor. It is added up from the largest term in both directions, until terms are nothing beside it.
func logNormalizer(m int, n [2]int, odds float64) float64 {
	low, high := max(0, m-n[Baseline]), min(m, n[Canary])
	a, b := float64(n[Canary]), float64(n[Baseline])
	// The term j+1 is the term j times this.
	step := func(j int) float64 {
		return odds * (a - float64(j)) * float64(m-j) / (float64(j+1) * (b - float64(m) + float64(j+1)))
	}
	top := low + sort.Search(high-low, func(i int) bool { return step(low+i) < 1 })
	const nothing = 1e-17
	sum, term := 1.0, 1.0
	for j := top; j < high && term > nothing*sum; j++ {
		term *= step(j)
		sum += term
	}
	term = 1
	for j := top; j > low && term > nothing*sum; j-- {
		term /= step(j - 1)
		sum += term
	}
	return logChoose(n[Canary], top) + logChoose(n[Baseline], m-top) + float64(top)*math.Log(odds) + math.Log(sum)
}

func logChoose(n, k int) float64 {
	gamma := func(x int) float64 { v, _ := math.Lgamma(float64(x) + 1); return v }
	return gamma(n) - gamma(k) - gamma(n-k)
}
