// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/drain"
)

// Events of Kubernetes are for people who look at one node or one pod. When many
// nodes go at once they are not worth what they would cost the API server: so many
// at once, and so many a second from then on. Warnings always pass.
const (
	eventsBurst     = 50
	eventsPerSecond = 1
)

const (
	// actionTerminate is the action of every event: the field says what was being done.
	actionTerminate = "Terminate"
	// reasonEvicted is the reason of the event on a Pod that is told to go.
	reasonEvicted = "Evicted"
	// maxNote is how long the note of an event may be, in bytes.
	// https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
	maxNote = 1024
)

// Announcer emits events of Kubernetes.
type Announcer struct {
	recorder events.AnnotatedEventRecorder
	limit    *rate.Limiter
}

// NewAnnouncer emits through a recorder, which must not block.
func NewAnnouncer(recorder events.AnnotatedEventRecorder) *Announcer {
	return &Announcer{recorder: recorder, limit: rate.NewLimiter(eventsPerSecond, eventsBurst)}
}

// announce emits an event on the Node and the NodeTermination when the termination
// has entered another state.
func (r *Reconciler) announce(s *scope, before *v1alpha1.NodeTermination) {
	if s.policy == nil {
		return
	}
	annotations, emits := s.policy.Spec.EmitsEvents()
	ready := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady)
	if !emits || (ready != nil && ready.Reason == s.state) {
		return
	}
	note := fmt.Sprintf("%s: %s", s.nt.Status.Cause, s.message)
	if s.nt.Status.Cause == "" {
		note = s.message
	}
	kind := corev1.EventTypeNormal
	if outlooks[s.state].stalled {
		kind = corev1.EventTypeWarning
	}
	node := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: s.nt.Spec.NodeName}
	if known := s.nt.Status.Node; known != nil {
		node.UID = known.UID
	}
	termination := &corev1.ObjectReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeTermination", Name: s.nt.Name, UID: s.nt.UID,
	}
	r.Announcer.emit(annotations, node, termination, kind, s.state, note)
	r.Announcer.emit(annotations, termination, node, kind, s.state, note)
}

// Told notes that a pod was told to go and emits an event on it, for drain.ExecutorOptions.
func (r *Reconciler) Told(termination string, action drain.Action) {
	r.noteCutShort(termination, &action)
	who := r.memory.audienceOf(termination)
	if !who.emits || action.Pod.Terminating() { // that one was told before, with more time
		return
	}
	note := fmt.Sprintf("%s: its node %s is about to go away", who.cause, action.Pod.Node)
	if !action.Deadline.IsZero() {
		note += ", at " + action.Deadline.UTC().Format(time.RFC3339)
	}
	if action.Verb == drain.Delete {
		note += "; it was deleted, as it could not be evicted in time"
	}
	pod := &corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: action.Pod.Namespace, Name: action.Pod.Name, UID: action.Pod.UID,
	}
	node := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: action.Pod.Node}
	r.Announcer.emit(who.annotations, pod, node, corev1.EventTypeNormal, reasonEvicted, note)
}

// emit emits an event, unless there were too many.
func (a *Announcer) emit(annotations map[string]string, regarding, related runtime.Object, kind, reason, note string) {
	if kind == corev1.EventTypeNormal && !a.limit.Allow() {
		return
	}
	note = truncate(note, maxNote-len("…"))
	a.recorder.AnnotatedEventf(regarding, related, annotations, kind, reason, actionTerminate, "%s", note)
}
