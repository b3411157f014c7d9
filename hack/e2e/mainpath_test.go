// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// TestMainRoad: a spot interruption in the queue becomes a drained node, whose pods run elsewhere.
func TestMainRoad(t *testing.T) {
	startManager(t)
	w := newWorld(t, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Node = &v1alpha1.NodeActions{Taint: &v1alpha1.NodeTaint{Effect: "NoSchedule"}}
	})
	node := w.nodes(1)[0]
	w.deployment(4)
	w.statefulSet(2)
	w.daemonSet()
	moving := w.untilRunOn(node, 6)
	agent := w.podOf("agent", node)
	spare := w.nodes(1)[0]
	w.podOf("agent", spare)

	notice := awssim.Notice{
		Kind: awssim.SpotInterruption, InstanceIDs: []string{instanceOf(node)},
		ID: "1e5527d7-bb36-4607-3370-4164db56a40e", Time: time.Now().Truncate(time.Second),
	}
	sent := w.send(notice)
	nt := w.until(node, v1alpha1.StateCompleted)

	w.untilNode(node, func(node *corev1.Node) error {
		tainted := slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
			return taint.Key == "nodetermination.dev/spot-interruption" && taint.Effect == corev1.TaintEffectNoSchedule
		})
		if !tainted || node.Annotations[v1alpha1.AnnotationApplied] == "" {
			return fmt.Errorf("node %s has the taints %v and the annotations %v", node.Name, node.Spec.Taints, node.Annotations)
		}
		return cordoned(node)
	})
	w.untilNode(spare, schedulable)
	checkStory(t, nt, node, &notice, len(moving))
	if nt.Status.PolicyRef == nil || nt.Status.PolicyRef.UID != w.policy.UID {
		t.Errorf("the NodeTermination is governed by %+v, want %s", nt.Status.PolicyRef, w.policy.Name)
	}

	// The agent stays, and all else has moved. What is evicted has its budget kept by the API server.
	if got := w.podsOn(node); !slices.Equal(got, []string{agent.Name}) {
		t.Errorf("pods %v are left on the node, want %s", got, agent.Name)
	}
	w.untilRunOn(spare, 6)
	w.checkEvicted(moving)
	w.untilQueueEmpty()
	w.untilStatus(func(status *v1alpha1.NodeTerminationPolicyStatus) error {
		source := status.Sources[0]
		switch {
		case ptr.Deref(status.Nodes, -1) != 2 || ptr.Deref(status.ActiveTerminations, -1) != 0:
			return fmt.Errorf("the policy counts %d nodes and %d terminations, want 2 and 0", ptr.Deref(status.Nodes, -1), ptr.Deref(status.ActiveTerminations, -1))
		case !meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady),
			!meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionSourcesReady):
			return fmt.Errorf("the policy is not ready: %s", describe(status.Conditions))
		case source.LastEventTime == nil || source.LastEventTime.Time.Before(sent.Truncate(time.Second)):
			return fmt.Errorf("the policy last heard an event at %v, want one after %s", source.LastEventTime, sent)
		}
		return nil
	})
}

// checkStory checks what a NodeTermination tells of a drain that is complete.
func checkStory(t *testing.T, nt *v1alpha1.NodeTermination, node *corev1.Node, notice *awssim.Notice, pods int) {
	t.Helper()
	if nt.Spec.NodeName != node.Name || nt.Status.Node == nil || nt.Status.Node.UID != node.UID {
		t.Errorf("the NodeTermination is about node %s, %+v, want %s, %s", nt.Spec.NodeName, nt.Status.Node, node.Name, node.UID)
	}
	if len(nt.Spec.Events) != 1 {
		t.Fatalf("the NodeTermination has the events %+v, want one", nt.Spec.Events)
	}
	deadline := notice.Time.Add(2 * time.Minute)
	e := nt.Spec.Events[0]
	if e.ID != notice.ID || e.Kind != v1alpha1.SpotInterruption || e.Source != v1alpha1.SourceSQS || e.InstanceAction != "terminate" ||
		!e.Time.Time.Equal(notice.Time) || e.Deadline == nil || !e.Deadline.Time.Equal(deadline) {
		t.Errorf("the event is %+v, want that of %+v", e, notice)
	}
	status := &nt.Status
	if status.Cause != v1alpha1.SpotInterruption || status.Deadline == nil || !status.Deadline.Time.Equal(deadline) {
		t.Errorf("cause %s and deadline %v, want SpotInterruption and %s", status.Cause, status.Deadline, deadline)
	}
	if status.StartTime == nil || status.DrainStartTime == nil || status.CompletionTime == nil ||
		status.DrainStartTime.Before(status.StartTime) || status.CompletionTime.Before(status.DrainStartTime) {
		t.Errorf("begun %v, drained from %v to %v, want times in this order", status.StartTime, status.DrainStartTime, status.CompletionTime)
	}
	if len(status.Events) != 1 || status.Events[0].State != v1alpha1.EventActive {
		t.Errorf("the states of the events are %+v, want Active", status.Events)
	}
	for kind, reason := range map[string]string{
		v1alpha1.ConditionReady:    v1alpha1.StateCompleted,
		v1alpha1.ConditionCordoned: v1alpha1.ReasonCordoned,
		v1alpha1.ConditionDrained:  v1alpha1.ReasonPodsGone,
	} {
		c := meta.FindStatusCondition(status.Conditions, kind)
		if c == nil || c.Status != metav1.ConditionTrue || c.Reason != reason {
			t.Errorf("condition %s should be True, %s: %s", kind, reason, describe(status.Conditions))
		}
	}
	if want := fmt.Sprintf("%d/%d", pods, pods); status.Pods == nil || status.Pods.Summary != want {
		t.Errorf("pods %+v, want %s", status.Pods, want)
	}
}

// app is the template of the pods of an app that runs on the world's nodes.
func (w *world) app(name string) (*metav1.LabelSelector, corev1.PodTemplateSpec) {
	labels := map[string]string{"app": name}
	return &metav1.LabelSelector{MatchLabels: labels}, corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec: corev1.PodSpec{
			NodeSelector: maps.Clone(w.label),
			Containers:   []corev1.Container{{Name: "main", Image: "example.com/" + name}},
		},
	}
}

// deployment makes a Deployment with a budget that lets one pod go at a time.
func (w *world) deployment(replicas int32) {
	w.t.Helper()
	selector, template := w.app("web")
	w.create(&policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: ptr.To(intstr.FromInt32(1)), Selector: selector},
	})
	w.create(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "web"},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: selector, Template: template},
	})
}

func (w *world) statefulSet(replicas int32) {
	w.t.Helper()
	selector, template := w.app("db")
	w.create(&appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "db"},
		Spec:       appsv1.StatefulSetSpec{Replicas: &replicas, ServiceName: "db", Selector: selector, Template: template},
	})
}

func (w *world) daemonSet() {
	w.t.Helper()
	selector, template := w.app("agent")
	w.create(&appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "agent"},
		Spec:       appsv1.DaemonSetSpec{Selector: selector, Template: template},
	})
}

// running are the ready pods on a node that are not a DaemonSet's.
func (w *world) running(node *corev1.Node) ([]*corev1.Pod, error) {
	var list corev1.PodList
	if err := admin(w.t).List(w.t.Context(), &list, client.InNamespace(w.namespace), client.MatchingFields{"spec.nodeName": node.Name}); err != nil {
		return nil, err
	}
	var pods []*corev1.Pod
	for i := range list.Items {
		pod := &list.Items[i]
		if ready(pod) && pod.DeletionTimestamp == nil && pod.Labels["app"] != "agent" {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}

func ready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// untilRunOn waits until n pods run on a node, besides a DaemonSet's.
func (w *world) untilRunOn(node *corev1.Node, n int) []*corev1.Pod {
	w.t.Helper()
	var pods []*corev1.Pod
	eventually(w.t, func() (err error) {
		pods, err = w.running(node)
		if err == nil && len(pods) != n {
			err = fmt.Errorf("%d pods run on node %s, want %d", len(pods), node.Name, n)
		}
		return err
	})
	return pods
}

// podOf waits for the pod of an app on a node.
func (w *world) podOf(app string, node *corev1.Node) *corev1.Pod {
	w.t.Helper()
	var list corev1.PodList
	eventually(w.t, func() error {
		err := admin(w.t).List(w.t.Context(), &list, client.InNamespace(w.namespace),
			client.MatchingLabels{"app": app}, client.MatchingFields{"spec.nodeName": node.Name})
		if err == nil && len(list.Items) != 1 {
			err = fmt.Errorf("%d pods of %s on node %s, want one", len(list.Items), app, node.Name)
		}
		return err
	})
	return &list.Items[0]
}

// checkEvicted checks that pods were evicted once each, that no pod was deleted, and no other evicted.
// A StatefulSet's pods keep their names, so they count by name.
func (w *world) checkEvicted(pods []*corev1.Pod) {
	w.t.Helper()
	w.checkToldOnce(pods...)
	deleted, err := audit.find(func(r *request) bool {
		return r.Verb == "delete" && r.Object.Resource == "pods" && r.Object.Namespace == w.namespace
	})
	if err != nil || len(deleted) > 0 {
		w.t.Errorf("the manager deleted the pods %+v, %v, want all of them evicted", deleted, err)
	}
}

// untilStatus waits until the policy's status is as check wants it.
func (w *world) untilStatus(check func(*v1alpha1.NodeTerminationPolicyStatus) error) {
	w.t.Helper()
	eventually(w.t, func() error {
		if _, err := w.policyCondition(v1alpha1.ConditionReady); err != nil {
			return err
		}
		return check(&w.policy.Status)
	})
}
