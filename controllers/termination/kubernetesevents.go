// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"maps"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/drain"
	"github.com/nodetermination/operator/controllers/webhook/template"
)

// Events of Kubernetes are for people who look at one node or one pod. When many
// nodes go at once they are not worth what they would cost the API server: of those
// about states so many at once, and so many a second from then on, but warnings
// always pass; and none about pods while more than a few nodes are drained.
const (
	stateEventsBurst, stateEventsPerSecond = 25, 1
	podEventsBurst, podEventsPerSecond     = 200, 10
	fewDrains                              = 5
)

const (
	// actionTerminate is the action of every event: the field says what was being done.
	actionTerminate = "Terminate"
	// reasonEvicted is the reason of the event on a Pod that is evicted.
	reasonEvicted = "Evicted"
	// reasonTakenOver is the reason of the event that another policy has taken over.
	reasonTakenOver = "PolicyTakenOver"
	// reasonCordonedAgain is the reason of the event that a node was cordoned again which
	// somebody else had uncordoned.
	reasonCordonedAgain = "CordonedAgain"
	// maxNote is how long the note of an event may be, in bytes.
	// https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
	maxNote = 1024
)

// EventRecorder emits Kubernetes events: about the states of terminations, and on each pod
// that is evicted. Its methods may be called from any goroutine.
type EventRecorder struct {
	recorder     events.AnnotatedEventRecorder
	cache        client.Reader
	local        *LocalState
	clock        clock.PassiveClock
	states, pods *rate.Limiter
}

// NewEventRecorder returns an EventRecorder that emits through recorder, which must not
// block. cache is the manager's; local is the Reconciler's as well.
func NewEventRecorder(recorder events.AnnotatedEventRecorder, cache client.Reader, local *LocalState, clock clock.PassiveClock) *EventRecorder {
	return &EventRecorder{
		recorder: recorder, cache: cache, local: local, clock: clock,
		states: rate.NewLimiter(stateEventsPerSecond, stateEventsBurst),
		pods:   rate.NewLimiter(podEventsPerSecond, podEventsBurst),
	}
}

// eventPolicy returns what governs the events of a termination. One whose policy is gone
// has some if it has begun.
func (s *scope) eventPolicy() eventPolicy {
	known := eventPolicy{emits: s.nt.Status.PolicyRef != nil, cause: s.nt.Status.Cause}
	if s.policy != nil {
		known.annotations, known.emits = s.policy.Spec.EmitsEvents()
	}
	return known
}

// recordEvents says, in the log and in events on the Node and the
// NodeTermination, that the termination has begun and that it has entered another state.
func (r *Reconciler) recordEvents(_ context.Context, s *scope) error {
	begins := s.before.Status.StartTime == nil && s.nt.Status.StartTime != nil && s.state != v1alpha1.StateReceived
	changes := stateIn(&s.before.Status) != s.state
	if changes {
		r.logAbout(s.nt.Name, s.nt.Spec.NodeName).Info("NodeTermination is "+s.state, "message", s.message)
	}
	// Of what was over when it was first looked at nobody was told that it began.
	unknown := s.nt.Status.StartTime == nil && stateIn(&s.before.Status) == "" && s.state == v1alpha1.StateCancelled
	known := s.eventPolicy()
	if known.emits && (begins || changes) && !unknown {
		r.Events.recordState(s, eventAnnotations(known, s.nt, s.node), begins, changes)
	}
	if message := s.takeover(); message != "" {
		r.logAbout(s.nt.Name, s.nt.Spec.NodeName).Info("Another policy governs the NodeTermination", "message", message)
		if known.emits {
			r.Events.recordTakeover(s, eventAnnotations(known, s.nt, s.node), message)
		}
	}
	if s.warning.reason != "" {
		r.logAbout(s.nt.Name, s.nt.Spec.NodeName).Info("NodeTermination: "+s.warning.reason, "message", s.warning.message)
		if known.emits {
			r.Events.recordWarning(s, eventAnnotations(known, s.nt, s.node))
		}
	}
	return nil
}

// takeover returns that another policy has taken over; empty if none has.
func (s *scope) takeover() string {
	before, now := s.before.Status.PolicyRef, s.nt.Status.PolicyRef
	if before == nil || now == nil || before.UID == now.UID {
		return ""
	}
	return fmt.Sprintf("policy %s takes over from policy %s, which was deleted or turned to mode DryRun", now.Name, before.Name)
}

// recordState emits the events of recordEvents.
func (e *EventRecorder) recordState(s *scope, annotations map[string]string, begins, changes bool) {
	node, termination := s.references()
	record := func(state, note string) {
		kind := corev1.EventTypeNormal
		if readinessOf[state].stalled {
			kind = corev1.EventTypeWarning
		}
		e.emit(e.states, annotations, node, termination, kind, state, note)
		e.emit(e.states, annotations, termination, node, kind, state, note)
	}
	if begins {
		note := fmt.Sprintf("%s of instance %s was received", s.nt.Status.Cause, s.nt.Spec.InstanceID)
		if deadline := s.nt.Status.Deadline; deadline != nil {
			note += ", which goes away at " + formatTime(deadline.Time)
		}
		record(v1alpha1.StateReceived, note)
	}
	if changes {
		note := s.message
		if s.nt.Status.Cause != "" {
			note = fmt.Sprintf("%s: %s", s.nt.Status.Cause, s.message)
		}
		record(s.state, note)
	}
}

// recordTakeover emits the event that another policy has taken over.
func (e *EventRecorder) recordTakeover(s *scope, annotations map[string]string, message string) {
	node, termination := s.references()
	e.emit(e.states, annotations, node, termination, corev1.EventTypeNormal, reasonTakenOver, message)
	e.emit(e.states, annotations, termination, node, corev1.EventTypeNormal, reasonTakenOver, message)
}

// recordWarning emits that somebody or something works against the termination.
func (e *EventRecorder) recordWarning(s *scope, annotations map[string]string) {
	node, termination := s.references()
	e.emit(e.states, annotations, node, termination, corev1.EventTypeWarning, s.warning.reason, s.warning.message)
	e.emit(e.states, annotations, termination, node, corev1.EventTypeWarning, s.warning.reason, s.warning.message)
}

// references returns what events are about.
func (s *scope) references() (node, termination *corev1.ObjectReference) {
	node = &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: s.nt.Spec.NodeName}
	if known := s.nt.Status.Node; known != nil {
		node.UID = known.UID
	}
	return node, &corev1.ObjectReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeTermination", Name: s.nt.Name, UID: s.nt.UID,
	}
}

// recordReverted emits an event on a node whose NodeTermination was deleted, if this
// process knows that its policy emits any.
func (e *EventRecorder) recordReverted(termination string, node *corev1.Node) {
	known := e.local.get(termination).events
	if !known.emits {
		return
	}
	nt := &v1alpha1.NodeTermination{Spec: v1alpha1.NodeTerminationSpec{InstanceID: termination, NodeName: node.Name}} // as far as it is still known
	regarding := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}
	e.emit(e.states, eventAnnotations(known, nt, node), regarding, nil, corev1.EventTypeNormal, v1alpha1.StateCancelled,
		fmt.Sprintf("NodeTermination %s was deleted: what was done to the node is reverted", termination))
}

// OnEvicted takes note of a pod that was evicted or deleted and emits an event on it, for
// drain.ExecutorOptions.
func (e *EventRecorder) OnEvicted(termination string, action drain.Action) {
	e.local.lose(termination, action.Pod.Owner)
	if pod, shortened := graceShortened(&action, e.clock.Now()); shortened {
		e.local.shorten(termination, pod)
	}
	known := e.local.get(termination).events
	if !known.emits || e.local.drainCount() > fewDrains || action.Pod.Terminating() { // that one was evicted before, with more time
		return
	}
	nt, node := &v1alpha1.NodeTermination{}, &corev1.Node{}
	if e.cache.Get(context.Background(), client.ObjectKey{Name: termination}, nt) != nil {
		return // it was deleted
	}
	if e.cache.Get(context.Background(), client.ObjectKey{Name: action.Pod.Node}, node) != nil {
		node = nil
	}
	note := fmt.Sprintf("%s: its node %s is about to go away", known.cause, action.Pod.Node)
	if !action.Deadline.IsZero() {
		note += ", at " + formatTime(action.Deadline)
	}
	if action.Method == drain.Delete {
		note += "; it was deleted, as it could not be evicted in time"
	}
	pod := &corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: action.Pod.Namespace, Name: action.Pod.Name, UID: action.Pod.UID,
	}
	related := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: action.Pod.Node}
	e.emit(e.pods, eventAnnotations(known, nt, node), pod, related, corev1.EventTypeNormal, reasonEvicted, note)
}

// eventAnnotations returns the annotations of an event: NTH's, as far as they are known,
// and the policy's own. node is nil if it is gone.
// https://github.com/aws/aws-node-termination-handler/blob/main/pkg/observability/k8s-events.go
func eventAnnotations(known eventPolicy, nt *v1alpha1.NodeTermination, node *corev1.Node) map[string]string {
	data := template.NewData("", "", nt, node, nil)
	annotations := map[string]string{
		"account-id": data.AccountId, "availability-zone": data.AvailabilityZone, "region": data.Region,
		"instance-id": data.InstanceID, "instance-type": data.InstanceType, "instance-life-cycle": data.InstanceLifeCycle,
		"local-hostname": data.LocalHostname, "local-ipv4": data.LocalIP,
		"public-hostname": data.PublicHostname, "public-ipv4": data.PublicIP,
	}
	maps.DeleteFunc(annotations, func(_, value string) bool { return value == "" })
	maps.Copy(annotations, known.annotations)
	return annotations
}

// emit emits an event, unless there were too many of its sort.
func (e *EventRecorder) emit(limit *rate.Limiter, annotations map[string]string, regarding, related runtime.Object, kind, reason, note string) {
	if kind == corev1.EventTypeNormal && !limit.Allow() {
		return
	}
	note = v1alpha1.TruncateMessage(note, maxNote-len("…"))
	e.recorder.AnnotatedEventf(regarding, related, annotations, kind, reason, actionTerminate, "%s", note)
}
