// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// confirmAfter is how long after its eviction was accepted a pod has to be terminating.
	confirmAfter = 10 * time.Second
	// ignoredBackoff is how much later it is evicted again if it is not.
	ignoredBackoff = 20 * time.Second
)

// acceptance is an eviction that the API server accepted. The plan ceases to want it once the
// pod is seen to terminate, usually within a second.
type acceptance struct {
	item *item
	// at is when it was accepted, and due when it is looked up whether the pod terminates.
	at, due time.Time
}

// stands reports whether the pod is still wanted and has not been evicted again since.
func (a *acceptance) stands(q *queue) bool {
	it := a.item
	return it.state == stateEvicted && it.evictedAt.Equal(a.at) && q.items[it.owner][it.action.Pod.UID] == it
}

// expectTermination notes that a pod has to be looked up.
func (q *queue) expectTermination(it *item, at, now time.Time) {
	q.accepted = append(q.accepted, acceptance{item: it, at: at, due: now.Add(confirmAfter)})
}

// unconfirmed takes the acceptances that have to be looked up now, by node. It also returns when
// there will be others; zero: there are none.
func (q *queue) unconfirmed(now time.Time) (byNode map[string][]acceptance, next time.Time) {
	byNode = map[string][]acceptance{}
	for ; len(q.accepted) > 0; q.accepted = q.accepted[1:] {
		first := q.accepted[0]
		switch {
		case !first.stands(q):
		case now.Before(first.due):
			return byNode, first.due
		default:
			node := first.item.sent.Pod.Node
			byNode[node] = append(byNode[node], first)
		}
	}
	return byNode, time.Time{}
}

// ignore records that a pod is not terminating although its eviction was accepted, which is
// as good as refused, and has it evicted again.
func (q *queue) ignore(it *item, now time.Time) {
	before := it.blocker()
	it.ignored = newBlocker(BlockedByServer, fmt.Sprintf("the API server accepted its eviction, but %s later it was not terminating", confirmAfter))
	q.isolate(it, it.ignored, ignoredBackoff, now)
	q.noteChange(it, before)
}

// confirm looks up whether the pods of a node are terminating whose eviction was accepted. What is
// known from watching the node may be older than the answers; a list that begins now is not.
func (e *Executor) confirm(ctx context.Context, node string, accepted []acceptance) {
	pods, err := listAllPods(ctx, e.client.RESTClient(), node)
	running := map[types.UID]bool{}
	for i := range pods {
		running[pods[i].UID] = !pods[i].Terminating()
	}
	e.update(func(q *queue, now time.Time) {
		for _, a := range accepted {
			switch {
			case !a.stands(q):
			case err != nil:
				q.expectTermination(a.item, a.at, now)
			case running[a.item.sent.Pod.UID]:
				q.ignore(a.item, now)
			}
		}
	})
}
