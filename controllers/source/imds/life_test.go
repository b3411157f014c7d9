// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// lines returns how many lines of the log contain a text.
func (f *fixture) lines(text string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, line := range f.log {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// checkUnchanged checks that nothing was written since.
func (f *fixture) checkUnchanged(what string, since *v1alpha1.NodeTermination) {
	f.t.Helper()
	if now := f.stored(); now.ResourceVersion != since.ResourceVersion {
		f.t.Errorf("%s: written, -before +now:\n%s", what, cmp.Diff(since, now))
	}
}

// TestAnotherTimeAtEveryRequest: there is one entry, of which the latest statement stands.
func TestAnotherTimeAtEveryRequest(t *testing.T) {
	f := newFixture(t)
	for range 60 {
		f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot, Time: f.clock.Now().Add(2 * time.Minute)})
		f.pass(2 * time.Second)
	}
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot, Time: epoch.Add(time.Hour)})
	f.pass(3 * time.Second)
	if e := f.one(); !e.Deadline.Equal(at(time.Hour)) {
		t.Errorf("stored is %+v, want the latest", e)
	}
	if n := f.lines("event stored"); n != 1 || len(f.log) != 2 {
		t.Errorf("the log has %d lines, %d about the event, want one:\n%s", len(f.log), n, strings.Join(f.log, "\n"))
	}
	info, err := os.Stat(f.heartbeatFile)
	if err != nil || !info.ModTime().After(f.clock.Now()) {
		t.Errorf("the heartbeat has ended: %v", err)
	}

	before := f.stored()
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot, Time: epoch.Add(time.Minute)})
	f.pass(time.Minute)
	f.checkUnchanged("an earlier time", before)
	if n := f.lines("could not be stored"); n != 0 {
		t.Errorf("the log says:\n%s", strings.Join(f.log, "\n"))
	}
}

// TestBoots: a maintenance that is listed in the next boot was not done by it, and one that is
// not was. Within one boot what is missing says nothing.
func TestBoots(t *testing.T) {
	f := newFixture(t)
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindMaintenance, NotBefore: epoch.Add(time.Hour)})
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot})
	f.pass(time.Minute)
	want := f.stored().Spec.Events

	f.boot("boot-2")
	f.pass(time.Minute)
	want[1].BootID = "boot-2"
	if diff := cmp.Diff(want, f.stored().Spec.Events); diff != "" {
		t.Errorf("still listed after a boot, -want +got:\n%s", diff)
	}
	before := f.stored()
	f.sim.Set(awssim.MetadataMaintenance, "[]")
	f.pass(time.Minute)
	f.restart()
	f.pass(time.Minute)
	f.checkUnchanged("not listed within one boot", before)

	f.sim.Set(awssim.MetadataMaintenance, "not JSON")
	f.boot("boot-3")
	f.pass(time.Minute)
	f.checkUnchanged("the list cannot be read", before)
	f.sim.Set(awssim.MetadataMaintenance, "")
	f.pass(time.Minute)
	want[1].BootID, want[1].Cancelled = "boot-3", new(true)
	if diff := cmp.Diff(want, f.stored().Spec.Events, ignoreTime); diff != "" {
		t.Errorf("not listed after a boot, -want +got:\n%s", diff)
	}
	if got := f.stored().Spec.Events[1].Time; !got.After(want[1].Time.Time) {
		t.Errorf("cancelled at %s, and planned at %s", got, want[1].Time)
	}
	before = f.stored()
	f.boot("boot-4")
	f.pass(time.Minute)
	f.checkUnchanged("one boot more", before)
}

// TestBootsWithoutAPIServer: what is not listed any more is over as soon as that can be stored.
func TestBootsWithoutAPIServer(t *testing.T) {
	f := newFixture(t)
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindMaintenance})
	f.pass(0)
	f.sim.Set(awssim.MetadataMaintenance, "[]")
	failing := true
	f.change = func(config *rest.Config) {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(request *http.Request) (*http.Response, error) {
				if failing {
					return nil, errors.New("no answer")
				}
				return next.RoundTrip(request)
			})
		})
	}
	f.boot("boot-2")
	f.pass(time.Minute)
	if e := f.one(); *e.Cancelled || f.lines("could not be stored") != 1 {
		t.Errorf("stored is %+v, the log says:\n%s", e, strings.Join(f.log, "\n"))
	}
	failing = false
	f.pass(maxRetry)
	if e := f.one(); !*e.Cancelled {
		t.Errorf("stored is %+v", e)
	}
	n := f.requests.Load()
	f.pass(time.Hour)
	if more := f.requests.Load() - n; more != 0 {
		t.Errorf("%d more requests", more)
	}
}

// TestTargetStates: an instance goes to the warm pool and comes back, again and again.
func TestTargetStates(t *testing.T) {
	f := newFixture(t)
	var last v1alpha1.Event
	for i, state := range []string{"Warmed:Stopped", "InService", "Warmed:Stopped", "InService", "Warmed:Hibernated", "Terminated"} {
		f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindTargetState, State: state})
		f.pass(15 * time.Second)
		e := f.one()
		if cancelled := state == "InService"; *e.Cancelled != cancelled || i > 0 && !e.Time.After(last.Time.Time) {
			t.Errorf("%s: stored is %+v, was %+v", state, e, last)
		}
		last = e
		before := f.stored()
		if i%2 == 0 {
			f.restart()
		} else {
			f.boot(fmt.Sprintf("boot-%d", i))
		}
		f.pass(time.Minute)
		f.checkUnchanged(state+" after a restart", before)
	}
	if last.InstanceAction != "terminate" {
		t.Errorf("the last is %+v", last)
	}
}

// TestHibernated: a hibernated instance goes on where it was, with the same process and in the same boot: each stay in the
// warm pool is received, and ends when the instance returns.
func TestHibernated(t *testing.T) {
	f := newFixture(t)
	state := func(state string) {
		f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindTargetState, State: state})
		f.pass(15 * time.Second)
	}
	state("InService")
	if nt := f.stored(); nt != nil {
		t.Errorf("stored is %+v before anything has happened", nt)
	}
	var last v1alpha1.Event
	for i := range 3 {
		state("Warmed:Hibernated")
		e := f.one()
		if *e.Cancelled || e.InstanceAction != "hibernate" || e.BootID != "boot-1" || i > 0 && !e.Time.After(last.Time.Time) {
			t.Errorf("to the pool, %d: stored is %+v, was %+v", i, e, last)
		}
		last = e
		f.clock.Step(8 * time.Hour) // tokens and connections have expired
		if i == 1 {                 // and what was stored about the last stay is gone
			if err := admin(t).Delete(t.Context(), f.stored()); err != nil {
				t.Fatal(err)
			}
			state("InService")
			if nt := f.stored(); nt != nil {
				t.Errorf("stored is %+v, only to be cancelled", nt)
			}
			continue
		}
		state("InService")
		if e = f.one(); !*e.Cancelled || !e.Time.After(last.Time.Time) {
			t.Errorf("back in service, %d: stored is %+v, was %+v", i, e, last)
		}
		last = e
	}
	before := f.stored()
	f.pass(time.Minute)
	f.checkUnchanged("in service", before)
	if n := f.lines("could not be stored") + f.lines("cannot be read"); n != 0 {
		t.Errorf("the log says:\n%s", strings.Join(f.log, "\n"))
	}
}

// TestListedTwice: what is both scheduled and in the history is over, and not written again and again.
func TestListedTwice(t *testing.T) {
	f := newFixture(t)
	const entry = `[{"EventId": "a", "Code": "system-reboot", "NotBefore": "22 Nov 2026 09:00:00 GMT", "State": "%s"}]`
	f.sim.Set(awssim.MetadataMaintenance, fmt.Sprintf(entry, "active"))
	f.pass(time.Minute)
	f.sim.Set(awssim.MetadataMaintenanceHistory, fmt.Sprintf(entry, "completed"))
	f.pass(time.Minute)
	before := f.stored()
	if e := f.one(); !*e.Cancelled {
		t.Errorf("stored is %+v", e)
	}
	f.pass(time.Hour)
	f.restart()
	f.pass(time.Minute)
	f.checkUnchanged("an hour and a restart later", before)
}

// TestTwoWatchers: two policies have a watcher each on the node.
func TestTwoWatchers(t *testing.T) {
	f := newFixture(t)
	other := f.Watcher
	f.restart()
	for _, e := range []awssim.MetadataEvent{
		{Kind: awssim.MetadataKindSpot}, {Kind: awssim.MetadataKindTargetState}, {Kind: awssim.MetadataKindMaintenance},
	} {
		f.announce(e)
	}
	f.poll(t.Context())
	other.step(t.Context())
	before := f.stored()
	f.clock.Step(time.Second)
	f.storeAll(t.Context())
	f.checkUnchanged("the other watcher", before)
	if len(before.Spec.Events) != 3 || f.failures+other.failures != 0 {
		t.Errorf("stored is %+v, with %d failures", before.Spec, f.failures+other.failures)
	}
}

// TestFull: where there is no room an event is tried again soon, until the manager has made some.
func TestFull(t *testing.T) {
	f := newFixture(t)
	full := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: f.id}}
	full.Spec = v1alpha1.NodeTerminationSpec{InstanceID: f.id, NodeName: f.node}
	for i := range 32 {
		full.Spec.Events = append(full.Spec.Events, v1alpha1.Event{
			ID: fmt.Sprintf("alarm-%d", i), Kind: v1alpha1.InstanceStatusCheckFailed, Source: v1alpha1.SourceSQS, Time: *at(0),
		})
	}
	if err := admin(t).Create(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot})
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindMaintenance})
	f.pass(time.Minute)
	if n := f.requests.Load(); n < 60 || n > 120 { // one for spot, two for maintenance
		t.Errorf("%d requests in a minute, want three every two seconds", n)
	}
	full = f.stored()
	full.Spec.Events = full.Spec.Events[:24]
	if err := admin(t).Update(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	f.pass(fullRetry)
	if n := len(f.stored().Spec.Events); n != 26 {
		t.Errorf("%d events are stored, want 26", n)
	}
}
