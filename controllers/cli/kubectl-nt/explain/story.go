// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/cli"
)

// moment is one thing that happened. A zero time is not known.
type moment struct {
	at   time.Time
	what string
}

// story returns what happened to a termination, in the order in which it did, and then how things stand.
func story(nt *v1alpha1.NodeTermination, events []eventsv1.Event) []moment {
	moments := append(received(nt), progressed(nt)...)
	moments = append(moments, podMoments(nt, "")...)
	for i := range events {
		if note := events[i].Note; note != "" && !isToldAlready(events[i].Reason) {
			moments = append(moments, moment{eventTime(&events[i]), fmt.Sprintf("%s: %s", events[i].Reason, note)})
		}
	}
	moments = append(moments, ended(nt)...)
	sortMoments(moments)
	return moments
}

// sortMoments orders by time; what has none comes last.
func sortMoments(moments []moment) {
	slices.SortStableFunc(moments, func(a, b moment) int {
		if a.at.IsZero() != b.at.IsZero() {
			return cmp.Compare(b.at.Unix(), a.at.Unix())
		}
		return a.at.Compare(b.at)
	})
}

// isToldAlready reports whether the termination itself tells what a Kubernetes event says.
func isToldAlready(reason string) bool {
	return slices.Contains([]string{v1alpha1.StateReceived, v1alpha1.StateCompleted, v1alpha1.StateFailed}, reason)
}

// eventTime returns when a Kubernetes event was made, whichever API made it.
func eventTime(e *eventsv1.Event) time.Time {
	for _, at := range []time.Time{e.EventTime.Time, e.DeprecatedFirstTimestamp.Time, e.CreationTimestamp.Time} {
		if !at.IsZero() {
			return at
		}
	}
	return time.Time{}
}

// received returns what was received, from where, and when it was stored.
func received(nt *v1alpha1.NodeTermination) []moment {
	var moments []moment
	for i := range nt.Spec.Events {
		e := &nt.Spec.Events[i]
		what := fmt.Sprintf("%s said: %s", sourceName(e), e.Kind)
		if e.InstanceAction != "" {
			what += ", " + e.InstanceAction
		}
		switch {
		case e.NotBefore != nil:
			what += ", not before " + clock(e.NotBefore.Time)
		case e.Deadline != nil:
			what += ", deadline " + clock(e.Deadline.Time)
		}
		if hook := e.LifecycleHook; hook != nil {
			what += fmt.Sprintf(", group %s waits at hook %s", hook.AutoScalingGroupName, hook.Name)
		}
		if ptr.Deref(e.Cancelled, false) {
			what += ": cancelled"
		}
		if e.Description != "" {
			what += fmt.Sprintf(" (%q)", e.Description)
		}
		if stored := storedAt(nt, e.ID); !stored.IsZero() {
			what += fmt.Sprintf("; received %s after that", stored.Sub(e.Time.Time).Round(time.Second))
		}
		moments = append(moments, moment{e.Time.Time, what})
	}
	return moments
}

// sourceName returns who an event is from.
func sourceName(e *v1alpha1.Event) string {
	switch e.Source {
	case v1alpha1.SourceSQS:
		return "AWS, by the queue,"
	case v1alpha1.SourceIMDS:
		return "AWS, by the instance's metadata,"
	}
	return "somebody"
}

// storedAt returns when an event was last stored, as its field manager knows; zero if that is not known.
func storedAt(nt *v1alpha1.NodeTermination, eventID string) time.Time {
	for _, entry := range nt.ManagedFields {
		if entry.Manager == v1alpha1.EventFieldManager(eventID) && entry.Time != nil {
			return entry.Time.Time
		}
	}
	return time.Time{}
}

// progressed returns what was done about them, but for the pods.
func progressed(nt *v1alpha1.NodeTermination) []moment {
	var moments []moment
	status := &nt.Status
	add := func(at *metav1.Time, format string, args ...any) {
		if at != nil {
			moments = append(moments, moment{at.Time, fmt.Sprintf(format, args...)})
		}
	}
	policy := ""
	if status.PolicyRef != nil {
		policy = " by policy " + status.PolicyRef.Name
	}
	add(status.StartTime, "the node is changed for the first time%s", policy)
	add(status.DrainStartTime, "the drain begins")
	for _, kind := range []string{v1alpha1.ConditionCordoned, v1alpha1.ConditionLifecycleHookCompleted, v1alpha1.ConditionNotified, v1alpha1.ConditionMaintenanceOverdue} {
		if c := meta.FindStatusCondition(status.Conditions, kind); c != nil {
			add(&c.LastTransitionTime, "%s is %s (%s): %s", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	for i := range status.LifecycleHooks {
		hook := &status.LifecycleHooks[i]
		what := fmt.Sprintf("hook %s of group %s waits, until %s; it is %s now", hook.Name, hook.AutoScalingGroupName, clock(hook.Deadline.Time), hook.State)
		if hook.Message != "" {
			what += ": " + hook.Message
		}
		add(&hook.StartTime, "%s", what)
	}
	return moments
}

// podMoments returns what is known of pods, or of those of a name, as namespace/name or as name.
func podMoments(nt *v1alpha1.NodeTermination, name string) []moment {
	var moments []moment
	for i := range nt.Status.PodOutcomes {
		pod := &nt.Status.PodOutcomes[i]
		if isPod(name, pod.Namespace, pod.Name) {
			moments = append(moments, moment{pod.Time.Time, fmt.Sprintf("pod %s/%s: %s: %s", pod.Namespace, pod.Name, pod.Outcome, pod.Message)})
		}
	}
	for i := range nt.Status.Blocked {
		pod := &nt.Status.Blocked[i]
		if isPod(name, pod.Namespace, pod.Name) {
			at := ptr.Deref(pod.StartTime, metav1.Time{}).Time
			moments = append(moments, moment{at, fmt.Sprintf("pod %s/%s is blocked: %s", pod.Namespace, pod.Name, pod.Reason)})
		}
	}
	return moments
}

// isPod reports whether a name is that of a pod; empty is that of all.
func isPod(name, namespace, podName string) bool {
	return name == "" || name == podName || name == namespace+"/"+podName
}

// ended returns how things stand, or how it ended and with how much time left.
func ended(nt *v1alpha1.NodeTermination) []moment {
	state, message := cli.State(nt)
	at := ptr.Deref(nt.Status.CompletionTime, metav1.Time{}).Time
	moments := []moment{{at, state + ": " + message}}
	var failing []string
	for i := range nt.Status.Webhooks {
		if hook := &nt.Status.Webhooks[i]; hook.State != v1alpha1.WebhookDelivered {
			failing = append(failing, fmt.Sprintf("webhook %s, step %s: %s %s", hook.Name, hook.Step, hook.State, hook.LastError))
		}
	}
	for _, webhook := range failing {
		moments = append(moments, moment{what: strings.TrimSpace(webhook)})
	}
	if deadline := nt.Status.Deadline; deadline != nil && !at.IsZero() {
		moments = append(moments, moment{what: margin(deadline.Sub(at))})
	}
	return moments
}

// margin returns how much time was left.
func margin(left time.Duration) string {
	if left < 0 {
		return fmt.Sprintf("it ended %s after the deadline", (-left).Round(time.Second))
	}
	return fmt.Sprintf("it ended %s before the deadline", left.Round(time.Second))
}

// clock returns a time for people.
func clock(at time.Time) string { return at.UTC().Format(time.DateTime + "Z") }
