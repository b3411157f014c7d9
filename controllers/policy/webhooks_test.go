// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// TestPolicySaysWhatIsWrongWithItsWebhooks: what a webhook refers to may come later, and is
// checked whenever it changes.
func TestPolicySaysWhatIsWrongWithItsWebhooks(t *testing.T) {
	policy := &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{GenerateName: "webhooks-"}}
	policy.Spec.Sources = []v1alpha1.Source{{Name: "metadata", IMDS: &v1alpha1.IMDSSource{}}}
	policy.Spec.NodeSelector = &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"webhooks": "only"}}
	policy.Spec.Webhooks = []v1alpha1.Webhook{{
		Name:         "slack",
		URLFrom:      &v1alpha1.SecretKeySource{SecretKeyRef: v1alpha1.KeyReference{Name: "slack", Key: "url"}},
		TemplateFrom: &v1alpha1.ConfigMapKeySource{ConfigMapKeyRef: v1alpha1.KeyReference{Name: "slack", Key: "template"}},
	}}
	create(t, policy)
	says := func(want string) {
		t.Helper()
		eventually(t, func() error {
			if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(policy), policy); err != nil {
				return err
			}
			ready := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.ConditionReady)
			if ready == nil || want != "" && (ready.Reason != v1alpha1.ReasonInvalidWebhook || !strings.Contains(ready.Message, want)) ||
				want == "" && ready.Reason == v1alpha1.ReasonInvalidWebhook {
				return fmt.Errorf("want %q, got %+v", want, ready)
			}
			return nil
		})
	}
	says("webhook slack: there is no secret default/slack")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "slack"}, StringData: map[string]string{"url": "https://example.com/hook"}}
	create(t, secret)
	label(t, secret, "yes")
	says("kubectl -n default label secret slack nodetermination.dev/webhook=true")
	label(t, secret, "true")
	says("there is no config map default/slack")
	templates := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "slack"}, Data: map[string]string{"other": ""}}
	create(t, templates)
	says("kubectl -n default label configmap slack nodetermination.dev/webhook=true")
	label(t, templates, "true")
	says(`config map default/slack has no key "template"`)
	for template, want := range map[string]string{
		`{"text": "{{ .NodeNmae }}"}`:          "NodeNmae",
		`{"text": "{{ .NodeName }"}`:           "webhook slack: ",
		`{"text": {{ .NodeName | toJson }}}`:   "",
		`{"text": {{ env "HOME" | toJson }}}`:  "env",
		`{"text": "{{ .NodeName }}", "more": `: "JSON",
	} {
		patch := client.MergeFrom(templates.DeepCopy())
		templates.Data["template"] = template
		if err := admin(t).Patch(t.Context(), templates, patch); err != nil {
			t.Fatal(err)
		}
		says(want)
	}
}

// label labels what webhooks may use.
func label(t *testing.T, object client.Object, value string) {
	t.Helper()
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, v1alpha1.LabelWebhook, value))
	if err := admin(t).Patch(t.Context(), object, patch); err != nil {
		t.Fatal(err)
	}
}
