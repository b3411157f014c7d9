// SPDX-License-Identifier: Apache-2.0

package drain

import "container/heap"

// itemHeap has the item with the nearest deadline first. Each knows its place.
type itemHeap []*item

// Len implements heap.Interface.
func (h itemHeap) Len() int { return len(h) }

// Less implements heap.Interface.
func (h itemHeap) Less(i, j int) bool { return compareItems(h[i], h[j]) < 0 }

// Swap implements heap.Interface.
func (h itemHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements heap.Interface.
func (h *itemHeap) Push(x any) {
	it := x.(*item) //nolint:errcheck // add pushes nothing else
	it.place = len(*h)
	*h = append(*h, it)
}

// Pop implements heap.Interface.
func (h *itemHeap) Pop() any {
	last := len(*h) - 1
	it := (*h)[last]
	(*h)[last], *h = nil, (*h)[:last]
	return it
}

// groupHeap has the group first whose turn is before that of all others. Each knows the heap and its
// place in it. A group leaves it before its turn changes.
type groupHeap struct {
	groups []*group
	before func(a, b *group) bool
}

// newReadyGroups returns a heap with the group first whose first item is.
func newReadyGroups() *groupHeap {
	return &groupHeap{before: func(a, b *group) bool { return compareItems(a.waiting[0], b.waiting[0]) < 0 }}
}

// newClosedGroups returns a heap with the group first that opens first.
func newClosedGroups() *groupHeap {
	return &groupHeap{before: func(a, b *group) bool { return a.closedUntil.Before(b.closedUntil) }}
}

// first returns the first group; nil: there is none.
func (h *groupHeap) first() *group {
	if len(h.groups) == 0 {
		return nil
	}
	return h.groups[0]
}

// add adds a group that is in no heap.
func (h *groupHeap) add(g *group) {
	g.heap = h
	heap.Push(h, g)
}

// remove takes out a group that is in this heap.
func (h *groupHeap) remove(g *group) {
	heap.Remove(h, g.place)
	g.heap = nil
}

// Len implements heap.Interface.
func (h *groupHeap) Len() int { return len(h.groups) }

// Less implements heap.Interface.
func (h *groupHeap) Less(i, j int) bool { return h.before(h.groups[i], h.groups[j]) }

// Swap implements heap.Interface.
func (h *groupHeap) Swap(i, j int) {
	h.groups[i], h.groups[j] = h.groups[j], h.groups[i]
	h.groups[i].place, h.groups[j].place = i, j
}

// Push implements heap.Interface.
func (h *groupHeap) Push(x any) {
	g := x.(*group) //nolint:errcheck // add pushes nothing else
	g.place = len(h.groups)
	h.groups = append(h.groups, g)
}

// Pop implements heap.Interface.
func (h *groupHeap) Pop() any {
	last := len(h.groups) - 1
	g := h.groups[last]
	h.groups[last], h.groups = nil, h.groups[:last]
	return g
}
