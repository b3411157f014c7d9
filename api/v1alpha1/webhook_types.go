// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Webhook is an address that is told of each termination of the policy's nodes by a POST.
// Secrets and config maps are read in the manager's namespace only.
//
// +kubebuilder:validation:ExactlyOneOf=url;urlFrom
// +kubebuilder:validation:AtMostOneOf=template;templateFrom
// +kubebuilder:validation:XValidation:rule="!has(self.url) || !self.url.startsWith('http:') || (has(self.plainHTTP) && self.plainHTTP == 'Allow')",message="http sends everything in clear, headers too: write https, or plainHTTP: Allow for a receiver on a network that you trust"
type Webhook struct {
	// name tells the webhooks of a policy apart.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="a webhook's name is lower-case letters, digits and hyphens, such as slack"
	Name string `json:"name,omitempty"`

	// url is the address. For one that is a secret in itself, as Slack's are, use urlFrom.
	// Unset: urlFrom has it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^/?#@[:space:]]+([/?][^#[:space:]]*)?$')",message="url is a whole address without a password, such as https://example.com/hook: credentials belong into headersFrom, and an address that is a secret into urlFrom"
	URL string `json:"url,omitempty"`

	// urlFrom is where the address is read from. Unset: url has it.
	// +optional
	URLFrom *SecretKeySource `json:"urlFrom,omitempty"`

	// plainHTTP is Allow, to send to an http address too, or Refuse. Unset: Refuse.
	// +optional
	PlainHTTP PlainHTTP `json:"plainHTTP,omitempty"`

	// headersFrom is a secret whose keys are names of headers and whose values are theirs,
	// such as Authorization. Unset: none but Content-Type, which is application/json
	// unless the secret says otherwise.
	// +optional
	HeadersFrom *SecretSource `json:"headersFrom,omitempty"`

	// proxyURL is the proxy to send through. Unset: what HTTPS_PROXY, HTTP_PROXY and
	// NO_PROXY say in the manager's environment.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^(https?|socks5)://[^/?#@[:space:]]+/?$')",message="proxyURL is a proxy's scheme, host and port, such as http://proxy.example.com:3128; schemes are http, https and socks5"
	ProxyURL string `json:"proxyURL,omitempty"`

	// caFrom is where the certificates, in PEM, are read from that the receiver's must
	// be signed by. Unset: the ones that everybody trusts.
	// +optional
	CAFrom *ConfigMapKeySource `json:"caFrom,omitempty"`

	// template of the body, in Go's template language; docs/webhooks.md has the names
	// that can be used in it, and ready-made ones. Unset: templateFrom has it, or else
	// the body is {"text": "…"} with one sentence, as chats take it.
	// https://pkg.go.dev/text/template
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16384
	Template string `json:"template,omitempty"`

	// templateFrom is where the template is read from. Unset: template has it.
	// +optional
	TemplateFrom *ConfigMapKeySource `json:"templateFrom,omitempty"`

	// steps are what is told of. Unset: Received, Completed, Failed and Cancelled, so
	// that whatever was announced also ends.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=5
	Steps []WebhookStep `json:"steps,omitempty"`
}

// WebhookStep is a step of a termination that a webhook can be told of.
//
// +kubebuilder:validation:Enum=Received;Draining;Completed;Failed;Cancelled
type WebhookStep string

// The steps of a termination, in order; one of the last three ends it.
const (
	// StepReceived: an event was heard that something is done about.
	StepReceived WebhookStep = "Received"
	// StepDraining: the pods begin to be told to go.
	StepDraining WebhookStep = "Draining"
	// StepCompleted: the pods are gone.
	StepCompleted WebhookStep = "Completed"
	// StepFailed: it ended before the pods were gone.
	StepFailed WebhookStep = "Failed"
	// StepCancelled: every event was called off or resolved.
	StepCancelled WebhookStep = "Cancelled"
)

// PlainHTTP says whether a webhook may be sent without TLS.
//
// +kubebuilder:validation:Enum=Refuse;Allow
type PlainHTTP string

// Whether a webhook may be sent without TLS.
const (
	// PlainHTTPRefuse sends to https addresses only.
	PlainHTTPRefuse PlainHTTP = "Refuse"
	// PlainHTTPAllow sends to http addresses too.
	PlainHTTPAllow PlainHTTP = "Allow"
)

// SecretKeySource is a value in a secret.
type SecretKeySource struct {
	// secretKeyRef names the secret and the key.
	// +required
	SecretKeyRef KeyReference `json:"secretKeyRef,omitzero"`
}

// SecretSource is all of a secret.
type SecretSource struct {
	// secretRef names the secret.
	// +required
	SecretRef NameReference `json:"secretRef,omitzero"`
}

// ConfigMapKeySource is a value in a config map.
type ConfigMapKeySource struct {
	// configMapKeyRef names the config map and the key.
	// +required
	ConfigMapKeyRef KeyReference `json:"configMapKeyRef,omitzero"`
}

// NameReference names an object in the manager's namespace.
type NameReference struct {
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",message="name is an object's in the manager's namespace, of lower-case letters, digits, hyphens and dots, such as slack"
	Name string `json:"name,omitempty"`
}

// KeyReference names a value in an object in the manager's namespace.
type KeyReference struct {
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$')",message="name is an object's in the manager's namespace, of lower-case letters, digits, hyphens and dots, such as slack"
	Name string `json:"name,omitempty"`

	// key within the object's data.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="key is one of the object's data, of letters, digits, hyphens, dots and underscores, such as url"
	Key string `json:"key,omitempty"`
}

// WebhookState says how it stands with one delivery.
//
// +kubebuilder:validation:Enum=Pending;Delivered;GivenUp
type WebhookState string

// The states of a delivery. All but Pending are final.
const (
	// WebhookPending: not delivered yet.
	WebhookPending WebhookState = "Pending"
	// WebhookDelivered: the receiver has taken it.
	WebhookDelivered WebhookState = "Delivered"
	// WebhookGivenUp: it is not tried again; lastError says why.
	WebhookGivenUp WebhookState = "GivenUp"
)

// WebhookStatus tells how it stands with what one webhook is told of one step.
type WebhookStatus struct {
	// name of the webhook in the policy.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`

	// step that it is told of.
	// +required
	Step WebhookStep `json:"step,omitempty"`

	// state is Pending, Delivered or GivenUp.
	// +required
	State WebhookState `json:"state,omitempty"`

	// attempts is how many times it was sent. Unset: not yet.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Attempts *int32 `json:"attempts,omitempty"`

	// lastError is what the last attempt failed with; it holds nothing out of a secret.
	// Unset: it did not fail.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	LastError string `json:"lastError,omitempty"`

	// retryTime is when it is sent again. Unset: it has not failed, or is given up.
	// +optional
	RetryTime *metav1.Time `json:"retryTime,omitempty"`
}

// defaultSteps are the beginning and every end.
var defaultSteps = []WebhookStep{StepReceived, StepCompleted, StepFailed, StepCancelled}

// StepList are the steps that the webhook is told of.
func (w *Webhook) StepList() []WebhookStep {
	if len(w.Steps) == 0 {
		return defaultSteps
	}
	return w.Steps
}

// AllowsPlainHTTP is whether it may be sent without TLS.
func (w *Webhook) AllowsPlainHTTP() bool {
	return w.PlainHTTP == PlainHTTPAllow
}
