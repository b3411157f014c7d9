// SPDX-License-Identifier: Apache-2.0

package template

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/lru"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// maxChecked is how many templates are known whose check need not be repeated.
const maxChecked = 64

// checked holds what check returned, by template and content type: it renders some
// seventy times, and the answer is needed at each delivery.
var checked = lru.New(maxChecked)

// Check renders a template for samples of every kind of event at every step, with the node
// there and gone. The error says for which of them it failed, and what to write instead.
func Check(ctx context.Context, text, contentType string) error {
	if err := takeTurn(ctx); err != nil {
		return err
	}
	defer endTurn()
	return checkOnce(text, contentType)
}

// checkOnce checks a template, or returns what is known of it.
func checkOnce(text, contentType string) error {
	key := sha256.Sum256([]byte(contentType + "\x00" + text))
	known, found := checked.Get(key)
	if !found {
		known = check(text, contentType)
		checked.Add(key, known)
	}
	err, _ := known.(error) // nil if it is right
	return err
}

// check checks a template that is not known yet.
func check(text, contentType string) error {
	parsed, err := parseTemplate(text)
	if err != nil {
		return err
	}
	for _, kind := range slices.Sorted(maps.Keys(nthKinds)) {
		for _, step := range []v1alpha1.WebhookStep{
			v1alpha1.StepReceived, v1alpha1.StepDraining, v1alpha1.StepCompleted, v1alpha1.StepFailed, v1alpha1.StepCancelled,
		} {
			for _, data := range samples(kind, step) {
				if _, err := render(parsed, contentType, data); err != nil {
					return fmt.Errorf("%w (tried with a %s at step %s)", err, kind, step)
				}
			}
		}
	}
	return nil
}

// samples returns a termination in full, and the least that may be known of one.
func samples(kind v1alpha1.EventKind, step v1alpha1.WebhookStep) []Data {
	received := metav1.Date(2026, time.November, 22, 5, 8, 0, 0, time.UTC)
	deadline := metav1.NewTime(received.Add(2 * time.Minute))
	full := &v1alpha1.NodeTermination{
		Spec: v1alpha1.NodeTerminationSpec{
			InstanceID: "i-0abc1234def567890",
			NodeName:   "ip-10-0-3-7.ec2.internal",
			Instance: &v1alpha1.Instance{
				Type: "m6i.large", LifeCycle: "spot", AvailabilityZone: "us-east-1a", Region: "us-east-1", AccountID: "123456789012",
			},
			Events: []v1alpha1.Event{{
				ID: "1e5527d7-bb36-4607-3370-4164db56a40e", Kind: kind, Source: v1alpha1.SourceIMDS, Time: received, Deadline: &deadline, NotAfter: &deadline,
				InstanceAction: "terminate", LifecycleHook: &v1alpha1.LifecycleHook{AutoScalingGroupName: "workers", Name: "drain"},
			}},
		},
		Status: v1alpha1.NodeTerminationStatus{
			Cause:     kind,
			Events:    []v1alpha1.EventStatus{{ID: "1e5527d7-bb36-4607-3370-4164db56a40e", State: v1alpha1.EventActive}},
			PolicyRef: &v1alpha1.PolicyReference{Name: "spot"},
			Deadline:  &deadline,
			Pods:      &v1alpha1.PodCounts{Evicted: ptr.To[int32](2), Remaining: ptr.To[int32](2)},
			Blocked:   []v1alpha1.BlockedPod{{Namespace: "default", Name: "web-1", Reason: "disruption budget web allows none"}},
		},
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{corev1.LabelHostname: "ip-10-0-3-7.ec2.internal"}},
		Spec:       corev1.NodeSpec{ProviderID: "aws:///us-east-1a/i-0abc1234def567890"},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: "10.0.3.7"}, {Type: corev1.NodeInternalDNS, Address: "ip-10-0-3-7.ec2.internal"},
			{Type: corev1.NodeExternalIP, Address: "203.0.113.7"}, {Type: corev1.NodeExternalDNS, Address: "ec2-203-0-113-7.compute-1.amazonaws.com"},
		}},
	}
	least := &v1alpha1.NodeTermination{Spec: v1alpha1.NodeTerminationSpec{
		InstanceID: full.Spec.InstanceID, NodeName: full.Spec.NodeName,
		Events: []v1alpha1.Event{{ID: "a", Kind: kind, Source: v1alpha1.SourceSQS, Time: received}},
	}}
	return []Data{
		NewData(step, "1/3 pods are gone, 1 are shutting down", full, node, []string{"web-0", "web-1"}),
		NewData(step, "", least, nil, nil),
	}
}
