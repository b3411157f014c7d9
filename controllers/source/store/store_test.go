// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/nodetermination/operator/api/v1alpha1"
	ac "github.com/nodetermination/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
	"github.com/nodetermination/operator/hack/testcluster"
)

const instance = "i-0abc1234def567890"

var (
	cluster = testcluster.Shared{SetUp: func(c *testcluster.Cluster) error {
		return c.InstallCRDs(filepath.Join("..", "..", "..", "config", "crd", "bases"))
	}}
	scheme = runtime.NewScheme()
	epoch  = time.Date(2026, 11, 22, 5, 8, 0, 0, time.UTC)
)

func TestMain(m *testing.M) {
	crlog.SetLogger(logr.Discard()) // or controller-runtime complains
	utilruntime.Must(corev1.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	os.Exit(cluster.Main(m))
}

// live returns a client for the control plane, whose NodeTerminations are deleted at the end of the test.
func live(t *testing.T) client.Client {
	t.Helper()
	c, err := client.New(cluster.Get(t).Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.DeleteAllOf(context.Background(), &v1alpha1.NodeTermination{}); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
	return c
}

func newStore(c client.Client) *Store {
	return &Store{Live: c, Client: c, Log: logr.Discard(), Clock: clocktesting.NewFakePassiveClock(epoch)}
}

func at(d time.Duration) *metav1.Time { return &metav1.Time{Time: epoch.Add(d)} }

// fact returns a spot interruption with every field that a queue can fill.
func fact(id string) event.Fact {
	return event.Fact{InstanceID: instance, Event: v1alpha1.Event{
		ID: id, Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceSQS, Time: *at(0),
		Deadline: at(time.Minute), NotBefore: at(time.Hour), NotAfter: at(2 * time.Hour),
		Description: "about to go", InstanceAction: "terminate", BootID: "boot", PolicyName: "policy", Cancelled: new(false),
		LifecycleHook: &v1alpha1.LifecycleHook{AutoScalingGroupName: "g", Name: "h", Token: "t", Destination: "EC2"},
	}}
}

// maintenance returns what AWS Health says at a time about a reboot.
func maintenance(said, start time.Duration, closed bool) event.Fact {
	return event.Fact{InstanceID: instance, Event: v1alpha1.Event{
		ID: "arn", Kind: v1alpha1.ScheduledMaintenance, Source: v1alpha1.SourceSQS, Time: *at(said),
		Deadline: at(start), NotBefore: at(start), InstanceAction: "instance-reboot", Cancelled: &closed,
	}}
}

// state returns an instance's change of state.
func state(said time.Duration, name string) event.Fact {
	f := event.Fact{InstanceID: instance, Event: v1alpha1.Event{
		ID: "state", Kind: v1alpha1.InstanceStateChange, Source: v1alpha1.SourceSQS, Time: *at(said), InstanceAction: name, Cancelled: new(false),
	}}
	if name == "running" {
		f.Event.ID += "-running"
	}
	return f
}

func mustPut(t *testing.T, s *Store, f event.Fact, nodeName string, want Result) {
	t.Helper()
	if result, err := s.Put(t.Context(), f, nodeName); err != nil || result != want {
		t.Fatalf("%s: %v, %v; want %v", f.Event.ID, result, err, want)
	}
}

func mustStore(t *testing.T, s *Store, f event.Fact, nodeName string) {
	t.Helper()
	mustPut(t, s, f, nodeName, Stored)
}

// applyAs applies a NodeTermination of the instance as another field manager.
func applyAs(t *testing.T, c client.Client, owner, nodeName string, e *ac.EventApplyConfiguration) {
	t.Helper()
	nt := ac.NodeTermination(instance).WithSpec(ac.NodeTerminationSpec().WithInstanceID(instance).WithNodeName(nodeName).WithEvents(e))
	if err := c.Apply(t.Context(), nt, client.FieldOwner(owner), client.ForceOwnership); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, c client.Client, instanceID string) *v1alpha1.NodeTermination {
	t.Helper()
	var nt v1alpha1.NodeTermination
	if err := c.Get(t.Context(), client.ObjectKey{Name: instanceID}, &nt); err != nil {
		t.Fatal(err)
	}
	return &nt
}

func TestStoreKeepsEveryField(t *testing.T) {
	c := live(t)
	mustStore(t, newStore(c), fact("a"), "node")
	want := v1alpha1.NodeTerminationSpec{InstanceID: instance, NodeName: "node", Events: []v1alpha1.Event{fact("a").Event}}
	if diff := cmp.Diff(want, get(t, c, instance).Spec); diff != "" {
		t.Error(diff)
	}
}

// Facts have an owner each, so none drops another; the same fact again is no write at all.
func TestStoreManyFacts(t *testing.T) {
	c := live(t)
	s := newStore(c)
	errs := make(chan error)
	for i := range 4 {
		go func() {
			_, err := s.Put(t.Context(), fact(fmt.Sprint("e", i)), "node")
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	before := get(t, c, instance)
	if len(before.Spec.Events) != 4 || len(before.ManagedFields) != 4 {
		t.Fatalf("%d events by %d owners", len(before.Spec.Events), len(before.ManagedFields))
	}
	for i := range 4 {
		mustStore(t, s, fact(fmt.Sprint("e", i)), "node")
	}
	if after := get(t, c, instance); after.ResourceVersion != before.ResourceVersion {
		t.Error("the same facts were written again")
	}
	moved := fact("e2")
	moved.Event.Time = *at(time.Minute)
	moved.Event.NotBefore = &metav1.Time{Time: epoch.Add(2 * time.Hour)}
	mustStore(t, s, moved, "node")
	after := get(t, c, instance)
	if len(after.Spec.Events) != 4 {
		t.Errorf("%d events", len(after.Spec.Events))
	}
	for _, e := range after.Spec.Events {
		if e.ID == "e2" && !e.NotBefore.Equal(moved.Event.NotBefore) {
			t.Errorf("not moved: %s", e.NotBefore)
		}
	}
}

// A statement is replaced by a later one only, in whatever order they come; the memory changes nothing about that.
func TestOnlyForward(t *testing.T) {
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		facts []event.Fact
		known []int // those that change nothing
		want  []int // those that stand
	}{
		"moved, then the older one once more": {
			facts: []event.Fact{maintenance(0, 3*day, false), maintenance(time.Minute, time.Hour, false), maintenance(0, 3*day, false)}, known: []int{2}, want: []int{1},
		},
		"closed, then the older one": {
			facts: []event.Fact{maintenance(0, 7*day, false), maintenance(time.Hour, 7*day, true), maintenance(0, 7*day, false)}, known: []int{2}, want: []int{1},
		},
		"closed first": {
			facts: []event.Fact{maintenance(time.Hour, 7*day, true), maintenance(0, 7*day, false)}, known: []int{1}, want: []int{0},
		},
		"closed, then planned anew": {
			facts: []event.Fact{maintenance(time.Hour, 7*day, true), maintenance(2*time.Hour, 7*day, false)}, want: []int{1},
		},
		"closed and planned in one second": {
			facts: []event.Fact{maintenance(0, 7*day, true), maintenance(0, 7*day, false)}, known: []int{1}, want: []int{0},
		},
		"running overtakes stopping": {
			facts: []event.Fact{fact("a"), state(time.Minute, "running"), state(0, "stopping")}, want: []int{0, 1, 2},
		},
		"shutting-down and terminated in one second": {
			facts: []event.Fact{state(0, "terminated"), state(0, "shutting-down")}, known: []int{1}, want: []int{0},
		},
		"in one second, in order": {
			facts: []event.Fact{state(0, "stopping"), state(0, "stopped")}, want: []int{1},
		},
		"once more after a boot": {
			facts: []event.Fact{fact("a"), booted(fact("a"))}, known: []int{1}, want: []int{0},
		},
	} {
		for _, memory := range []*Memory{nil, NewMemory()} {
			t.Run(fmt.Sprintf("%s, memory %t", name, memory != nil), func(t *testing.T) {
				c := live(t)
				s := newStore(c)
				s.Memory = memory
				for i, f := range test.facts {
					want := Stored
					if slices.Contains(test.known, i) {
						want = Known
					}
					mustPut(t, s, f, "node", want)
				}
				var want []v1alpha1.Event
				for _, i := range test.want {
					want = append(want, test.facts[i].Event)
				}
				if diff := cmp.Diff(want, get(t, c, instance).Spec.Events); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// What is over already only replaces what was said before.
func TestRevise(t *testing.T) {
	c := live(t)
	s := newStore(c)
	done := maintenance(time.Hour, -24*time.Hour, false)
	for range 2 { // without a NodeTermination, and with one of something else
		if result, err := s.Revise(t.Context(), done, "node"); err != nil || result != NothingToEnd {
			t.Fatalf("%v, %v", result, err)
		}
		mustStore(t, s, fact("a"), "node")
	}
	mustStore(t, s, maintenance(0, 24*time.Hour, false), "node")
	if result, err := s.Revise(t.Context(), done, "node"); err != nil || result != Stored {
		t.Fatalf("%v, %v", result, err)
	}
	if diff := cmp.Diff([]v1alpha1.Event{fact("a").Event, done.Event}, get(t, c, instance).Spec.Events); diff != "" {
		t.Error(diff)
	}
}

// booted returns the fact as it is received after the node has booted.
func booted(f event.Fact) event.Fact {
	f.Event.BootID = "next boot"
	return f
}

// In an object of the version before, another owner than the event's has cancelled it.
func TestCancelledByTheVersionBefore(t *testing.T) {
	c := live(t)
	s := newStore(c)
	f := maintenance(0, time.Hour, false)
	before := eventOf(f.Event)
	before.Cancelled = nil
	applyAs(t, c, v1alpha1.EventFieldManager("arn"), "node", before)
	applyAs(t, c, v1alpha1.EventFieldManager("arn")+"-cancelled", "node", ac.Event().
		WithID("arn").WithKind(f.Event.Kind).WithSource(f.Event.Source).WithTime(f.Event.Time).WithCancelled(true))
	mustPut(t, s, f, "node", Known)
	if e := get(t, c, instance).Spec.Events[0]; !*e.Cancelled {
		t.Error("the cancellation was taken back by the same statement")
	}
	later := maintenance(time.Minute, time.Hour, false)
	mustStore(t, s, later, "node")
	if diff := cmp.Diff([]v1alpha1.Event{later.Event}, get(t, c, instance).Spec.Events); diff != "" {
		t.Error(diff)
	}
}

// What ends others creates no NodeTermination, even if the one it saw is deleted just then.
func TestEndCreatesNothing(t *testing.T) {
	c := live(t)
	s := newStore(c)
	over := maintenance(time.Hour, -15*24*time.Hour, true) // nobody plans that any more
	alarm := fact("alarm")
	alarm.Event.Kind, alarm.Event.Cancelled = v1alpha1.InstanceStatusCheckFailed, new(true)
	for _, f := range []event.Fact{over, alarm, state(0, "running")} {
		mustPut(t, s, f, "node", NothingToEnd)
	}
	mustStore(t, s, fact("a"), "node")
	seen := get(t, c, instance)
	for _, f := range []event.Fact{over, alarm, state(0, "running")} {
		mustStore(t, s, f, "node")
	}
	if n := len(get(t, c, instance).Spec.Events); n != 4 {
		t.Errorf("%d events", n)
	}
	if err := c.Delete(t.Context(), seen); err != nil {
		t.Fatal(err)
	}
	if err := s.apply(t.Context(), alarm, "node", seen); err == nil {
		t.Error("it was created anew")
	}
}

// A NodeTermination of an instance that registered again as another node moves along, unless
// only the watcher of a wrong node says so: then it does not keep true facts from being stored.
func TestAnotherNode(t *testing.T) {
	forged := fact("forged").Event
	forged.Source = v1alpha1.SourceIMDS
	running := state(time.Minute, "running")
	for name, test := range map[string]struct {
		first    v1alpha1.Event
		prepared bool // the manager has found the node before
		then     event.Fact
		result   Result
		want     []string
	}{
		"registered again":               {first: fact("a").Event, then: fact("b"), want: []string{"a", "b"}},
		"registered again, and it runs":  {first: fact("a").Event, then: running, want: []string{"a", "state-running"}},
		"known from the metadata alone":  {first: forged, prepared: true, then: fact("b"), want: []string{"forged", "b"}},
		"forged":                         {first: forged, then: fact("b"), want: []string{"b"}},
		"forged, and there is no other":  {first: forged, then: running, result: NothingToEnd},
		"forged, and closed is received": {first: forged, then: maintenance(0, time.Hour, true), want: []string{"arn"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := live(t)
			applyAs(t, c, v1alpha1.EventFieldManager(test.first.ID), "before", eventOf(test.first))
			if test.prepared {
				nt := get(t, c, instance)
				nt.Status.Node = &v1alpha1.NodeReference{UID: "1"}
				if err := c.Status().Update(t.Context(), nt); err != nil {
					t.Fatal(err)
				}
			}
			mustPut(t, newStore(c), test.then, "node", test.result)
			if test.want == nil {
				if err := c.Get(t.Context(), client.ObjectKey{Name: instance}, &v1alpha1.NodeTermination{}); !apierrors.IsNotFound(err) {
					t.Errorf("the wrong pair is still there: %v", err)
				}
				return
			}
			nt := get(t, c, instance)
			var ids []string
			for _, e := range nt.Spec.Events {
				ids = append(ids, e.ID)
			}
			if diff := cmp.Diff(test.want, ids); diff != "" || nt.Spec.NodeName != "node" {
				t.Errorf("on node %s: %s", nt.Spec.NodeName, diff)
			}
		})
	}
}

// What was stored since a wrong pair was looked at is not deleted with it.
func TestForgedIsDeletedAsItWasSeen(t *testing.T) {
	c := live(t)
	s := newStore(c)
	mustStore(t, s, fact("a"), "wrong")
	seen := get(t, c, instance)
	mustStore(t, s, fact("b"), "wrong")
	if err := s.deleteForged(t.Context(), seen, "node"); err == nil {
		t.Error("it was deleted")
	}
}

func TestStoreFull(t *testing.T) {
	c := live(t)
	s := newStore(c)
	for i := range maxEvents {
		mustStore(t, s, fact(fmt.Sprint("e", i)), "node")
	}
	for _, f := range []event.Fact{fact("one-more"), state(0, "running")} {
		if _, err := s.Put(t.Context(), f, "node"); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), instance) {
			t.Errorf("error %v", err)
		}
	}
	later := fact("e7") // known ones are no matter
	later.Event.Time = *at(time.Minute)
	mustStore(t, s, later, "node")
}

// What the API server refuses for another reason is an error that says so.
func TestStoreInvalid(t *testing.T) {
	c := live(t)
	bad := fact("a")
	bad.Event.Description = strings.Repeat("x", 2000)
	if _, err := newStore(c).Put(t.Context(), bad, "node"); err == nil || !strings.Contains(err.Error(), "description") {
		t.Errorf("error %v", err)
	}
}
