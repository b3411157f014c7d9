// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// sent is shortly after the time of the samples.
var sent = time.Date(2026, 11, 22, 5, 8, 2, 300e6, time.UTC)

const (
	instance = "i-1234567890abcdef0"
	account  = "123456789012"
	// The hashes are spelled out: if they change, an event already stored is received as another.
	asgID        = "9e68a3774e3560752afff46459ea492fc950250ffc4fb1a8ee8615457cf6c730"
	retirementID = "6930deb232fc53d14d2149259f142868c3d49883fd914c75aeb680dad55e8903"
	rebootID     = "8976855a923dbd6c1e45d374ad57894e90222eee772e6cd0a35ab03b6b73d876"
	alarmID      = "ce7972e56bed703f23b6e28b1b374c65c9e78b934fa5ee195cea41f47b6e89af"
)

func stamp(s string) metav1.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return metav1.NewTime(t.UTC())
}

func stampPtr(s string) *metav1.Time { return new(stamp(s)) }

// stateChange returns the fact of the sample of that state.
func stateChange(state string, deadline *metav1.Time) []Fact {
	id := "SQS-InstanceStateChange"
	if state == stateRunning {
		id += "-running"
	}
	return []Fact{{InstanceID: instance, Event: v1alpha1.Event{
		ID:             id,
		Kind:           v1alpha1.InstanceStateChange,
		Time:           stamp("2026-11-22T05:08:00Z"),
		Deadline:       deadline,
		InstanceAction: state,
	}}}
}

// samples are the documents in testdata: AWS's own samples, with values where
// those have placeholders, and what they mean. AWS shows no sample of what a
// group sends to a queue; those are as such messages have been seen.
var samples = []struct {
	file   string
	source string // the page with AWS's sample
	facts  []Fact
	launch *Launch
	passed string
	err    string
}{{

	file:   "spot-terminate",
	source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html",
	facts: []Fact{{InstanceID: instance, Event: v1alpha1.Event{
		ID:             "SQS-SpotInterruption",
		Kind:           v1alpha1.SpotInterruption,
		Time:           stamp("2026-11-22T05:08:00Z"),
		Deadline:       stampPtr("2026-11-22T05:10:00Z"),
		InstanceAction: "terminate",
	}}},
}, {
	file:   "spot-hibernate",
	source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html",
	facts: []Fact{{InstanceID: instance, Event: v1alpha1.Event{
		ID:             "SQS-SpotInterruption",
		Kind:           v1alpha1.SpotInterruption,
		Time:           stamp("2026-11-22T05:08:00Z"),
		Deadline:       stampPtr("2026-11-22T05:08:00Z"),
		InstanceAction: "hibernate",
	}}},
}, {
	file:   "rebalance",
	source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html",
	facts: []Fact{{InstanceID: instance, Event: v1alpha1.Event{
		ID:   "SQS-RebalanceRecommendation",
		Kind: v1alpha1.RebalanceRecommendation,
		Time: stamp("2026-11-22T05:08:00Z"),
	}}},
}, {
	file:   "state-pending",
	source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html",
	passed: `instance state "pending" ends nothing`,
}, {
	file:   "state-running",
	source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html",
	facts:  stateChange("running", nil),
}, {
	file:   "state-stopping",
	source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html",
	facts:  stateChange("stopping", stampPtr("2026-11-22T05:10:00Z")),
}, {
	file:   "state-stopped",
	source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html",
	facts:  stateChange("stopped", stampPtr("2026-11-22T05:10:00Z")),
}, {
	file:   "state-shutting-down",
	source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html",
	facts:  stateChange("shutting-down", stampPtr("2026-11-22T05:10:00Z")),
}, {
	file:   "state-terminated",
	source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html",
	facts:  stateChange("terminated", stampPtr("2026-11-22T05:10:00Z")),
}, {
	file:   "capacity-reservation",
	source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitor-interruptible-cr.html",
	facts: []Fact{{InstanceID: instance, Event: v1alpha1.Event{
		ID:             "SQS-CapacityReservationInterruption",
		Kind:           v1alpha1.CapacityReservationInterruption,
		Time:           stamp("2026-11-22T05:08:00Z"),
		Deadline:       stampPtr("2026-11-22T05:09:30Z"),
		InstanceAction: "terminate",
	}}},
}, {
	file:   "capacity-reservation-interruptible", // the older name, and no time of its own
	source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitor-interruptible-cr.html",
	facts: []Fact{{InstanceID: instance, Event: v1alpha1.Event{
		ID:             "SQS-CapacityReservationInterruption",
		Kind:           v1alpha1.CapacityReservationInterruption,
		Time:           stamp("2026-11-22T05:08:00Z"),
		Deadline:       stampPtr("2026-11-22T05:10:00Z"),
		InstanceAction: "terminate",
	}}},
}, {
	file:   "capacity-reservation-reclaimed",
	source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitor-interruptible-cr.html",
	passed: `"EC2 Interruptible Capacity Reservation Allocation Reclamation Co" of aws.ec2 is nothing to act on`,
}, {
	file:   "health-retirement", // AWS's own weekdays are wrong, and its entity is an ARN
	source: "https://docs.aws.amazon.com/health/latest/ug/aws-health-events-eventbridge-schema.html",
	facts: []Fact{{InstanceID: instance, Event: v1alpha1.Event{
		ID:             retirementID,
		Kind:           v1alpha1.ScheduledMaintenance,
		Time:           stamp("2026-01-27T13:44:13Z"),
		Deadline:       stampPtr("2026-08-27T13:19:03Z"),
		NotBefore:      stampPtr("2026-08-27T13:19:03Z"),
		Description:    "A description of the event will be provided here",
		InstanceAction: "instance-retirement",
	}}},
}, {
	file:   "health-reboot", // several entities: one is done, one is a dedicated host
	source: "https://docs.aws.amazon.com/health/latest/ug/aws-health-events-eventbridge-schema.html",
	facts: []Fact{
		{InstanceID: instance, Event: reboot(nil)},
		{InstanceID: "i-0abc1234def567890", Event: reboot(new(true))},
		{InstanceID: "i-abcd1111", Event: reboot(nil)},
	},
}, {
	file:   "health-issue",
	source: "https://docs.aws.amazon.com/health/latest/ug/aws-health-events-eventbridge-schema.html",
	passed: `AWS Health's "issue" is no scheduled change`,
}, {
	file:   "health-lambda",
	source: "https://docs.aws.amazon.com/health/latest/ug/aws-health-events-eventbridge-schema.html",
	passed: `AWS Health about "LAMBDA", not EC2`,
}, {
	file:   "autoscaling-terminate",
	source: "https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-event-reference.html",
	facts:  termination(),
}, {
	file:  "autoscaling-terminate-queue",
	facts: termination(), // the same fact
}, {
	file:   "autoscaling-launch",
	source: "https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-event-reference.html",
	launch: launch("AutoScalingGroup"),
}, {
	file:   "autoscaling-launch-queue",
	launch: launch("AutoScalingGroup"), // the same
}, {
	file:   "autoscaling-launch-warm",
	source: "https://docs.aws.amazon.com/autoscaling/ec2/userguide/warm-pools-eventbridge-events.html",
	launch: launch(WarmPool),
}, {
	file:   "autoscaling-test",
	source: "https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutLifecycleHook.html",
	passed: `"autoscaling:TEST_NOTIFICATION" is no lifecycle action`,
}, {
	file:   "autoscaling-terminated",
	source: "https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-event-reference.html",
	passed: `"EC2 Instance Terminate Successful" of aws.autoscaling is nothing to act on`,
}, {
	file:   "sns-rebalance",
	source: "https://docs.aws.amazon.com/sns/latest/dg/sns-sqs-as-subscriber.html",
	facts: []Fact{{InstanceID: instance, Event: v1alpha1.Event{
		ID:   "SQS-RebalanceRecommendation",
		Kind: v1alpha1.RebalanceRecommendation,
		Time: stamp("2026-11-22T05:08:00Z"),
	}}},
}, {
	file:   "sns-confirmation",
	source: "https://docs.aws.amazon.com/sns/latest/dg/http-subscription-confirmation-json.html",
	err:    `Type is "SubscriptionConfirmation", expected Notification: the topic sends nothing until the queue's subscription is confirmed by the SubscribeURL in this message`,
}, {
	file:   "alarm-state",
	source: "https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html",
	facts: statusCheck(stamp("2026-11-22T05:08:00Z"),
		"Threshold Crossed: 2 datapoints [1.0, 1.0] were greater than or equal to the threshold (1.0).", nil),
}, {
	file:   "alarm-deleted",
	source: "https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html",
	facts:  statusCheck(stamp("2026-11-22T06:00:00Z"), "", new(true)),
}, {
	file:   "alarm-composite",
	source: "https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html",
	passed: "a composite alarm is about no metric of an instance",
}}

func reboot(cancelled *bool) v1alpha1.Event {
	return v1alpha1.Event{
		ID:             rebootID,
		Kind:           v1alpha1.ScheduledMaintenance,
		Time:           stamp("2026-08-20T06:27:57Z"),
		Deadline:       stampPtr("2026-09-03T13:00:00Z"),
		NotBefore:      stampPtr("2026-09-03T13:00:00Z"),
		NotAfter:       stampPtr("2026-09-03T15:00:00Z"),
		Description:    "Your instances will be rebooted.",
		InstanceAction: "instance-reboot",
		Cancelled:      cancelled,
	}
}

func termination() []Fact {
	return []Fact{{InstanceID: instance, Event: v1alpha1.Event{
		ID:   asgID,
		Kind: v1alpha1.AutoScalingTermination,
		Time: stamp("2026-11-22T05:08:00Z"),
		LifecycleHook: &v1alpha1.LifecycleHook{
			AutoScalingGroupName: "my-asg",
			Name:                 "my-lifecycle-hook",
			Token:                "87654321-4321-4321-4321-210987654321",
			Destination:          "EC2",
		},
	}}}
}

func launch(destination string) *Launch {
	return &Launch{InstanceID: instance, Hook: v1alpha1.LifecycleHook{
		AutoScalingGroupName: "my-asg",
		Name:                 "my-lifecycle-hook",
		Token:                "87654321-4321-4321-4321-210987654321",
		Destination:          destination,
	}}
}

func sample(t testing.TB, file string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", file+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// edit replaces parts of a sample, each of which must be there.
func edit(t testing.TB, file string, oldnew ...string) []byte {
	t.Helper()
	body := string(sample(t, file))
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(body, oldnew[i]) {
			t.Fatalf("%s does not contain %s", file, oldnew[i])
		}
		body = strings.ReplaceAll(body, oldnew[i], oldnew[i+1])
	}
	return []byte(body)
}

func parse(t testing.TB, body []byte) Document {
	t.Helper()
	doc, err := Parse(body, sent)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestSamples(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) != len(samples) {
		t.Fatalf("%d files in testdata, %d samples here (%v)", len(files), len(samples), err)
	}
	for _, s := range samples {
		t.Run(s.file, func(t *testing.T) {
			doc, err := Parse(sample(t, s.file), sent)
			checkError(t, err, s.err)
			want := Document{Facts: s.facts, Launch: s.launch, Passed: s.passed}.within(account)
			if diff := cmp.Diff(want, doc); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			checkDocument(t, doc)
		})
	}
}

// checkError wants an *Error with that text, or none if it is empty.
func checkError(t testing.TB, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("error: %v", err)
		}
		return
	}
	if err == nil || err.Error() != want {
		t.Errorf("error:\n got %v\nwant %s", err, want)
		return
	}
	if _, ok := errors.AsType[*Error](err); !ok {
		t.Errorf("error is a %T", err)
	}
}

var (
	apiInstanceIDs = regexp.MustCompile(`^i-[0-9a-f]{8,17}$`)
	apiKinds       = []v1alpha1.EventKind{
		v1alpha1.SpotInterruption, v1alpha1.RebalanceRecommendation, v1alpha1.ScheduledMaintenance,
		v1alpha1.AutoScalingTermination, v1alpha1.InstanceStateChange, v1alpha1.CapacityReservationInterruption,
		v1alpha1.InstanceStatusCheckFailed,
	}
)

// checkDocument holds a document against what the API accepts: see the markers
// of v1alpha1.Event, v1alpha1.LifecycleHook and NodeTerminationSpec.InstanceID.
func checkDocument(t testing.TB, doc Document) {
	t.Helper()
	if doc.Passed != "" && (len(doc.Facts) > 0 || doc.Launch != nil) {
		t.Errorf("passed, with facts or a launch: %+v", doc)
	}
	if !utf8.ValidString(doc.Passed) || len(doc.Passed) > 400 {
		t.Errorf("passed: %q", doc.Passed)
	}
	length := func(field, value string, least, most int) {
		t.Helper()
		if n := utf8.RuneCountInString(value); !utf8.ValidString(value) || n < least || n > most {
			t.Errorf("%s has %d characters, not %d to %d: %q", field, n, least, most, value)
		}
	}
	moment := func(field string, value *metav1.Time) {
		t.Helper()
		if value == nil {
			return
		}
		raw, err := json.Marshal(value)
		var back metav1.Time
		if err == nil {
			err = json.Unmarshal(raw, &back)
		}
		if err != nil || back.IsZero() || !back.Time.Equal(value.Time) {
			t.Errorf("%s does not survive storing: %v became %q (%v)", field, value, raw, err)
		}
	}
	hook := func(h *v1alpha1.LifecycleHook) {
		t.Helper()
		length("autoScalingGroupName", h.AutoScalingGroupName, 1, 255)
		length("name", h.Name, 1, 255)
		length("token", h.Token, 1, 64)
		length("destination", h.Destination, 0, 32)
	}
	if l := doc.Launch; l != nil {
		if !apiInstanceIDs.MatchString(l.InstanceID) {
			t.Errorf("instance ID %q", l.InstanceID)
		}
		hook(&l.Hook)
	}
	for _, f := range doc.Facts {
		if !apiInstanceIDs.MatchString(f.InstanceID) {
			t.Errorf("instance ID %q", f.InstanceID)
		}
		e := f.Event
		if !slices.Contains(apiKinds, e.Kind) || e.Source != "" {
			t.Errorf("kind %q, source %q", e.Kind, e.Source)
		}
		length("id", e.ID, 1, 64)
		length("description", e.Description, 0, 1024)
		length("instanceAction", e.InstanceAction, 0, 64)
		moment("time", &e.Time)
		moment("deadline", e.Deadline)
		moment("notBefore", e.NotBefore)
		if h := e.LifecycleHook; h != nil {
			hook(h)
		}
		if e.Cancelled != nil && !*e.Cancelled {
			t.Error("cancelled is set to false")
		}
		moment("notAfter", e.NotAfter)
	}
}

func TestResolves(t *testing.T) {
	for _, s := range samples {
		for _, f := range s.facts {
			if got, want := Resolves(f.Event), s.file == "state-running"; got != want {
				t.Errorf("%s: %v, want %v", s.file, got, want)
			}
		}
	}
}
