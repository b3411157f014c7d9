// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// TestHealthOfRealTerminations has the manager write the states that last, and looks at their health. TestArgoCD
// does so for Draining, Completed, Cordoned and Suspended.
func TestHealthOfRealTerminations(t *testing.T) {
	apply(t, kustomize(t, path("config/default")))
	startManager(t)
	queue, err := aws.CreateQueue("states", nil)
	if err != nil {
		t.Fatal(err)
	}
	manual := v1alpha1.Event{Kind: v1alpha1.Manual}
	recommended := v1alpha1.Event{Kind: v1alpha1.RebalanceRecommendation}
	inThreeDays := metav1.NewTime(time.Now().Add(3 * 24 * time.Hour).Truncate(time.Second))
	for name, tt := range map[string]struct {
		event  v1alpha1.Event
		policy func(*v1alpha1.NodeTerminationPolicySpec) // nil: there is no policy
		want   string
		then   func(t *testing.T, nt *v1alpha1.NodeTermination) // afterwards the state is Cancelled
	}{
		"NoPolicy": {event: manual, want: degraded},
		"DryRun":   {event: manual, policy: func(spec *v1alpha1.NodeTerminationPolicySpec) { spec.Mode = v1alpha1.ModeDryRun }, want: healthy},
		"Ignored": {event: recommended, policy: func(spec *v1alpha1.NodeTerminationPolicySpec) {
			spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.RebalanceRecommendation, Action: v1alpha1.ActionIgnore}}
		}, want: healthy},
		"Scheduled": {
			event: v1alpha1.Event{Kind: v1alpha1.ScheduledMaintenance, NotBefore: &inThreeDays, Deadline: &inThreeDays}, policy: asItIs, want: progressing,
		},
		"Failed": {event: manual, policy: func(spec *v1alpha1.NodeTerminationPolicySpec) {
			spec.Drain = &v1alpha1.DrainSpec{TimeoutSeconds: new(int32(1))}
		}, want: degraded},
		"Cordoned": {event: recommended, policy: asItIs, want: healthy, then: cancel},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			label := map[string]string{"state": name}
			node := cluster.Get(t).CreateNodes(t, 1, func(node *corev1.Node) { node.Labels["state"] = name })[0]
			blockedPod(t, node, label)
			if tt.policy != nil {
				createPolicy(t, name, queue, tt.policy)
			}
			nt := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instance(node)}}
			nt.Spec.InstanceID, nt.Spec.NodeName = instance(node), node.Name
			tt.event.ID, tt.event.Source, tt.event.Time = "test", v1alpha1.SourceManual, metav1.NewTime(time.Now().Truncate(time.Second))
			nt.Spec.Events = []v1alpha1.Event{tt.event}
			if err := admin.Create(t.Context(), nt); err != nil {
				t.Fatal(err)
			}
			checkState(t, node, name, tt.want)
			if tt.then != nil {
				tt.then(t, nt)
				checkState(t, node, v1alpha1.StateCancelled, healthy)
			}
		})
	}
}

func asItIs(*v1alpha1.NodeTerminationPolicySpec) {}

// cancel cancels the event of a NodeTermination.
func cancel(t *testing.T, nt *v1alpha1.NodeTermination) {
	t.Helper()
	kubectl(t, "patch", "nt", nt.Name, "--type=json", `--patch=[{"op": "add", "path": "/spec/events/0/cancelled", "value": true}]`)
}

// createPolicy creates a policy for the nodes with the label state.
func createPolicy(t *testing.T, state, queue string, change func(*v1alpha1.NodeTerminationPolicySpec)) {
	t.Helper()
	policy := &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: strings.ToLower(state)}}
	policy.Spec.NodeSelector = &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"state": v1alpha1.LabelValue(state)}}
	policy.Spec.Sources = []v1alpha1.Source{{Name: "queue", SQS: &v1alpha1.SQSSource{QueueURL: queue}}}
	change(&policy.Spec)
	if err := admin.Create(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
}

// blockedPod makes a pod that a disruption budget keeps on the node.
func blockedPod(t *testing.T, node *corev1.Node, labels map[string]string) {
	t.Helper()
	namespace := cluster.Get(t).CreateNamespace(t)
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "for-good"}}
	budget.Spec.MinAvailable = new(intstr.FromInt32(100))
	budget.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	if err := admin.Create(t.Context(), budget); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(budget), budget); err != nil {
			return err
		}
		if budget.Status.ObservedGeneration < budget.Generation {
			return fmt.Errorf("budget %s was not seen yet", budget.Name)
		}
		return nil
	})
	cluster.Get(t).CreatePods(t, namespace, node.Name, 1, func(pod *corev1.Pod) { pod.Labels = labels })
}

// checkState waits for a state and checks its health, and that the message is the status's.
func checkState(t *testing.T, node *corev1.Node, state, want string) {
	t.Helper()
	untilState(t, node, state)
	var termination v1alpha1.NodeTermination
	if err := admin.Get(t.Context(), client.ObjectKey{Name: instance(node)}, &termination); err != nil {
		t.Fatal(err)
	}
	ready := meta.FindStatusCondition(termination.Status.Conditions, v1alpha1.ConditionReady)
	if got := healthOf(t, get(t, nt(node))); got != (health{want, ready.Message}) {
		t.Errorf("%+v, want %s with %q", got, want, ready.Message)
	}
}
