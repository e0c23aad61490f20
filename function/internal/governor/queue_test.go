package governor

// A queue holds what is to happen in a simulation: the earliest first, and of the same time what was put there first. Its zero
// value is empty.
type queue struct {
	put   int
	heap  []event
	lines [len(usual)]line
}

// usual delays have lines of their own, where what is put last is due last: only the others need the heap.
var usual = [...]int64{20 * ms, 50 * ms}

// An event is something that an instance does when it runs, or that happens without one.
type event struct {
	at    int64
	order int
	node  *node // nil: it happens without an instance
	do    func()
}

func (e *event) before(f *event) bool { return e.at < f.at || e.at == f.at && e.order < f.order }

// A line holds events in the order in which they are due.
type line struct {
	events []event
	first  int
}

// add puts something into the queue that is due at a time, so long from now.
func (q *queue) add(now, delay int64, n *node, do func()) {
	q.put++
	e := event{now + delay, q.put, n, do}
	for i, d := range usual {
		if d == delay {
			l := &q.lines[i]
			if l.first > len(l.events)/2 {
				l.events, l.first = append(l.events[:0], l.events[l.first:]...), 0
			}
			l.events = append(l.events, e)
			return
		}
	}
	q.push(e)
}

// next takes out the first event that is due by the end.
func (q *queue) next(end int64) (e event, ok bool) {
	var from *line
	if len(q.heap) > 0 {
		e, ok = q.heap[0], true
	}
	for i := range q.lines {
		l := &q.lines[i]
		if l.first < len(l.events) && (!ok || l.events[l.first].before(&e)) {
			e, ok, from = l.events[l.first], true, l
		}
	}
	switch {
	case !ok || e.at > end:
		return event{}, false
	case from != nil:
		from.events[from.first] = event{}
		from.first++
	default:
		q.pop()
	}
	return e, true
}

func (q *queue) push(e event) {
	q.heap = append(q.heap, e)
	i := len(q.heap) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !e.before(&q.heap[parent]) {
			break
		}
		q.heap[i] = q.heap[parent]
		i = parent
	}
	q.heap[i] = e
}

// pop takes out the first event of the heap.
func (q *queue) pop() {
	last := q.heap[len(q.heap)-1]
	q.heap[len(q.heap)-1] = event{}
	q.heap = q.heap[:len(q.heap)-1]
	if len(q.heap) == 0 {
		return
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= len(q.heap) {
			break
		}
		if right := child + 1; right < len(q.heap) && q.heap[right].before(&q.heap[child]) {
			child = right
		}
		if !q.heap[child].before(&last) {
			break
		}
		q.heap[i] = q.heap[child]
		i = child
	}
	q.heap[i] = last
}
