// SPDX-License-Identifier: Apache-2.0

package event

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// statusCheck returns the fact of the samples of an alarm.
func statusCheck(at metav1.Time, reason string, cancelled *bool) []Fact {
	return []Fact{{InstanceID: instance, Event: v1alpha1.Event{
		ID:             alarmID,
		Kind:           v1alpha1.InstanceStatusCheckFailed,
		Time:           at,
		Description:    reason,
		InstanceAction: "StatusCheckFailed_System",
		Cancelled:      cancelled,
	}}}
}

// An alarm is one thing: its later states and its end have the same ID, those of another alarm have another.
func TestAlarmStates(t *testing.T) {
	const alarm, value = "alarm-state", `"value": "ALARM"`
	for name, c := range map[string]struct {
		body   []byte
		passed string
		err    string
		want   func(*v1alpha1.Event) // changes the sample's
	}{
		"ok":                 {body: edit(t, alarm, value, `"value": "OK"`), want: func(e *v1alpha1.Event) { e.Cancelled = new(true) }},
		"no data":            {body: edit(t, alarm, value, `"value": "INSUFFICIENT_DATA"`), passed: `alarm state "INSUFFICIENT_DATA" says nothing of the instance`},
		"no state":           {body: edit(t, alarm, `"value"`, `"state"`), err: "detail.state.value is missing, expected OK, ALARM or INSUFFICIENT_DATA"},
		"no time of its own": {body: edit(t, alarm, `2026-11-22T05:08:00.985+0000`, `now`), want: func(e *v1alpha1.Event) { e.Time = stamp("2026-11-22T05:08:02Z") }},
		"another check":      {body: edit(t, alarm, `StatusCheckFailed_System`, `StatusCheckFailed`), want: func(e *v1alpha1.Event) { e.InstanceAction = "StatusCheckFailed" }},
		"attached volumes":   {body: edit(t, alarm, `_System`, `_AttachedEBS`), want: func(e *v1alpha1.Event) { e.InstanceAction = "StatusCheckFailed_AttachedEBS" }},
		"another alarm": {body: edit(t, alarm, `:alarm:my-`, `:alarm:your-`), want: func(e *v1alpha1.Event) {
			e.ID = hashID("arn:aws:cloudwatch:us-east-1:123456789012:alarm:your-instance-is-unwell")
		}},
		"another metric":      {body: edit(t, alarm, `StatusCheckFailed_System`, `CPUUtilization`), passed: `metric "CPUUtilization" of "AWS/EC2" is no status check of an instance`},
		"another namespace":   {body: edit(t, alarm, `AWS/EC2`, `Mine`), passed: `metric "StatusCheckFailed_System" of "Mine" is no status check of an instance`},
		"of a group":          {body: edit(t, alarm, `"InstanceId": "i-1234567890abcdef0"`, `"AutoScalingGroupName": "g"`), passed: `metric "StatusCheckFailed_System" is not that of one instance`},
		"another dimension":   {body: edit(t, alarm, `"InstanceId": "i-1234567890abcdef0"`, `"InstanceId": "i-1234567890abcdef0", "A": "b"`), passed: `metric "StatusCheckFailed_System" is not that of one instance`},
		"metric math":         {body: edit(t, alarm, `"metrics": [`, `"metrics": [{"id": "e1", "expression": "m1 * 2"},`), passed: "an alarm on an expression is about no metric of one instance"},
		"a query":             {body: edit(t, alarm, `"metricStat"`, `"expression": "SELECT 1", "stat"`), passed: "an alarm on an expression is about no metric of one instance"},
		"no resources":        {body: edit(t, alarm, `"resources"`, `"other"`), err: "resources is missing, expected the ARN of the alarm"},
		"text as resources":   {body: edit(t, alarm, `["arn:aws:cloudwatch:us-east-1:123456789012:alarm:my-instance-is-unwell"]`, `"x"`), err: "resources is a JSON string, expected an array"},
		"no instance ID":      {body: edit(t, alarm, instance, "i-1"), err: `detail.configuration.metrics.metricStat.metric.dimensions.InstanceId is "i-1", expected ` + instanceIDExpected},
		"updated":             {body: edit(t, "alarm-deleted", `"delete"`, `"update"`), passed: `operation "update" of an alarm ends nothing`},
		"another was deleted": {body: edit(t, "alarm-deleted", `StatusCheckFailed_System`, `CPUUtilization`), passed: `metric "CPUUtilization" of "AWS/EC2" is no status check of an instance`},
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := Parse(c.body, sent)
			checkError(t, err, c.err)
			want := Document{Passed: c.passed}
			if c.want != nil {
				want = parse(t, sample(t, alarm))
				c.want(&want.Facts[0].Event)
			}
			if diff := cmp.Diff(want, doc); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			checkDocument(t, doc)
		})
	}
}
