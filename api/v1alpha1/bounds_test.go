// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestTextsThatNobodyTakes: what Kubernetes or AWS would refuse later is refused when it is
// applied, with what to write instead.
func TestTextsThatNobodyTakes(t *testing.T) {
	var (
		long       = strings.Repeat("a", 64)
		longPrefix = strings.Repeat("a.", 127) + "com/a"
		skip       = func(selector string) string { return aSource + "drain: {skip: [{podSelector: {" + selector + "}}]}" }
		nodes      = func(selector string) string { return aSource + "nodeSelector: {" + selector + "}" }
		hooks      = func(rules string) string { return aSource + "lifecycleHook: {" + rules + "}" }
		role       = func(arn string) string {
			return fmt.Sprintf("sources: [{name: a, sqs: {queueURL: 'https://a/b', roleARN: %q}}]", arn)
		}
		watchers = func(template string) string {
			return "sources: [{name: a, imds: {podTemplate: {" + template + "}}}]"
		}
		metadata = func(imds string) string { return "sources: [{name: a, imds: {" + imds + "}}]" }
		cluster  = func(name string) string {
			return fmt.Sprintf("sources: [{name: a, sqs: {queueURL: 'https://a/b', clusterName: %q}}]", name)
		}
		webhook = func(rules string) string { return aSource + "webhooks: [{name: a, " + rules + "}]" }
	)
	const (
		value     = "the value of a label is of at most 63 letters, digits, hyphens, dots and underscores, such as us-east-1a"
		key       = "matchLabels has labels for keys, such as topology.kubernetes.io/zone"
		aRole     = "roleARN is a role's whole ARN, such as arn:aws:iam::123456789012:role/queue-reader"
		plainHTTP = "http sends signed requests in clear: write https, as for AWS, or the name of this machine or of a service of this cluster"
		ofAccount = "after AWS's host, queueURL has the account's 12 digits and the queue's name"
		object    = "name is an object's in the manager's namespace"
		endpoint  = "endpoint is http:// or https:// and a host, with a port if need be and nothing after it, such as http://[fd00:ec2::254]"
		variables = "env has variables that watchers read: HTTPS_PROXY, HTTP_PROXY, NO_PROXY"
		surge     = "with maxSurge two watchers run on a node for a while"
		profile   = "localhostProfile names a profile on the node: it goes with type Localhost"
	)
	const (
		hookRole = "roleARN is a role's whole ARN, such as arn:aws:iam::123456789012:role/drain, or with arn:aws-cn: or arn:aws-us-gov:"
		aCluster = "clusterName is the name alone, such as production of the tag kubernetes.io/cluster/production"
	)
	for _, test := range []struct{ name, spec, want string }{
		{"a role's name for hooks", hooks("roleARN: drain"), hookRole},
		{"a user for hooks", hooks("roleARN: 'arn:aws:iam::123456789012:user/drain'"), hookRole},
		{"a partition that is none, for hooks", hooks("roleARN: 'arn:aws-mars:iam::123456789012:role/drain'"), hookRole},
		{"a role in a region", hooks("roleARN: 'arn:aws:iam:us-east-1:123456789012:role/drain'"), hookRole},
		{"a session of a role", hooks("roleARN: 'arn:aws:sts::123456789012:assumed-role/drain/x'"), hookRole},
		{"a partition that is none", role("arn:aws-mars:iam::123456789012:role/queue"), aRole},
		{"a cluster's whole tag", cluster("kubernetes.io/cluster/production"), aCluster},
		{"a cluster's tag with its value", cluster("production=owned"), aCluster},
		{"a cluster's ARN", cluster("arn:aws:eks:us-east-1:123456789012:cluster/production"), aCluster},
		{"a label's value with a space", skip(`matchLabels: {app: "my app"}`), value},
		{"a label's value of nodes with a space", nodes(`matchLabels: {pool: "my pool"}`), value},
		{"a pattern for a label's value", nodes(`matchLabels: {pool: "spot-*"}`), value},
		{"a label's value that is too long", skip(`matchLabels: {app: ` + long + `}`), "may not be more than 63"},
		{"a label's value that ends with a hyphen", skip(`matchLabels: {app: a-}`), value},
		{"a label's key that is too long", skip(`matchLabels: {` + long + `: a}`), key},
		{"a label's prefix that is too long", nodes(`matchLabels: {` + longPrefix + `: a}`), key},
		{"a label's prefix that is none", nodes(`matchLabels: {"a..b/c": a}`), key},
		{"an expression's key that is too long", skip(`matchExpressions: [{key: ` + long + `, operator: Exists}]`), "key is a label, such as"},
		{"an expression's value with a space", skip(`matchExpressions: [{key: a, operator: In, values: ["my app"]}]`), value},
		{"an expression's value that is too long", skip(`matchExpressions: [{key: a, operator: In, values: [` + long + `]}]`), "may not be more than 63"},
		{"a budget's label with a wrong prefix", aSource + `drain: {budget: {maxNodes: 1, topologyKey: -a/zone}}`, "topologyKey is a label of nodes"},
		{"an annotation's key that is too long", aSource + `kubernetesEvents: {mode: Emit, annotations: {` + long + `: a}}`, "annotations' keys are names"},
		{"an annotation's value without end", aSource + `kubernetesEvents: {mode: Emit, annotations: {a: "` + strings.Repeat("a", 4097) + `"}}`, "a value in annotations has at most 4096 characters"},
		{"a tag's key with a space at its end", aSource + `instanceTag: "managed "`, "without spaces at its ends"},
		{"a tag's key of two lines", aSource + `instanceTag: "a\nb"`, "instanceTag is a tag's key"},
		{"a tag without a key", aSource + `instanceTag: "=a"`, "instanceTag is a tag's key of at most 128 characters, or key=value"},
		{"a tag with two values", aSource + `instanceTag: "a=b=c"`, "instanceTag is a tag's key of at most 128 characters, or key=value"},
		{"a tag's key that is too long", aSource + `instanceTag: "` + strings.Repeat("a", 129) + `=b"`, "instanceTag is a tag's key of at most 128 characters"},
		{"a tag's value that is too long", aSource + `instanceTag: "a=` + strings.Repeat("b", 257) + `"`, "with a value of at most 256"},
		{"a share of unhealthy nodes that is none", aSource + `maxUnhealthy: "0%"`, "maxUnhealthy is a number from 1 on or a percentage"},
		{"no unhealthy nodes", aSource + `maxUnhealthy: 0`, "maxUnhealthy is a number from 1 on or a percentage"},
		{"an action that is none", aSource + `action: Drain`, `supported values: "CordonAndDrain", "Cordon", "Ignore"`},
		{"labels that are none", aSource + `node: {labels: nth}`, `supported values: "NTH", "None"`},
		{"keys that are none", aSource + `node: {taint: {effect: NoSchedule, key: nth}}`, `supported values: "Kind", "NTH"`},

		{"watchers with a wrong value", watchers(`labels: {team: "my team"}`), value},
		{"watchers with a value that is too long", watchers(`labels: {team: ` + long + `}`), "may not be more than 63"},
		{"watchers with a long annotation", watchers(`annotations: {a: "` + strings.Repeat("a", 4097) + `"}`), "a value in annotations has at most 4096 characters"},
		{"watchers of a priority with an empty part", watchers(`priorityClassName: a..b`), "such as system-node-critical"},
		{"a tolerated taint with a space", watchers(`tolerations: [{key: "my taint", operator: Exists}]`), "key is a taint's, such as example.com/dedicated"},
		{"a tolerated value with a space", watchers(`tolerations: [{key: a, value: "b c"}]`), "value is a taint's, of at most 63 letters"},
		{"a tolerated effect that is none", watchers(`tolerations: [{key: a, effect: NoDrain}]`), `supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"`},
		{"an operator of a toleration that is none", watchers(`tolerations: [{key: a, operator: In}]`), `supported values: "Equal", "Exists"`},
		{"every key tolerated by Equal", watchers(`tolerations: [{value: b}]`), "a toleration of every key has operator Exists"},
		{"a toleration of a value that exists", watchers(`tolerations: [{key: a, operator: Exists, value: b}]`), "operator Exists takes no value"},
		{"a toleration for a time of no eviction", watchers(`tolerations: [{key: a, operator: Exists, effect: NoSchedule, tolerationSeconds: 5}]`), "tolerationSeconds is for effect NoExecute"},

		{"metadata by no IP family", metadata(`endpointMode: ipv6`), `supported values: "IPv4", "IPv6"`},
		{"an endpoint and a mode", metadata(`endpointMode: IPv6, endpoint: "http://localhost:1338"`), "leave one of them out"},
		{"an endpoint that is no URL", metadata(`endpoint: 169.254.169.254`), endpoint},
		{"an endpoint of another scheme", metadata(`endpoint: "ftp://169.254.169.254"`), endpoint},
		{"an endpoint with a path", metadata(`endpoint: "http://169.254.169.254/latest"`), endpoint},
		{"an endpoint with a query", metadata(`endpoint: "http://169.254.169.254?a=b"`), endpoint},
		{"an endpoint with a password", metadata(`endpoint: "http://a:b@169.254.169.254"`), endpoint},
		{"an endpoint for a shell", metadata(`endpoint: "http://a&calc"`), endpoint},
		{"an endpoint of IPv6 without brackets", metadata(`endpoint: "http://fd00:ec2::254"`), endpoint},
		{"an endpoint of no IPv6 address", metadata(`endpoint: "http://[fd00:ec2::254::]"`), endpoint},
		{"an endpoint with a zone", metadata(`endpoint: "http://[fe80::1%25eth0]"`), endpoint},
		{"an endpoint of no port", metadata(`endpoint: "http://localhost:65536"`), endpoint},
		{"an endpoint without a host", metadata(`endpoint: "http://:1338"`), endpoint},
		{"a level of logs that is none", metadata(`logLevel: warn`), `supported values: "debug", "info", "error"`},
		{"a format of logs that is none", metadata(`logFormat: text`), `supported values: "json", "console"`},
		{"a variable that names another API server", watchers(`env: [{name: KUBERNETES_SERVICE_HOST, value: a}]`), variables},
		{"a variable that nobody reads", watchers(`env: [{name: FOO, value: a}]`), "any other variable into the manager's --watcher-env"},
		{"a variable of endpoint", watchers(`env: [{name: AWS_EC2_METADATA_SERVICE_ENDPOINT, value: a}]`), "goes into endpoint and endpointMode"},
		{"a variable twice", watchers(`env: [{name: TZ, value: a}, {name: TZ, value: b}]`), "Duplicate value"},
		{"a variable of no name", watchers(`env: [{value: a}]`), "name: Required value"},
		{"no variables", watchers(`env: []`), "should have at least 1 items"},
		{"a pull policy that is none", watchers(`imagePullPolicy: always`), `supported values: "Always", "IfNotPresent", "Never"`},
		{"a strategy that is none", watchers(`updateStrategy: {type: Recreate}`), `supported values: "RollingUpdate", "OnDelete"`},
		{"how many to delete at a time", watchers(`updateStrategy: {type: OnDelete, rollingUpdate: {maxUnavailable: 1}}`), "rollingUpdate is for type RollingUpdate"},
		{"no strategy", watchers(`updateStrategy: {}`), "should have at least 1 properties"},
		{"a number that is none", watchers(`updateStrategy: {rollingUpdate: {maxUnavailable: ten}}`), "maxUnavailable is a number or a percentage of the nodes, such as 1 or 10%"},
		{"more than all", watchers(`updateStrategy: {rollingUpdate: {maxUnavailable: 101%}}`), "maxUnavailable is a number or a percentage"},
		{"less than none", watchers(`updateStrategy: {rollingUpdate: {maxUnavailable: -1}}`), "maxUnavailable is a number or a percentage"},
		{"nothing at a time", watchers(`updateStrategy: {rollingUpdate: {maxUnavailable: 0}}`), "with maxUnavailable 0 and no maxSurge nothing would be replaced"},
		{"nothing at a time, in percent", watchers(`updateStrategy: {rollingUpdate: {maxUnavailable: "0%"}}`), "with maxUnavailable 0 and no maxSurge nothing would be replaced"},
		{"a surge of none", watchers(`updateStrategy: {rollingUpdate: {maxSurge: 0}}`), "leave it out for none"},
		{"both at a time", watchers(`updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 10%}}`), "leave one of them out"},
		{"two watchers at one port", metadata(`metricsPort: 9808, podTemplate: {updateStrategy: {rollingUpdate: {maxSurge: 1}}}`), surge},
		{"root", watchers(`securityContext: {runAsUser: 0}`), "runAsUser is a number from 1 on, such as 65532: watchers need no root"},
		{"root's group", watchers(`securityContext: {runAsGroup: 0}`), "runAsGroup is a number from 1 on, such as 65532: watchers need no root"},
		{"no seccomp", watchers(`securityContext: {seccompProfile: {type: Unconfined}}`), `supported values: "RuntimeDefault", "Localhost"`},
		{"a profile of no name", watchers(`securityContext: {seccompProfile: {type: Localhost}}`), profile},
		{"a name of no profile", watchers(`securityContext: {appArmorProfile: {type: RuntimeDefault, localhostProfile: a}}`), profile},
		{"a profile elsewhere", watchers(`securityContext: {seccompProfile: {type: Localhost, localhostProfile: ../../a}}`), "localhostProfile is the profile's name, such as profiles/watcher.json"},
		{"no security context", watchers(`securityContext: {}`), "should have at least 1 properties"},

		{"http to another host", queue("http://sqs.example.com/123456789012/q"), plainHTTP},
		{"http to an address", queue("http://10.0.0.7:4566/000000000000/q"), plainHTTP},
		{"http to an address as a number", queue("http://134744072/000000000000/q"), plainHTTP},
		{"http to a host that begins like this machine", queue("http://localhost.example.com/000000000000/q"), plainHTTP},
		{"http to a host that ends like a service", queue("http://evil.example.com.svc.example.com/000000000000/q"), plainHTTP},
		{"http to AWS", queue("http://sqs.us-east-1.amazonaws.com/123456789012/q"), plainHTTP},
		{"a URL with a wrong escape", queue("https://a/b%zz"), "queueURL is the queue's whole address"},
		{"an account with a digit too many", queue("https://sqs.us-east-1.amazonaws.com/1234567890123/q"), ofAccount},
		{"a queue's name with a dot", queue("https://sqs.us-east-1.amazonaws.com/123456789012/my.queue"), ofAccount},
		{"a queue's name that is too long", queue("https://sqs.us-east-1.amazonaws.com/123456789012/" + strings.Repeat("q", 81)), ofAccount},
		{"a role's name", role("queue-reader"), aRole},
		{"a user's ARN", role("arn:aws:iam::123456789012:user/me"), aRole},
		{"a role's name that is too long", role("arn:aws:iam::123456789012:role/" + strings.Repeat("r", 65)), aRole},
		{"a role of no name", role("arn:aws:iam::123456789012:role/path/"), aRole},

		{"a pattern of hooks", hooks(`names: ["drain-*"]`), "names are hooks' own"},
		{"no names", hooks(`names: []`), "should have at least 1 items"},
		{"a hook's name with a space to ignore", hooks(`ignore: ["my hook"]`), "ignore has hooks' own"},
		{"a hook in both", hooks(`names: [drain, other], ignore: [drain]`), "a hook is either in names or in ignore: take it out of one of them"},
		{"an adopted hook that is not in names", hooks(`names: [drain], adopt: [{autoScalingGroupName: a, name: join}]`), "add the names of adopted hooks to names"},
		{"an adopted hook's ARN for its name", hooks(`adopt: [{autoScalingGroupName: a, name: "arn:aws:autoscaling"}]`), "name is a hook's, of letters, digits"},
		{"a group's ARN", hooks(`adopt: [{autoScalingGroupName: "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:1:autoScalingGroupName/a", name: join}]`), "autoScalingGroupName is a group's name, such as workers, not its ARN"},

		{"a webhook's URL with a wrong escape", webhook(`url: "https://a/%zz"`), "url is a whole address without a password"},
		{"a proxy of no port", webhook(`url: "https://a/b", proxyURL: "http://[::1"`), "proxyURL is a proxy's scheme, host and port"},
		{"a secret's name with an empty part", webhook(`urlFrom: {secretKeyRef: {name: a..b, key: url}}`), object},
		{"headers of no secret", webhook(`url: "https://a/b", headersFrom: {secretRef: {name: My_Secret}}`), object},
		{"a key that is a folder", webhook(`urlFrom: {secretKeyRef: {name: a, key: ".."}}`), "key is one of the object's data"},
	} {
		t.Run(test.name, func(t *testing.T) {
			refused(t, admin(t).Create(t.Context(), policy(t, test.spec), client.DryRunAll), test.want)
		})
	}
}

// TestTextsOfEventsThatNobodyTakes is about what no source stores.
func TestTextsOfEventsThatNobodyTakes(t *testing.T) {
	hook := func(old, changed string) string { return spec(strings.Replace(aHook, old, changed, 1)) }
	for _, test := range []struct{ name, spec, want string }{
		{"a node's name with a space", strings.Replace(spec(anEvent), "ip-10-0-3-7.ec2.internal", `"my node"`, 1), "nodeName is a Node's name, such as ip-10-0-3-7.ec2.internal"},
		{"a region that is a host", spec(anEvent) + "instance: {region: example.com/}", "region is an AWS region's code, such as us-east-1"},
		{"an id with a space", spec(strings.Replace(anEvent, "id: a", `id: "a b"`, 1)), "an event's id is printable and without spaces"},
		{"a policy's name with a space", spec(strings.Replace(anEvent, "id: a", `id: a, policyName: "a b"`, 1)), "policyName is a NodeTerminationPolicy's name"},
		{"a hook's name with a space", hook("name: drain", `name: "my drain"`), "name is a hook's, of letters, digits"},
		{"a group's ARN", hook("autoScalingGroupName: workers", `autoScalingGroupName: "arn:aws:autoscaling"`), "autoScalingGroupName is a group's name, such as workers, not its ARN"},
	} {
		t.Run(test.name, func(t *testing.T) {
			refused(t, admin(t).Create(t.Context(), termination(t, instance, test.spec), client.DryRunAll), test.want)
		})
	}
}

// TestTextsThatAreTaken are those at the bounds.
func TestTextsThatAreTaken(t *testing.T) {
	label := strings.Repeat("a", 63)
	for name, spec := range map[string]string{
		"long labels":          aSource + "nodeSelector: {matchLabels: {" + strings.Repeat("a.", 124) + "com/" + label + ": " + label + "}}",
		"this machine":         queue("http://localhost:4566/000000000000/q"),
		"this machine by IPv6": queue("http://[::1]:4566/000000000000/q"),
		"a service":            queue("http://localstack:4566/000000000000/q"),
		"a service elsewhere":  queue("http://localstack.testing.svc:4566/000000000000/q"),
		"a service's name":     queue("http://localstack.testing.svc.cluster.local/000000000000/q"),
		"a simulator's":        queue("https://sqs.us-east-1.localhost.localstack.cloud:4566/000000000000/q"),
		"a long queue's name":  queue("https://sqs.eu-central-1.amazonaws.com/123456789012/" + strings.Repeat("q", 80)),
		"a role with a path": `
sources: [{name: a, sqs: {queueURL: "https://a/b", roleARN: "arn:aws-us-gov:iam::123456789012:role/team/a_b/queue+reader=1@x"}}]`,
		"a role of hooks":             aSource + `lifecycleHook: {roleARN: "arn:aws:iam::123456789012:role/drain"}`,
		"a role of hooks in China":    aSource + `lifecycleHook: {roleARN: "arn:aws-cn:iam::123456789012:role/team/drain"}`,
		"a role of hooks in GovCloud": aSource + `lifecycleHook: {roleARN: "arn:aws-us-gov:iam::123456789012:role/drain"}`,
		"a role of hooks in Europe":   aSource + `lifecycleHook: {roleARN: "arn:aws-eusc:iam::123456789012:role/drain"}`,
		"a cluster of EKS":            `sources: [{name: a, sqs: {queueURL: "https://a/b", clusterName: prod_1-blue}}]`,
		"a cluster of kops":           `sources: [{name: a, sqs: {queueURL: "https://a/b", clusterName: prod.k8s.example.com}}]`,
		"named hooks":                 aSource + `lifecycleHook: {names: [drain, a/b_c-9], ignore: [other], adopt: [{autoScalingGroupName: "my group", name: drain}]}`,
		"tolerated taints":            `sources: [{name: a, imds: {podTemplate: {tolerations: [{operator: Exists}, {key: a, value: b, effect: NoExecute, tolerationSeconds: 5}]}}}]`,
		"EC2's metadata by IPv6":      `sources: [{name: a, imds: {endpointMode: IPv6, logLevel: debug, logFormat: console}}]`,
		"an endpoint by IPv6":         `sources: [{name: a, imds: {endpoint: "http://[fd00:ec2::254]:80/"}}]`,
		"an endpoint of a name":       `sources: [{name: a, imds: {endpoint: "https://metadata.example.com:8443"}}]`,
		"all of a watcher's pod":      `sources: [{name: a, imds: {podTemplate: {env: [{name: HTTPS_PROXY, value: "http://a:3128"}, {name: no_proxy}], imagePullPolicy: Never, updateStrategy: {type: OnDelete}, securityContext: {runAsUser: 1000, runAsGroup: 1, seccompProfile: {type: Localhost, localhostProfile: profiles/a.json}, appArmorProfile: {type: RuntimeDefault}}}}}]`,
		"watchers that surge":         `sources: [{name: a, imds: {podTemplate: {updateStrategy: {rollingUpdate: {maxSurge: 100%, maxUnavailable: 0}}}}}]`,
		"all watchers at a time":      `sources: [{name: a, imds: {metricsPort: 9808, podTemplate: {updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 100%}}}}}]`,
		"a tag's value":               aSource + `instanceTag: "kubernetes.io/cluster/prod=owned"`,
		"a tag's no value":            aSource + `instanceTag: "managed="`,
		"a tag of AWS's":              aSource + `instanceTag: "aws:autoscaling:groupName"`,
		"the most of rules":           aSource + "drain: {skip: [" + strings.Repeat("{podSelector: {matchLabels: {a: b, c: d}}}, ", maxRules) + "]}",
	} {
		t.Run(name, func(t *testing.T) { keptAsWritten(t, policy(t, spec)) })
	}
	nt := termination(t, instance, spec(anEvent+", "+aHook)+"instance: {region: us-gov-west-1}")
	if err := admin(t).Create(t.Context(), nt, client.DryRunAll); err != nil {
		t.Error(err)
	}
}

// maxRules is how many rules drain.skip has at most.
const maxRules = 16
