// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestWrongWebhooksAreRefused(t *testing.T) {
	const address = `url: "https://example.com/hook"`
	for _, test := range []struct {
		name, webhook string
		want          []string
	}{
		{"no address", `{name: a}`, []string{"exactly one of the fields in [url urlFrom] must be set"}},
		{"two addresses", `{name: a, ` + address + `, urlFrom: {secretKeyRef: {name: a, key: b}}}`, []string{"exactly one of the fields in [url urlFrom] must be set"}},
		{"two templates", `{name: a, ` + address + `, template: x, templateFrom: {configMapKeyRef: {name: a, key: b}}}`, []string{"at most one of the fields in [template templateFrom] may be set"}},
		{"no name", `{` + address + `}`, []string{"spec.webhooks[0].name"}},
		{"a name with a space", `{name: "a b", ` + address + `}`, []string{"a webhook's name is lower-case letters, digits and hyphens, such as slack"}},
		{"a name twice", `{name: a, ` + address + `}, {name: a, ` + address + `}`, []string{"spec.webhooks[1]: Duplicate value"}},
		{"no scheme", `{name: a, url: example.com/hook}`, []string{"url is a whole address without a password, such as https://example.com/hook"}},
		{"another scheme", `{name: a, url: "ftp://example.com/hook"}`, []string{"url is a whole address"}},
		{"a password", `{name: a, url: "https://me:secret@example.com/hook"}`, []string{"credentials belong into headersFrom"}},
		{"a space", `{name: a, url: "https://example.com/a hook"}`, []string{"url is a whole address"}},
		{"an empty address", `{name: a, url: ""}`, []string{"spec.webhooks[0].url"}},
		{"http", `{name: a, url: "http://example.com/hook"}`, []string{"write https, or plainHTTP: Allow"}},
		{"http refused", `{name: a, url: "http://example.com/hook", plainHTTP: Refuse}`, []string{"write https, or plainHTTP: Allow"}},
		{"plainHTTP as a boolean", `{name: a, ` + address + `, plainHTTP: true}`, []string{"must be of type string"}},
		{"a secret without a key", `{name: a, urlFrom: {secretKeyRef: {name: a}}}`, []string{"secretKeyRef.key"}},
		{"a secret of another namespace", `{name: a, urlFrom: {secretKeyRef: {name: a/b, key: c}}}`, []string{"an object's in the manager's namespace"}},
		{"a secret's key with a slash", `{name: a, urlFrom: {secretKeyRef: {name: a, key: b/c}}}`, []string{"key is one of the object's data"}},
		{"no secret", `{name: a, urlFrom: {}}`, []string{"urlFrom.secretKeyRef: Required value"}},
		{"no headers", `{name: a, ` + address + `, headersFrom: {}}`, []string{"headersFrom.secretRef: Required value"}},
		{"a proxy without a scheme", `{name: a, ` + address + `, proxyURL: "proxy:3128"}`, []string{"proxyURL is a proxy's scheme, host and port"}},
		{"a proxy with a password", `{name: a, ` + address + `, proxyURL: "http://me:secret@proxy:3128"}`, []string{"proxyURL is a proxy's scheme, host and port"}},
		{"an empty template", `{name: a, ` + address + `, template: ""}`, []string{"spec.webhooks[0].template"}},
		{"a template too long", `{name: a, ` + address + `, template: "` + strings.Repeat("x", 16385) + `"}`, []string{"16384"}},
		{"no steps", `{name: a, ` + address + `, steps: []}`, []string{"spec.webhooks[0].steps", "should have at least 1 items"}},
		{"an unknown step", `{name: a, ` + address + `, steps: [Started]}`, []string{`supported values: "Received", "Draining", "Completed", "Failed", "Cancelled"`}},
		{"a step twice", `{name: a, ` + address + `, steps: [Failed, Failed]}`, []string{"spec.webhooks[0].steps[1]: Duplicate value"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			refused(t, admin(t).Create(t.Context(), policy(t, aSource+`webhooks: [`+test.webhook+`]`), client.DryRunAll), test.want...)
		})
	}
}

func TestGoodWebhooksAreKeptAsWritten(t *testing.T) {
	for name, webhook := range map[string]string{
		"the least":          `{name: a, url: "https://example.com"}`,
		"an address in full": `{name: a, url: "https://[::1]:8443/hook/a?b=c&d=%20"}`,
		"a query at once":    `{name: a, url: "https://example.com?b=c"}`,
		"http":               `{name: a, url: "http://127.0.0.1:8080/hook", plainHTTP: Allow}`,
		"the most": `{name: slack-1, urlFrom: {secretKeyRef: {name: slack.a, key: a_url.txt}}, plainHTTP: Refuse,
  headersFrom: {secretRef: {name: b}}, proxyURL: "tcp://proxy:1080", caFrom: {configMapKeyRef: {name: c, key: ca.crt}},
  templateFrom: {configMapKeyRef: {name: d, key: e}}, steps: [Received, Draining, Completed, Failed, Cancelled]}`,
		"several": `{name: a, url: "https://example.com", template: '{"text": "{{ .Kind }}"}'}, {name: b, url: "https://example.com"}`,
	} {
		t.Run(name, func(t *testing.T) { keptAsWritten(t, policy(t, aSource+`webhooks: [`+webhook+`]`)) })
	}
}
