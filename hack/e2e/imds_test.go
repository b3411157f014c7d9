// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/operator"
)

// withWatchers lets a manager make watchers' DaemonSets, whose pods kwok plays.
func withWatchers(opts *operator.Options) {
	opts.Args = append(opts.Args, "--watcher-image="+operator.Image)
}

// watcherBinary is bin/imds-watcher, built by the first test that needs it.
var watcherBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binary), "imds-watcher")
	return path, operator.BuildWatcher(context.Background(), path)
})

// watchedFixture is a fixture with a second source, the metadata.
func watchedFixture(t *testing.T) *fixture {
	t.Helper()
	f := emptyFixture(t, aws)
	f.apply(func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Sources = append(spec.Sources, v1alpha1.Source{Name: "metadata", IMDS: &v1alpha1.IMDSSource{PollIntervalSeconds: ptr.To[int32](1)}})
	})
	return f
}

// metadata is a node's metadata service, and the watcher that listens to it.
type metadata struct {
	*awssim.Metadata
	f       *fixture
	node    *corev1.Node
	watcher *operator.Process

	mu    sync.Mutex
	lines []string
}

// metadataOf gives a node a metadata service, without a watcher.
func (f *fixture) metadataOf(node *corev1.Node) *metadata {
	f.t.Helper()
	sim, err := awssim.StartMetadata(awssim.MetadataOptions{Instance: awssim.MetadataInstance{ID: instanceOf(node)}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = sim.Close() })
	return &metadata{Metadata: sim, f: f, node: node}
}

// watch starts a watcher, with the rights and the flags of the pod that it stands for.
func (m *metadata) watch() {
	m.f.t.Helper()
	binary, err := watcherBinary()
	if err != nil {
		m.f.t.Fatal(err)
	}
	m.lines = nil
	opts := operator.Options{Binary: binary, Kubeconfig: cluster.Get(m.f.t).Kubeconfig(), Dir: m.f.t.TempDir(), Env: m.Env(), OnLine: m.note}
	eventually(m.f.t, func() error { // until its pod is there
		m.watcher, err = operator.StartWatcher(m.f.t.Context(), m.f.policy.Name, m.node.Name, opts)
		return err
	})
	watcher := m.watcher
	m.f.t.Cleanup(func() {
		watcher.Kill()
		if m.f.t.Failed() {
			m.f.t.Logf("the log of the watcher on %s:\n%s", m.node.Name, watcher.LogTail(50))
		}
	})
	m.untilSays(`"watching"`)
}

func (m *metadata) note(line string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = append(m.lines, line)
}

// untilSays waits until the watcher that runs has said something.
func (m *metadata) untilSays(text string) {
	m.f.t.Helper()
	eventually(m.f.t, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if !slices.ContainsFunc(m.lines, func(line string) bool { return strings.Contains(line, text) }) {
			return fmt.Errorf("the watcher has not said %s", text)
		}
		return nil
	})
}

func (m *metadata) say(e awssim.MetadataEvent) {
	m.f.t.Helper()
	if err := m.Say(e); err != nil {
		m.f.t.Fatal(err)
	}
}

// TestMetadata: what becomes of every kind of document of the metadata service.
func TestMetadata(t *testing.T) {
	startManager(t, withWatchers)
	for name, test := range map[string]func(*testing.T, *fixture, *metadata){
		"spot interruption":         testMetadataDrains(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot}, v1alpha1.SpotInterruption),
		"spot hibernation":          testMetadataDrains(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot, Action: "hibernate"}, v1alpha1.SpotInterruption),
		"maintenance today":         testMetadataDrains(awssim.MetadataEvent{Kind: awssim.MetadataKindMaintenance}, v1alpha1.ScheduledMaintenance),
		"termination by the group":  testMetadataDrains(awssim.MetadataEvent{Kind: awssim.MetadataKindTargetState}, v1alpha1.AutoScalingTermination),
		"rebalance recommendation":  testMetadataRebalance,
		"maintenance, cancelled":    testMetadataMaintenance("canceled"),
		"maintenance, then over":    testMetadataMaintenance("completed"),
		"received from the queue":   testMetadataAndQueue,
		"killed around the notice":  testWatcherKilled,
		"old notice after a reboot": testOldNotice,
		"another watcher's forgery": testForgedByWatcher,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := watchedFixture(t)
			m := f.metadataOf(f.nodes(1)[0])
			test(t, f, m)
		})
	}
}

func testMetadataDrains(e awssim.MetadataEvent, kind v1alpha1.EventKind) func(*testing.T, *fixture, *metadata) {
	return func(t *testing.T, f *fixture, m *metadata) {
		pods := f.pods(m.node, 3)
		if e.Action == "hibernate" { // begins at once
			e.Time = time.Now()
		}
		m.say(e)
		m.watch()
		nt := f.until(m.node, v1alpha1.StateCompleted)
		got := checkKind(t, nt, kind, time.Time{})
		if got.Source != v1alpha1.SourceIMDS || nt.Spec.Instance == nil || nt.Spec.Instance.LifeCycle != "spot" {
			t.Errorf("received is %+v of the instance %+v", got, nt.Spec.Instance)
		}
		f.untilNode(m.node, cordoned)
		f.checkEvictedOnce(pods...)
	}
}

func testMetadataRebalance(t *testing.T, f *fixture, m *metadata) {
	pod := f.pods(m.node, 1)[0]
	m.watch()
	m.say(awssim.MetadataEvent{Kind: awssim.MetadataKindRebalance})
	checkKind(t, f.until(m.node, v1alpha1.StateCordoned), v1alpha1.RebalanceRecommendation, time.Time{})
	f.untilNode(m.node, cordoned)
	if got := f.podsOn(m.node); !slices.Contains(got, pod.Name) {
		t.Errorf("pods %v are left on the node, want %s", got, pod.Name)
	}
	f.checkEvictedOnce()
}

// testMetadataMaintenance: the drain would begin a day before; until then it can be cancelled.
func testMetadataMaintenance(state string) func(*testing.T, *fixture, *metadata) {
	return func(_ *testing.T, f *fixture, m *metadata) {
		f.pods(m.node, 1)
		notBefore := time.Now().Add(72 * time.Hour)
		m.say(awssim.MetadataEvent{Kind: awssim.MetadataKindMaintenance, NotBefore: notBefore})
		m.watch()
		f.until(m.node, v1alpha1.StateScheduled)
		f.untilNode(m.node, cordoned)
		m.say(awssim.MetadataEvent{Kind: awssim.MetadataKindMaintenance, NotBefore: notBefore, State: state})
		f.until(m.node, v1alpha1.StateCancelled)
		f.untilNode(m.node, schedulable)
		f.checkEvictedOnce()
	}
}

func testMetadataAndQueue(t *testing.T, f *fixture, m *metadata) {
	pods := f.pods(m.node, 5, stopsIn(3*time.Second))
	m.watch()
	m.say(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot})
	f.interrupt(m.node)
	m.untilSays(`"event stored"`)
	f.untilQueueEmpty()
	nt := f.until(m.node, v1alpha1.StateCompleted)
	sources := map[v1alpha1.EventSource]int{}
	for _, e := range nt.Spec.Events {
		sources[e.Source]++
	}
	if len(nt.Spec.Events) != 2 || sources[v1alpha1.SourceIMDS] != 1 || sources[v1alpha1.SourceSQS] != 1 {
		t.Errorf("events %+v, want one of each source", nt.Spec.Events)
	}
	f.checkEvictedOnce(pods...)
}

// testWatcherKilled: the watcher is gone when the notice comes, and once more after it was stored.
func testWatcherKilled(t *testing.T, f *fixture, m *metadata) {
	pods := f.pods(m.node, 3, stopsIn(2*time.Second))
	m.watch()
	m.watcher.Kill()
	m.say(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot})
	m.watch()
	m.untilSays(`"event stored"`)
	m.watcher.Kill()
	before, err := f.termination(m.node)
	if err != nil {
		t.Fatal(err)
	}
	m.watch()
	m.untilSays(`"event stored"`)
	nt := f.until(m.node, v1alpha1.StateCompleted)
	if nt.UID != before.UID || nt.Generation != before.Generation {
		t.Errorf("the NodeTermination is another one, or was changed: %s, generation %d, want %s, generation %d",
			nt.UID, nt.Generation, before.UID, before.Generation)
	}
	f.checkEvictedOnce(pods...)
}

// testForgedByWatcher: whoever has taken over another node has already stored an event of this one's instance, under
// the name of that node, as the admission policy cannot see.
func testForgedByWatcher(t *testing.T, f *fixture, m *metadata) {
	pods := f.pods(m.node, 1)
	other := f.nodes(1)[0]
	forged := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instanceOf(m.node)}}
	forged.Spec = v1alpha1.NodeTerminationSpec{
		InstanceID: instanceOf(m.node), NodeName: other.Name,
		Events: []v1alpha1.Event{{ID: "forged", Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceIMDS, Time: metav1.Now()}},
	}
	f.create(forged)
	m.watch()
	m.say(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot})
	nt := f.until(m.node, v1alpha1.StateCompleted)
	if nt.UID == forged.UID || nt.Spec.NodeName != m.node.Name {
		t.Errorf("the NodeTermination names node %s, want %s, in a new object", nt.Spec.NodeName, m.node.Name)
	}
	f.checkEvictedOnce(pods...)
	f.untilNode(other, schedulable)
}

// testOldNotice: the instance was stopped and started again, and its metadata still says why.
func testOldNotice(t *testing.T, f *fixture, m *metadata) {
	pods := f.pods(m.node, 2)
	over := time.Now().Add(5 * time.Second)
	m.say(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot, Action: "stop", Time: over})
	m.watch()
	f.until(m.node, v1alpha1.StateCompleted)
	f.checkEvictedOnce(pods...)

	m.watcher.Kill()
	eventually(t, func() error {
		if !time.Now().After(over.Add(2 * time.Second)) {
			return fmt.Errorf("the instance is not to be taken before %s", over)
		}
		return nil
	})
	f.reboot(m.node)
	f.untilNode(m.node, schedulable)
	m.watch()
	m.untilSays(`"event stored"`)
	pods = append(pods, f.pods(m.node, 1)...)
	f.untilResolved(m.node, v1alpha1.EventResolved)

	m.watcher.Kill()
	nt, err := f.termination(m.node)
	if err == nil {
		err = admin(t).Delete(t.Context(), nt)
	}
	if err != nil {
		t.Fatal(err)
	}
	m.watch()
	m.untilSays(`"event stored"`)
	f.untilResolved(m.node, v1alpha1.EventStale)
	f.untilNode(m.node, schedulable)
	if got := f.podsOn(m.node); !slices.Contains(got, pods[2].Name) {
		t.Errorf("pods %v are left on the node, want %s", got, pods[2].Name)
	}
	f.checkEvictedOnce(pods[:2]...)
}

// reboot makes a node one that has booted just now.
func (f *fixture) reboot(node *corev1.Node) {
	f.t.Helper()
	eventually(f.t, func() error {
		if err := admin(f.t).Get(f.t.Context(), client.ObjectKeyFromObject(node), node); err != nil {
			return err
		}
		node.Status.NodeInfo.BootID = "00000000-0000-4000-9000-000000000002"
		for i := range node.Status.Conditions {
			if c := &node.Status.Conditions[i]; c.Type == corev1.NodeReady {
				c.LastTransitionTime = metav1.Now()
			}
		}
		return admin(f.t).Status().Update(f.t.Context(), node)
	})
}

// untilResolved waits until the one event of a node's NodeTermination no longer counts.
func (f *fixture) untilResolved(node *corev1.Node, state v1alpha1.EventState) {
	f.t.Helper()
	eventually(f.t, func() error {
		nt, err := f.termination(node)
		if err != nil {
			return err
		}
		if len(nt.Status.Events) != 1 || nt.Status.Events[0].State != state {
			return fmt.Errorf("the states of the events are %+v, want %s", nt.Status.Events, state)
		}
		return nil
	})
}

// TestWatcherWithoutAPIServer: the notice comes while the API server is away for half a minute.
func TestWatcherWithoutAPIServer(t *testing.T) {
	const away = 30 * time.Second
	keepManager(t, withWatchers)
	f := watchedFixture(t)
	m := f.metadataOf(f.nodes(1)[0])
	pods := f.pods(m.node, 3)
	m.watch()
	cluster.Get(t).StopAPIServer(t)
	back := time.After(away)
	m.say(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot})
	m.untilSays("could not be stored")
	<-back
	if _, err := f.termination(m.node); err == nil || apierrors.IsNotFound(err) {
		t.Fatalf("the API server was to be away, and says %v", err)
	}
	cluster.Get(t).StartAPIServer(t)
	m.untilSays(`"event stored"`)
	nt := f.until(m.node, v1alpha1.StateCompleted)
	checkKind(t, nt, v1alpha1.SpotInterruption, time.Time{})
	if !nt.Status.CompletionTime.Before(nt.Status.Deadline) {
		t.Errorf("drained at %s, and the deadline was %s", nt.Status.CompletionTime, nt.Status.Deadline)
	}
	f.checkEvictedOnce(pods...)
}
