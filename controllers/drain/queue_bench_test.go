// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"testing"
)

// What one eviction costs must not depend on how many others wait, under how many budgets.
func BenchmarkQueue(b *testing.B) {
	for _, groups := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("%d groups", groups), func(b *testing.B) {
			const pods = 150_000
			for b.Loop() {
				q := newQueue(newLimiter(32, 32))
				for node := range pods / 30 {
					actions := evict(manyPods(fmt.Sprintf("pod-%d", node), 30)...)
					for i := range actions {
						actions[i].Pod.Namespace = fmt.Sprintf("namespace-%d", (node*30+i)%groups)
					}
					q.set(fmt.Sprintf("node-%d", node), by(after(node%120), actions), start)
				}
				for {
					it, _ := q.next(start)
					if it == nil {
						break
					}
					q.finish(it, response{outcome: evicted}, start)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/pods, "ns/eviction")
		})
	}
}
