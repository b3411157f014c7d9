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

// TestMainPath: a spot interruption in the queue becomes a drained node, whose pods run elsewhere.
func TestMainPath(t *testing.T) {
	startManager(t)
	f := newFixture(t, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Node = &v1alpha1.NodeActions{Taint: &v1alpha1.NodeTaint{Effect: "NoSchedule"}}
	})
	node := f.nodes(1)[0]
	f.deployment(4)
	f.statefulSet(2)
	f.daemonSet()
	moving := f.untilRunOn(node, 6)
	agent := f.podOf("agent", node)
	spare := f.nodes(1)[0]
	f.podOf("agent", spare)

	notice := awssim.Notice{
		Kind: awssim.SpotInterruption, InstanceIDs: []string{instanceOf(node)},
		ID: "1e5527d7-bb36-4607-3370-4164db56a40e", Time: time.Now().Truncate(time.Second),
	}
	sent := f.send(notice)
	nt := f.until(node, v1alpha1.StateCompleted)

	f.untilNode(node, func(node *corev1.Node) error {
		tainted := slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
			return taint.Key == "nodetermination.dev/spot-interruption" && taint.Effect == corev1.TaintEffectNoSchedule
		})
		if !tainted || node.Annotations[v1alpha1.AnnotationApplied] == "" {
			return fmt.Errorf("node %s has the taints %v and the annotations %v", node.Name, node.Spec.Taints, node.Annotations)
		}
		return cordoned(node)
	})
	f.untilNode(spare, schedulable)
	checkRecord(t, nt, node, &notice, len(moving))
	if nt.Status.PolicyRef == nil || nt.Status.PolicyRef.UID != f.policy.UID {
		t.Errorf("the NodeTermination is governed by %+v, want %s", nt.Status.PolicyRef, f.policy.Name)
	}

	// The agent stays, and all else has moved. What is evicted has its budget kept by the API server.
	if got := f.podsOn(node); !slices.Equal(got, []string{agent.Name}) {
		t.Errorf("pods %v are left on the node, want %s", got, agent.Name)
	}
	f.untilRunOn(spare, 6)
	f.checkEvicted(moving)
	f.untilQueueEmpty()
	f.untilStatus(func(status *v1alpha1.NodeTerminationPolicyStatus) error {
		source := status.Sources[0]
		switch {
		case ptr.Deref(status.Nodes, -1) != 2 || ptr.Deref(status.ActiveTerminations, -1) != 0:
			return fmt.Errorf("the policy counts %d nodes and %d terminations, want 2 and 0", ptr.Deref(status.Nodes, -1), ptr.Deref(status.ActiveTerminations, -1))
		case !meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady),
			!meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionSourcesReady):
			return fmt.Errorf("the policy is not ready: %s", describe(status.Conditions))
		case source.LastEventTime == nil || source.LastEventTime.Time.Before(sent.Truncate(time.Second)):
			return fmt.Errorf("the policy last received an event at %v, want one after %s", source.LastEventTime, sent)
		}
		return nil
	})
}

// checkRecord checks what a NodeTermination records of a drain that is complete.
func checkRecord(t *testing.T, nt *v1alpha1.NodeTermination, node *corev1.Node, notice *awssim.Notice, pods int) {
	t.Helper()
	if nt.Spec.NodeName != node.Name || nt.Status.Node == nil || nt.Status.Node.UID != node.UID {
		t.Errorf("the NodeTermination is about node %s, %+v, want %s, %s", nt.Spec.NodeName, nt.Status.Node, node.Name, node.UID)
	}
	if len(nt.Spec.Events) != 1 {
		t.Fatalf("the NodeTermination has the events %+v, want one", nt.Spec.Events)
	}
	deadline := notice.Time.Add(2 * time.Minute)
	e := nt.Spec.Events[0]
	if e.ID != "SQS-SpotInterruption" || e.Kind != v1alpha1.SpotInterruption || e.Source != v1alpha1.SourceSQS || e.InstanceAction != "terminate" ||
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

// app is the template of the pods of an app that runs on the fixture's nodes.
func (f *fixture) app(name string) (*metav1.LabelSelector, corev1.PodTemplateSpec) {
	labels := map[string]string{"app": name}
	return &metav1.LabelSelector{MatchLabels: labels}, corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec: corev1.PodSpec{
			NodeSelector: maps.Clone(f.label),
			Containers:   []corev1.Container{{Name: "main", Image: "example.com/" + name}},
		},
	}
}

// deployment makes a Deployment with a budget that lets one pod go at a time.
func (f *fixture) deployment(replicas int32) {
	f.t.Helper()
	selector, template := f.app("web")
	f.create(&policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: ptr.To(intstr.FromInt32(1)), Selector: selector},
	})
	f.create(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "web"},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: selector, Template: template},
	})
}

func (f *fixture) statefulSet(replicas int32) {
	f.t.Helper()
	selector, template := f.app("db")
	f.create(&appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "db"},
		Spec:       appsv1.StatefulSetSpec{Replicas: &replicas, ServiceName: "db", Selector: selector, Template: template},
	})
}

func (f *fixture) daemonSet() {
	f.t.Helper()
	selector, template := f.app("agent")
	f.create(&appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "agent"},
		Spec:       appsv1.DaemonSetSpec{Selector: selector, Template: template},
	})
}

// running are the ready pods on a node that are not a DaemonSet's.
func (f *fixture) running(node *corev1.Node) ([]*corev1.Pod, error) {
	var list corev1.PodList
	if err := admin(f.t).List(f.t.Context(), &list, client.InNamespace(f.namespace), client.MatchingFields{"spec.nodeName": node.Name}); err != nil {
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
func (f *fixture) untilRunOn(node *corev1.Node, n int) []*corev1.Pod {
	f.t.Helper()
	var pods []*corev1.Pod
	eventually(f.t, func() (err error) {
		pods, err = f.running(node)
		if err == nil && len(pods) != n {
			err = fmt.Errorf("%d pods run on node %s, want %d", len(pods), node.Name, n)
		}
		return err
	})
	return pods
}

// podOf waits for the pod of an app on a node.
func (f *fixture) podOf(app string, node *corev1.Node) *corev1.Pod {
	f.t.Helper()
	var list corev1.PodList
	eventually(f.t, func() error {
		err := admin(f.t).List(f.t.Context(), &list, client.InNamespace(f.namespace),
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
func (f *fixture) checkEvicted(pods []*corev1.Pod) {
	f.t.Helper()
	f.checkEvictedOnce(pods...)
	deleted, err := audit.find(func(r *request) bool {
		return r.Verb == "delete" && r.Object.Resource == "pods" && r.Object.Namespace == f.namespace
	})
	if err != nil || len(deleted) > 0 {
		f.t.Errorf("the manager deleted the pods %+v, %v, want all of them evicted", deleted, err)
	}
}

// untilStatus waits until the policy's status is as check wants it.
func (f *fixture) untilStatus(check func(*v1alpha1.NodeTerminationPolicyStatus) error) {
	f.t.Helper()
	eventually(f.t, func() error {
		if _, err := f.policyCondition(v1alpha1.ConditionReady); err != nil {
			return err
		}
		return check(&f.policy.Status)
	})
}
