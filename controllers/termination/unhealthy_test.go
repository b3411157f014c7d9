// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// alarm is a status check of the instance that fails.
func alarm() v1alpha1.Event {
	return v1alpha1.Event{ID: "a", Kind: v1alpha1.InstanceStatusCheckFailed, Source: v1alpha1.SourceSQS, Time: now(0), InstanceAction: "StatusCheckFailed_System"}
}

// More nodes fail status checks than maxUnhealthy: those that are cordoned stay so, and no more are until the
// check of one of them is passed.
func TestTooManyUnhealthy(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 3, func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.MaxUnhealthy = ptr.To(intstr.FromInt32(2)) })
	first, second := s.terminate(0, alarm()), s.terminate(1, alarm())
	s.until(first, v1alpha1.StateCordoned)
	s.until(second, v1alpha1.StateCordoned)

	third := s.terminate(2, alarm())
	ignored := s.until(third, v1alpha1.StateIgnored)
	if message := meta.FindStatusCondition(ignored.Status.Conditions, v1alpha1.ConditionReady).Message; !strings.Contains(message, "3 of its nodes fail status checks, and maxUnhealthy is 2") {
		t.Errorf("the third says %q", message)
	}
	if s.node(2).Spec.Unschedulable {
		t.Error("the third node is cordoned")
	}
	s.nudge(first)
	if !s.node(0).Spec.Unschedulable {
		t.Error("the first node is cordoned no more")
	}

	over := alarm()
	over.Cancelled = ptr.To(true)
	s.restate(second, over)
	s.until(second, v1alpha1.StateCancelled)
	s.nudge(third)
	s.until(third, v1alpha1.StateCordoned)
}

// Another event about an instance counts, however many fail status checks.
func TestUnhealthyNodeIsInterrupted(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 2, func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.MaxUnhealthy = ptr.To(intstr.FromInt32(1)) })
	s.until(s.terminate(0, alarm()), v1alpha1.StateCordoned)
	nt := s.terminate(1, alarm())
	s.until(nt, v1alpha1.StateIgnored)
	s.change(nt, func(spec *v1alpha1.NodeTerminationSpec) {
		spec.Events = append(spec.Events, v1alpha1.Event{
			ID: "b", Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceSQS, Time: now(0), Deadline: ptr.To(now(2 * time.Minute)),
		})
	})
	s.until(nt, v1alpha1.StateCompleted)
}
