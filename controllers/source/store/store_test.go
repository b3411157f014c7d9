// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/nodetermination/operator/api/v1alpha1"
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

func newStore(c client.Client) *Store { return &Store{Live: c, Client: c, Log: logr.Discard()} }

// fact returns a spot interruption with every field that a queue can fill.
func fact(id string) event.Fact {
	at := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: epoch.Add(d)} }
	return event.Fact{InstanceID: instance, Event: v1alpha1.Event{
		ID: id, Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceSQS, Time: *at(0), Deadline: at(time.Minute), NotBefore: at(time.Hour),
		Description: "about to go", InstanceAction: "terminate",
		LifecycleHook: &v1alpha1.LifecycleHook{AutoScalingGroupName: "g", Name: "h", Token: "t", Destination: "EC2"},
	}}
}

func cancelled(id string) event.Fact {
	f := fact(id)
	f.Event.Cancelled = new(true)
	f.Event.Time = metav1.NewTime(epoch.Add(time.Minute))
	return f
}

func mustStore(t *testing.T, s *Store, f event.Fact, nodeName string) {
	t.Helper()
	if stored, err := s.Put(t.Context(), f, nodeName); err != nil || !stored {
		t.Fatalf("%s: %v, %v", f.Event.ID, stored, err)
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

// What was cancelled stays cancelled, and is otherwise left as its source wrote it.
func TestStoreCancelled(t *testing.T) {
	c := live(t)
	s := newStore(c)
	if stored, err := s.Put(t.Context(), cancelled("a"), "node"); err != nil || stored {
		t.Fatalf("%v, %v", stored, err)
	}
	mustStore(t, s, fact("a"), "node")
	mustStore(t, s, cancelled("a"), "node")
	mustStore(t, s, fact("a"), "node") // received once more
	want := fact("a").Event
	want.Cancelled = new(true)
	if diff := cmp.Diff([]v1alpha1.Event{want}, get(t, c, instance).Spec.Events); diff != "" {
		t.Error(diff)
	}
	before := get(t, c, instance).ResourceVersion
	mustStore(t, s, cancelled("a"), "node")
	if after := get(t, c, instance).ResourceVersion; after != before {
		t.Error("the same was written again")
	}

	mustStore(t, s, cancelled("b"), "node") // overtook what it cancels
	mustStore(t, s, cancelled("b"), "node") // received again
	for _, e := range get(t, c, instance).Spec.Events {
		if e.NotBefore == nil {
			t.Errorf("event %s lost its notBefore", e.ID)
		}
	}
	mustStore(t, s, fact("b"), "node")
	for _, e := range get(t, c, instance).Spec.Events {
		if e.Cancelled == nil || e.NotBefore == nil {
			t.Errorf("event %s: %+v", e.ID, e)
		}
	}
}

// What ends others creates no NodeTermination, even if the one it saw is deleted just then.
func TestEndCreatesNothing(t *testing.T) {
	c := live(t)
	s := newStore(c)
	mustStore(t, s, fact("a"), "node")
	uid := get(t, c, instance).UID
	if err := c.Delete(t.Context(), get(t, c, instance)); err != nil {
		t.Fatal(err)
	}
	f := cancelled("a")
	if err := s.apply(t.Context(), f, "node", "canceller", uid); err == nil {
		t.Error("it was created anew")
	}
	running := event.Fact{InstanceID: instance, Event: v1alpha1.Event{
		ID: "r", Kind: v1alpha1.InstanceStateChange, Source: v1alpha1.SourceSQS, InstanceAction: "running", Time: metav1.NewTime(epoch),
	}}
	if stored, err := s.Put(t.Context(), running, "node"); err != nil || stored {
		t.Errorf("%v, %v", stored, err)
	}
	mustStore(t, s, fact("a"), "node")
	mustStore(t, s, running, "node")
	if n := len(get(t, c, instance).Spec.Events); n != 2 {
		t.Errorf("%d events", n)
	}
}

// A NodeTermination that pairs the instance with a wrong node does not keep true facts from being stored.
func TestStoreReplacesWrongPair(t *testing.T) {
	c := live(t)
	s := newStore(c)
	mustStore(t, s, fact("forged"), "wrong")
	forged := get(t, c, instance).UID
	mustStore(t, s, fact("true"), "right")
	nt := get(t, c, instance)
	if nt.Spec.NodeName != "right" || len(nt.Spec.Events) != 1 || nt.Spec.Events[0].ID != "true" || nt.UID == forged {
		t.Errorf("%+v", nt.Spec)
	}
	if stored, err := s.Put(t.Context(), cancelled("true"), "another"); err != nil || stored {
		t.Errorf("%v, %v", stored, err)
	}
	if err := c.Get(t.Context(), client.ObjectKey{Name: instance}, nt); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("the wrong pair is still there: %v", err)
	}
}

func TestStoreFull(t *testing.T) {
	c := live(t)
	s := newStore(c)
	for i := range maxEvents {
		mustStore(t, s, fact(fmt.Sprint("e", i)), "node")
	}
	_, err := s.Put(t.Context(), fact("one-more"), "node")
	if err == nil || !strings.Contains(err.Error(), "is full with 32 events") {
		t.Errorf("error %v", err)
	}
	mustStore(t, s, fact("e7"), "node") // known ones are no matter
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
