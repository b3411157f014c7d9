// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/webhook/template"
)

// Resolver reads what webhooks refer to. It knows one namespace, the manager's.
type Resolver struct {
	// Reader reads Secrets and ConfigMaps, from a cache so that a change counts from
	// the next delivery on without a request for each. Those without the label
	// nodetermination.dev/webhook=true are as good as missing.
	Reader client.Reader
	// Namespace of the manager. Empty: it is not known, and nothing can be referred to.
	Namespace string
}

// Resolved is a webhook with everything read that it refers to.
type Resolved struct {
	webhook  *v1alpha1.Webhook
	url      string
	header   http.Header
	ca       []byte
	template string
}

// Resolve reads what a webhook refers to. The error says what is missing, and holds nothing of it.
func (r *Resolver) Resolve(ctx context.Context, webhook *v1alpha1.Webhook) (*Resolved, error) {
	resolved := &Resolved{webhook: webhook, url: webhook.URL, template: webhook.Template}
	if from := webhook.URLFrom; from != nil {
		secret, err := r.secret(ctx, from.SecretKeyRef.Name)
		if err != nil {
			return nil, err
		}
		value, found := secret[from.SecretKeyRef.Key]
		if !found {
			return nil, fmt.Errorf("secret %s/%s has no key %q: add it", r.Namespace, from.SecretKeyRef.Name, from.SecretKeyRef.Key)
		}
		resolved.url = string(value)
	}
	if from := webhook.HeadersFrom; from != nil {
		secret, err := r.secret(ctx, from.SecretRef.Name)
		if err != nil {
			return nil, err
		}
		if resolved.header, err = headersOf(secret); err != nil {
			return nil, fmt.Errorf("secret %s/%s: %w", r.Namespace, from.SecretRef.Name, err)
		}
	}
	if from := webhook.CAFrom; from != nil {
		value, err := r.ConfigMapKey(ctx, from.ConfigMapKeyRef)
		if err != nil {
			return nil, err
		}
		resolved.ca = []byte(value)
	}
	if from := webhook.TemplateFrom; from != nil {
		value, err := r.ConfigMapKey(ctx, from.ConfigMapKeyRef)
		if err != nil {
			return nil, err
		}
		resolved.template = value
	}
	if resolved.template == "" {
		resolved.template = template.Default
	}
	return resolved, nil
}

// Check returns an error that says what is wrong with a webhook that could be resolved.
func (r *Resolved) Check(ctx context.Context) error {
	if _, err := (&Delivery{URL: r.url, AllowPlainHTTP: r.webhook.AllowsPlainHTTP()}).request(ctx); err != nil {
		return err
	}
	if _, err := newClient(r.webhook.ProxyURL, r.ca); err != nil {
		return err
	}
	return template.Check(ctx, r.template, contentType(r.header))
}

// Delivery returns what is sent with this data. The error says what is wrong with the
// template, or is that of ctx.
func (r *Resolved) Delivery(ctx context.Context, data template.Data) (Delivery, error) {
	body, err := template.Render(ctx, r.template, contentType(r.header), data)
	if err != nil {
		return Delivery{}, err
	}
	return Delivery{
		URL: r.url, AllowPlainHTTP: r.webhook.AllowsPlainHTTP(), Header: r.header,
		ProxyURL: r.webhook.ProxyURL, CA: r.ca, Body: body,
	}, nil
}

var errNoNamespace = errors.New("the manager does not know its namespace, so it can read no secret and no config map: set POD_NAMESPACE, or --leader-election-namespace")

func (r *Resolver) secret(ctx context.Context, name string) (map[string][]byte, error) {
	if r.Namespace == "" {
		return nil, errNoNamespace
	}
	secret := &corev1.Secret{}
	err := r.Reader.Get(ctx, types.NamespacedName{Namespace: r.Namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) || err == nil && !isForWebhooks(secret) {
		return nil, r.missing("secret", name)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read secret %s/%s: %w", r.Namespace, name, err)
	}
	return secret.Data, nil
}

// ConfigMapKey returns a value of a ConfigMap. The error says what is missing.
func (r *Resolver) ConfigMapKey(ctx context.Context, ref v1alpha1.KeyReference) (string, error) {
	if r.Namespace == "" {
		return "", errNoNamespace
	}
	configMap := &corev1.ConfigMap{}
	err := r.Reader.Get(ctx, types.NamespacedName{Namespace: r.Namespace, Name: ref.Name}, configMap)
	switch {
	case apierrors.IsNotFound(err), err == nil && !isForWebhooks(configMap):
		return "", r.missing("config map", ref.Name)
	case err != nil:
		return "", fmt.Errorf("cannot read config map %s/%s: %w", r.Namespace, ref.Name, err)
	}
	value, found := configMap.Data[ref.Key]
	if !found {
		return "", fmt.Errorf("config map %s/%s has no key %q: add it", r.Namespace, ref.Name, ref.Key)
	}
	return value, nil
}

// isForWebhooks reports whether a Secret or ConfigMap is for webhooks: in the manager's namespace there are
// others, and who writes policies is not to have them sent anywhere.
func isForWebhooks(object client.Object) bool {
	return object.GetLabels()[v1alpha1.LabelWebhook] == "true"
}

// missing returns the error for a secret or config map that is not there, or not for webhooks: which
// of them it is the cache does not know.
func (r *Resolver) missing(what, name string) error {
	const label = v1alpha1.LabelWebhook + "=true"
	return fmt.Errorf("there is no %s %s/%s with the label %s: create it, or label it: kubectl -n %s label %s %s %s",
		what, r.Namespace, name, label, r.Namespace, strings.ReplaceAll(what, " ", ""), name, label)
}
