// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/testcluster"
)

func TestIsRefused(t *testing.T) {
	nodes := schema.GroupResource{Resource: "nodes"}
	denied := errors.New(`admission webhook "guard.example.com" denied the request: no`)
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"nothing":                       {nil, false},
		"a webhook denies it":           {denied, true},
		"with the code for not found":   {fmt.Errorf("cannot patch: %w", denied), true},
		"a webhook cannot be reached":   {apierrors.NewInternalError(errors.New(`failed calling webhook "guard.example.com": timeout`)), true},
		"a policy denies it":            {apierrors.NewInvalid(schema.GroupKind{Kind: "Node"}, "n", nil), true},
		"the manager has not the right": {apierrors.NewForbidden(nodes, "n", nil), true},
		"somebody wrote meanwhile":      {apierrors.NewConflict(nodes, "n", nil), false},
		"the node is gone":              {apierrors.NewNotFound(nodes, "n"), false},
		"the API server is busy":        {apierrors.NewTooManyRequests("later", 1), false},
	} {
		if got := isRefused(test.err); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}

// refuseCordons has the API server refuse to cordon the setting's nodes, and returns what ends that.
func (s *setting) refuseCordons() (end func()) {
	s.t.Helper()
	label := string(s.policy.Spec.NodeSelector.MatchLabels["test"])
	policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "refuse-" + label}}
	policy.Spec.MatchConstraints = &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{admissionv1.Update},
		Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"nodes"}},
	}}}}
	policy.Spec.Validations = []admissionv1.Validation{{
		Expression: fmt.Sprintf("object.metadata.?labels[?'test'].orValue('') != '%s' || !object.spec.?unschedulable.orValue(false)", label),
		Message:    "this node may not be cordoned",
	}}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: policy.ObjectMeta}
	binding.Spec = admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: policy.Name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}}
	s.create(policy)
	s.create(binding)
	testcluster.Eventually(s.t, patience, func() error {
		node := s.node(0)
		patch := client.MergeFrom(node.DeepCopy())
		node.Spec.Unschedulable = true
		if err := admin(s.t).Patch(s.t.Context(), node, patch, client.DryRunAll); !apierrors.IsInvalid(err) {
			return fmt.Errorf("the policy does not refuse cordons yet: %w", err)
		}
		return nil
	})
	return func() {
		if err := admin(s.t).Delete(s.t.Context(), binding); err != nil {
			s.t.Fatal(err)
		}
	}
}

// Pods get their SIGTERM also if the node cannot be cordoned.
func TestPodsAreEvictedThoughTheCordonIsRefused(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	s.deploy(1)
	allow := s.refuseCordons()
	evicted := s.left(0)[0]
	nt := s.until(s.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateCompleted)
	condition := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionCordoned)
	if condition == nil || condition.Reason != v1alpha1.ReasonCordonRefused || !strings.Contains(condition.Message, "may not be cordoned") {
		t.Errorf("cordoned %+v, want why it is not", condition)
	}
	var replacement string
	testcluster.Eventually(t, patience, func() error {
		left := s.left(0)
		if len(left) != 1 || left[0] == evicted {
			return fmt.Errorf("pods %v are on the node, want the one that replaced %s", left, evicted)
		}
		replacement = left[0]
		return nil
	})
	allow()
	s.untilCordonReason(nt, v1alpha1.ReasonCordoned)
	if left := s.left(0); len(left) == 1 && left[0] != replacement {
		t.Errorf("pod %s was evicted before the cordon, %s replaced it", replacement, left[0])
	}
	testcluster.Eventually(t, patience, func() error {
		if left := s.left(0); len(left) > 0 {
			return fmt.Errorf("%v are not evicted after the cordon", left)
		}
		return nil
	})
}

// What comes from NTH goes on working: its labels and taint are on the node as long as the cordon is.
func TestLabelsAndTaintOfNTH(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Node = &v1alpha1.NodeActions{
			Labels: v1alpha1.LabelsNTH,
			Taint:  &v1alpha1.NodeTaint{Key: v1alpha1.TaintKeysNTH, Effect: v1alpha1.TaintEffect(corev1.TaintEffectNoSchedule)},
		}
	})
	taint := corev1.Taint{Key: "aws-node-termination-handler/rebalance-recommendation", Value: "r", Effect: corev1.TaintEffectNoSchedule}
	e := recommendation()
	e.ID = "r"
	nt := s.terminate(0, e)
	s.until(nt, v1alpha1.StateCordoned)
	s.untilNode(0, func(node *corev1.Node) error {
		if node.Labels[v1alpha1.LabelNTHAction] != "cordon" || node.Labels[v1alpha1.LabelNTHEventID] != "r" || node.Labels[v1alpha1.LabelNTHActionTime] == "" ||
			!slices.ContainsFunc(node.Spec.Taints, func(other corev1.Taint) bool { return other.Key == taint.Key && other.Value == taint.Value }) {
			return fmt.Errorf("labels %v, taints %v", node.Labels, node.Spec.Taints)
		}
		return nil
	})
	if err := admin(t).Delete(t.Context(), nt); err != nil {
		t.Fatal(err)
	}
	s.untilNode(0, func(node *corev1.Node) error {
		_, labelled := node.Labels[v1alpha1.LabelNTHAction]
		if labelled || ec2node.HasTaint(node, &taint) || node.Spec.Unschedulable {
			return fmt.Errorf("labels %v, taints %v", node.Labels, node.Spec.Taints)
		}
		return nil
	})
}
