// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"time"

	"github.com/nodetermination/operator/controllers/drain"
	"github.com/nodetermination/operator/controllers/lifecyclehook"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

const (
	// unreachableFor is for how long a node has not to answer before it is given up: as long
	// as Kubernetes leaves pods on such a node.
	unreachableFor = 5 * time.Minute
	// overdueFor is for how long a pod has had to end by then.
	overdueFor = time.Minute
)

// unreachableFrom returns from when on a node is not waited for that has not answered for some
// time, given its pods that have to go: nobody will say of them that they have ended. False: it
// is waited for, as one of them is yet to be evicted.
func unreachableFrom(since time.Time, pods []drain.Pod) (time.Time, bool) {
	from := since.Add(unreachableFor)
	for i := range pods {
		if !pods[i].Terminating() {
			return time.Time{}, false
		}
		if at := pods[i].DeletionTimestamp.Add(overdueFor); at.After(from) {
			from = at
		}
	}
	return from, true
}

// unreachable returns why lifecycle hooks are completed although pods are still on the node;
// empty if they are not. A node of which that cannot be found out is waited for.
func (r *Reconciler) unreachable(ctx context.Context, s *scope) string {
	if s.node == nil || s.drained() != nil || len(lifecyclehook.Waiting(s.nt.Status.LifecycleHooks)) == 0 {
		return ""
	}
	since, unknown := ec2node.UnknownSince(s.node)
	if !unknown {
		return ""
	}
	if soonest := since.Add(unreachableFor); s.now.Before(soonest) {
		s.lookAgain(soonest)
		return ""
	}
	pods, followed := r.Watcher.Pods(s.node.Name)
	var err error
	if !followed {
		pods, err = r.Watcher.List(ctx, s.node.Name)
	}
	if err == nil {
		pods = drain.PodsToEvict(pods, s.rules())
	}
	from, ends := unreachableFrom(since, pods)
	switch {
	case err != nil, !ends:
		s.lookAgain(s.now.Add(maxPoll))
		return ""
	case s.now.Before(from):
		s.lookAgain(from)
		return ""
	}
	return fmt.Sprintf("the node does not answer since %s: %d pods are not waited for, of which nobody can say whether they have ended", formatTime(since), len(pods))
}
