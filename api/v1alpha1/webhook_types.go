// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Webhook is a URL that is notified of each termination of the policy's nodes, with a
// POST request. Secrets and ConfigMaps are read in the manager's namespace only, and only
// those that carry the label nodetermination.dev/webhook: "true".
//
// +kubebuilder:validation:ExactlyOneOf=url;urlFrom
// +kubebuilder:validation:AtMostOneOf=template;templateFrom
// +kubebuilder:validation:XValidation:rule="!has(self.url) || !self.url.startsWith('http:') || (has(self.plainHTTP) && self.plainHTTP == 'Allow')",message="http sends everything in clear, headers too: write https, or plainHTTP: Allow for a receiver on a network that you trust"
type Webhook struct {
	// name identifies the webhook within the policy.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="a webhook's name is lower-case letters, digits and hyphens, such as slack"
	Name string `json:"name,omitempty"`

	// url is the URL. For a URL that is a secret in itself, such as Slack's, use
	// urlFrom. Unset: urlFrom is set.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^/?#@[:space:]]+([/?][^#[:space:]]*)?$') && isURL(self)",message="url is a whole address without a password, such as https://example.com/hook: credentials belong into headersFrom, and an address that is a secret into urlFrom"
	URL string `json:"url,omitempty"`

	// urlFrom is where the URL is read from. Unset: url is set.
	// +optional
	URLFrom *SecretKeySource `json:"urlFrom,omitempty"`

	// plainHTTP is Allow or Refuse. With Allow, an http URL is accepted too. Unset:
	// Refuse.
	// +optional
	PlainHTTP PlainHTTP `json:"plainHTTP,omitempty"`

	// headersFrom is a Secret whose keys are the names of HTTP headers, such as
	// Authorization, and whose values are their values. Unset: only Content-Type is
	// sent, which is application/json unless the Secret has another.
	// +optional
	HeadersFrom *SecretSource `json:"headersFrom,omitempty"`

	// proxyURL is the URL of the proxy. Unset: the environment variables HTTPS_PROXY,
	// HTTP_PROXY and NO_PROXY of the manager apply.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^(https?|tcp|socks5)://[^/?#@[:space:]]+/?$') && isURL(self)",message="proxyURL is a proxy's scheme, host and port, such as http://proxy.example.com:3128; schemes are http, https, socks5, and tcp, which is http"
	ProxyURL string `json:"proxyURL,omitempty"`

	// caFrom is where the CA certificates, in PEM, are read from that must have signed
	// the receiver's certificate. Unset: the system's CA certificates.
	// +optional
	CAFrom *ConfigMapKeySource `json:"caFrom,omitempty"`

	// template is the template of the body, in Go's template language.
	// docs/webhooks.md has the names that a template can use, and ready-made
	// templates. Unset: templateFrom applies; without it the body is {"text": "…"}
	// with one sentence, as chat services expect.
	// https://pkg.go.dev/text/template
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16384
	Template string `json:"template,omitempty"`

	// templateFrom is where the template is read from. Unset: template applies.
	// +optional
	TemplateFrom *ConfigMapKeySource `json:"templateFrom,omitempty"`

	// steps are the steps that are notified. Unset: Received, Completed, Failed and
	// Cancelled, so that whatever was announced also ends.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=5
	Steps []WebhookStep `json:"steps,omitempty"`
}

// WebhookStep is a step of a termination that a webhook can be notified of.
//
// +kubebuilder:validation:Enum=Received;Draining;Completed;Failed;Cancelled
type WebhookStep string

// The steps of a termination, in order. One of the last three ends it.
const (
	// StepReceived: an event was received, and the policy's action for it is not
	// Ignore.
	StepReceived WebhookStep = "Received"
	// StepDraining: the eviction of the pods begins.
	StepDraining WebhookStep = "Draining"
	// StepCompleted: the pods are gone.
	StepCompleted WebhookStep = "Completed"
	// StepFailed: the termination ended before the pods were gone.
	StepFailed WebhookStep = "Failed"
	// StepCancelled: every event was cancelled or resolved.
	StepCancelled WebhookStep = "Cancelled"
)

// PlainHTTP says whether a webhook may be sent without TLS.
//
// +kubebuilder:validation:Enum=Refuse;Allow
type PlainHTTP string

// The values of plainHTTP.
const (
	// PlainHTTPRefuse sends to https URLs only.
	PlainHTTPRefuse PlainHTTP = "Refuse"
	// PlainHTTPAllow sends to http URLs too.
	PlainHTTPAllow PlainHTTP = "Allow"
)

// SecretKeySource is a value in a Secret.
type SecretKeySource struct {
	// secretKeyRef refers to the Secret and the key.
	// +required
	SecretKeyRef KeyReference `json:"secretKeyRef,omitzero"`
}

// SecretSource is a whole Secret.
type SecretSource struct {
	// secretRef refers to the Secret.
	// +required
	SecretRef NameReference `json:"secretRef,omitzero"`
}

// ConfigMapKeySource is a value in a ConfigMap.
type ConfigMapKeySource struct {
	// configMapKeyRef refers to the ConfigMap and the key.
	// +required
	ConfigMapKeyRef KeyReference `json:"configMapKeyRef,omitzero"`
}

// NameReference refers to an object in the manager's namespace.
type NameReference struct {
	// name is the name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="name is an object's in the manager's namespace, of lower-case letters, digits, hyphens and dots, such as slack"
	Name string `json:"name,omitempty"`
}

// KeyReference refers to a value in an object in the manager's namespace.
type KeyReference struct {
	// name is the name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="name is an object's in the manager's namespace, of lower-case letters, digits, hyphens and dots, such as slack"
	Name string `json:"name,omitempty"`

	// key is the key in the object's data.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..')",message="key is one of the object's data, of letters, digits, hyphens, dots and underscores, such as url"
	Key string `json:"key,omitempty"`
}

// WebhookState is the state of one delivery.
//
// +kubebuilder:validation:Enum=Pending;Delivered;GivenUp
type WebhookState string

// The states of a delivery. All but Pending are final.
const (
	// WebhookPending: not delivered yet.
	WebhookPending WebhookState = "Pending"
	// WebhookDelivered: the receiver has accepted it.
	WebhookDelivered WebhookState = "Delivered"
	// WebhookGivenUp: it is not tried again; lastError says why.
	WebhookGivenUp WebhookState = "GivenUp"
)

// WebhookStatus is the delivery of one step to one webhook.
type WebhookStatus struct {
	// name is the name of the webhook in the policy.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`

	// step is the step that the webhook is notified of.
	// +required
	Step WebhookStep `json:"step,omitempty"`

	// state is Pending, Delivered or GivenUp.
	// +required
	State WebhookState `json:"state,omitempty"`

	// attempts is how many times the request was sent. Unset: it has not been sent
	// yet.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Attempts *int32 `json:"attempts,omitempty"`

	// lastError is the error of the last attempt. It contains nothing from a Secret.
	// Unset: no attempt has failed.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	LastError string `json:"lastError,omitempty"`

	// retryTime is when the request is sent again. Unset: no attempt has failed, or
	// the delivery is given up.
	// +optional
	RetryTime *metav1.Time `json:"retryTime,omitempty"`
}

// defaultSteps are the beginning and every end.
var defaultSteps = []WebhookStep{StepReceived, StepCompleted, StepFailed, StepCancelled}

// StepList returns the steps that the webhook is notified of.
func (w *Webhook) StepList() []WebhookStep {
	if len(w.Steps) == 0 {
		return defaultSteps
	}
	return w.Steps
}

// AllowsPlainHTTP reports whether the webhook may be sent without TLS.
func (w *Webhook) AllowsPlainHTTP() bool {
	return w.PlainHTTP == PlainHTTPAllow
}
