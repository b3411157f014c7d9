// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"maps"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/drain"
	"github.com/nodetermination/operator/controllers/webhook"
)

// Events of Kubernetes are for people who look at one node or one pod. When many
// nodes go at once they are not worth what they would cost the API server: of those
// about states so many at once, and so many a second from then on, but warnings
// always pass; and none about pods while more than a few nodes are drained.
const (
	stateEventsBurst, stateEventsPerSecond = 50, 1
	podEventsBurst, podEventsPerSecond     = 200, 10
	fewDrains                              = 5
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
	recorder     events.AnnotatedEventRecorder
	states, pods *rate.Limiter
}

// NewAnnouncer emits through a recorder, which must not block.
func NewAnnouncer(recorder events.AnnotatedEventRecorder) *Announcer {
	return &Announcer{
		recorder: recorder,
		states:   rate.NewLimiter(stateEventsPerSecond, stateEventsBurst),
		pods:     rate.NewLimiter(podEventsPerSecond, podEventsBurst),
	}
}

// announce emits an event on the Node and the NodeTermination when the termination
// begins, and when it has entered another state.
func (r *Reconciler) announce(s *scope, before *v1alpha1.NodeTermination) {
	begins := before.Status.StartTime == nil && s.nt.Status.StartTime != nil && s.state != v1alpha1.StateReceived
	changes := stateIn(&before.Status) != s.state
	if !begins && !changes {
		return
	}
	annotations, emits := s.emits()
	if !emits {
		return
	}
	if begins {
		note := fmt.Sprintf("%s of instance %s was heard", s.nt.Status.Cause, s.nt.Spec.InstanceID)
		if deadline := s.nt.Status.Deadline; deadline != nil {
			note += ", which goes away at " + inClock(deadline.Time)
		}
		r.announceState(s, annotations, v1alpha1.StateReceived, note)
	}
	if changes {
		note := s.message
		if s.nt.Status.Cause != "" {
			note = fmt.Sprintf("%s: %s", s.nt.Status.Cause, s.message)
		}
		r.announceState(s, annotations, s.state, note)
	}
}

// announceState emits an event about one state.
func (r *Reconciler) announceState(s *scope, annotations map[string]string, state, note string) {
	kind := corev1.EventTypeNormal
	if outlooks[state].stalled {
		kind = corev1.EventTypeWarning
	}
	node := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: s.nt.Spec.NodeName}
	if known := s.nt.Status.Node; known != nil {
		node.UID = known.UID
	}
	termination := &corev1.ObjectReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeTermination", Name: s.nt.Name, UID: s.nt.UID,
	}
	r.Announcer.emit(r.Announcer.states, annotations, node, termination, kind, state, note)
	r.Announcer.emit(r.Announcer.states, annotations, termination, node, kind, state, note)
}

// announceUndone emits an event on a node whose NodeTermination was deleted, if this
// process knows that its policy emits any.
func (r *Reconciler) announceUndone(name string, node *corev1.Node) {
	known := r.memory.recall(name)
	if !known.emits {
		return
	}
	regarding := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}
	r.Announcer.emit(r.Announcer.states, known.audience.annotations, regarding, nil, corev1.EventTypeNormal, v1alpha1.StateCancelled,
		fmt.Sprintf("NodeTermination %s was deleted: what was done to the node is undone", name))
}

// emits is whether events are emitted about the termination, and with which
// annotations: NTH's, as far as they are known, and the policy's own.
// https://github.com/aws/aws-node-termination-handler/blob/main/pkg/observability/k8s-events.go
func (s *scope) emits() (annotations map[string]string, emits bool) {
	var own map[string]string
	switch {
	case s.policy != nil:
		if own, emits = s.policy.Spec.EmitsEvents(); !emits {
			return nil, false
		}
	case s.nt.Status.PolicyRef == nil: // nobody has asked for any
		return nil, false
	}
	known := webhook.NewData("", "", s.nt, s.node, nil)
	annotations = map[string]string{
		"account-id": known.AccountId, "availability-zone": known.AvailabilityZone, "region": known.Region,
		"instance-id": known.InstanceID, "instance-type": known.InstanceType, "instance-life-cycle": known.InstanceLifeCycle,
		"local-hostname": known.LocalHostname, "local-ipv4": known.LocalIP,
		"public-hostname": known.PublicHostname, "public-ipv4": known.PublicIP,
	}
	maps.DeleteFunc(annotations, func(_, value string) bool { return value == "" })
	maps.Copy(annotations, own)
	return annotations, true
}

// Told notes that a pod was told to go and emits an event on it, for drain.ExecutorOptions.
func (r *Reconciler) Told(termination string, action drain.Action) {
	r.noteCutShort(termination, &action)
	who := r.memory.recall(termination).audience
	if !who.emits || r.memory.drainCount() > fewDrains || action.Pod.Terminating() { // that one was told before, with more time
		return
	}
	note := fmt.Sprintf("%s: its node %s is about to go away", who.cause, action.Pod.Node)
	if !action.Deadline.IsZero() {
		note += ", at " + inClock(action.Deadline)
	}
	if action.Method == drain.Delete {
		note += "; it was deleted, as it could not be evicted in time"
	}
	pod := &corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: action.Pod.Namespace, Name: action.Pod.Name, UID: action.Pod.UID,
	}
	node := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: action.Pod.Node}
	r.Announcer.emit(r.Announcer.pods, who.annotations, pod, node, corev1.EventTypeNormal, reasonEvicted, note)
}

// emit emits an event, unless there were too many of its sort.
func (a *Announcer) emit(limit *rate.Limiter, annotations map[string]string, regarding, related runtime.Object, kind, reason, note string) {
	if kind == corev1.EventTypeNormal && !limit.Allow() {
		return
	}
	note = truncate(note, maxNote-len("…"))
	a.recorder.AnnotatedEventf(regarding, related, annotations, kind, reason, actionTerminate, "%s", note)
}
