// SPDX-License-Identifier: Apache-2.0

package template

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// Data is what a template sees. Its first part has the names, types and meanings of the
// AWS Node Termination Handler's, so that its templates can be moved over unchanged;
// docs/webhooks.md says where a value differs. What is not known is empty, and
// a time that is not known is zero.
// https://github.com/aws/aws-node-termination-handler/tree/main/pkg/webhook
type Data struct {
	// EventID is the id of the event in the NodeTermination.
	EventID string
	// Kind is SPOT_ITN, REBALANCE_RECOMMENDATION, SCHEDULED_EVENT, ASG_LIFECYCLE or
	// STATE_CHANGE, and in the same manner CAPACITY_RESERVATION_INTERRUPTION,
	// INSTANCE_STATUS_CHECK_FAILED and MANUAL.
	Kind string
	// Monitor is SQS_MONITOR, or for what a watcher received the kind and _MONITOR.
	Monitor string
	// Description is a sentence, in one line.
	Description string
	// State of a scheduled event: active or canceled.
	State string
	// AutoScalingGroupName is the group whose lifecycle hook waits.
	AutoScalingGroupName string
	NodeName             string
	NodeLabels           map[string]string
	// Pods are the names of the pods to evict.
	Pods         []string
	InstanceID   string
	InstanceType string
	ProviderID   string
	// IsManaged is true: no webhook is notified of an instance that is not.
	IsManaged bool
	// StartTime is when it begins: the start of a scheduled event, the deadline of a
	// spot interruption that the instance itself received, and else the event's time.
	StartTime time.Time
	// EndTime is when a scheduled event ends at the latest. Zero: AWS does not say.
	EndTime time.Time
	// NodeProcessed is false and InProgress true, as they are whenever NTH sends.
	NodeProcessed, InProgress bool

	// AccountId is spelled as in NTH.
	AccountId         string //nolint:revive // NTH's spelling
	AvailabilityZone  string
	Region            string
	InstanceLifeCycle string // spot or on-demand
	LocalHostname     string
	LocalIP           string
	PublicHostname    string
	PublicIP          string

	// Step is the step that was reached: Received, Draining, Completed, Failed or Cancelled.
	Step string
	// Cause is the kind as kubectl shows it, such as SpotInterruption.
	Cause string
	// Deadline is when AWS takes the instance. Zero: no such time.
	Deadline time.Time
	// Message says how it stands, or how it ended, as kubectl shows it.
	Message string
	// Evicted is how many pods were evicted.
	Evicted int
	// Remaining is how many of the pods to evict are still there.
	Remaining int
	// Blocked are the pods that cannot be evicted, at most ten, each as namespace/name: reason.
	Blocked []string
	// Policy is the name of the policy that governs the termination.
	Policy string
}

// nthKinds are the names that NTH's templates know the kinds by, and those in the
// same manner that it does not have.
// https://github.com/aws/aws-node-termination-handler/blob/main/pkg/monitor/types.go
var nthKinds = map[v1alpha1.EventKind]string{
	v1alpha1.SpotInterruption:                "SPOT_ITN",
	v1alpha1.RebalanceRecommendation:         "REBALANCE_RECOMMENDATION",
	v1alpha1.ScheduledMaintenance:            "SCHEDULED_EVENT",
	v1alpha1.AutoScalingTermination:          "ASG_LIFECYCLE",
	v1alpha1.InstanceStateChange:             "STATE_CHANGE",
	v1alpha1.CapacityReservationInterruption: "CAPACITY_RESERVATION_INTERRUPTION",
	v1alpha1.InstanceStatusCheckFailed:       "INSTANCE_STATUS_CHECK_FAILED",
	v1alpha1.Manual:                          "MANUAL",
}

// NewData returns what a template sees of one step of a termination. message says how it
// stands. node is nil if it is gone. pods are the names, without namespaces, of the pods
// to evict.
func NewData(step v1alpha1.WebhookStep, message string, nt *v1alpha1.NodeTermination, node *corev1.Node, pods []string) Data {
	if node == nil {
		node = &corev1.Node{}
	}
	e := deciding(nt)
	instance := ptr.Deref(nt.Spec.Instance, v1alpha1.Instance{})
	status := &nt.Status
	zone := cmp.Or(ec2node.Zone(node), instance.AvailabilityZone, ptr.Deref(status.Node, v1alpha1.NodeReference{}).Zone)
	data := Data{
		EventID:              e.ID,
		Kind:                 nthKinds[e.Kind],
		Monitor:              monitor(&e),
		Description:          description(nt, &e),
		State:                maintenanceState(&e),
		AutoScalingGroupName: group(nt),
		NodeName:             nt.Spec.NodeName,
		NodeLabels:           maps.Clone(node.Labels),
		Pods:                 slices.Clone(pods),
		InstanceID:           nt.Spec.InstanceID,
		InstanceType:         cmp.Or(instance.Type, node.Labels[corev1.LabelInstanceTypeStable]),
		ProviderID:           node.Spec.ProviderID,
		IsManaged:            true,
		StartTime:            start(&e),
		EndTime:              utc(e.NotAfter),
		InProgress:           true,

		AccountId:         instance.AccountID,
		AvailabilityZone:  zone,
		Region:            cmp.Or(instance.Region, node.Labels[corev1.LabelTopologyRegion], awsapi.RegionOf(zone)),
		InstanceLifeCycle: cmp.Or(instance.LifeCycle, lifeCycle(node)),
		LocalHostname:     address(node, corev1.NodeInternalDNS, corev1.NodeHostName),
		LocalIP:           address(node, corev1.NodeInternalIP),
		PublicHostname:    address(node, corev1.NodeExternalDNS),
		PublicIP:          address(node, corev1.NodeExternalIP),

		Step:     string(step),
		Cause:    string(e.Kind),
		Message:  message,
		Deadline: utc(status.Deadline),
		Policy:   ptr.Deref(status.PolicyRef, v1alpha1.PolicyReference{}).Name,
	}
	if data.ProviderID == "" && zone != "" {
		data.ProviderID = "aws:///" + zone + "/" + nt.Spec.InstanceID
	}
	if status.Pods != nil {
		data.Evicted, data.Remaining = int(ptr.Deref(status.Pods.Evicted, 0)), int(ptr.Deref(status.Pods.Remaining, 0))
	}
	for _, pod := range status.Blocked {
		data.Blocked = append(data.Blocked, pod.Namespace+"/"+pod.Name+": "+pod.Reason)
	}
	return data
}

// deciding returns the event that stands for a termination: of the kind that decides what is
// done, one that still counts before others, then the nearest, then the latest.
func deciding(nt *v1alpha1.NodeTermination) v1alpha1.Event {
	active := map[string]bool{}
	for _, e := range nt.Status.Events {
		active[e.ID] = e.State == v1alpha1.EventActive
	}
	rank := func(e *v1alpha1.Event) int {
		switch {
		case e.Kind == nt.Status.Cause && active[e.ID]:
			return 0
		case e.Kind == nt.Status.Cause:
			return 1
		case active[e.ID]:
			return 2
		}
		return 3
	}
	if len(nt.Spec.Events) == 0 {
		return v1alpha1.Event{}
	}
	return slices.MinFunc(nt.Spec.Events, func(a, b v1alpha1.Event) int {
		return cmp.Or(
			cmp.Compare(rank(&a), rank(&b)),
			due(&a).Compare(due(&b)),
			b.Time.Compare(a.Time.Time),
			cmp.Compare(a.ID, b.ID),
		)
	})
}

// due returns when the event comes to pass: in the far future if AWS does not say.
func due(e *v1alpha1.Event) time.Time {
	switch {
	case e.Deadline != nil:
		return e.Deadline.Time
	case e.NotBefore != nil:
		return e.NotBefore.Time
	}
	return time.Unix(1<<40, 0)
}

func monitor(e *v1alpha1.Event) string {
	if e.Source == v1alpha1.SourceSQS {
		return "SQS_MONITOR"
	}
	return nthKinds[e.Kind] + "_MONITOR"
}

// start returns the time that NTH calls the start. It drains for scheduled events when it
// receives them and calls that their start; here it is the time that AWS gives.
func start(e *v1alpha1.Event) time.Time {
	switch {
	case e.NotBefore != nil:
		return utc(e.NotBefore)
	case e.Source == v1alpha1.SourceIMDS && e.Kind == v1alpha1.SpotInterruption && e.Deadline != nil:
		return utc(e.Deadline)
	}
	return utc(&e.Time)
}

func maintenanceState(e *v1alpha1.Event) string {
	switch {
	case e.Kind != v1alpha1.ScheduledMaintenance:
		return ""
	case ptr.Deref(e.Cancelled, false):
		return "canceled"
	}
	return "active"
}

// description returns AWS's own text if there is one, or a sentence such as NTH's.
func description(nt *v1alpha1.NodeTermination, e *v1alpha1.Event) string {
	id, at := nt.Spec.InstanceID, start(e)
	fromWatcher := e.Source == v1alpha1.SourceIMDS
	var text string
	switch e.Kind {
	case v1alpha1.SpotInterruption:
		text = fmt.Sprintf("Spot Interruption notice for instance %s was sent at %s", id, at)
		if fromWatcher {
			text = "Spot ITN received. Instance will be interrupted at " + at.Format(time.RFC3339)
		}
	case v1alpha1.RebalanceRecommendation:
		text = fmt.Sprintf("Rebalance recommendation event received. Instance %s will be cordoned at %s", id, at)
		if fromWatcher {
			text = "Rebalance recommendation received. Instance will be cordoned at " + at.Format(time.RFC3339)
		}
	case v1alpha1.ScheduledMaintenance:
		text = fmt.Sprintf("AWS Health scheduled change event received. Instance %s will be interrupted at %s", id, at)
		if fromWatcher || e.Description != "" {
			text = fmt.Sprintf("%s will occur after %s", cmp.Or(e.InstanceAction, "maintenance"), at.Format(time.RFC3339))
		}
		if e.Description != "" {
			text += " because " + e.Description
		}
	case v1alpha1.AutoScalingTermination:
		text = fmt.Sprintf("ASG Lifecycle Termination event received. Instance will be interrupted at %s", at)
		if fromWatcher {
			text = "ASG target lifecycle state received. Instance will be terminated"
		}
	case v1alpha1.InstanceStateChange:
		text = fmt.Sprintf("EC2 State Change event received. Instance %s went into %s at %s", id, e.InstanceAction, at)
	case v1alpha1.CapacityReservationInterruption:
		text = fmt.Sprintf("Capacity Reservation Interruption notice for instance %s was sent at %s", id, at)
	case v1alpha1.InstanceStatusCheckFailed:
		text = fmt.Sprintf("Status check of instance %s failed at %s", id, at)
		if e.Description != "" {
			text += ": " + e.Description
		}
	default:
		text = cmp.Or(e.Description, fmt.Sprintf("Drain of instance %s was asked for at %s", id, at))
	}
	return strings.Join(strings.Fields(text), " ")
}

func group(nt *v1alpha1.NodeTermination) string {
	for _, e := range nt.Spec.Events {
		if e.LifecycleHook != nil {
			return e.LifecycleHook.AutoScalingGroupName
		}
	}
	for i := range nt.Status.LifecycleHooks {
		return nt.Status.LifecycleHooks[i].AutoScalingGroupName
	}
	return ""
}

// lifeCycle returns what EKS or Karpenter says on the node, in the words of EC2.
// https://docs.aws.amazon.com/eks/latest/userguide/managed-node-groups.html#managed-node-group-capacity-types
// https://karpenter.sh/docs/concepts/nodepools/#capacity-type
func lifeCycle(node *corev1.Node) string {
	capacity := cmp.Or(node.Labels["eks.amazonaws.com/capacityType"], node.Labels["karpenter.sh/capacity-type"])
	return strings.ReplaceAll(strings.ToLower(capacity), "_", "-")
}

func address(node *corev1.Node, types ...corev1.NodeAddressType) string {
	for _, wanted := range types {
		for _, a := range node.Status.Addresses {
			if a.Type == wanted {
				return a.Address
			}
		}
	}
	return ""
}

// utc returns a time as NTH prints it: 2026-11-22 05:10:00 +0000 UTC.
func utc(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// escaped returns the data with every text in it as it is written within quotes in JSON.
func (d Data) escaped() Data {
	for _, field := range reflect.ValueOf(&d).Elem().Fields() {
		if field.Kind() == reflect.String {
			field.SetString(escape(field.String()))
		}
	}
	for _, list := range []*[]string{&d.Pods, &d.Blocked} {
		*list = slices.Clone(*list)
		for i, text := range *list {
			(*list)[i] = escape(text)
		}
	}
	labels := make(map[string]string, len(d.NodeLabels))
	for key, label := range d.NodeLabels {
		labels[key] = escape(label)
	}
	d.NodeLabels = labels
	return d
}

func escape(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		return "" // a string has no other error than none
	}
	return string(quoted[1 : len(quoted)-1])
}
