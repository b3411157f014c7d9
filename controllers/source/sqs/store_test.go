// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/testcluster"
)

// live is a client for the control plane, whose NodeTerminations and policies
// are deleted at the end of the test.
func live(t *testing.T) client.WithWatch {
	t.Helper()
	cluster.Do(func() {
		if cluster.Cluster, cluster.err = testcluster.Start(); cluster.err == nil {
			cluster.err = cluster.InstallCRDs(filepath.Join("..", "..", "..", "config", "crd", "bases"))
		}
	})
	if cluster.err != nil {
		t.Fatal(cluster.err)
	}
	c, err := client.NewWithWatch(cluster.Config(), client.Options{Scheme: newScheme(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, kind := range []client.Object{&v1alpha1.NodeTermination{}, &v1alpha1.NodeTerminationPolicy{}} {
			if err := c.DeleteAllOf(context.Background(), kind); err != nil {
				t.Errorf("cleaning up: %v", err)
			}
		}
	})
	return c
}

func newStore(c client.Client) *store { return &store{live: c, client: c, log: logr.Discard()} }

// fact is a spot interruption with every field that a queue can fill.
func fact(id string) event.Fact {
	at := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: epoch.Add(d)} }
	return event.Fact{InstanceID: instance, Event: v1alpha1.Event{
		ID: id, Kind: v1alpha1.SpotInterruption, Time: *at(0), Deadline: at(time.Minute), NotBefore: at(time.Hour),
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

func mustStore(t *testing.T, s *store, f event.Fact, nodeName string) {
	t.Helper()
	if got, err := s.store(t.Context(), f, nodeName); err != nil || got != stored {
		t.Fatalf("%s: %s, %v", f.Event.ID, got, err)
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
	want.Events[0].Source = v1alpha1.SourceSQS
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
			_, err := s.store(t.Context(), fact(fmt.Sprint("e", i)), "node")
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

// What was called off stays so, and is otherwise left as its source said.
func TestStoreCancelled(t *testing.T) {
	c := live(t)
	s := newStore(c)
	if got, err := s.store(t.Context(), cancelled("a"), "node"); err != nil || got != nothingToEnd {
		t.Fatalf("%s, %v", got, err)
	}
	mustStore(t, s, fact("a"), "node")
	mustStore(t, s, cancelled("a"), "node")
	mustStore(t, s, fact("a"), "node") // heard once more
	want := fact("a").Event
	want.Source, want.Cancelled = v1alpha1.SourceSQS, new(true)
	if diff := cmp.Diff([]v1alpha1.Event{want}, get(t, c, instance).Spec.Events); diff != "" {
		t.Error(diff)
	}
	before := get(t, c, instance).ResourceVersion
	mustStore(t, s, cancelled("a"), "node")
	if after := get(t, c, instance).ResourceVersion; after != before {
		t.Error("the same was written again")
	}

	mustStore(t, s, cancelled("b"), "node") // overtook what it calls off
	mustStore(t, s, cancelled("b"), "node") // heard again
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

// What ends others makes no NodeTermination, even if the one it saw is deleted just then.
func TestEndCreatesNothing(t *testing.T) {
	c := live(t)
	s := newStore(c)
	mustStore(t, s, fact("a"), "node")
	uid := get(t, c, instance).UID
	if err := c.Delete(t.Context(), get(t, c, instance)); err != nil {
		t.Fatal(err)
	}
	f := cancelled("a")
	f.Event.Source = v1alpha1.SourceSQS
	if err := s.apply(t.Context(), f, "node", "canceller", uid); err == nil {
		t.Error("it was created anew")
	}
	running := event.Fact{InstanceID: instance, Event: v1alpha1.Event{
		ID: "r", Kind: v1alpha1.InstanceStateChange, InstanceAction: "running", Time: metav1.NewTime(epoch),
	}}
	if got, err := s.store(t.Context(), running, "node"); err != nil || got != nothingToEnd {
		t.Errorf("%s, %v", got, err)
	}
	mustStore(t, s, fact("a"), "node")
	mustStore(t, s, running, "node")
	if n := len(get(t, c, instance).Spec.Events); n != 2 {
		t.Errorf("%d events", n)
	}
}

// A NodeTermination that pairs the instance with a wrong node does not keep the truth out.
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
	if got, err := s.store(t.Context(), cancelled("true"), "another"); err != nil || got != nothingToEnd {
		t.Errorf("%s, %v", got, err)
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
	_, err := s.store(t.Context(), fact("one-more"), "node")
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
	if _, err := newStore(c).store(t.Context(), bad, "node"); err == nil || !strings.Contains(err.Error(), "description") {
		t.Errorf("error %v", err)
	}
}

// newLiveFixture is a fixture on the control plane, with n nodes and a cache like the manager's.
func newLiveFixture(t *testing.T, n int) (*fixture, []*corev1.Node) {
	t.Helper()
	c := live(t)
	nodes := cluster.CreateNodes(t, n)
	cached, err := cache.New(cluster.Config(), cache.Options{Scheme: newScheme(t)})
	if err != nil {
		t.Fatal(err)
	}
	byInstance := func(node client.Object) []string { return v1alpha1.IndexByInstanceID(node) }
	if err := cached.IndexField(t.Context(), &corev1.Node{}, v1alpha1.NodeInstanceIDIndex, byInstance); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		defer close(ended)
		if err := cached.Start(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { stop(); <-ended })
	f := &fixture{t: t, clock: clocktesting.NewFakeClock(time.Now().Truncate(time.Second)), done: make(chan struct{}), stop: func() {}, kube: c}
	f.connect(cached)
	f.policy("all")
	for _, object := range []client.Object{&corev1.Node{}, &v1alpha1.NodeTerminationPolicy{}} {
		if _, err := cached.GetInformer(ctx, object); err != nil { // waits until it is in sync
			t.Fatal(err)
		}
	}
	f.waitFor("the policy in the cache", func() bool {
		return cached.Get(ctx, client.ObjectKey{Name: "all"}, &v1alpha1.NodeTerminationPolicy{}) == nil
	})
	return f, nodes
}

// The same interruption five times, and the state change that follows it, are one NodeTermination.
func TestOnePerInstance(t *testing.T) {
	f, nodes := newLiveFixture(t, 3)
	for _, n := range nodes {
		id, _ := v1alpha1.InstanceID(n)
		for range 5 {
			f.send(awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{id}, ID: "spot-" + n.Name})
		}
		f.send(awssim.Notice{Kind: awssim.StateChange, State: "stopping", InstanceIDs: []string{id}})
	}
	f.run()
	f.handled(18)
	if messages := f.messages(); len(messages) != 0 {
		t.Errorf("messages are left: %+v", messages)
	}
	for _, n := range nodes {
		id, _ := v1alpha1.InstanceID(n)
		if nt := f.termination(id); nt == nil || nt.Spec.NodeName != n.Name || len(nt.Spec.Events) != 2 {
			t.Errorf("node %s: %+v", n.Name, nt)
		}
	}
}

// While the API server is away, messages wait in the queue.
func TestAPIServerAway(t *testing.T) {
	f, nodes := newLiveFixture(t, 1)
	id, _ := v1alpha1.InstanceID(nodes[0])
	f.run()
	f.waitForHealth(v1alpha1.ReasonReady)
	cluster.StopAPIServer(t)
	message := f.spot(id)
	for range 4 {
		f.handled(1)
		f.step(f.hiddenFor())
	}
	f.handled(1)
	cluster.StartAPIServer(t)
	f.step(f.hiddenFor())
	f.handled(1)
	if f.termination(id) == nil || len(f.messages()) != 0 {
		t.Error("the message was not stored once it could be")
	}
	if lines := f.logged.with(message, "could not be stored"); len(lines) != 1 {
		t.Errorf("logged %d times", len(lines))
	}
}
