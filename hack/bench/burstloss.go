// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// burstLoss is what a burst loses whose leader goes when a quarter of the pods are evicted: the longest time
// in which no pod was evicted. All pods were evicted, and every node has one NodeTermination, or
// there is no result.
type burstLoss struct {
	Killed  latency `json:"killed"`
	Stopped latency `json:"stopped"`
}

func measureBurstLoss(ctx context.Context, l *lab, runs int) (*burstLoss, error) {
	var killed, stopped []time.Duration
	for i := range 2 * runs {
		l.progress("leader: %d of %d bursts", i+1, 2*runs)
		kill := i%2 == 0
		pause, err := loseInBurst(ctx, l, kill)
		if err != nil {
			return nil, fmt.Errorf("a burst whose leader was lost: %w", err)
		}
		if kill {
			killed = append(killed, pause)
		} else {
			stopped = append(stopped, pause)
		}
	}
	return &burstLoss{Killed: latencyOf(killed), Stopped: latencyOf(stopped)}, nil
}

// loseInBurst interrupts a fleet's nodes, all at once, and then loses the leader. It returns the longest time
// without an eviction.
func loseInBurst(ctx context.Context, l *lab, kill bool) (pause time.Duration, err error) {
	f, err := l.prepare(ctx, fleetOptions{nodes: fewNodes, podsPerNode: podsOfFew})
	if err != nil {
		return 0, err
	}
	leader, err := l.startManager(ctx, leads)
	if err != nil {
		return 0, err
	}
	standby, err := l.startManager(ctx, standsBy)
	if err != nil {
		return 0, errors.Join(err, leader.Stop())
	}
	p, err := l.newPolicy(ctx, f, nil)
	if err == nil {
		err = p.interrupt(f)
	}
	if err == nil {
		err = f.until(ctx, func(s *seen) error { return atLeast(len(f.pods)/4, len(s.evicted), "pods are evicted") })
	}
	if kill {
		leader.Kill()
	} else {
		err = errors.Join(err, leader.Stop())
	}
	if err == nil {
		err = f.until(ctx, func(s *seen) error {
			pause = longestPause(slices.Collect(maps.Values(s.evicted)))
			return atLeast(len(f.pods), len(s.evicted), "pods are evicted")
		})
	}
	if err == nil {
		err = p.untilState(ctx, f, v1alpha1.StateCompleted)
	}
	return pause, errors.Join(err, standby.Stop(), p.remove(ctx, f), f.remove(ctx))
}

// longestPause returns the longest time between two moments that follow each other.
func longestPause(at []time.Time) (longest time.Duration) {
	slices.SortFunc(at, time.Time.Compare)
	for i := 1; i < len(at); i++ {
		longest = max(longest, at[i].Sub(at[i-1]))
	}
	return longest
}

func (b *burstLoss) table() table {
	row := func(what string, l latency, wanted string) []string {
		return []string{what, seconds(l.P50), seconds(l.Max), wanted}
	}
	return table{
		title: fmt.Sprintf("The longest time without an eviction in a burst of %d × %d whose leader was lost", fewNodes, podsOfFew),
		head:  []string{"", "median", "most", "at most"},
		rows:  [][]string{row("killed", b.Killed, "8.00 s"), row("stopped", b.Stopped, "1.50 s")},
	}
}
