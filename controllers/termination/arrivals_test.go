// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"testing"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// The time to a cordon counts from when the event that decides arrived here, to the fraction of a second, and is
// not known of one that did not.
func TestTimeToCordon(t *testing.T) {
	const ms = time.Millisecond
	spotEvent, rebalance := spot("a", -time.Hour), spot("b", -2*time.Hour)
	rebalance.Kind = v1alpha1.RebalanceRecommendation
	again := spot("a", 0)
	type receipt struct {
		before, after []v1alpha1.Event
		at            time.Duration
	}
	events := func(events ...v1alpha1.Event) []v1alpha1.Event { return events }
	for name, test := range map[string]struct {
		receipts []receipt
		events   []v1alpha1.Event
		cordoned time.Duration // zero: with the status
		want     time.Duration // zero: not known
	}{
		"received":              {receipts: []receipt{{after: events(spotEvent), at: 0}}, events: events(spotEvent), cordoned: 150 * ms, want: 150 * ms},
		"known with the status": {receipts: []receipt{{after: events(spotEvent), at: 0}}, events: events(spotEvent), want: 900 * ms},
		"received by another":   {events: events(spotEvent), cordoned: 150 * ms},
		"an event that does not decide": {
			receipts: []receipt{{before: events(rebalance), after: events(rebalance, spotEvent), at: 100 * ms}},
			events:   events(rebalance, spotEvent), cordoned: 250 * ms, want: 150 * ms,
		},
		"a newer revision": {
			receipts: []receipt{{after: events(spotEvent)}, {before: events(spotEvent), after: events(again), at: 400 * ms}},
			events:   events(again), want: 500 * ms,
		},
		"a revision that was not seen": {receipts: []receipt{{after: events(spotEvent)}}, events: events(again)},
		"cordoned before it was renewed": {
			receipts: []receipt{{after: events(again), at: 400 * ms}}, events: events(again), cordoned: 100 * ms, want: 500 * ms,
		},
	} {
		t.Run(name, func(t *testing.T) {
			local := &LocalState{}
			for _, r := range test.receipts {
				local.arrive("i", r.before, r.after, t0.Add(r.at))
			}
			if test.cordoned != 0 {
				local.update("i", func(known *localRecord) { known.cordoned = t0.Add(test.cordoned) })
			}
			s := &scope{nt: &v1alpha1.NodeTermination{}}
			s.nt.Spec.Events = test.events
			s.nt.Status.Cause = v1alpha1.SpotInterruption
			for _, e := range test.events {
				s.nt.Status.Events = append(s.nt.Status.Events, v1alpha1.EventStatus{ID: e.ID, Time: &e.Time, State: v1alpha1.EventActive})
			}
			known := local.get("i")
			got, ok := s.timeToCordon(&known, t0.Add(900*ms))
			if got != test.want && ok || ok != (test.want != 0) {
				t.Errorf("%s, %t; want %s", got, ok, test.want)
			}
		})
	}
}
