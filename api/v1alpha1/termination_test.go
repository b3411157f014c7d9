// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const instance = "i-0abc1234def567890"

func termination(t *testing.T, name, spec string) *unstructured.Unstructured {
	t.Helper()
	return parse(t, `
apiVersion: nodetermination.dev/v1alpha1
kind: NodeTermination
metadata: {name: "`+name+`"}
spec:
`+indent(spec))
}

// spec is a NodeTermination's with these events.
func spec(events string) string {
	return fmt.Sprintf("instanceID: %s\nnodeName: ip-10-0-3-7.ec2.internal\nevents: [%s]\n", instance, events)
}

const (
	anEvent = `{id: a, kind: SpotInterruption, source: SQS, time: "2026-11-22T05:08:00Z", deadline: "2026-11-22T05:10:00Z"}`
	aHook   = `{id: b, kind: AutoScalingTermination, source: SQS, time: "2026-11-22T05:08:00Z", lifecycleHook: {autoScalingGroupName: workers, name: drain, token: 1e5527d7-bb36-4607-3370-4164db56a40e, destination: EC2}}`
)

func TestWrongTerminationsAreRefused(t *testing.T) {
	var many []string
	for i := range 33 {
		many = append(many, fmt.Sprintf(`{id: "%d", kind: SpotInterruption, source: SQS, time: "2026-11-22T05:08:00Z"}`, i))
	}
	for _, test := range []struct {
		name, object, spec string
		want               []string
	}{
		{"a name that is not the instance", "mine", spec(anEvent), []string{"set metadata.name to the value of spec.instanceID"}},
		{"no spec", instance, "{}", []string{"spec.instanceID: Required value", "spec.nodeName: Required value", "spec.events: Required value"}},
		{"no events", instance, spec(""), []string{"spec.events", "should have at least 1 items"}},
		{"too many events", instance, spec(strings.Join(many, ", ")), []string{"spec.events", "must have at most 32 items"}},
		{"a wrong instance ID", "i-xyz1234567", "instanceID: i-xyz1234567\nnodeName: node\nevents: [" + anEvent + "]", []string{"an instance ID is i- followed by 8 to 17 hexadecimal digits, such as i-0abc1234def567890"}},
		{"an empty node name", instance, "instanceID: " + instance + "\nnodeName: ''\nevents: [" + anEvent + "]", []string{"spec.nodeName", "should be at least 1 chars long"}},
		{"an event twice", instance, spec(anEvent + ", " + anEvent), []string{"spec.events[1]: Duplicate value"}},
		{"an event without an id", instance, spec(`{kind: SpotInterruption, source: SQS, time: "2026-11-22T05:08:00Z"}`), []string{"spec.events[0].id: Required value"}},
		{"an event with a long id", instance, spec(`{id: "` + strings.Repeat("a", 65) + `", kind: SpotInterruption, source: SQS, time: "2026-11-22T05:08:00Z"}`), []string{"spec.events[0].id", "may not be more than 64"}},
		{"an event without a time", instance, spec(`{id: a, kind: SpotInterruption, source: SQS}`), []string{"spec.events[0].time: Required value"}},
		{"an event with a wrong time", instance, spec(`{id: a, kind: SpotInterruption, source: SQS, time: yesterday}`), []string{"spec.events[0].time", "must be of type date-time"}},
		{"an unknown kind of event", instance, spec(`{id: a, kind: Spot, source: SQS, time: "2026-11-22T05:08:00Z"}`), []string{`supported values: "SpotInterruption"`}},
		{"an unknown source", instance, spec(`{id: a, kind: SpotInterruption, source: Kafka, time: "2026-11-22T05:08:00Z"}`), []string{`supported values: "SQS"`}},
		{"an unknown field", instance, spec(anEvent) + "suspended: true", []string{`unknown field "spec.suspended"`}},
		{"a hook without a group", instance, spec(`{id: a, kind: AutoScalingTermination, source: SQS, time: "2026-11-22T05:08:00Z", lifecycleHook: {name: drain}}`), []string{"lifecycleHook.autoScalingGroupName: Required value"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			refused(t, admin(t).Create(t.Context(), termination(t, test.object, test.spec), client.DryRunAll), test.want...)
		})
	}
}

// TestTerminationUpdates is about what may change once something was heard, and what may not.
func TestTerminationUpdates(t *testing.T) {
	type object = v1alpha1.NodeTermination
	for _, test := range []struct {
		name   string
		change func(*object)
		want   string // empty: accepted
	}{
		{"another event", func(nt *object) {
			added := *nt.Spec.Events[0].DeepCopy()
			added.ID = "c"
			nt.Spec.Events = append(nt.Spec.Events, added)
		}, ""},
		{"an event pruned", func(nt *object) { nt.Spec.Events = nt.Spec.Events[:1] }, ""},
		{"suspended", func(nt *object) { nt.Spec.Suspend = ptr.To(true) }, ""},
		{"a deadline moved", func(nt *object) { nt.Spec.Events[0].Deadline = nil }, ""},
		{"cancelled", func(nt *object) { nt.Spec.Events[0].Cancelled = ptr.To(true) }, ""},
		{"another node", func(nt *object) { nt.Spec.NodeName = "other" }, ""},
		{"another instance", func(nt *object) { nt.Spec.InstanceID = "i-00000000" }, "instanceID cannot change: create another NodeTermination"},
		{"another kind", func(nt *object) { nt.Spec.Events[0].Kind = v1alpha1.InstanceStateChange }, "the kind of an event cannot change: add an event with another id"},
		{"no longer cancelled", func(nt *object) { nt.Spec.Events[1].Cancelled = nil }, "a cancelled event stays cancelled: to plan it again needs a statement with a later time"},
		{"cancelled, but false", func(nt *object) { nt.Spec.Events[1].Cancelled = ptr.To(false) }, "a cancelled event stays cancelled: to plan it again needs a statement with a later time"},
		{"planned again later", func(nt *object) {
			nt.Spec.Events[1].Cancelled = ptr.To(false)
			nt.Spec.Events[1].Time = metav1.NewTime(nt.Spec.Events[1].Time.Add(time.Second))
		}, ""},
		{"an earlier time", func(nt *object) { nt.Spec.Events[0].Time = metav1.NewTime(nt.Spec.Events[0].Time.Add(-time.Second)) },
			"the event has a later statement already: a statement with an earlier time is not stored"},
	} {
		t.Run(test.name, func(t *testing.T) {
			created := termination(t, instance, spec(anEvent+", "+strings.Replace(aHook, "{id: b", "{id: b, cancelled: true", 1)))
			create(t, created)
			defer remove(t, created)
			var nt object
			if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(created), &nt); err != nil {
				t.Fatal(err)
			}
			test.change(&nt)
			err := admin(t).Update(t.Context(), &nt)
			if test.want != "" {
				refused(t, err, test.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestStatements: of two statements about one thing the API server keeps the one that event.Supersedes
// prefers.
func TestStatements(t *testing.T) {
	state := func(action string) v1alpha1.Event {
		return v1alpha1.Event{Kind: v1alpha1.InstanceStateChange, Source: v1alpha1.SourceSQS, InstanceAction: action, BootID: "a"}
	}
	maintenance := func(source v1alpha1.EventSource, bootID string) v1alpha1.Event {
		return v1alpha1.Event{Kind: v1alpha1.ScheduledMaintenance, Source: source, BootID: bootID}
	}
	const order = "within one second a state is followed by a later one only: stopping, stopped, shutting-down, terminated"
	const boot = "the bootID belongs to the statement: only what the metadata service lists after a boot may have another at the same time"
	for _, test := range []struct {
		name     string
		from, to v1alpha1.Event
		want     string // empty: accepted
	}{
		{name: "stopping, stopped", from: state("stopping"), to: state("stopped")},
		{name: "stopped, stopping", from: state("stopped"), to: state("stopping"), want: order},
		{name: "stopping, terminated", from: state("stopping"), to: state("terminated")},
		{name: "terminated, shutting down", from: state("terminated"), to: state("shutting-down"), want: order},
		{name: "stopped, shutting down", from: state("stopped"), to: state("shutting-down")},
		{name: "shutting down, stopped", from: state("shutting-down"), to: state("stopped"), want: order},
		{name: "listed after a boot", from: maintenance(v1alpha1.SourceIMDS, "a"), to: maintenance(v1alpha1.SourceIMDS, "b")},
		{name: "received again after a boot", from: maintenance(v1alpha1.SourceSQS, "a"), to: maintenance(v1alpha1.SourceSQS, "b"), want: boot},
		{name: "of a boot that was not known", from: maintenance(v1alpha1.SourceSQS, ""), to: maintenance(v1alpha1.SourceSQS, "b")},
	} {
		t.Run(test.name, func(t *testing.T) {
			at := metav1.Date(2026, 11, 22, 5, 8, 0, 0, time.UTC)
			test.from.ID, test.from.Time, test.to.ID, test.to.Time = "x", at, "x", at
			created := &v1alpha1.NodeTermination{
				ObjectMeta: metav1.ObjectMeta{Name: instance},
				Spec:       v1alpha1.NodeTerminationSpec{InstanceID: instance, NodeName: "node", Events: []v1alpha1.Event{test.from}},
			}
			create(t, created)
			defer remove(t, created)
			created.Spec.Events = []v1alpha1.Event{test.to}
			if err := admin(t).Update(t.Context(), created); test.want != "" {
				refused(t, err, test.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}
