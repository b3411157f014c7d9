// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodetermination/operator/controllers/drain/fit"
)

// shape returns what decides where a pod fits. Pods of one controller share it.
func (s *snapshot) shape(object *corev1.Pod) *fit.Pod {
	shape := fit.NewPod(object)
	var key strings.Builder
	r := &shape.Requests
	fmt.Fprintf(&key, "%d %d %t\n", r.MilliCPU, r.Memory, shape.HasAffinity)
	for _, name := range slices.Sorted(maps.Keys(r.Others)) {
		fmt.Fprintf(&key, "%s %d\n", name, r.Others[name])
	}
	for _, name := range slices.Sorted(maps.Keys(shape.NodeSelector)) {
		fmt.Fprintf(&key, "%s=%s\n", name, shape.NodeSelector[name])
	}
	for i := range shape.Tolerations {
		t := &shape.Tolerations[i]
		fmt.Fprintf(&key, "%s %s %s %s\n", t.Key, t.Operator, t.Value, t.Effect)
	}
	known, found := s.shapes[key.String()]
	if !found {
		known = &shape
		s.shapes[key.String()] = known
	}
	return known
}

// places are the nodes to which pods can go, one after the other: where one has gone there is less room
// for the next.
type places struct {
	nodes []*node
	// next is where the search begins: at another node each time, as a scheduler spreads pods.
	next int
	// never are the shapes that fit on no node even if no pod moves, and why.
	never map[*fit.Pod]string
	// Of one forecast: the nodes that go away, what was placed where, and what found no place.
	gone   map[string]bool
	placed []placement
	failed map[*fit.Pod]string
}

// placement is a pod on the node that it went to.
type placement struct {
	on  *node
	pod *fit.Pod
}

func newPlaces(nodes []*node) *places {
	return &places{nodes: nodes, never: map[*fit.Pod]string{}, gone: map[string]bool{}, failed: map[*fit.Pod]string{}}
}

// reset begins another forecast, in which these nodes go away.
func (p *places) reset(gone []*node) {
	for _, moved := range p.placed {
		moved.on.fit.Free.Add(moved.pod.Requests)
	}
	p.placed = p.placed[:0]
	clear(p.failed)
	clear(p.gone)
	for _, n := range gone {
		p.gone[n.Name] = true
	}
}

// place finds a place for a pod and takes it. It returns why there is none; empty if there is.
func (p *places) place(pod *fit.Pod) string {
	if why, found := p.failed[pod]; found {
		return why
	}
	if why, found := p.never[pod]; found {
		return why
	}
	reasons := map[string]int{}
	for range p.nodes {
		n := p.nodes[p.next]
		p.next = (p.next + 1) % len(p.nodes)
		if p.gone[n.Name] {
			continue
		}
		why := n.fit.Refuses(pod)
		if why == "" {
			n.fit.Free.Subtract(pod.Requests)
			p.placed = append(p.placed, placement{n, pod})
			return ""
		}
		reasons[why]++
	}
	why := summarize(reasons)
	p.failed[pod] = why
	if len(p.placed) == 0 && !p.anyGoneFits(pod) {
		p.never[pod] = why
	}
	return why
}

// anyGoneFits reports whether a pod would fit on one of the nodes that go away.
func (p *places) anyGoneFits(pod *fit.Pod) bool {
	return slices.ContainsFunc(p.nodes, func(n *node) bool { return p.gone[n.Name] && n.fit.Refuses(pod) == "" })
}

// summarize returns why so many nodes refuse a pod, the most frequent reason first.
func summarize(reasons map[string]int) string {
	if len(reasons) == 0 {
		return "no other node is there"
	}
	names := slices.SortedFunc(maps.Keys(reasons), func(a, b string) int {
		if reasons[a] != reasons[b] {
			return reasons[b] - reasons[a]
		}
		return strings.Compare(a, b)
	})
	const most = 3
	parts := make([]string, 0, most)
	for _, name := range names[:min(len(names), most)] {
		parts = append(parts, fmt.Sprintf("%d: %s", reasons[name], name))
	}
	if len(names) > most {
		parts = append(parts, "…")
	}
	return "of the other nodes " + strings.Join(parts, ", ")
}
