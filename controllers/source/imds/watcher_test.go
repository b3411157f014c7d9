// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
	"github.com/nodetermination/operator/hack/awssim"
)

// event ids are tested where they are made.
var ignoreID = cmpopts.IgnoreFields(v1alpha1.Event{}, "ID")

var ignoreTime = cmpopts.IgnoreFields(v1alpha1.Event{}, "Time")

func at(d time.Duration) *metav1.Time { return &metav1.Time{Time: epoch.Add(d)} }

// TestDocuments: each row of the table of events, from the metadata to the NodeTermination.
func TestDocuments(t *testing.T) {
	for name, c := range map[string]struct {
		announced awssim.MetadataEvent
		want      v1alpha1.Event
	}{
		"spot interruption": {
			awssim.MetadataEvent{Kind: awssim.MetadataKindSpot},
			v1alpha1.Event{Kind: v1alpha1.SpotInterruption, Time: *at(0), Deadline: at(2 * time.Minute), InstanceAction: "terminate"},
		},
		"spot hibernation": {
			awssim.MetadataEvent{Kind: awssim.MetadataKindSpot, Action: "hibernate", Time: epoch},
			v1alpha1.Event{Kind: v1alpha1.SpotInterruption, Time: *at(0), Deadline: at(0), InstanceAction: "hibernate"},
		},
		"rebalance recommendation": {
			awssim.MetadataEvent{Kind: awssim.MetadataKindRebalance},
			v1alpha1.Event{Kind: v1alpha1.RebalanceRecommendation, Time: *at(0)},
		},
		"scheduled maintenance": {
			awssim.MetadataEvent{Kind: awssim.MetadataKindMaintenance, Code: "instance-retirement", NotBefore: epoch.Add(48 * time.Hour)},
			v1alpha1.Event{
				Kind: v1alpha1.ScheduledMaintenance, Time: *at(5 * time.Second), // when it was received
				Deadline: at(48 * time.Hour), NotBefore: at(48 * time.Hour), NotAfter: at(50 * time.Hour), Description: "scheduled reboot", InstanceAction: "instance-retirement",
			},
		},
		"termination by the group": {
			awssim.MetadataEvent{Kind: awssim.MetadataKindTargetState},
			v1alpha1.Event{Kind: v1alpha1.AutoScalingTermination, Time: *at(5 * time.Second), InstanceAction: "terminate"},
		},
		"back to the warm pool": {
			awssim.MetadataEvent{Kind: awssim.MetadataKindTargetState, State: "Warmed:Stopped"},
			v1alpha1.Event{Kind: v1alpha1.AutoScalingTermination, Time: *at(5 * time.Second), InstanceAction: "stop"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.announce(c.announced)
			f.clock.SetTime(epoch.Add(5 * time.Second))
			f.pass(0)
			c.want.Source, c.want.BootID, c.want.Cancelled = v1alpha1.SourceIMDS, "boot-1", new(false)
			nt := f.stored()
			if nt == nil {
				t.Fatalf("nothing was stored: %s", f.log)
			}
			if diff := cmp.Diff([]v1alpha1.Event{c.want}, nt.Spec.Events, ignoreID); diff != "" {
				t.Errorf("events -want +got:\n%s", diff)
			}
			want := v1alpha1.NodeTerminationSpec{
				InstanceID: f.id, NodeName: f.node,
				Instance: &v1alpha1.Instance{Type: "m6i.large", LifeCycle: "spot", AvailabilityZone: "us-east-1a", Region: "us-east-1", AccountID: awssim.Account},
			}
			nt.Spec.Events = nil
			if diff := cmp.Diff(want, nt.Spec); diff != "" {
				t.Errorf("spec -want +got:\n%s", diff)
			}
		})
	}
}

// TestQuiet: while nothing is announced, the watcher sends nothing to the API server but what it
// needs to know at its start.
func TestQuiet(t *testing.T) {
	f := newFixture(t)
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindTargetState, State: "InService"})
	before := f.sim.Requests("")
	f.pass(time.Hour)
	if n := f.requests.Load(); n != 1 {
		t.Errorf("%d requests to the API server, want one at the start", n)
	}
	if nt := f.stored(); nt != nil {
		t.Errorf("stored is %+v, want nothing", nt)
	}
	for path, want := range map[string]int{
		event.PathSpotInstanceAction: 1800, event.PathTargetLifecycleState: 360, event.PathRebalance: 360,
		event.PathMaintenance: 120, event.PathMaintenanceHistory: 120,
	} {
		if n := f.sim.Requests("meta-data/" + path); n < want*9/10 || n > want*12/10 {
			t.Errorf("%s was read %d times in an hour, want %d or so", path, n, want)
		}
	}
	if n := f.sim.Requests("") - before; n > 3500 {
		t.Errorf("%d requests to the metadata service, want at most 3500", n)
	}
}

// TestAgain: what was received before, by this process or one before it, changes nothing.
func TestAgain(t *testing.T) {
	f := newFixture(t)
	for _, e := range []awssim.MetadataEvent{
		{Kind: awssim.MetadataKindSpot},
		{Kind: awssim.MetadataKindRebalance},
		{Kind: awssim.MetadataKindTargetState},
		{Kind: awssim.MetadataKindMaintenance},
	} {
		f.announce(e)
	}
	f.pass(time.Minute)
	before := f.stored()
	if before == nil || len(before.Spec.Events) != 4 {
		t.Fatalf("stored is %+v, want four events", before)
	}
	if n := f.requests.Load(); n > 4 {
		t.Errorf("%d requests, want at most one for each event", n)
	}
	for range 3 {
		f.restart()
		f.pass(time.Minute)
	}
	if after := f.stored(); after.ResourceVersion != before.ResourceVersion {
		t.Errorf("stored again:\n%s", cmp.Diff(before, after))
	}
}

// TestSiblings: what others have received stays.
func TestSiblings(t *testing.T) {
	f := newFixture(t)
	other := v1alpha1.Event{ID: "1e5527d7", Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceSQS, Time: *at(0), Deadline: at(2 * time.Minute)}
	err := admin(t).Create(t.Context(), &v1alpha1.NodeTermination{
		ObjectMeta: metav1.ObjectMeta{Name: f.id},
		Spec:       v1alpha1.NodeTerminationSpec{InstanceID: f.id, NodeName: f.node, Events: []v1alpha1.Event{other}},
	}, client.FieldOwner("nto-1e5527d7"))
	if err != nil {
		t.Fatal(err)
	}
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot})
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindRebalance})
	f.pass(0)
	nt := f.stored()
	if len(nt.Spec.Events) != 3 || nt.Spec.Events[0].ID != other.ID || nt.Spec.Instance == nil {
		t.Errorf("stored is %+v, want three events and the instance", nt.Spec)
	}
}

// TestMaintenance: a maintenance is rescheduled, cancelled, listed for long after, and planned again.
func TestMaintenance(t *testing.T) {
	f := newFixture(t)
	announce := func(state string, notBefore time.Duration) {
		f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindMaintenance, State: state, NotBefore: epoch.Add(notBefore)})
		f.pass(time.Minute)
	}
	announce("active", 48*time.Hour)
	first := f.one()
	announce("active", 72*time.Hour)
	second := f.one()
	if first.ID != second.ID || !second.NotBefore.Equal(at(72*time.Hour)) || !second.Time.After(first.Time.Time) {
		t.Errorf("rescheduled: %+v, was %+v", second, first)
	}
	announce("canceled", 72*time.Hour)
	want := second
	want.Cancelled = new(true)
	if diff := cmp.Diff(want, f.one(), ignoreTime); diff != "" {
		t.Fatalf("cancelled, -want +got:\n%s", diff)
	}
	cancelled := f.stored()
	n := f.requests.Load()
	f.pass(time.Hour)
	if f.requests.Load() != n {
		t.Errorf("%d more requests", f.requests.Load()-n)
	}
	f.restart()
	f.pass(time.Hour)
	if after := f.stored(); after.ResourceVersion != cancelled.ResourceVersion {
		t.Errorf("cancelled again:\n%s", cmp.Diff(cancelled, after))
	}
	announce("active", 72*time.Hour)
	if diff := cmp.Diff(second, f.one(), ignoreTime); diff != "" || !f.one().Time.After(cancelled.Spec.Events[0].Time.Time) {
		t.Errorf("planned again at %s, -want +got:\n%s", f.one().Time, diff)
	}
	announce("completed", 72*time.Hour)
	if diff := cmp.Diff(want, f.one(), ignoreTime); diff != "" {
		t.Errorf("over, -want +got:\n%s", diff)
	}
	if cancelled.UID != f.stored().UID {
		t.Error("it is another NodeTermination")
	}
}

// TestHistoryAlone: what is over makes no NodeTermination, and no entry of one that is about something else.
func TestHistoryAlone(t *testing.T) {
	f := newFixture(t)
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindMaintenance, State: "completed"})
	f.pass(time.Hour)
	if nt := f.stored(); nt != nil {
		t.Fatalf("stored is %+v, want nothing", nt)
	}
	if n := f.requests.Load(); n != 1 {
		t.Errorf("%d requests, want one that finds nothing", n)
	}
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot})
	f.pass(time.Minute)
	f.restart()
	f.pass(time.Minute)
	if e := f.one(); e.Kind != v1alpha1.SpotInterruption {
		t.Errorf("stored is %+v", e)
	}
}

// TestHealth: what AWS Health has announced is cancelled by the metadata, once.
func TestHealth(t *testing.T) {
	f := newFixture(t)
	health := v1alpha1.Event{ID: "health", Kind: v1alpha1.ScheduledMaintenance, Source: v1alpha1.SourceSQS, Time: *at(0), NotBefore: at(48 * time.Hour)}
	err := admin(t).Create(t.Context(), &v1alpha1.NodeTermination{
		ObjectMeta: metav1.ObjectMeta{Name: f.id},
		Spec:       v1alpha1.NodeTerminationSpec{InstanceID: f.id, NodeName: f.node, Events: []v1alpha1.Event{health}},
	}, client.FieldOwner("nto-health"))
	if err != nil {
		t.Fatal(err)
	}
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindMaintenance, State: "canceled", NotBefore: epoch.Add(48 * time.Hour)})
	f.pass(time.Minute)
	nt := f.stored()
	if len(nt.Spec.Events) != 2 {
		t.Fatalf("events %+v, want two", nt.Spec.Events)
	}
	if e := nt.Spec.Events[1]; !ptr.Deref(e.Cancelled, false) || !e.NotBefore.Equal(health.NotBefore) || e.Source != v1alpha1.SourceIMDS {
		t.Errorf("it is cancelled by %+v", e)
	}
	f.restart()
	f.pass(time.Minute)
	if after := f.stored(); after.ResourceVersion != nt.ResourceVersion {
		t.Errorf("cancelled again:\n%s", cmp.Diff(nt, after))
	}
}

// TestDeleted: a NodeTermination that somebody deletes while its event is cancelled is not made again.
func TestDeleted(t *testing.T) {
	f := newFixture(t)
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindMaintenance})
	f.pass(time.Minute)
	if err := admin(t).Delete(t.Context(), f.stored()); err != nil {
		t.Fatal(err)
	}
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindMaintenance, State: "canceled"})
	f.pass(time.Minute)
	if nt := f.stored(); nt != nil {
		t.Errorf("stored is %+v, want nothing", nt)
	}
}

// TestKilledBeforeStored: the process has received it and dies.
func TestKilledBeforeStored(t *testing.T) {
	f := newFixture(t)
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot})
	f.poll(t.Context())
	if len(f.unstored()) != 1 || f.stored() != nil {
		t.Fatalf("received: %+v", f.unstored())
	}
	f.clock.Step(5 * time.Second)
	f.restart()
	f.pass(0)
	if e := f.one(); e.Kind != v1alpha1.SpotInterruption || !e.Deadline.Equal(at(2*time.Minute)) {
		t.Errorf("stored is %+v", e)
	}
}

// TestAPIServerAway: the notice comes while the API server is away for half a minute.
func TestAPIServerAway(t *testing.T) {
	f := newFixture(t)
	f.pass(10 * time.Second)
	cluster.Get(t).StopAPIServer(t)
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot})
	deadline := f.clock.Now().Add(2 * time.Minute)
	f.pass(30 * time.Second)
	tried := f.requests.Load()
	if tried < 5 || tried > 30 {
		t.Errorf("%d attempts in half a minute, want some but not many", tried)
	}
	if err := Probe(f.heartbeatFile); err == nil {
		t.Error("the probe succeeds")
	}
	cluster.Get(t).StartAPIServer(t)
	f.pass(maxRetry)
	if e := f.one(); !e.Deadline.Time.Equal(deadline) {
		t.Errorf("stored is %+v", e)
	}
	n := f.requests.Load()
	f.pass(time.Minute)
	if f.requests.Load() != n {
		t.Errorf("%d more requests once it was stored", f.requests.Load()-n)
	}
	lines := 0
	for _, line := range f.log {
		if strings.Contains(line, "could not be stored") {
			lines++
		}
	}
	if lines != 1 {
		t.Errorf("%d lines about it in the log, want one:\n%s", lines, strings.Join(f.log, "\n"))
	}
}

// TestRefused: what the API server does not take is tried again, seldom, and does not hold up the rest.
func TestRefused(t *testing.T) {
	f := newFixture(t)
	err := admin(t).Create(t.Context(), &v1alpha1.NodeTermination{
		ObjectMeta: metav1.ObjectMeta{Name: f.id},
		Spec: v1alpha1.NodeTerminationSpec{InstanceID: f.id, NodeName: "another", Events: []v1alpha1.Event{
			{ID: "x", Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceIMDS, Time: *at(0)},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.announce(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot})
	f.pass(time.Minute)
	if n := f.requests.Load(); n < 20 || n > 40 {
		t.Errorf("%d requests in a minute, want two every %s", n, maxRetry)
	}
	if len(f.log) != 2 || !strings.Contains(f.log[1], "spec.nodeName is another and has to be "+f.node) {
		t.Errorf("the log says:\n%s", strings.Join(f.log, "\n"))
	}
	moved := f.stored()
	moved.Spec.NodeName = f.node
	if err := admin(t).Update(t.Context(), moved); err != nil { // as the manager does
		t.Fatal(err)
	}
	f.pass(maxRetry)
	if nt := f.stored(); len(nt.Spec.Events) != 2 || nt.Spec.NodeName != f.node {
		t.Errorf("stored is %+v", nt.Spec)
	}
}

// TestJitter: the watchers of a cluster do not keep step.
func TestJitter(t *testing.T) {
	f := newFixture(t)
	pauses := map[time.Duration]bool{}
	for range 20 {
		before := f.clock.Now()
		next := f.step(t.Context())
		pauses[next.Sub(before)] = true
		f.clock.SetTime(next)
	}
	if len(pauses) < 10 {
		t.Errorf("only %d different pauses in 20 polls", len(pauses))
	}
}
