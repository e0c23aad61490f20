package journal

import (
	"iter"
	"slices"

	"example.com/erlmcp/function/internal/receipt"
)

// A queue holds receipts in the order in which they came. Its memory follows the load.
type queue struct {
	chunks [][]receipt.Receipt
	gone   int // of the first chunk
	n      int
}

// chunkSize is how many receipts are allocated together.
const chunkSize = 128

func (q *queue) push(r *receipt.Receipt, p *pool) {
	last := len(q.chunks) - 1
	if last < 0 || len(q.chunks[last]) == cap(q.chunks[last]) {
		q.chunks = append(q.chunks, p.get())
		last++
	}
	q.chunks[last] = append(q.chunks[last], *r)
	q.n++
}

// all goes through the receipts, the first first.
func (q *queue) all() iter.Seq[*receipt.Receipt] {
	return func(yield func(*receipt.Receipt) bool) {
		gone := q.gone
		for _, c := range q.chunks {
			for i := gone; i < len(c); i++ {
				if !yield(&c[i]) {
					return
				}
			}
			gone = 0
		}
	}
}

// move takes all of another queue, of which nothing is gone.
func (q *queue) move(from *queue) {
	q.chunks = append(q.chunks, from.chunks...)
	q.n += from.n
	clear(from.chunks)
	from.chunks, from.n = from.chunks[:0], 0
}

// drop forgets the first n receipts, and returns the chunks that are free then.
func (q *queue) drop(n int) (freed [][]receipt.Receipt) {
	q.n -= n
	q.gone += n
	for q.gone > 0 && q.gone >= len(q.chunks[len(freed)]) {
		c := q.chunks[len(freed)]
		q.gone -= len(c)
		clear(c) // so that nothing keeps their text
		freed = append(freed, c[:0])
	}
	q.chunks = slices.Delete(q.chunks, 0, len(freed))
	return freed
}

// A pool keeps a few chunks for the next receipts.
type pool [][]receipt.Receipt

const maxPooled = 8

func (p *pool) get() []receipt.Receipt {
	if n := len(*p); n > 0 {
		c := (*p)[n-1]
		*p = (*p)[:n-1]
		return c
	}
	return make([]receipt.Receipt, 0, chunkSize)
}

func (p *pool) put(chunks [][]receipt.Receipt) {
	for _, c := range chunks[:min(len(chunks), maxPooled-len(*p))] {
		*p = append(*p, c)
	}
}

// sizeOf is what a receipt takes in memory, about.
func sizeOf(r *receipt.Receipt) int64 {
	return structSize + int64(len(r.ID)+len(r.Tenant)+len(r.Principal)+len(r.Method)+len(r.Tool)+len(r.Reason)+len(r.Limit)+
		len(r.Era)+len(r.Catalog)+len(r.Policy)+len(r.Trace)+len(r.Detail))
}

const structSize = 480 // of a Receipt
