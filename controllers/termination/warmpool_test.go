// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"testing"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
)

func TestServiceLook(t *testing.T) {
	for _, test := range []struct{ asked, want time.Duration }{
		{-time.Hour, 30 * time.Second},
		{30 * time.Second, time.Minute},
		{time.Minute, 2 * time.Minute},
		{2 * time.Minute, 4 * time.Minute},
		{time.Hour, 65 * time.Minute},
	} {
		if got := serviceLook(t0, t0.Add(test.asked)); !got.Equal(t0.Add(test.want)) {
			t.Errorf("asked after %s, next %s after the end, want %s", test.asked, got.Sub(t0), test.want)
		}
	}
}

func TestMovedToWarmPool(t *testing.T) {
	for name, test := range map[string]struct {
		destination, hook string
		state             v1alpha1.HookState
		want              bool
	}{
		"continued":                  {event.WarmPool, "drain", v1alpha1.HookContinued, true},
		"abandoned":                  {event.WarmPool, "drain", v1alpha1.HookAbandoned, true},
		"its group still waits":      {event.WarmPool, "drain", v1alpha1.HookWaiting, false},
		"somebody else's":            {event.WarmPool, "drain", v1alpha1.HookIgnored, false},
		"another hook was":           {event.WarmPool, "other", v1alpha1.HookContinued, false},
		"the instance is terminated": {"EC2", "drain", v1alpha1.HookContinued, false},
	} {
		e := hook("h")
		e.LifecycleHook.Destination = test.destination
		hooks := []v1alpha1.HookStatus{{AutoScalingGroupName: e.LifecycleHook.AutoScalingGroupName, Name: test.hook, State: test.state}}
		if got := movedToWarmPool([]v1alpha1.Event{spot("a", 0), e}, hooks); got["h"] != test.want || got["a"] {
			t.Errorf("%s: %v, want %t", name, got, test.want)
		}
	}
}

func TestInstanceThatReturnsFromItsWarmPoolIsUncordoned(t *testing.T) {
	s := newSetting(t, 1, nil)
	e := s.waits(0, "drain")
	e.LifecycleHook.Destination = event.WarmPool
	nt := s.until(s.terminate(0, e), v1alpha1.StateCompleted)
	testClock.shift(t, 31*time.Second)
	s.nudge(nt)
	if err := cordoned(s.node(0)); err != nil {
		t.Errorf("in the warm pool: %v", err)
	}
	sim.PutGroupInstance(s.ns, nt.Name) // launched from the pool
	testClock.shift(t, 5*time.Minute)
	s.nudge(nt)
	s.untilNode(0, untouched)
	s.untilHolds(nt, func(nt *v1alpha1.NodeTermination) error {
		if state := nt.Status.Events[0].State; state != v1alpha1.EventResolved {
			return fmt.Errorf("event is %s", state)
		}
		return nil
	})
}
