// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// clock is how times of the day are shown, as kubectl get nt shows them.
const clock = time.RFC3339

// report prints a line about what happens now.
func (s *story) report(st style, what, format string, args ...any) {
	s.line(time.Since(s.sent), st, what, format, args...)
}

// terminationChanged reports that the message is stored, and which pods are blocked.
func (s *story) terminationChanged(now *v1alpha1.NodeTermination) {
	before := s.termination
	s.termination = *now
	if before.Name == "" {
		event := now.Spec.Events[0]
		details := string(event.Kind) + " stored as nodetermination " + now.Name
		if event.Deadline != nil {
			details += ", deadline " + event.Deadline.UTC().Format(clock)
		}
		s.report(bold, "received", "%s", details)
	}
	for _, pod := range now.Status.Blocked {
		name := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
		if !s.blocked[name] {
			s.blocked[name] = true
			s.report(red, "blocked", "%s by %s", pod.Name, pod.Reason)
		}
	}
}

// state returns the termination's state in one word.
func (s *story) state() string {
	if ready := meta.FindStatusCondition(s.termination.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		return ready.Reason
	}
	return ""
}

// ended reports how it ended; the error says that it did not end well.
func (s *story) ended() error {
	if s.state() != v1alpha1.StateCompleted {
		return s.failed("the drain did not complete")
	}
	deadline := s.termination.Status.Deadline
	if deadline == nil {
		return s.failed("the termination has no deadline")
	}
	margin := time.Until(deadline.Time)
	if margin < 0 {
		return s.failed(fmt.Sprintf("the drain completed %.0f s after the deadline", -margin.Seconds()))
	}
	s.report(strong, "drained", "%d pods are gone, with %.0f s left before the deadline", s.gone, margin.Seconds())
	for _, pod := range s.pods {
		if pod.Spec.NodeName == s.node.Name && ofDaemonSet(pod) {
			s.report(faint, "stays", "%s: it belongs to a DaemonSet", pod.Name)
		}
	}
	return nil
}

// nodeChanged reports that the node is cordoned.
func (s *story) nodeChanged(now *corev1.Node) {
	if now.Spec.Unschedulable && !s.node.Spec.Unschedulable {
		s.report(yellow, "cordoned", "%s", now.Name)
	}
	s.node = now
}

// podChanged reports that a pod was evicted, or that a new one is ready.
func (s *story) podChanged(now *corev1.Pod) {
	before := s.pods[now.UID]
	if before == nil {
		before = &corev1.Pod{}
	}
	s.pods[now.UID] = now
	switch {
	case now.Spec.NodeName == s.node.Name:
		if now.DeletionTimestamp != nil && before.DeletionTimestamp == nil {
			s.evicted++
			s.report(cyan, "evicted", "%s%s", now.Name, s.unblocked(now))
		}
	case ec2node.PodReady(now) && !ec2node.PodReady(before):
		s.replaced++
		s.report(green, "ready", "%s on %s", now.Name, now.Spec.NodeName)
	}
}

// unblocked returns the remark that a pod was blocked until now, if it was.
func (s *story) unblocked(pod *corev1.Pod) string {
	if s.blocked[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}] {
		return ", which its budget allows now"
	}
	return ""
}

// podGone reports that a pod is gone.
func (s *story) podGone(pod *corev1.Pod) {
	delete(s.pods, pod.UID)
	if pod.Spec.NodeName == s.node.Name {
		s.gone++
		s.report(faint, "gone", "%s (%d of %d)", pod.Name, s.gone, s.toGo)
	}
}

func ofDaemonSet(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOf(pod)
	return owner != nil && owner.Kind == "DaemonSet"
}
