// SPDX-License-Identifier: Apache-2.0

package model

import (
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	ac "github.com/nodetermination/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

// maxEvents is the maxItems of spec.events.
const maxEvents = 32

// validate holds the rules that the CRD has for changes, written once more.
func validate(nt *v1alpha1.NodeTermination, spec *v1alpha1.NodeTerminationSpec) error {
	if len(spec.Events) == 0 || len(spec.Events) > maxEvents {
		return invalid(nt, "the number of events is not allowed")
	}
	if spec.InstanceID != nt.Spec.InstanceID {
		return invalid(nt, "instanceID cannot change")
	}
	for _, before := range nt.Spec.Events {
		i := slices.IndexFunc(spec.Events, func(e v1alpha1.Event) bool { return e.ID == before.ID })
		if i < 0 {
			continue
		}
		if why := refusal(before, spec.Events[i]); why != "" {
			return invalid(nt, why)
		}
	}
	return nil
}

// refusal returns why an event may not be replaced by another; empty if it may.
func refusal(before, after v1alpha1.Event) string {
	states := map[string]int{"stopping": 1, "stopped": 2, "shutting-down": 3, "terminated": 4}
	order := after.Time.Compare(before.Time.Time)
	switch {
	case before.Kind != after.Kind:
		return "another kind"
	case order < 0:
		return "an earlier time"
	case order > 0:
		return ""
	case ptr.Deref(before.Cancelled, false) && !ptr.Deref(after.Cancelled, false):
		return "a cancellation taken back"
	case after.Kind == v1alpha1.InstanceStateChange && states[after.InstanceAction] < states[before.InstanceAction]:
		return "an earlier state"
	case before.BootID != "" && before.BootID != after.BootID &&
		(after.Kind != v1alpha1.ScheduledMaintenance || after.Source != v1alpha1.SourceIMDS):
		return "another boot"
	}
	return ""
}

func invalid(nt *v1alpha1.NodeTermination, why string) error {
	return apierrors.NewInvalid(v1alpha1.GroupVersion.WithKind("NodeTermination").GroupKind(), nt.Name,
		field.ErrorList{field.Invalid(field.NewPath("spec", "events"), "", why)})
}

// eventOf returns the event that is applied.
func eventOf(e *ac.EventApplyConfiguration) v1alpha1.Event {
	event := v1alpha1.Event{
		ID: *e.ID, Kind: *e.Kind, Source: *e.Source, Time: *e.Time,
		Deadline: e.Deadline.DeepCopy(), NotBefore: e.NotBefore.DeepCopy(), NotAfter: e.NotAfter.DeepCopy(),
		Description: ptr.Deref(e.Description, ""), InstanceAction: ptr.Deref(e.InstanceAction, ""),
		BootID: ptr.Deref(e.BootID, ""), PolicyName: ptr.Deref(e.PolicyName, ""), Cancelled: e.Cancelled,
	}
	if hook := e.LifecycleHook; hook != nil {
		event.LifecycleHook = &v1alpha1.LifecycleHook{
			AutoScalingGroupName: *hook.AutoScalingGroupName, Name: *hook.Name,
			Token: ptr.Deref(hook.Token, ""), Destination: ptr.Deref(hook.Destination, ""),
		}
	}
	return event
}
