// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/webhook/template"
)

const (
	managerNamespace = "node-termination-system"
	maxTemplate      = 16384
	maxProxyURL      = 512
)

// isURL reports whether a text is an address.
func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != ""
}

// webhook returns the webhook that NTH sends to, if there is one.
func (s *settings) webhook() object {
	o := newObject()
	secret, address := s.text("webhookURLSecretName"), s.text("webhookURL")
	if secret == "" && address == "" {
		return o
	}
	o.set("name", "nth", "")
	ref := newObject()
	if secret != "" {
		s.checkReference("webhookURLSecretName", secret, s.urlKey)
		ref.set("name", secret, s.written("webhookURLSecretName"))
		ref.set("key", s.urlKey, "")
		s.copySecret(secret)
	} else {
		if !isURL(address) || !strings.HasPrefix(address, "https:") && !strings.HasPrefix(address, "http:") {
			s.fail("webhookURL", "it is no URL: write the whole address, such as https://example.com/hook")
		}
		ref.set("name", s.name+"-webhook", s.written("webhookURL")+", which is in no policy, as it can be a secret")
		ref.set("key", s.urlKey, "")
		s.makeSecret(s.name+"-webhook", []string{s.urlKey}, "the value of "+s.written("webhookURL"))
	}
	from := newObject()
	from.set("secretKeyRef", ref, "")
	o.set("urlFrom", from, "")
	if strings.HasPrefix(address, "http:") && secret == "" {
		o.set("plainHTTP", v1alpha1.PlainHTTPAllow, s.written("webhookURL")+" is http")
	}
	s.headers(o)
	s.proxy(o)
	s.template(o)
	s.steps(o)
	return o
}

// steps sets when the webhook is notified: NTH sends once, at the end.
func (s *settings) steps(o object) {
	if s.boolean("cordonOnly") {
		o.set("steps", []v1alpha1.WebhookStep{v1alpha1.StepReceived}, "NTH sends once, after the cordon")
		return
	}
	o.set("steps", []v1alpha1.WebhookStep{v1alpha1.StepCompleted, v1alpha1.StepFailed}, "NTH sends once, after the drain")
	if action, _ := s.rebalance(); action == v1alpha1.ActionCordon {
		s.notes.add(differs, s.says("enableRebalanceMonitoring"), "the webhook is not notified of a node that is only cordoned: add Received to steps to have that")
	}
}

// headers sets the Secret with the headers, unless they are those that are sent anyway.
func (s *settings) headers(o object) {
	text := s.text("webhookHeaders")
	if text == "" {
		return
	}
	values := map[string]string{}
	if err := json.Unmarshal([]byte(text), &values); err != nil {
		s.fail("webhookHeaders", `it is no JSON of names and texts: write it like {"Content-type":"application/json"}`)
		return
	}
	for name := range values {
		if !headerNames.MatchString(name) {
			s.fail("webhookHeaders", "%s is no name of a header: write letters, digits and hyphens", quote(name))
		}
		if strings.EqualFold(name, "Content-Type") && values[name] == "application/json" {
			delete(values, name)
		}
	}
	if len(values) == 0 {
		s.notes.add(same, s.written("webhookHeaders"), "application/json is what is sent anyway")
		return
	}
	secret, ref := newObject(), newObject()
	ref.set("name", s.name+"-webhook-headers", s.written("webhookHeaders")+", which are in no policy, as they can be secrets")
	secret.set("secretRef", ref, "")
	o.set("headersFrom", secret, "")
	s.makeSecret(s.name+"-webhook-headers", slices.Sorted(maps.Keys(values)), "the values of "+s.written("webhookHeaders"))
}

var (
	headerNames = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
	proxies     = regexp.MustCompile(`^(https?|tcp|socks5)://[^/?#@\s]+/?$`)
)

// proxy sets the proxy.
func (s *settings) proxy(o object) {
	proxy := s.text("webhookProxy")
	if proxy == "" {
		return
	}
	if !proxies.MatchString(proxy) || !isURL(proxy) || len(proxy) > maxProxyURL {
		s.fail("webhookProxy", "it is no address of a proxy: write scheme, host and port without a password, such as http://proxy.example.com:3128")
	}
	o.set("proxyURL", proxy, s.written("webhookProxy"))
}

// template sets the template of the body.
func (s *settings) template(o object) {
	name, key, text := s.text("webhookTemplateConfigMapName"), s.text("webhookTemplateConfigMapKey"), s.text("webhookTemplate")
	inConfigMap := name != "" && key != ""
	switch {
	case inConfigMap:
		s.checkReference("webhookTemplateConfigMapName", name, key)
		s.copyConfigMap(name, key)
	case s.text("WEBHOOK_TEMPLATE_FILE") != "":
		s.notes.add(todo, s.written("WEBHOOK_TEMPLATE_FILE"), "no ConfigMap is mounted there: put the template into one, with the label nodetermination.dev/webhook=true, and name it in templateFrom")
		return
	case text == "":
		s.notes.add(differs, "webhookTemplate", `it is not set: the body is {"text": "…"} as before, with a sentence of this operator's: docs/webhooks.md`)
		return
	default:
		if err := template.Check(context.Background(), text, "application/json"); err != nil {
			s.notes.add(todo, s.written("webhookTemplate"), "change it, as it cannot be used: "+oneLine(err.Error()))
		}
	}
	if !inConfigMap && len(text) <= maxTemplate {
		o.set("template", text, s.written("webhookTemplate"))
		return
	}
	from := s.written("webhookTemplateConfigMapName")
	if !inConfigMap { // too long for a policy
		name, key, from = s.name+"-webhook-template", "template", s.written("webhookTemplate")
		s.notes.add(todo, "ConfigMap "+name, fmt.Sprintf("put the template into it, as a policy has at most %d characters: save it as template\n%s\n%s", maxTemplate,
			kubectl("create configmap "+name+" --from-file=template"), labelled("configmap", name)))
	}
	configMap, ref := newObject(), newObject()
	ref.set("name", name, from)
	if inConfigMap {
		ref.set("key", key, s.written("webhookTemplateConfigMapKey"))
	} else {
		ref.set("key", key, "")
	}
	configMap.set("configMapKeyRef", ref, "")
	o.set("templateFrom", configMap, "")
}

var dataKeys = regexp.MustCompile(`^[-._a-zA-Z0-9]{1,253}$`)

// checkReference adds an error about the name of a Secret or ConfigMap that cannot be one, or its key.
func (s *settings) checkReference(option, name, key string) {
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		s.fail(option, "%s is no name of a Secret or ConfigMap: write lower-case letters, digits and hyphens", quote(name))
	}
	if !dataKeys.MatchString(key) {
		s.fail(option, "%s is no key in a Secret or ConfigMap: write letters, digits, hyphens, dots and underscores", quote(key))
	}
}

// kubectl returns a command in the manager's namespace.
func kubectl(command string) string { return "kubectl -n " + managerNamespace + " " + command }

// labelled returns the command without which the manager does not see a Secret or ConfigMap.
func labelled(kind, name string) string {
	return kubectl("label " + kind + " " + name + " nodetermination.dev/webhook=true")
}

// makeSecret notes that a Secret has to be made.
func (s *settings) makeSecret(name string, keys []string, values string) {
	literals := " --from-literal=" + strings.Join(keys, "=VALUE --from-literal=") + "=VALUE"
	s.notes.add(todo, "Secret "+name, "create it, with "+values+" for VALUE\n"+kubectl("create secret generic "+name+literals)+"\n"+labelled("secret", name))
}

// copySecret notes that NTH's Secret has to be copied.
func (s *settings) copySecret(name string) {
	read := fmt.Sprintf("kubectl -n %s get secret %s -o jsonpath='{.data.%s}' | base64 -d | ", s.namespace, name, jsonPath(s.urlKey))
	s.notes.add(todo, "Secret "+name, "copy it to the namespace of the manager\n"+
		read+kubectl("create secret generic "+name+" --from-file="+s.urlKey+"=/dev/stdin")+"\n"+labelled("secret", name))
}

// copyConfigMap notes that NTH's ConfigMap has to be copied.
func (s *settings) copyConfigMap(name, key string) {
	read := fmt.Sprintf("kubectl -n %s get configmap %s -o jsonpath='{.data.%s}' | ", s.namespace, name, jsonPath(key))
	s.notes.add(todo, "ConfigMap "+name, "copy it to the namespace of the manager\n"+
		read+kubectl("create configmap "+name+" --from-file="+key+"=/dev/stdin")+"\n"+labelled("configmap", name))
}

// jsonPath returns a key as a path of kubectl has it.
func jsonPath(key string) string { return strings.ReplaceAll(key, ".", `\.`) }
