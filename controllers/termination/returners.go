// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/nodetermination/operator/controllers/drain"
)

// A returner is a pod made after the cordon, and after its controller has lost a pod on the
// node in this drain: it tolerates the cordon, or the scheduler was never asked. It would come
// back as fast as it is evicted, so a drain does not wait for it.

const (
	// firstReturn is how long the first returner of a controller is left; that doubles up
	// to lastReturn.
	firstReturn = 10 * time.Second
	lastReturn  = 5 * time.Minute
	// returnsPerMinute bounds the evictions of returners on one node.
	returnsPerMinute = 10
	// leastLastWarning and mostLastWarning bound how long before the deadline the last
	// eviction is: as long as the returners have to shut down.
	leastLastWarning = 30 * time.Second
	mostLastWarning  = 2 * time.Minute
)

// losses are which controllers have lost a pod on a node in a drain.
type losses struct {
	// owners has, by drain.Pod.Owner, the pods that were on the node when the owner lost the first
	// one: none of them has returned. Times do not tell, as the API keeps whole seconds.
	owners map[string]map[types.UID]bool
	// complete: this process began the drain. Another one's evictions are not known.
	complete bool
	// since is when the node was cordoned; zero if it never was.
	since time.Time
	// uncordoned: it is not cordoned now.
	uncordoned bool
}

// returned reports whether a pod is a returner. Where the losses are not complete, a pod that
// is newer than the cordon and tolerates it is taken for one.
func (l losses) returned(pod *drain.Pod) bool {
	if pod.Owner == "" || l.since.IsZero() || pod.Created.Before(l.since.Truncate(time.Second)) {
		return false
	}
	if present, lost := l.owners[pod.Owner]; lost && !present[pod.UID] {
		return true
	}
	return !l.complete && pod.Created.After(l.since) && (pod.ToleratesCordon || l.uncordoned)
}

// part parts pods into those that a drain waits for and the returners.
func (l losses) part(pods []drain.Pod) (awaited, returners []drain.Pod) {
	if !slices.ContainsFunc(pods, func(pod drain.Pod) bool { return l.returned(&pod) }) {
		return pods, nil // mostly, and a drain is planned anew at each change
	}
	for i := range pods {
		if l.returned(&pods[i]) {
			returners = append(returners, pods[i])
		} else {
			awaited = append(awaited, pods[i])
		}
	}
	return awaited, returners
}

// returns is how often the pods of a node have returned. The zero value is never. It is
// replaced and not changed.
type returns struct {
	// turns are when the returners of each owner are evicted.
	turns map[string]turn
	// chosen are the returners to evict.
	chosen map[types.UID]bool
	// times are when the last ones were chosen, of a minute.
	times []time.Time
	// lastAt is when those of the last eviction were chosen; zero if they have yet to be. A later
	// deadline has another one.
	lastAt time.Time
}

// turn is when returners are evicted next, and how long after the turn before that is.
type turn struct {
	at    time.Time
	delay time.Duration
}

// choose chooses the returners to evict. last is when all of them are, once; zero is
// never. hold: none of them are until then, as nothing keeps others from taking their place. look is
// when to choose again.
func (r returns) choose(pods []drain.Pod, last time.Time, hold bool, now time.Time) (after returns, look time.Time) {
	after = returns{turns: maps.Clone(r.turns), chosen: map[types.UID]bool{}, lastAt: r.lastAt}
	if after.turns == nil {
		after.turns = map[string]turn{}
	}
	after.times = slices.DeleteFunc(slices.Clone(r.times), func(at time.Time) bool { return now.Sub(at) >= time.Minute })
	all := last.After(r.lastAt) && !now.Before(last)
	waiting := map[string][]types.UID{}
	for i := range pods {
		switch pod := &pods[i]; {
		case all, r.chosen[pod.UID]:
			after.chosen[pod.UID] = true
		case !pod.Terminating():
			waiting[pod.Owner] = append(waiting[pod.Owner], pod.UID)
		}
	}
	if all {
		after.lastAt = now
	}
	for _, owner := range slices.Sorted(maps.Keys(waiting)) {
		if next := after.take(owner, waiting[owner], hold, now); !hold && (look.IsZero() || next.Before(look)) {
			look = next
		}
	}
	if last.After(now) && len(pods) > 0 && (look.IsZero() || last.Before(look)) {
		look = last
	}
	return after, look
}

// take chooses the returners of one owner if it is their turn, and returns when that is next.
func (r *returns) take(owner string, pods []types.UID, hold bool, now time.Time) time.Time {
	its, known := r.turns[owner]
	if !known {
		its = turn{now.Add(firstReturn), firstReturn}
		r.turns[owner] = its
	}
	if hold || now.Before(its.at) {
		return its.at
	}
	slices.Sort(pods)
	for _, pod := range pods {
		if len(r.times) >= returnsPerMinute {
			return r.times[0].Add(time.Minute)
		}
		r.chosen[pod] = true
		r.times = append(r.times, now)
	}
	its.delay = min(2*its.delay, lastReturn)
	its.at = now.Add(its.delay)
	r.turns[owner] = its
	return its.at
}

// lastEviction returns when returners are evicted for the last time before a deadline, in a
// drain that began at a time; zero for none. That is not in the first half of the drain, or those
// that return after it would have none.
func lastEviction(pods []drain.Pod, began, deadline time.Time) time.Time {
	if deadline.IsZero() {
		return time.Time{}
	}
	before := leastLastWarning
	for i := range pods {
		before = max(before, time.Duration(pods[i].GracePeriodSeconds)*time.Second)
	}
	return deadline.Add(-min(before, mostLastWarning, max(0, deadline.Sub(began)/2)))
}
