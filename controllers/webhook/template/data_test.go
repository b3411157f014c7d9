// SPDX-License-Identifier: Apache-2.0

package template

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const instanceID = "i-0abc1234def567890"

var now = time.Date(2026, 11, 22, 5, 8, 0, 0, time.UTC)

func at(minutes int) metav1.Time {
	return metav1.NewTime(now.Add(time.Duration(minutes) * time.Minute))
}

func TestNewData(t *testing.T) {
	got := samples(v1alpha1.SpotInterruption, v1alpha1.StepFailed)[0]
	want := Data{
		EventID: "1e5527d7-bb36-4607-3370-4164db56a40e", Kind: "SPOT_ITN", Monitor: "SPOT_ITN_MONITOR",
		Description:          "Spot ITN received. Instance will be interrupted at 2026-11-22T05:10:00Z",
		AutoScalingGroupName: "workers", NodeName: "ip-10-0-3-7.ec2.internal",
		NodeLabels: map[string]string{"kubernetes.io/hostname": "ip-10-0-3-7.ec2.internal"}, Pods: []string{"web-0", "web-1"},
		InstanceID: instanceID, InstanceType: "m6i.large", ProviderID: "aws:///us-east-1a/" + instanceID, IsManaged: true, InProgress: true,
		StartTime: now.Add(2 * time.Minute), EndTime: now.Add(2 * time.Minute), AccountId: "123456789012", AvailabilityZone: "us-east-1a", Region: "us-east-1",
		InstanceLifeCycle: "spot", LocalHostname: "ip-10-0-3-7.ec2.internal", LocalIP: "10.0.3.7",
		PublicHostname: "ec2-203-0-113-7.compute-1.amazonaws.com", PublicIP: "203.0.113.7",
		Step: "Failed", Cause: "SpotInterruption", Deadline: now.Add(2 * time.Minute), Evicted: 2, Remaining: 2,
		Message: "1/3 pods are gone, 1 are shutting down",
		Blocked: []string{"default/web-1: disruption budget web allows none"}, Policy: "spot",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestWhatTheNodeSays is about instances that no watcher knows.
func TestWhatTheNodeSays(t *testing.T) {
	for _, test := range []struct {
		name                             string
		labels                           map[string]string
		providerID                       string
		status                           v1alpha1.NodeTerminationStatus
		wantType, wantLife, zone, region string
	}{
		{
			"a managed node group's", map[string]string{
				corev1.LabelInstanceTypeStable: "c7g.xlarge", corev1.LabelTopologyRegion: "eu-central-1", "eks.amazonaws.com/capacityType": "ON_DEMAND",
			}, "aws:///eu-central-1b/" + instanceID, v1alpha1.NodeTerminationStatus{}, "c7g.xlarge", "on-demand", "eu-central-1b", "eu-central-1",
		},
		{
			"Karpenter's in a local zone", map[string]string{"karpenter.sh/capacity-type": "spot"}, "aws:///us-west-2-lax-1a/" + instanceID,
			v1alpha1.NodeTerminationStatus{}, "", "spot", "us-west-2-lax-1a", "us-west-2",
		},
		{
			"one that is gone", nil, "", v1alpha1.NodeTerminationStatus{Node: &v1alpha1.NodeReference{Zone: "us-gov-west-1a"}},
			"", "", "us-gov-west-1a", "us-gov-west-1",
		},
		{"one of which nothing is known", nil, "", v1alpha1.NodeTerminationStatus{}, "", "", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: test.labels}, Spec: corev1.NodeSpec{ProviderID: test.providerID}}
			nt := &v1alpha1.NodeTermination{Spec: v1alpha1.NodeTerminationSpec{InstanceID: instanceID}, Status: test.status}
			d := NewData(v1alpha1.StepReceived, "", nt, node, nil)
			got := []string{d.InstanceType, d.InstanceLifeCycle, d.AvailabilityZone, d.Region}
			if diff := cmp.Diff([]string{test.wantType, test.wantLife, test.zone, test.region}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if want := "aws:///" + test.zone + "/" + instanceID; test.zone != "" && d.ProviderID != want {
				t.Errorf("provider ID %q, want %q", d.ProviderID, want)
			}
		})
	}
}

func TestDecidingEvent(t *testing.T) {
	event := func(id string, kind v1alpha1.EventKind, deadline int) v1alpha1.Event {
		return v1alpha1.Event{ID: id, Kind: kind, Time: at(0), Deadline: ptr.To(at(deadline))}
	}
	const spot, change, manual = v1alpha1.SpotInterruption, v1alpha1.InstanceStateChange, v1alpha1.Manual
	for _, test := range []struct {
		name   string
		cause  v1alpha1.EventKind
		active string
		events []v1alpha1.Event
		want   string
	}{
		{"none", spot, "", nil, ""},
		{"the only one", "", "", []v1alpha1.Event{event("a", spot, 2)}, "a"},
		{"of the cause", change, "a b", []v1alpha1.Event{event("a", spot, 1), event("b", change, 2)}, "b"},
		{"the nearest of the cause", spot, "a b", []v1alpha1.Event{event("a", spot, 2), event("b", spot, 1)}, "b"},
		{"one that still counts", spot, "a", []v1alpha1.Event{event("a", spot, 2), event("b", spot, 1)}, "a"},
		{"of the cause although it counts no more", spot, "b", []v1alpha1.Event{event("a", spot, 2), event("b", manual, 1)}, "a"},
		{"without a cause one that counts", "", "b", []v1alpha1.Event{event("a", spot, 1), event("b", manual, 2)}, "b"},
		{
			"the latest of those without a deadline", manual, "a b",
			[]v1alpha1.Event{{ID: "a", Kind: manual, Time: at(0)}, {ID: "b", Kind: manual, Time: at(1)}}, "b",
		},
	} {
		nt := &v1alpha1.NodeTermination{Spec: v1alpha1.NodeTerminationSpec{Events: test.events}, Status: v1alpha1.NodeTerminationStatus{Cause: test.cause}}
		for _, e := range test.events {
			state := v1alpha1.EventResolved
			if strings.Contains(test.active, e.ID) {
				state = v1alpha1.EventActive
			}
			nt.Status.Events = append(nt.Status.Events, v1alpha1.EventStatus{ID: e.ID, State: state})
		}
		if got := deciding(nt).ID; got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestWhatNTHCallsIt(t *testing.T) {
	for _, test := range []struct {
		event                                   v1alpha1.Event
		kind, monitor, state, description, time string
	}{
		{
			v1alpha1.Event{Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceSQS, Deadline: ptr.To(at(2))},
			"SPOT_ITN", "SQS_MONITOR", "", "Spot Interruption notice for instance " + instanceID + " was sent at 2026-11-22 05:08:00 +0000 UTC", "05:08",
		},
		{
			v1alpha1.Event{Kind: v1alpha1.RebalanceRecommendation, Source: v1alpha1.SourceIMDS},
			"REBALANCE_RECOMMENDATION", "REBALANCE_RECOMMENDATION_MONITOR", "", "Rebalance recommendation received. Instance will be cordoned at 2026-11-22T05:08:00Z", "05:08",
		},
		{
			v1alpha1.Event{Kind: v1alpha1.RebalanceRecommendation, Source: v1alpha1.SourceSQS},
			"REBALANCE_RECOMMENDATION", "SQS_MONITOR", "", "Rebalance recommendation event received. Instance " + instanceID + " will be cordoned at 2026-11-22 05:08:00 +0000 UTC", "05:08",
		},
		{
			v1alpha1.Event{
				Kind: v1alpha1.ScheduledMaintenance, Source: v1alpha1.SourceIMDS, NotBefore: ptr.To(at(60)),
				InstanceAction: "system-reboot", Description: "The instance is scheduled for a reboot\n",
			},
			"SCHEDULED_EVENT", "SCHEDULED_EVENT_MONITOR", "active", "system-reboot will occur after 2026-11-22T06:08:00Z because The instance is scheduled for a reboot", "06:08",
		},
		{
			v1alpha1.Event{Kind: v1alpha1.ScheduledMaintenance, Source: v1alpha1.SourceSQS, NotBefore: ptr.To(at(60)), Cancelled: ptr.To(true)},
			"SCHEDULED_EVENT", "SQS_MONITOR", "canceled", "AWS Health scheduled change event received. Instance " + instanceID + " will be interrupted at 2026-11-22 06:08:00 +0000 UTC", "06:08",
		},
		{
			v1alpha1.Event{Kind: v1alpha1.AutoScalingTermination, Source: v1alpha1.SourceSQS},
			"ASG_LIFECYCLE", "SQS_MONITOR", "", "ASG Lifecycle Termination event received. Instance will be interrupted at 2026-11-22 05:08:00 +0000 UTC", "05:08",
		},
		{
			v1alpha1.Event{Kind: v1alpha1.AutoScalingTermination, Source: v1alpha1.SourceIMDS},
			"ASG_LIFECYCLE", "ASG_LIFECYCLE_MONITOR", "", "ASG target lifecycle state received. Instance will be terminated", "05:08",
		},
		{
			v1alpha1.Event{Kind: v1alpha1.InstanceStateChange, Source: v1alpha1.SourceSQS, InstanceAction: "stopping"},
			"STATE_CHANGE", "SQS_MONITOR", "", "EC2 State Change event received. Instance " + instanceID + " went into stopping at 2026-11-22 05:08:00 +0000 UTC", "05:08",
		},
		{
			v1alpha1.Event{Kind: v1alpha1.CapacityReservationInterruption, Source: v1alpha1.SourceSQS},
			"CAPACITY_RESERVATION_INTERRUPTION", "SQS_MONITOR", "", "Capacity Reservation Interruption notice for instance " + instanceID + " was sent at 2026-11-22 05:08:00 +0000 UTC", "05:08",
		},
		{
			v1alpha1.Event{Kind: v1alpha1.Manual, Source: v1alpha1.SourceManual, Description: "a new AMI"},
			"MANUAL", "MANUAL_MONITOR", "", "a new AMI", "05:08",
		},
		{
			v1alpha1.Event{Kind: v1alpha1.InstanceStatusCheckFailed, Source: v1alpha1.SourceSQS, Description: "Threshold Crossed"},
			"INSTANCE_STATUS_CHECK_FAILED", "SQS_MONITOR", "", "Status check of instance " + instanceID + " failed at 2026-11-22 05:08:00 +0000 UTC: Threshold Crossed", "05:08",
		},
	} {
		test.event.ID, test.event.Time = "a", metav1.NewTime(now.In(time.FixedZone("CET", 3600)))
		nt := &v1alpha1.NodeTermination{Spec: v1alpha1.NodeTerminationSpec{InstanceID: instanceID, Events: []v1alpha1.Event{test.event}}}
		d := NewData(v1alpha1.StepReceived, "", nt, nil, nil)
		got := []string{d.Kind, d.Monitor, d.State, d.Description, d.StartTime.Format("15:04")}
		if diff := cmp.Diff([]string{test.kind, test.monitor, test.state, test.description, test.time}, got); diff != "" {
			t.Errorf("%s from %s (-want +got):\n%s", test.event.Kind, test.event.Source, diff)
		}
	}
}

// TestEveryKindHasAName is about kinds that the API takes and a template would call nothing.
func TestEveryKindHasAName(t *testing.T) {
	crd, err := os.ReadFile("../../../config/crd/bases/nodetermination.dev_nodeterminations.yaml")
	if err != nil {
		t.Fatal(err)
	}
	kinds := regexp.MustCompile(`enum:\n((?: +- \w+\n)*? +- SpotInterruption\n(?: +- \w+\n)*)`).FindSubmatch(crd)
	if kinds == nil {
		t.Fatal("the CRD has no list of kinds")
	}
	names := strings.Fields(strings.ReplaceAll(string(kinds[1]), "- ", ""))
	if len(names) != len(nthKinds) {
		t.Errorf("the API takes %v, templates know %d kinds", names, len(nthKinds))
	}
	for _, name := range names {
		if nthKinds[v1alpha1.EventKind(name)] == "" {
			t.Errorf("%s has no name in templates", name)
		}
	}
}
