// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// A change puts a template where an object of config has a value.
type change struct {
	// object is the object's kind and name in config.
	object string
	// field is where: keys, joined by slashes, and of a list the item's name or number. A field
	// that ends with a slash stands for one more key or item after those that are there.
	field string
	to    template
}

// changes says where the objects of the chart differ from those of config, besides their names and
// namespaces: a value of values.yaml stands for a value of config.
var changes = []change{
	{manager, "spec/replicas", scalar("{{ .Values.replicas }}")},
	{manager, "spec/template/metadata/labels/", more(".Values.podLabels")},
	{manager, "spec/template/metadata/annotations/", more(".Values.podAnnotations")},
	{manager, "spec/template/spec/imagePullSecrets", optional(".Values.image.pullSecrets")},
	{manager, "spec/template/spec/priorityClassName", optionalScalar(".Values.priorityClassName")},
	{manager, "spec/template/spec/nodeSelector", optional(".Values.nodeSelector")},
	{manager, "spec/template/spec/affinity", optional(".Values.affinity")},
	{manager, "spec/template/spec/topologySpreadConstraints", optional(".Values.topologySpreadConstraints")},
	{manager, "spec/template/spec/tolerations", optional(".Values.tolerations")},
	{manager, "spec/template/spec/containers/manager/image", scalar(`{{ include "node-termination-operator.image" . }}`)},
	{manager, "spec/template/spec/containers/manager/imagePullPolicy", optionalScalar(".Values.image.pullPolicy")},
	{manager, "spec/template/spec/containers/manager/args/", text(`{{- with .Values.logLevel }}
- --log-level={{ . }}
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}`)},
	{manager, "spec/template/spec/containers/manager/env/WATCHER_NAMESPACE/value",
		scalar(`{{ ternary .Values.watchers.namespace "" .Values.watchers.install | quote }}`)},
	// By the prefix of its own account the manager knows the watchers', unless it has another name.
	{manager, "spec/template/spec/containers/manager/env/", text(`{{- if .Values.serviceAccount.name }}
- name: WATCHER_SERVICE_ACCOUNT
  value: {{ .Values.namePrefix }}imds-watcher
{{- end }}
{{- with .Values.extraEnv }}
{{- toYaml . | nindent COLUMN }}
{{- end }}`)},
	{manager, "spec/template/spec/containers/manager/resources", optional(".Values.resources")},
	{manager, "spec/template/spec/containers/manager/volumeMounts", optional(".Values.volumeMounts")},
	{manager, "spec/template/spec/volumes", optional(".Values.volumes")},

	{"PodDisruptionBudget/node-termination-manager", "spec/maxUnavailable", more(".Values.podDisruptionBudget")},
	{"PodDisruptionBudget/node-termination-manager", "spec/unhealthyPodEvictionPolicy", text("")},

	{"ServiceAccount/node-termination-manager", "metadata/annotations", optional(".Values.serviceAccount.annotations")},
	{"ServiceAccount/imds-watcher", "imagePullSecrets", optional(".Values.image.pullSecrets")},

	{"CustomResourceDefinition/nodeterminationpolicies.nodetermination.dev", "metadata/annotations/", keep},
	{"CustomResourceDefinition/nodeterminations.nodetermination.dev", "metadata/annotations/", keep},

	{"ServiceMonitor/node-termination-manager", "metadata/labels/", more(".Values.serviceMonitor.labels")},
	{"ServiceMonitor/node-termination-manager", "spec/endpoints/0/interval", scalar("{{ .Values.serviceMonitor.interval }}")},
	{"PodMonitor/node-termination-watchers", "metadata/labels/", more(".Values.podMonitor.labels")},
	{"PodMonitor/node-termination-watchers", "spec/podMetricsEndpoints/0/interval", scalar("{{ .Values.podMonitor.interval }}")},
	{"PrometheusRule/node-termination", "metadata/labels/", more(".Values.prometheusRule.labels")},
	{"ConfigMap/node-termination-dashboard", "metadata/labels/", more(".Values.grafanaDashboard.labels")},
	{"ConfigMap/node-termination-dashboard", "data/dashboard.json", text(`dashboard.json: |
  {{- .Files.Get "files/dashboard.json" | nindent INDENT }}`)},
}

const manager = "Deployment/node-termination-manager"

// keep has Helm leave an object when it uninstalls the chart.
var keep = text(`{{- if .Values.crds.keep }}
helm.sh/resource-policy: keep
{{- end }}`)

// conditions says which objects are installed only if a value says so.
var conditions = map[string]string{
	"CustomResourceDefinition/nodeterminationpolicies.nodetermination.dev": ".Values.crds.install",
	"CustomResourceDefinition/nodeterminations.nodetermination.dev":        ".Values.crds.install",
	"ServiceAccount/node-termination-manager":                              ".Values.serviceAccount.create",
	"Namespace/node-termination-watchers":                                  ".Values.watchers.createNamespace",
	"ServiceMonitor/node-termination-manager":                              ".Values.serviceMonitor.create",
	"PodMonitor/node-termination-watchers":                                 ".Values.podMonitor.create",
	"PrometheusRule/node-termination":                                      ".Values.prometheusRule.create",
	"ConfigMap/node-termination-dashboard":                                 ".Values.grafanaDashboard.create",
}

// folders says the same for all objects of a folder of config.
var folders = map[string]string{
	"watcher":   ".Values.watchers.install",
	"admission": ".Values.watchers.install",
}

// omitted are objects that the chart has not: Helm creates the release's namespace.
var omitted = map[string]bool{"Namespace/node-termination-system": true}

// namespaces says what stands for the namespaces of config, wherever they are named.
var namespaces = map[string]string{
	"node-termination-system":   "{{ .Release.Namespace }}",
	"node-termination-watchers": "{{ .Values.watchers.namespace }}",
}

// nameOf returns what stands for the name of an object of config.
func nameOf(kind, name string) string {
	if kind == "ServiceAccount" && name == "node-termination-manager" {
		return `{{ include "node-termination-operator.serviceAccountName" . }}`
	}
	return "{{ .Values.namePrefix }}" + name
}

// A template returns the lines that stand for a field. They begin in the field's column; INDENT
// in them becomes the column of the field's own values.
type template func(key string) string

// scalar stands for a field's value in its line.
func scalar(value string) template {
	return func(key string) string { return key + ": " + value }
}

// optional stands for a field that is left out if its value is empty.
func optional(value string) template {
	return func(key string) string {
		return fmt.Sprintf("{{- with %s }}\n%s:\n  {{- toYaml . | nindent INDENT }}\n{{- end }}", value, key)
	}
}

// optionalScalar stands for a string that is left out if it is empty.
func optionalScalar(value string) template {
	return func(key string) string {
		return fmt.Sprintf("{{- with %s }}\n%s: {{ . | quote }}\n{{- end }}", value, key)
	}
}

// more stands for keys or items beside those of config.
func more(value string) template {
	return func(string) string {
		return fmt.Sprintf("{{- with %s }}\n{{- toYaml . | nindent COLUMN }}\n{{- end }}", value)
	}
}

// text stands for lines that are the same whatever the key.
func text(lines string) template {
	return func(string) string { return lines }
}

// at returns the template's lines, put in a column.
func (t template) at(column int, key string) string {
	lines := t(key)
	if lines == "" {
		return ""
	}
	lines = strings.ReplaceAll(lines, "INDENT", fmt.Sprint(column+2))
	lines = strings.ReplaceAll(lines, "COLUMN", fmt.Sprint(column))
	space := strings.Repeat(" ", column)
	return space + strings.ReplaceAll(lines, "\n", "\n"+space) + "\n"
}
