// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// aSource is all that a policy needs.
const aSource = `
sources: [{name: queue, sqs: {queueURL: "https://sqs.us-east-1.amazonaws.com/123456789012/node-termination"}}]
`

func policy(t *testing.T, spec string) *unstructured.Unstructured {
	t.Helper()
	return parse(t, `
apiVersion: nodetermination.dev/v1alpha1
kind: NodeTerminationPolicy
metadata: {name: tested}
spec:
`+indent(spec))
}

func queue(url string) string {
	return fmt.Sprintf("sources: [{name: queue, sqs: {queueURL: %q}}]", url)
}

// manyExpressions is one more than a selector may have.
var manyExpressions = strings.Repeat("{key: a, operator: Exists}, ", 33)

func TestWrongPoliciesAreRefused(t *testing.T) {
	const (
		wholeURL = "queueURL is the queue's whole address, such as https://sqs.us-east-1.amazonaws.com/123456789012/node-termination"
		atLeast1 = "should be greater than or equal to 1"
	)
	for _, test := range []struct {
		name, spec string
		want       []string
	}{
		{"no source", `priority: 1`, []string{"spec.sources: Required value"}},
		{"an empty list of sources", `sources: []`, []string{"spec.sources", "should have at least 1 items"}},
		{"a source of no type", `sources: [{name: queue}]`, []string{"a source is exactly one of sqs and imds", "write imds: {}"}},
		{"a source of two types", `sources: [{name: queue, sqs: {queueURL: "https://a/b"}, imds: {}}]`, []string{"a source is exactly one of sqs and imds", "write imds: {}"}},
		{"two metadata services", `sources: [{name: a, imds: {}}, {name: b, imds: {}}]`, []string{"one imds source is enough"}},
		{"asking all the time", `sources: [{name: a, imds: {pollIntervalSeconds: 0}}]`, []string{"pollIntervalSeconds", atLeast1}},
		{"asking too late", `sources: [{name: a, imds: {pollIntervalSeconds: 61}}]`, []string{"pollIntervalSeconds", "should be less than or equal to 60"}},
		{"a metadata service of null", `sources: [{name: a, imds: }]`, []string{"write imds: {}"}},
		{"watchers of a wrong priority", `sources: [{name: a, imds: {podTemplate: {priorityClassName: "System Critical"}}}]`, []string{"such as system-node-critical"}},
		{"watchers with a wrong label", `sources: [{name: a, imds: {podTemplate: {labels: {"my team": a}}}}]`, []string{"labels has labels for keys, such as example.com/team"}},
		{"watchers with a wrong annotation", `sources: [{name: a, imds: {podTemplate: {annotations: {"my team": a}}}}]`, []string{"annotations' keys are names, such as example.com/team"}},
		{"nothing to change of the pods", `sources: [{name: a, imds: {podTemplate: {}}}]`, []string{"podTemplate", "should have at least 1 properties"}},
		{"a source of an unknown type", `sources: [{name: queue, kafka: {}}]`, []string{`unknown field "spec.sources[0].kafka"`}},
		{"a source without a name", `sources: [{sqs: {queueURL: "https://a/b"}}]`, []string{"spec.sources[0].name: Required value"}},
		{"two sources of one name", `sources: [{name: a, sqs: {queueURL: "https://a/b"}}, {name: a, sqs: {queueURL: "https://a/c"}}]`, []string{`spec.sources[1]: Duplicate value`}},
		{"a source with a wrong name", `sources: [{name: My_Queue, sqs: {queueURL: "https://a/b"}}]`, []string{"a source's name is lower-case letters, digits and hyphens, such as queue"}},
		{"a queue's name", queue("node-termination"), []string{wholeURL}},
		{"a queue's ARN", queue("arn:aws:sqs:us-east-1:123456789012:node-termination"), []string{wholeURL}},
		{"a URL without a queue", queue("https://sqs.us-east-1.amazonaws.com/"), []string{wholeURL}},
		{"a URL with a space", queue("https://sqs.us-east-1.amazonaws.com/123456789012/node termination"), []string{wholeURL}},
		{"a URL with a slash at its end", queue("https://sqs.us-east-1.amazonaws.com/123456789012/q/"), []string{wholeURL}},
		{"AWS without TLS", queue("http://sqs.us-east-1.amazonaws.com/123456789012/q"), []string{"write https, as for AWS"}},
		{"a URL with a password", queue("https://me:secret@sqs.us-east-1.amazonaws.com/123456789012/q"), []string{wholeURL}},
		{"an empty URL", queue(""), []string{"spec.sources[0].sqs.queueURL", "should be at least 1 chars long"}},
		{"a FIFO queue", queue("https://sqs.us-east-1.amazonaws.com/123456789012/q.fifo"), []string{"FIFO queues are not supported", "use a standard queue"}},
		{"a zone for a region", `sources: [{name: a, sqs: {queueURL: "https://a/b", region: us-east-1a}}]`, []string{"region is an AWS region's code, such as us-east-1"}},
		{"an unknown choice for unknown instances", `sources: [{name: a, sqs: {queueURL: "https://a/b", unknownInstances: Keep}}]`, []string{`supported values: "Retain", "Discard"`}},
		{"a word that YAML reads as a boolean", `sources: [{name: a, sqs: {queueURL: "https://a/b", unknownInstances: no}}]`, []string{"unknownInstances", "must be of type string"}},

		{"an unknown field", aSource + `drian: {}`, []string{`unknown field "spec.drian"`}},
		{"an unknown field further in", aSource + `drain: {timeout: 10}`, []string{`unknown field "spec.drain.timeout"`}},
		{"all of none terminating", aSource + `maxTerminating: 0`, []string{"maxTerminating is a number from 1 on or a percentage from 1% to 100%, such as 10 or 30%"}},
		{"a share without its sign", aSource + `maxTerminating: "30"`, []string{"maxTerminating is a number from 1 on"}},
		{"a suspension in words", aSource + `suspend: "true"`, []string{"spec.suspend", "must be of type boolean"}},
		{"a priority out of bounds", aSource + `priority: 1000001`, []string{"spec.priority", "should be less than or equal to 1000000"}},

		{"an unknown operator", aSource + `nodeSelector: {matchExpressions: [{key: a, operator: Equals, values: [b]}]}`, []string{`supported values: "In", "NotIn", "Exists", "DoesNotExist"`}},
		{"In without values", aSource + `nodeSelector: {matchExpressions: [{key: a, operator: In}]}`, []string{"In and NotIn need values"}},
		{"NotIn with an empty list", aSource + `nodeSelector: {matchExpressions: [{key: a, operator: NotIn, values: []}]}`, []string{"In and NotIn need values"}},
		{"Exists with values", aSource + `nodeSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}`, []string{"Exists and DoesNotExist take none"}},
		{"a label with a space", aSource + `nodeSelector: {matchLabels: {"my pool": a}}`, []string{"matchLabels has labels for keys, such as topology.kubernetes.io/zone"}},
		{"an expression about no label", aSource + `nodeSelector: {matchExpressions: [{key: "my pool", operator: Exists}]}`, []string{"key is a label, such as topology.kubernetes.io/zone"}},
		{"a pattern for a value", aSource + `nodeSelector: {matchExpressions: [{key: a, operator: In, values: ["spot-*"]}]}`, []string{"patterns are not understood"}},
		{"too many expressions", aSource + `nodeSelector: {matchExpressions: [` + manyExpressions + `]}`, []string{"must have at most 32 items"}},

		{"an unknown kind of event", aSource + `events: [{kind: SpotTermination, action: Ignore}]`, []string{`supported values: "SpotInterruption"`}},
		{"an unknown action", aSource + `events: [{kind: SpotInterruption, action: Drain}]`, []string{`supported values: "CordonAndDrain", "Cordon", "Ignore"`}},
		{"an event without an action", aSource + `events: [{kind: SpotInterruption}]`, []string{"spec.events[0].action: Required value"}},
		{"an event without a kind", aSource + `events: [{action: Ignore}]`, []string{"spec.events[0].kind: Required value"}},
		{"an event twice", aSource + `events: [{kind: SpotInterruption, action: Ignore}, {kind: SpotInterruption, action: Cordon}]`, []string{"spec.events[1]: Duplicate value"}},
		{"an uncordon after a drain", aSource + `events: [{kind: SpotInterruption, action: CordonAndDrain, uncordonAfterSeconds: 60}]`, []string{"uncordonAfterSeconds is for action Cordon"}},
		{"an uncordon at once", aSource + `events: [{kind: RebalanceRecommendation, action: Cordon, uncordonAfterSeconds: 0}]`, []string{"uncordonAfterSeconds", "should be greater than or equal to 60"}},
		{"a later start of what has no deadline", aSource + `events: [{kind: RebalanceRecommendation, action: CordonAndDrain, startBeforeSeconds: 60}]`, []string{"startBeforeSeconds is for kinds with a deadline to count from"}},
		{"a later start of a shutdown", aSource + `events: [{kind: InstanceStateChange, action: CordonAndDrain, startBeforeSeconds: 60}]`, []string{"startBeforeSeconds is for kinds with a deadline to count from"}},
		{"a later start of no drain", aSource + `events: [{kind: ScheduledMaintenance, action: Cordon, startBeforeSeconds: 60}]`, []string{"startBeforeSeconds is for action CordonAndDrain"}},
		{"a negative start", aSource + `events: [{kind: ScheduledMaintenance, action: CordonAndDrain, startBeforeSeconds: -60}]`, []string{"startBeforeSeconds", "should be greater than or equal to 10"}},

		{"windows of what cannot wait", window("SpotInterruption", "CordonAndDrain", `start: "02:00", durationMinutes: 60`), []string{"windows are for kinds that can wait"}},
		{"windows of no drain", window("Manual", "Cordon", `start: "02:00", durationMinutes: 60`), []string{"windows are for action CordonAndDrain"}},
		{"no windows", aSource + `events: [{kind: Manual, action: CordonAndDrain, windows: []}]`, []string{"windows", "should have at least 1 items"}},
		{"a window without a start", window("Manual", "CordonAndDrain", `durationMinutes: 60`), []string{"windows[0].start: Required value"}},
		{"a window without an end", window("Manual", "CordonAndDrain", `start: "02:00"`), []string{"windows[0].durationMinutes: Required value"}},
		{"a window that never opens", window("Manual", "CordonAndDrain", `start: "24:00", durationMinutes: 60`), []string{"start is a time of day from 00:00 to 23:59, such as 02:00"}},
		{"a time of twelve hours", window("Manual", "CordonAndDrain", `start: 2 am, durationMinutes: 60`), []string{"start is a time of day from 00:00 to 23:59, such as 02:00"}},
		{"a window of no time", window("Manual", "CordonAndDrain", `start: "02:00", durationMinutes: 0`), []string{"durationMinutes", "should be greater than or equal to 1"}},
		{"an unknown day", window("Manual", "CordonAndDrain", `start: "02:00", durationMinutes: 60, days: [Saturday]`), []string{`supported values: "Mon"`}},
		{"no days", window("Manual", "CordonAndDrain", `start: "02:00", durationMinutes: 60, days: []`), []string{"days", "should have at least 1 items"}},
		{"an offset for a time zone", window("Manual", "CordonAndDrain", `start: "02:00", durationMinutes: 60, timeZone: "+02:00"`), []string{"timeZone is a name such as Europe/Berlin or UTC"}},
		{"the time zone of a machine", window("Manual", "CordonAndDrain", `start: "02:00", durationMinutes: 60, timeZone: Local`), []string{"timeZone is a name such as Europe/Berlin or UTC"}},
		{"an unknown time zone", window("Manual", "CordonAndDrain", `start: "02:00", durationMinutes: 60, timeZone: Europe/Berln`), []string{"unknown time zone Europe/Berln"}},

		{"nothing to do on the node", aSource + `node: {}`, []string{"spec.node", "should have at least 1 properties"}},
		{"a taint that deletes pods", aSource + `node: {taint: {effect: NoExecute}}`, []string{`supported values: "NoSchedule", "PreferNoSchedule"`}},
		{"a taint without an effect", aSource + `node: {taint: {}}`, []string{"spec.node.taint.effect: Required value"}},

		{"nothing said of the drain", aSource + `drain: {}`, []string{"spec.drain", "should have at least 1 properties"}},
		{"no time to drain", aSource + `drain: {timeoutSeconds: 0}`, []string{"spec.drain.timeoutSeconds", atLeast1}},
		{"a negative time to drain", aSource + `drain: {timeoutSeconds: -1}`, []string{"spec.drain.timeoutSeconds", atLeast1}},
		{"a duration with a unit", aSource + `drain: {timeoutSeconds: 2m}`, []string{"spec.drain.timeoutSeconds", "must be of type integer"}},
		{"half a second", aSource + `drain: {timeoutSeconds: 0.5}`, []string{"spec.drain.timeoutSeconds", "must be of type integer"}},
		{"no grace", aSource + `drain: {podGracePeriodSeconds: 0}`, []string{"spec.drain.podGracePeriodSeconds", atLeast1}},

		{"no waves", aSource + `drain: {waves: []}`, []string{"spec.drain.waves", "should have at least 1 items"}},
		{"waves out of order", aSource + `drain: {waves: [{priorityBelow: 10}, {priorityBelow: 5}, {}]}`, []string{"priorityBelow rises from wave to wave"}},
		{"a wave twice", aSource + `drain: {waves: [{priorityBelow: 10}, {priorityBelow: 10}, {}]}`, []string{"priorityBelow rises from wave to wave"}},
		{"no last wave", aSource + `drain: {waves: [{priorityBelow: 10}]}`, []string{"the last wave takes every pod that is left: leave its priorityBelow out"}},
		{"two last waves", aSource + `drain: {waves: [{}, {}]}`, []string{"only the last wave may leave priorityBelow out"}},
		{"no reserve", aSource + `drain: {waves: [{reserveSeconds: 0}]}`, []string{"reserveSeconds", atLeast1}},

		{"no rules", aSource + `drain: {skip: []}`, []string{"spec.drain.skip", "should have at least 1 items"}},
		{"an empty rule", aSource + `drain: {skip: [{}]}`, []string{"an empty rule would skip every pod: give namespaces, podSelector or both"}},
		{"a rule with an empty selector", aSource + `drain: {skip: [{podSelector: {}}]}`, []string{"an empty rule would skip every pod"}},
		{"a rule with empty labels", aSource + `drain: {skip: [{podSelector: {matchLabels: {}}}]}`, []string{"an empty rule would skip every pod"}},
		{"a rule without namespaces", aSource + `drain: {skip: [{namespaces: []}]}`, []string{"namespaces", "should have at least 1 items"}},
		{"a rule with a pattern", aSource + `drain: {skip: [{namespaces: ["kube-*"]}]}`, []string{"namespaces are whole names, such as kube-system"}},
		{"a rule with a wrong label", aSource + `drain: {skip: [{podSelector: {matchLabels: {"my app": a}}}]}`, []string{"spec.drain.skip[0].podSelector.matchLabels", "has labels for keys"}},
		{"a rule with a wrong selector", aSource + `drain: {skip: [{podSelector: {matchExpressions: [{key: a, operator: Is}]}}]}`, []string{"spec.drain.skip[0].podSelector", `supported values: "In", "NotIn", "Exists", "DoesNotExist"`}},
		{"a rule without values", aSource + `drain: {skip: [{podSelector: {matchExpressions: [{key: a, operator: In}]}}]}`, []string{"spec.drain.skip[0].podSelector", "In and NotIn need values"}},

		{"a budget of none", aSource + `drain: {budget: {maxNodes: 0}}`, []string{"maxNodes is a number from 1 on or a percentage from 1% to 100%, such as 3 or 10%"}},
		{"a budget as a text", aSource + `drain: {budget: {maxNodes: "3"}}`, []string{"maxNodes is a number from 1 on"}},
		{"a budget by no label", aSource + `drain: {budget: {maxNodes: 1, topologyKey: "a zone"}}`, []string{"topologyKey is a label of nodes, such as topology.kubernetes.io/zone"}},
		{"volumes that do not wait", aSource + `drain: {volumes: Wait}`, []string{`supported values: "WaitForDetach", "Ignore"`}},
		{"annotations as a boolean", aSource + `drain: {podAnnotations: true}`, []string{"must be of type string", `supported values: "Honor", "Ignore"`}},

		{"an unknown mode", aSource + `mode: dryrun`, []string{`supported values: "Enforce", "DryRun"`}},
		{"a time to live with a unit", aSource + `ttlSecondsAfterFinished: 24h`, []string{"spec.ttlSecondsAfterFinished", "must be of type integer"}},
		{"a wait for nothing", aSource + `node: {loadBalancerDelaySeconds: 10}`, []string{"loadBalancerDelaySeconds is for loadBalancers Exclude"}},
		{"out of service whenever", aSource + `node: {outOfServiceTaint: Always}`, []string{`supported values: "Never", "WhenStopped"`}},
		{"events with a wrong annotation", aSource + `kubernetesEvents: {mode: Emit, annotations: {"my team": a}}`, []string{"annotations' keys are names"}},

		{"nothing said of hooks", aSource + `lifecycleHook: {}`, []string{"spec.lifecycleHook", "should have at least 1 properties"}},
		{"heartbeats that are off", aSource + `lifecycleHook: {heartbeat: {mode: off}}`, []string{`supported values: "Auto", "Interval", "Disabled"`}},
		{"heartbeats at no interval", aSource + `lifecycleHook: {heartbeat: {mode: Interval}}`, []string{"intervalSeconds is for mode Interval, which needs it"}},
		{"heartbeats too often", aSource + `lifecycleHook: {heartbeat: {mode: Interval, intervalSeconds: 5}}`, []string{"intervalSeconds", "should be greater than or equal to 10"}},
		{"a result as AWS spells it", aSource + `lifecycleHook: {onTimeout: CONTINUE}`, []string{`supported values: "Continue", "Abandon", "None"`}},
		{"an adopted hook of no group", aSource + `lifecycleHook: {adopt: [{name: join}]}`, []string{"spec.lifecycleHook.adopt[0].autoScalingGroupName: Required value"}},

		{"blocked pods without an action", aSource + `drain: {blockedPods: {beforeSeconds: 10}}`, []string{"spec.drain.blockedPods.action: Required value"}},
		{"blocked pods that wait and do not", aSource + `drain: {blockedPods: {action: Wait, beforeSeconds: 10}}`, []string{"beforeSeconds is for action Delete: Wait never deletes"}},
		{"blocked pods too late", aSource + `drain: {blockedPods: {action: Delete, beforeSeconds: 0}}`, []string{"spec.drain.blockedPods.beforeSeconds", atLeast1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			refused(t, admin(t).Create(t.Context(), policy(t, test.spec), client.DryRunAll), test.want...)
		})
	}
}

func TestGoodPoliciesAreKeptAsWritten(t *testing.T) {
	for name, spec := range map[string]string{
		"the least":           aSource,
		"a simulator's queue": queue("http://127.0.0.1:4100/000000000000/node-termination"),
		"China":               queue("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/node-termination"),
		"GovCloud": `
sources: [{name: a, sqs: {queueURL: "https://sqs.us-gov-west-1.amazonaws.com/123456789012/q", region: us-gov-west-1}}]`,
		"a VPC endpoint": queue("https://vpce-0a1b2c.sqs.eu-central-1.vpce.amazonaws.com/123456789012/q_1-a"),
		"metadata":       `sources: [{name: metadata, imds: {}}]`,
		"watchers": `
sources:
- {name: queue, sqs: {queueURL: "https://a/b"}}
- name: metadata
  imds:
    pollIntervalSeconds: 5
    podTemplate:
      resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {memory: 128Mi}}
      tolerations: [{key: a, operator: Exists, effect: NoSchedule}]
      priorityClassName: system-node-critical
      hostNetwork: false
      labels: {a: b}
      annotations: {c: d}`,
		"every node": aSource + `nodeSelector: {}`,
		"expressions": aSource + `
nodeSelector:
  matchLabels: {a: b}
  matchExpressions:
  - {key: karpenter.sh/capacity-type, operator: NotIn, values: [on-demand, reserved]}
  - {key: a, operator: In, values: [b]}
  - {key: c, operator: Exists}
  - {key: d, operator: DoesNotExist}`,
		"the most": aSource + everyField,
		"odd but right": aSource + `
nodeSelector:
  matchLabels: {A_b.C: "", node.kubernetes.io/Instance-type_1: m6i.large}
  matchExpressions: [{key: x, operator: In, values: ["", a, A_b.c-9]}]
instanceTag: "kubernetes.io/cluster/my cluster+@1"
drain: {skip: [{namespaces: [a, kube-system]}], budget: {maxNodes: 100%, topologyKey: example.com/Rack_1}}`,
		"one wave":                  aSource + `drain: {waves: [{}]}`,
		"waves below zero":          aSource + `drain: {waves: [{priorityBelow: -5, reserveSeconds: 60}, {priorityBelow: 0}, {reserveSeconds: 30}]}`,
		"rules of either form":      aSource + `drain: {skip: [{namespaces: [a, b]}, {podSelector: {matchLabels: {a: b}}}]}`,
		"blocked pods deleted":      aSource + `drain: {blockedPods: {action: Delete}}`,
		"a cordon lifted some time": aSource + `events: [{kind: SpotInterruption, action: Cordon, uncordonAfterSeconds: 600}]`,
	} {
		t.Run(name, func(t *testing.T) { keptAsWritten(t, policy(t, spec)) })
	}
}

// window is a policy that has one window for a kind of event.
func window(kind, action, fields string) string {
	return aSource + fmt.Sprintf(`events: [{kind: %s, action: %s, windows: [{%s}]}]`, kind, action, fields)
}

const everyField = `
nodeSelector: {matchLabels: {eks.amazonaws.com/capacityType: SPOT}}
priority: -7
events:
- {kind: RebalanceRecommendation, action: Cordon, uncordonAfterSeconds: 60}
- kind: ScheduledMaintenance
  action: CordonAndDrain
  startBeforeSeconds: 1800
  windows: [{days: [Sat, Sun], start: "02:00", durationMinutes: 240, timeZone: Europe/Berlin}, {start: "23:30", durationMinutes: 10080}]
- {kind: SpotInterruption, action: CordonAndDrain, startBeforeSeconds: 60}
- {kind: InstanceStateChange, action: Ignore}
node: {taint: {effect: PreferNoSchedule}}
drain:
  timeoutSeconds: 600
  podGracePeriodSeconds: 20
  waves: [{priorityBelow: 1000000}, {priorityBelow: 2000000000, reserveSeconds: 60}, {reserveSeconds: 30}]
  skip: [{namespaces: [a], podSelector: {matchExpressions: [{key: a, operator: In, values: [b]}]}}]
  blockedPods: {action: Wait}
`

func TestSamplesAreKeptAsWritten(t *testing.T) {
	files, err := filepath.Glob("../../config/samples/*_*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			keptAsWritten(t, parse(t, string(text)))
		})
	}
}

// keptAsWritten stores a policy and compares what comes back, from the server
// and through the Go types, with what was written.
func keptAsWritten(t *testing.T, written *unstructured.Unstructured) {
	t.Helper()
	stored := written.DeepCopy()
	create(t, stored)
	defer remove(t, stored)
	var typed v1alpha1.NodeTerminationPolicy
	if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(stored), &typed); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(throughJSON(t, written.Object["spec"]), throughJSON(t, stored.Object["spec"])); diff != "" {
		t.Errorf("the server changed the spec (-written +stored):\n%s", diff)
	}
	if diff := cmp.Diff(throughJSON(t, written.Object["spec"]), throughJSON(t, typed.Spec)); diff != "" {
		t.Errorf("the Go types change the spec (-written +encoded):\n%s", diff)
	}
}

// throughJSON is a value as JSON has it, with one type for all numbers.
func throughJSON(t *testing.T, value any) any {
	t.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var decoded any
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}
