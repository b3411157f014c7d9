// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsac "k8s.io/client-go/applyconfigurations/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// TestApplyingAgainChangesNothing: an idle operator causes no events, however much a policy changes of the pods.
func TestApplyingAgainChangesNothing(t *testing.T) {
	t.Parallel()
	policy := applyIMDS(t, "much", func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.NodeSelector.MatchExpressions = []v1alpha1.LabelSelectorRequirement{{Key: "no", Operator: metav1.LabelSelectorOpDoesNotExist}}
		spec.Sources[0].IMDS.PodTemplate = richTemplate()
	})
	untilSource(t, policy, watchersReady(0))
	first := applyDaemonSet(t, linux.daemonSet(policy, &policy.Spec.Sources[0], settings))
	if second := applyDaemonSet(t, linux.daemonSet(policy, &policy.Spec.Sources[0], settings)); first.ResourceVersion != second.ResourceVersion {
		t.Errorf("applying once more has changed the DaemonSet:\n%s", cmp.Diff(first, second))
	}
	elsewhere := settings // where the reconciler does not delete it, as there is no Windows node
	elsewhere.namespace = cluster.Get(t).CreateNamespace(t)
	first = applyDaemonSet(t, windows.daemonSet(policy, &policy.Spec.Sources[0], elsewhere))
	if second := applyDaemonSet(t, windows.daemonSet(policy, &policy.Spec.Sources[0], elsewhere)); first.Generation != second.Generation {
		t.Errorf("applying once more has changed the DaemonSet for Windows:\n%s", cmp.Diff(first, second))
	}
}

// applyDaemonSet applies a DaemonSet as the reconciler does, and returns what became of it.
func applyDaemonSet(t *testing.T, desired *appsac.DaemonSetApplyConfiguration) *appsv1.DaemonSet {
	t.Helper()
	if err := admin(t).Apply(t.Context(), desired, client.FieldOwner(v1alpha1.FieldManager), client.ForceOwnership); err != nil {
		t.Fatal(err)
	}
	ds := &appsv1.DaemonSet{}
	if err := admin(t).Get(t.Context(), client.ObjectKey{Namespace: *desired.Namespace, Name: *desired.Name}, ds); err != nil {
		t.Fatal(err)
	}
	return ds
}

// TestUpgradeKeepsTheDaemonSet: that of version 0.1.0 becomes today's, and nothing of it is left.
func TestUpgradeKeepsTheDaemonSet(t *testing.T) {
	t.Parallel()
	policy := applyIMDS(t, "upgraded")
	source := &policy.Spec.Sources[0]
	own := settings
	own.namespace = cluster.Get(t).CreateNamespace(t)
	old := linux.daemonSet(policy, source, own)
	old.Spec.UpdateStrategy.Type = nil
	pod := old.Spec.Template.Spec
	pod.NodeSelector = nil
	pod.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].
		WithMatchExpressions(requirement(corev1.LabelOSStable, corev1.NodeSelectorOpIn, string(corev1.Linux)))
	before := applyDaemonSet(t, old)
	after := applyDaemonSet(t, linux.daemonSet(policy, source, own))
	if after.UID != before.UID || after.Name != "imds-watcher-upgraded" {
		t.Errorf("DaemonSet %s of UID %s was %s of UID %s", after.Name, after.UID, before.Name, before.UID)
	}
	another := settings
	another.namespace = cluster.Get(t).CreateNamespace(t)
	if diff := cmp.Diff(applyDaemonSet(t, linux.daemonSet(policy, source, another)).Spec, after.Spec); diff != "" {
		t.Errorf("-a new one +the upgraded:\n%s", diff)
	}
}
