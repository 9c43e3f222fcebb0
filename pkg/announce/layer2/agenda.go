package layer2

import (
	"container/heap"
	"time"
)

// agenda is a set of keys, each with the moment when it is due.
type agenda[K comparable] struct {
	heap  agendaHeap[K]
	items map[K]*agendaItem[K]
}

type agendaItem[K comparable] struct {
	key   K
	due   time.Time
	index int
}

// set makes k due at t, instead of when it was.
func (a *agenda[K]) set(k K, t time.Time) {
	if it := a.items[k]; it != nil {
		it.due = t
		heap.Fix(&a.heap, it.index)
		return
	}
	if a.items == nil {
		a.items = make(map[K]*agendaItem[K])
	}
	it := &agendaItem[K]{key: k, due: t}
	a.items[k] = it
	heap.Push(&a.heap, it)
}

// remove forgets k, if it is there.
func (a *agenda[K]) remove(k K) {
	if it := a.items[k]; it != nil {
		heap.Remove(&a.heap, it.index)
		delete(a.items, k)
	}
}

// peek returns the first key and when it is due; false when there is none.
func (a *agenda[K]) peek() (K, time.Time, bool) {
	if len(a.heap) == 0 {
		var none K
		return none, time.Time{}, false
	}
	return a.heap[0].key, a.heap[0].due, true
}

// pop removes and returns the first key that is due at now.
func (a *agenda[K]) pop(now time.Time) (K, bool) {
	k, due, ok := a.peek()
	if !ok || due.After(now) {
		var none K
		return none, false
	}
	a.remove(k)
	return k, true
}

func (a *agenda[K]) len() int { return len(a.heap) }

type agendaHeap[K comparable] []*agendaItem[K]

func (h agendaHeap[K]) Len() int           { return len(h) }
func (h agendaHeap[K]) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h agendaHeap[K]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *agendaHeap[K]) Push(x any) {
	it := x.(*agendaItem[K])
	it.index = len(*h)
	*h = append(*h, it)
}

func (h *agendaHeap[K]) Pop() any {
	last := len(*h) - 1
	it := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return it
}
