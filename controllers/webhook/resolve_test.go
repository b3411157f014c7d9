// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// TestOnlyWhatIsLabelledIsRead: who writes policies is not to have another team's secrets sent.
func TestOnlyWhatIsLabelledIsRead(t *testing.T) {
	secretURL := v1alpha1.SecretKeySource{SecretKeyRef: v1alpha1.KeyReference{Name: "a", Key: "key"}}
	headers := v1alpha1.SecretSource{SecretRef: v1alpha1.NameReference{Name: "a"}}
	key := v1alpha1.ConfigMapKeySource{ConfigMapKeyRef: v1alpha1.KeyReference{Name: "a", Key: "key"}}
	for name, test := range map[string]struct {
		webhook v1alpha1.Webhook
		says    string
	}{
		"urlFrom":      {v1alpha1.Webhook{URLFrom: &secretURL}, "kubectl -n own label secret a nodetermination.dev/webhook=true"},
		"headersFrom":  {v1alpha1.Webhook{HeadersFrom: &headers}, "kubectl -n own label secret a nodetermination.dev/webhook=true"},
		"caFrom":       {v1alpha1.Webhook{CAFrom: &key}, "kubectl -n own label configmap a nodetermination.dev/webhook=true"},
		"templateFrom": {v1alpha1.Webhook{TemplateFrom: &key}, "kubectl -n own label configmap a nodetermination.dev/webhook=true"},
	} {
		for label, labels := range map[string]map[string]string{
			"none": nil, "another value": {v1alpha1.LabelWebhook: "false"}, "another key": {"example.com/webhook": "true"},
		} {
			meta := metav1.ObjectMeta{Namespace: "own", Name: "a", Labels: labels}
			reader := fake.NewClientBuilder().WithObjects(
				&corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"key": []byte("hidden")}},
				&corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"key": "hidden"}},
			).Build()
			resolved, err := (&Resolver{Reader: reader, Namespace: "own"}).Resolve(t.Context(), &test.webhook)
			if resolved != nil || err == nil || !strings.HasSuffix(err.Error(), test.says) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("%s, label %s: %+v, %v; want an error that ends with %q", name, label, resolved, err, test.says)
			}
		}
		meta := metav1.ObjectMeta{Namespace: "own", Name: "a", Labels: map[string]string{v1alpha1.LabelWebhook: "true"}}
		reader := fake.NewClientBuilder().WithObjects(
			&corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"key": []byte("https://example.com")}},
			&corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"key": "value"}},
		).Build()
		if _, err := (&Resolver{Reader: reader, Namespace: "own"}).Resolve(t.Context(), &test.webhook); err != nil {
			t.Errorf("%s, labelled: %v", name, err)
		}
	}
}
