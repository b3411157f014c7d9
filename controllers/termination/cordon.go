// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// cordonSeen is how long after a cordon the termination is looked at again at the latest.
const cordonSeen = 250 * time.Millisecond

// cordonRetry is when a cordon that was refused is tried again while the pods are evicted.
const cordonRetry = 5 * time.Second

// cordon makes the node unschedulable and sets what else the
// policy wants there, in one request.
func (r *Reconciler) cordon(ctx context.Context, s *scope) (verdict, error) {
	if !s.keepsCordoned() {
		return proceed, nil
	}
	if s.now.Before(s.recordonAt) {
		s.condition(v1alpha1.ConditionCordoned, false, v1alpha1.ReasonUncordonedByOthers, fmt.Sprintf(
			"somebody else uncordoned the node again; it is cordoned again at %s. To use it, %s", formatTime(s.recordonAt), s.howToCancel()))
		return proceed, nil
	}
	if retry := r.Local.get(s.nt.Name).refused.Add(cordonRetry); s.now.Before(retry) && s.saysRefused() && s.cannotAwaitCordon() {
		s.lookAgain(retry)
		return proceed, nil
	}
	begins := s.nt.Status.StartTime == nil
	if begins {
		r.Local.beginLosses(s.nt.Name)
		s.nt.Status.StartTime = &metav1.Time{Time: s.now}
		s.nt.Status.PolicyRef = &v1alpha1.PolicyReference{Name: s.policy.Name, UID: s.policy.UID, Generation: s.policy.Generation}
	}
	_, excludes := s.policy.Spec.ExcludesFromLoadBalancers()
	desired := ec2node.Desired{
		Taint:        s.taint(),
		NTH:          s.nthLabels(),
		Excluded:     excludes && s.admission.admitted && s.decision.action == v1alpha1.ActionCordonAndDrain,
		Waiting:      s.waitsUncordoned(),
		OutOfService: r.outOfService(s),
	}
	err := r.changeNode(ctx, s.node, func(node *corev1.Node) bool {
		return ec2node.Apply(node, s.nt.Spec.InstanceID, desired, s.now)
	})
	if isRefused(err) {
		return r.noteRefused(s, err)
	}
	if apierrors.IsNotFound(err) {
		return ended, nil // the node went in this moment; its deletion brings us back
	}
	if err != nil {
		return ended, fmt.Errorf("cannot cordon node %s: %w", s.node.Name, err)
	}
	if s.uncordonedByOthers {
		r.noteRecordoned(s)
	}
	switch applied, _ := ec2node.AppliedOn(s.node); {
	case !s.node.Spec.Unschedulable:
		s.condition(v1alpha1.ConditionCordoned, false, v1alpha1.ReasonWaiting, "the node has the taint "+ec2node.WaitingTaint.ToString()+" until it is cordoned")
	case applied.Unschedulable:
		s.condition(v1alpha1.ConditionCordoned, true, v1alpha1.ReasonCordoned, "the node is unschedulable")
	default:
		s.condition(v1alpha1.ConditionCordoned, true, v1alpha1.ReasonCordonedBefore, "somebody else had made the node unschedulable")
	}
	if begins && r.Local.begin(s.nt.Name) {
		r.Local.update(s.nt.Name, func(known *localRecord) { known.cordoned = r.Clock.Now() })
		// Of a crowd every node is cordoned before the pods of any are looked at. The cache has
		// the cordon in a moment, which wakes us: looked at before, it would be made once more.
		s.lookAgain(s.now.Add(cordonSeen))
		return postponed, nil
	}
	return proceed, nil
}

// isRefused reports whether the API server, or a webhook that it asks, does not want a change to
// be made. A webhook answers with whatever code it likes; the words are the API server's.
func isRefused(err error) bool {
	if err == nil {
		return false
	}
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) ||
		strings.Contains(err.Error(), "admission webhook") || strings.Contains(err.Error(), "failed calling webhook")
}

// saysRefused reports whether the status says already that the cordon is refused.
func (s *scope) saysRefused() bool {
	cordoned := meta.FindStatusCondition(s.nt.Status.Conditions, v1alpha1.ConditionCordoned)
	return cordoned != nil && cordoned.Reason == v1alpha1.ReasonCordonRefused
}

// cannotAwaitCordon reports whether pods have to be evicted even if the node cannot be
// cordoned: there is not more time left than a drain may take.
func (s *scope) cannotAwaitCordon() bool {
	deadline := s.decision.deadline
	return s.decision.action == v1alpha1.ActionCordonAndDrain && !deadline.IsZero() && !s.now.Before(deadline.Add(-s.policy.Spec.Drain.Timeout()))
}

// noteRefused says that the node cannot be cordoned. That is tried again; the pods are evicted
// without it once there is no time left.
func (r *Reconciler) noteRefused(s *scope, err error) (verdict, error) {
	err = fmt.Errorf("cannot cordon node %s: %w", s.node.Name, err)
	message := v1alpha1.TruncateMessage(err.Error(), maxReason)
	if !s.saysRefused() {
		s.warning = warning{v1alpha1.ReasonCordonRefused, message}
	}
	s.condition(v1alpha1.ConditionCordoned, false, v1alpha1.ReasonCordonRefused, message)
	if !s.cannotAwaitCordon() {
		return ended, err
	}
	r.Local.update(s.nt.Name, func(known *localRecord) { known.refused = s.now })
	s.lookAgain(s.now.Add(cordonRetry))
	return proceed, nil
}

// keepsCordoned reports whether the node is to be cordoned: as long as an event is active,
// also after the drain has ended.
func (s *scope) keepsCordoned() bool {
	if s.node == nil || s.policy == nil || s.decision.action == v1alpha1.ActionIgnore {
		return false
	}
	return !s.finished() || s.nt.Status.StartTime != nil && len(s.active()) > 0 && !s.policy.Spec.DryRun() && !s.suspended()
}

// taint returns the taint that the policy asks for; nil for none.
func (s *scope) taint() *corev1.Taint {
	if s.policy.Spec.Node == nil || s.policy.Spec.Node.Taint == nil {
		return nil
	}
	asked := s.policy.Spec.Node.Taint
	taint := &corev1.Taint{Key: v1alpha1.TaintKey(s.decision.cause), Effect: corev1.TaintEffect(asked.Effect)}
	if asked.Key == v1alpha1.TaintKeysNTH {
		taint.Key, taint.Value = v1alpha1.NTHTaintKey(s.decision.cause), ec2node.LabelValue(s.causeID())
	}
	return taint
}

// nthLabels returns the labels of the AWS Node Termination Handler that the policy asks for; nil for none.
func (s *scope) nthLabels() *ec2node.NTHLabels {
	if s.policy.Spec.Node == nil || s.policy.Spec.Node.Labels != v1alpha1.LabelsNTH {
		return nil
	}
	return &ec2node.NTHLabels{Drains: s.decision.action == v1alpha1.ActionCordonAndDrain, EventID: ec2node.LabelValue(s.causeID())}
}

// causeID returns the id of the first event that counts of the kind that decides; empty if none does any more.
func (s *scope) causeID() string {
	events := s.active()
	i := slices.IndexFunc(events, func(e v1alpha1.Event) bool { return e.Kind == s.decision.cause })
	if i < 0 {
		return ""
	}
	return events[i].ID
}
