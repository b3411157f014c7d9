// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const (
	exampleQueue = "https://sqs.us-east-1.amazonaws.com/123456789012/node-termination"
	migratePage  = "../../../../docs/migrate.md"
)

// known is a line of testdata/options.txt.
type known struct {
	key      string
	fallback any
	since    string
}

// knownOptions returns the values of NTH's chart.
func knownOptions(t *testing.T) []known {
	t.Helper()
	content, err := os.ReadFile("testdata/options.txt")
	if err != nil {
		t.Fatal(err)
	}
	var found []known
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		key, rest, _ := strings.Cut(strings.TrimSpace(line), " = ")
		value, since, _ := strings.Cut(rest, " # ")
		k := known{key: key, since: since}
		if err := json.Unmarshal([]byte(value), &k.fallback); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		found = append(found, k)
	}
	if len(found) < 100 {
		t.Fatalf("%d values", len(found))
	}
	return found
}

// TestEveryOptionIsKnown compares the table with the values of the chart's releases.
func TestEveryOptionIsKnown(t *testing.T) {
	all := knownOptions(t)
	for _, k := range all {
		o := optionOf(func(o *option) bool { return o.key == k.key })
		switch {
		case o == nil:
			t.Errorf("%s is missing", k.key)
		case !equal(o.fallback, k.fallback) || o.since != k.since:
			t.Errorf("%s = %v since %q, want %v since %q", k.key, o.fallback, o.since, k.fallback, k.since)
		}
	}
	for i := range options {
		if o := &options[i]; o.chart() && !slices.ContainsFunc(all, func(k known) bool { return k.key == o.key }) {
			t.Errorf("%s is no value of the chart", o.key)
		}
	}
}

// tried are values other than the default, and what they need beside them, for options where true for false and
// the default + 100 will not do.
var tried = map[string]string{
	"image.repository": "image: {repository: registry.example.com/nth}", "image.tag": "image: {tag: v1}", "image.pullPolicy": "image: {pullPolicy: Always}",
	"image.pullSecrets": "image: {pullSecrets: [{name: registry}]}", "nameOverride": "nameOverride: nth", "fullnameOverride": "fullnameOverride: nth",
	"serviceAccount.create": "serviceAccount: {create: false}", "serviceAccount.name": "serviceAccount: {name: nth}",
	"serviceAccount.annotations": "serviceAccount: {annotations: {example.com/team: platform}}",
	"rbac.create":                "rbac: {create: false}", "rbac.pspEnabled": "rbac: {pspEnabled: false}",
	"customLabels": "customLabels: {example.com/team: platform}", "podLabels": "podLabels: {example.com/team: platform}", "podAnnotations": "podAnnotations: {example.com/team: platform}",
	"podSecurityContext": "podSecurityContext: {fsGroup: 2000}", "securityContext": "securityContext: {runAsUser: 2000}",
	"terminationGracePeriodSeconds": "terminationGracePeriodSeconds: 60", "resources": "resources: {limits: {memory: 96Mi}}",
	"nodeSelector": "nodeSelector: {example.com/team: platform}", "affinity": "affinity: " + exampleAffinity,
	"tolerations":               "tolerations: [{key: example.com/dedicated, operator: Exists}]",
	"topologySpreadConstraints": "topologySpreadConstraints: [{maxSkew: 1}]", "extraEnv": "extraEnv: [{name: HTTPS_PROXY, value: x}]",
	"probes": "probes: {periodSeconds: 1}", "logLevel": "logLevel: debug", "logFormatVersion": "logFormatVersion: 2",
	"prometheusServerPort": "{prometheusServerPort: 9100, enablePrometheusServer: true}", "podTerminationGracePeriod": "podTerminationGracePeriod: 30",
	"completeLifecycleActionDelaySeconds": "completeLifecycleActionDelaySeconds: 30",
	"kubernetesEventsExtraAnnotations":    "{kubernetesEventsExtraAnnotations: a=b, emitKubernetesEvents: true}",
	"webhookURL":                          "webhookURL: https://example.com/", "webhookURLSecretName": "webhookURLSecretName: slack",
	"webhookHeaders": `{webhookHeaders: '{"Authorization":"x"}', webhookURL: https://example.com/}`, "webhookProxy": "{webhookProxy: http://proxy:3128, webhookURL: https://example.com/}",
	"webhookTemplate":              "{webhookTemplate: '{{ .NodeName | toJson }}', webhookURL: https://example.com/}",
	"webhookTemplateConfigMapName": "{webhookTemplateConfigMapName: a, webhookTemplateConfigMapKey: b, webhookURL: https://example.com/}",
	"webhookTemplateConfigMapKey":  "{webhookTemplateConfigMapName: a, webhookTemplateConfigMapKey: b, webhookURL: https://example.com/}",
	"enableSqsTerminationDraining": "{enableSqsTerminationDraining: true, queueURL: " + exampleQueue + "}",
	"strategy":                     "strategy: {type: Recreate}", "podDisruptionBudget": "podDisruptionBudget: {minAvailable: 1}",
	"serviceMonitor.create": "serviceMonitor: {create: true}", "serviceMonitor.namespace": "serviceMonitor: {namespace: monitoring}",
	"serviceMonitor.labels": "serviceMonitor: {create: true, labels: {a: b}}", "serviceMonitor.interval": "serviceMonitor: {create: true, interval: 10s}",
	"serviceMonitor.sampleLimit": "serviceMonitor: {sampleLimit: 1}", "priorityClassName": "priorityClassName: high", "awsRegion": "awsRegion: us-west-2",
	"queueURL": "queueURL: https://sqs.us-east-1.amazonaws.com/123456789012/other", "managedAsgTag": "managedAsgTag: mine", "managedTag": "managedTag: mine",
	"targetNodeOs": `targetNodeOs: linux windows`, "updateStrategy": "updateStrategy: {type: OnDelete}", "daemonsetPriorityClassName": "daemonsetPriorityClassName: high",
	"podMonitor.create": "podMonitor: {create: true}", "podMonitor.namespace": "podMonitor: {namespace: monitoring}",
	"podMonitor.labels": "podMonitor: {create: true, labels: {a: b}}", "podMonitor.interval": "podMonitor: {create: true, interval: 10s}",
	"podMonitor.sampleLimit": "podMonitor: {sampleLimit: 1}", "dnsPolicy": "dnsPolicy: Default", "dnsConfig": "dnsConfig: {nameservers: [10.0.0.1]}",
	"linuxDnsPolicy": "linuxDnsPolicy: Default", "windowsDnsPolicy": "windowsDnsPolicy: Default",
	"daemonsetAffinity": "daemonsetAffinity: " + exampleAffinity, "linuxAffinity": "linuxAffinity: " + exampleAffinity, "windowsAffinity": "windowsAffinity: " + exampleAffinity,
	"heartbeatInterval": "heartbeatInterval: 60", "heartbeatUntil": "{heartbeatInterval: 60, heartbeatUntil: 600}",
	"awsEndpoint": "awsEndpoint: http://localhost:4566", "awsAccessKeyID": "awsAccessKeyID: AKIA", "awsSecretAccessKey": "awsSecretAccessKey: secret",
	"instanceMetadataURL": "instanceMetadataURL: http://localhost", "procUptimeFile": "procUptimeFile: /tmp/uptime",
}

// other returns values in which an option has another value than the default.
func other(o *option) string {
	if values, found := tried[o.key]; found {
		return values
	}
	switch fallback := o.fallback.(type) {
	case bool:
		if fallback {
			return o.key + ": false"
		}
		return o.key + ": true"
	case int:
		return o.key + ": 100"
	}
	switch {
	case strings.HasSuffix(o.key, "Tolerations"):
		return o.key + ": [{key: example.com/dedicated, operator: Exists}]"
	default:
		return o.key + ": {example.com/team: platform}"
	}
}

// TestEveryOption sets each option to another value: what is converted changes the output, and a comment names
// the option; for all else standard error has the option, and what to do. Nothing is without an effect.
func TestEveryOption(t *testing.T) {
	bases := map[mode]string{imds: "{}", queue: "{enableSqsTerminationDraining: true, queueURL: " + exampleQueue + "}"}
	for i := range options {
		o := &options[i]
		if !o.chart() {
			continue
		}
		t.Run(o.key, func(t *testing.T) {
			for reads, base := range bases {
				plain, _ := everyOutput(t, base)
				stdout, stderr := everyOutput(t, withValues(t, base, other(o)))
				converted := stdout != plain && strings.Contains(stdout, o.key)
				noted := regexp.MustCompile(`(?m)^  ` + regexp.QuoteMeta(o.key) + `[:,].*[a-z]`).MatchString(stderr)
				switch {
				case o.reads != both && o.reads != reads:
					if !noted && o.key != "queueURL" { // which is set in both
						t.Errorf("nobody learns that it has no effect:\n%s", stderr)
					}
				case o.advice != "" && !noted:
					t.Errorf("nobody learns that it has no counterpart:\n%s", stderr)
				case o.advice == "" && !converted && !noted && (o.key != "enableSqsTerminationDraining" || reads == imds):
					t.Errorf("not converted:\n%s\n%s", stdout, stderr)
				}
			}
		})
	}
}

// withValues returns values with others over them.
func withValues(t *testing.T, base, over string) string {
	t.Helper()
	values := tree{}
	for _, text := range []string{base, over} {
		parsed, err := parseValues("test", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		values = merge(values, parsed)
	}
	text, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// everyOutput returns the three outputs, and the notes.
func everyOutput(t *testing.T, values string) (stdout, stderr string) {
	t.Helper()
	for _, output := range []string{outputPolicies, outputKustomization, outputValues} {
		out, errOut, err := migrate(t, values, "-f", "-", "-o", output)
		if err != nil {
			t.Fatal(err)
		}
		stdout += out
		stderr += errOut
	}
	return stdout, stderr
}

// TestEveryOptionIsDocumented looks for each option in the table of the page.
func TestEveryOptionIsDocumented(t *testing.T) {
	page, err := os.ReadFile(migratePage)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## Every value")
	for i := range options {
		o := &options[i]
		if !strings.Contains(table, "`"+o.key+"`") {
			t.Errorf("%s is not in the table", o.key)
		}
	}
}
