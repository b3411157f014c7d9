// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// TestServiceAccountOfOthers binds the rights to a service account that the chart does not create.
func TestServiceAccountOfOthers(t *testing.T) {
	eachHelm(t, namespace, func(t *testing.T, h helm) {
		objects := rendered(t, h, "serviceAccount: {create: false, name: eksctl}")
		bound := 0
		for key, o := range objects {
			for _, referred := range references(o) {
				if objects[referred] == nil && referred != "ServiceAccount/"+namespace+"/eksctl" {
					t.Errorf("%s refers to %s, which is not there", key, referred)
				} else if objects[referred] == nil {
					bound++
				}
			}
		}
		if bound != 6 { // the Deployment and five bindings
			t.Errorf("%d objects refer to the service account, want 6", bound)
		}
	})
}

// TestWithoutWatchers leaves out all that only watchers need, as config/overlays/queue-only does.
func TestWithoutWatchers(t *testing.T) {
	eachHelm(t, namespace, func(t *testing.T, h helm) {
		want, objects := built(t, root+"/config/overlays/queue-only"), rendered(t, h, "watchers: {install: false}")
		for key := range objects {
			if want[key] == nil {
				t.Errorf("%s is for watchers", key)
			}
		}
		for key := range want {
			if objects[key] == nil {
				t.Errorf("%s is missing", key)
			}
		}
		deployment, err := yaml.Marshal(objects["Deployment/"+namespace+"/node-termination-manager"])
		if err != nil || !strings.Contains(string(deployment), "name: WATCHER_NAMESPACE\n          value: \"\"\n") {
			t.Errorf("the manager has a namespace of watchers: %v\n%s", err, deployment)
		}
	})
}

// TestImage checks how the image is put together.
func TestImage(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	for values, want := range map[string]string{
		"image: {repository: r.example.com/nto}":                           "r.example.com/nto:latest",
		"image: {repository: r.example.com/nto, tag: v1}":                  "r.example.com/nto:v1",
		"image: {repository: r.example.com/nto, digest: '" + digest + "'}": "r.example.com/nto@" + digest,
		"image: {repository: r.io/nto, tag: v1, digest: '" + digest + "'}": "r.io/nto:v1@" + digest,
	} {
		eachHelm(t, namespace, func(t *testing.T, h helm) {
			deployment, _ := yaml.Marshal(rendered(t, h, values)["Deployment/"+namespace+"/node-termination-manager"])
			if !strings.Contains(string(deployment), " image: "+want+"\n") {
				t.Errorf("%s: the image is not %s:\n%s", values, want, deployment)
			}
		})
	}
}

// TestArgs adds arguments to those of config, if it has any.
func TestArgs(t *testing.T) {
	eachHelm(t, namespace, func(t *testing.T, h helm) {
		want := append(managerArgs(built(t, root+"/config/default")), "--log-level=debug", "--log-format=console")
		if diff := cmp.Diff(want, managerArgs(rendered(t, h, "{logLevel: debug, extraArgs: [--log-format=console]}"))); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

// managerArgs returns the arguments of the manager's container.
func managerArgs(objects map[string]map[string]any) []any {
	deployment := &unstructured.Unstructured{Object: objects["Deployment/"+namespace+"/node-termination-manager"]}
	containers, _, _ := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	container, _ := containers[0].(map[string]any)
	args, _ := container["args"].([]any)
	return args
}

// TestLint has Helm look for what is unusual.
func TestLint(t *testing.T) {
	eachHelm(t, namespace, func(t *testing.T, h helm) {
		if err := h.lint(chart, parse(t, readFile(t, "testdata/choices/values.yaml"))); err != nil {
			t.Error(err)
		}
	})
}

// TestRefusedValues writes wrong values, and reads what Helm says about them.
func TestRefusedValues(t *testing.T) {
	for values, want := range map[string]string{
		"replica: 2":                                        "additional properties 'replica' not allowed",
		"replicas: two":                                     "at '/replicas': got string, want integer",
		"replicas: -1":                                      "at '/replicas'",
		"image: {repo: r}":                                  "at '/image': additional properties 'repo' not allowed",
		"image: {digest: abc}":                              "at '/image/digest'",
		"image: {pullPolicy: Sometimes}":                    "value must be one of '', 'Always', 'IfNotPresent', 'Never'",
		"image: {pullSecrets: [registry]}":                  "at '/image/pullSecrets/0'",
		"logLevel: verbose":                                 "value must be one of '', 'debug', 'info', 'error'",
		"podLabels: {app.kubernetes.io/name: mine}":         "choose another label",
		"serviceAccount: {annotations: {a: true}}":          "at '/serviceAccount/annotations/a': got boolean, want string",
		"extraEnv: {HTTPS_PROXY: x}":                        "at '/extraEnv': got object, want array",
		"policies: [{name: spot}]":                          "at '/policies': got array, want object",
		"policies: {Spot: {spec: {sources: []}}}":           "at '/policies': additional properties 'Spot' not allowed",
		"policies: {spot: {sources: []}}":                   "at '/policies/spot'",
		"policies: {spot: {spec: {source: []}}}":            "additional properties 'source' not allowed",
		"policies: {spot: {spec: {mode: Dry}}}":             "at '/policies/spot/spec/mode': value must be one of",
		"policies: {spot: {spec: {maxTerminating: {}}}}":    "at '/policies/spot/spec/maxTerminating'",
		"queueURL: https://sqs.us-east-1.amazonaws.com/1/q": "elsewhere: policies.NAME.spec.sources[].sqs.queueURL",
		"enableSqsTerminationDraining: true":                "elsewhere: a source sqs",
		"serviceAccount: {create: false}":                   "write the name of the service account that there is",
		"watchers: {namespace: " + namespace + "}":          "Write another name, such as node-termination-watchers",
		"watchers: {namespace: ''}":                         "at '/watchers/namespace'",
		"podDisruptionBudget: {minAvailable: 1}":            "write maxUnavailable: null beside minAvailable",
	} {
		eachHelm(t, namespace, func(t *testing.T, h helm) {
			_, _, err := h.template(chart, parse(t, values))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error has no %q: %v", values, want, err)
			}
		})
	}
}

// TestKnownValues writes values as a user of aws-node-termination-handler's chart has them.
func TestKnownValues(t *testing.T) {
	values := `
image: {repository: r.example.com/nto, tag: v1, pullPolicy: IfNotPresent, pullSecrets: [{name: registry}]}
serviceAccount: {create: true, name: nth, annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::123456789012:role/nth"}}
podLabels: {team: platform}
podAnnotations: {example.com/scrape: "true"}
priorityClassName: system-node-critical
resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {memory: 128Mi}}
nodeSelector: {kubernetes.io/arch: arm64}
tolerations: [{operator: Exists}]
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}
topologySpreadConstraints: []
extraEnv: [{name: HTTPS_PROXY, value: "http://proxy:3128"}]
logLevel: debug
replicas: 1
podDisruptionBudget: {maxUnavailable: null, minAvailable: 1}
podMonitor: {create: true, interval: 30s, labels: {release: prometheus}}
serviceMonitor: {create: true, interval: 30s, labels: {release: prometheus}}
`
	eachHelm(t, namespace, func(t *testing.T, h helm) {
		if _, _, err := h.template(chart, parse(t, values)); err != nil {
			t.Error(err)
		}
	})
}
