// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nodetermination/operator/hack/awssim"
)

// leaderRun is how long after the loss of its leader the operator cordoned a node.
// The message was sent when the leader had gone.
type leaderRun struct {
	Killed  latency `json:"killed"`
	Stopped latency `json:"stopped"`
	// InBurst is what a burst lost whose leader went in the middle.
	InBurst *burstLoss `json:"inBurst,omitempty"`
}

func measureLeader(ctx context.Context, l *lab, o *options, r *results) error {
	if err := l.start(ctx); err != nil {
		return err
	}
	f, err := l.newFleet(ctx, l.name(), 2*o.runs, 0, nil)
	if err != nil {
		return err
	}
	leader, err := l.startManager(ctx, leads)
	if err != nil {
		return err
	}
	p, err := l.newPolicy(ctx, f, nil)
	if err != nil {
		return errors.Join(err, leader.Stop())
	}
	run := &succession{policy: p, fleet: f, leader: leader}
	for i := range f.nodes {
		if err := run.lose(ctx, i, i%2 == 0); err != nil {
			return errors.Join(err, run.leader.Stop())
		}
	}
	r.Leader = &leaderRun{Killed: latencyOf(run.killed), Stopped: latencyOf(run.stopped)}
	if err := errors.Join(run.leader.Stop(), p.remove(ctx, f), f.remove(ctx)); err != nil {
		return err
	}
	r.Leader.InBurst, err = measureBurstLoss(ctx, l, o.runs)
	return err
}

// succession is a leader after the other.
type succession struct {
	policy          *policy
	fleet           *fleet
	leader          *manager
	killed, stopped []time.Duration
}

// lose loses the leader, and then interrupts the i-th node, which the other replica cordons. That one is
// the leader from then on.
func (s *succession) lose(ctx context.Context, i int, kill bool) error {
	standby, err := s.fleet.lab.startManager(ctx, standsBy)
	if err != nil {
		return err
	}
	leader := s.leader
	s.leader = standby
	lost := time.Now()
	if kill {
		leader.Kill()
	} else if err := leader.Stop(); err != nil {
		return err
	}
	if err := s.untilNotReceiving(ctx); err != nil {
		return err
	}
	node := s.fleet.nodes[i]
	if err := s.policy.send(awssim.SpotInterruption, node.instance); err != nil {
		return err
	}
	return s.fleet.until(ctx, func(seen *seen) error {
		at, cordoned := seen.cordoned[node.name]
		if !cordoned {
			return fmt.Errorf("node %s is not cordoned", node.name)
		}
		if kill {
			s.killed = append(s.killed, at.Sub(lost))
		} else {
			s.stopped = append(s.stopped, at.Sub(lost))
		}
		return nil
	})
}

// untilNotReceiving waits until the queue has noticed that nobody receives any more. A message that it
// handed to a replica that is gone would be hidden from the other one for a while, as in AWS.
func (s *succession) untilNotReceiving(ctx context.Context) error {
	return await(ctx, pollInterval, func() error {
		for _, call := range s.fleet.lab.aws.Calls("sqs", "ReceiveMessage") {
			if !call.Done {
				return errors.New("a receive of the leader that is gone has not ended")
			}
		}
		return nil
	})
}

func leaderTables(r *results) []table {
	if r.Leader == nil {
		return nil
	}
	row := func(what string, l latency) []string {
		return []string{what, seconds(l.P50), seconds(l.Max), "10.00 s"}
	}
	tables := []table{{
		title: "First action after the leader was lost", head: []string{"", "median", "most", "at most"},
		rows: [][]string{row("killed", r.Leader.Killed), row("stopped", r.Leader.Stopped)},
	}}
	if r.Leader.InBurst != nil {
		tables = append(tables, r.Leader.InBurst.table())
	}
	return tables
}
