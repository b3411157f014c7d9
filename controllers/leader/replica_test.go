// SPDX-License-Identifier: Apache-2.0

package leader

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const namespace = "node-termination-system"

func newNode(name string, terminating bool) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if terminating {
		node.Annotations = map[string]string{v1alpha1.AnnotationApplied: "{}"}
	}
	return node
}

func newPod(name, node string, change ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: maps.Clone(podLabels)},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	for _, f := range change {
		f(pod)
	}
	return pod
}

func TestHandOver(t *testing.T) {
	unready := func(pod *corev1.Pod) { pod.Status.Conditions[0].Status = corev1.ConditionFalse }
	fresh := func(pod *corev1.Pod) { pod.Status.Conditions = nil }
	ending := func(pod *corev1.Pod) {
		pod.DeletionTimestamp, pod.Finalizers = &metav1.Time{Time: time.Unix(1e9, 0)}, []string{"example.com/wait"}
	}
	elsewhere := func(pod *corev1.Pod) { pod.Namespace = "other" }
	watcher := func(pod *corev1.Pod) { pod.Labels["app.kubernetes.io/component"] = "imds-watcher" }
	whole := Replica{NodeName: "terminating", Pod: types.NamespacedName{Namespace: namespace, Name: "self"}}
	for name, test := range map[string]struct {
		replica *Replica
		others  []client.Object
		want    bool
	}{
		"another one is ready":            {&whole, []client.Object{newPod("b", "stays")}, true},
		"one of several":                  {&whole, []client.Object{newPod("b", "terminating too"), newPod("c", "stays")}, true},
		"the only one":                    {&whole, nil, false},
		"on the same node":                {&whole, []client.Object{newPod("b", "terminating")}, false},
		"on another terminating node":     {&whole, []client.Object{newPod("b", "terminating too")}, false},
		"on a node that is gone":          {&whole, []client.Object{newPod("b", "gone")}, false},
		"on no node yet":                  {&whole, []client.Object{newPod("b", "", unready)}, false},
		"not ready":                       {&whole, []client.Object{newPod("b", "stays", unready)}, false},
		"not known to be ready":           {&whole, []client.Object{newPod("b", "stays", fresh)}, false},
		"evicted":                         {&whole, []client.Object{newPod("b", "stays", ending)}, false},
		"in another namespace":            {&whole, []client.Object{newPod("b", "stays", elsewhere)}, false},
		"not a manager":                   {&whole, []client.Object{newPod("b", "stays", watcher)}, false},
		"this one does not know its pod":  {&Replica{NodeName: "terminating"}, []client.Object{newPod("b", "stays")}, false},
		"this one does not know its node": {&Replica{Pod: whole.Pod}, []client.Object{newPod("b", "stays")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := fake.NewClientBuilder().WithObjects(test.others...).WithObjects(
				newNode("terminating", true), newNode("terminating too", true), newNode("stays", false), newPod("self", "terminating"),
			).Build()
			stopped := 0
			r := &Replica{NodeName: test.replica.NodeName, Pod: test.replica.Pod, Nodes: c, Live: c, Stop: func() { stopped++ }, Log: logr.Discard()}
			for range 2 {
				if got, err := r.HandOver(t.Context()); err != nil || got != test.want {
					t.Errorf("%v, %v, want %v", got, err, test.want)
				}
			}
			if (stopped == 1) != test.want || stopped > 1 {
				t.Errorf("stopped %d times", stopped)
			}
		})
	}
}

// Many reconciles may ask at once; the process is stopped once.
func TestHandOverOnce(t *testing.T) {
	c := fake.NewClientBuilder().WithObjects(newNode("stays", false), newPod("b", "stays")).Build()
	stopped := make(chan struct{}, 100)
	r := &Replica{
		NodeName: "terminating", Pod: types.NamespacedName{Namespace: namespace, Name: "self"}, Nodes: c, Live: c,
		Stop: func() { stopped <- struct{}{} }, Log: logr.Discard(),
	}
	var calls sync.WaitGroup
	for range 16 {
		calls.Go(func() {
			if handedOver, err := r.HandOver(t.Context()); err != nil || !handedOver {
				t.Errorf("%v, %v", handedOver, err)
			}
		})
	}
	calls.Wait()
	if len(stopped) != 1 {
		t.Errorf("stopped %d times", len(stopped))
	}
}

func TestHandOverNotNow(t *testing.T) {
	failure := errors.New("no answer")
	failing := interceptor.NewClient(fake.NewClientBuilder().Build(), interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return failure },
	})
	r := &Replica{
		NodeName: "terminating", Pod: types.NamespacedName{Namespace: namespace, Name: "self"}, Live: failing,
		Stop: func() { t.Error("stopped") }, Log: logr.Discard(),
	}
	if handedOver, err := r.HandOver(t.Context()); handedOver || !errors.Is(err, failure) {
		t.Errorf("%v, %v", handedOver, err)
	}
	r.Stop = nil // no leader election
	if handedOver, err := r.HandOver(t.Context()); handedOver || err != nil {
		t.Errorf("%v, %v", handedOver, err)
	}
}

func TestIsSelf(t *testing.T) {
	r := &Replica{Pod: types.NamespacedName{Namespace: namespace, Name: "self"}}
	if !r.IsSelf(namespace, "self") || r.IsSelf(namespace, "b") || r.IsSelf("other", "self") {
		t.Error("it does not know its own pod")
	}
	if (&Replica{}).IsSelf("", "") {
		t.Error("a replica without a pod has one")
	}
}

func TestNodeTerminating(t *testing.T) {
	c := fake.NewClientBuilder().WithObjects(newNode("terminating", true), newNode("stays", false)).Build()
	for name, want := range map[string]bool{"terminating": true, "stays": false, "gone": false, "": false} {
		if got := (&Replica{NodeName: name, Nodes: c}).NodeTerminating(t.Context()); got != want {
			t.Errorf("node %q: %v", name, got)
		}
	}
}
