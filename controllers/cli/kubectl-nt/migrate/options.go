// SPDX-License-Identifier: Apache-2.0

package migrate

// mode says in which mode of NTH an option is read.
type mode int

const (
	both  mode = iota
	imds       // a DaemonSet, which reads the metadata service
	queue      // a Deployment, which reads an SQS queue
)

// option is an option of the AWS Node Termination Handler (NTH).
type option struct {
	key       string // of the chart's values.yaml. Of an option without one: its environment variable
	env, flag string // by which the program reads it. Empty: only the chart does
	fallback  any    // the chart's default. Nil: none
	since     string // the first version of the chart that has it. Empty: 0.21.0, or an older one
	reads     mode   // where it has an effect
	advice    string // what to do about a value other than the default, which has no counterpart. Empty: it is converted
	same      bool   // advice only says why nothing is to be done
}

// chart reports whether the option is a value of the chart.
func (o *option) chart() bool { return o.key != o.env }

// Advice that several options share.
const (
	ownImage   = "this operator has its own image: for a registry of yours, copy it there and set image.repository (Helm) or images (kustomize)"
	ownProbes  = "the manager and the watchers have probes of their own, always"
	onlyLinux  = "watchers have not been tried on Windows nodes: use a queue for them, which needs nothing on the node"
	ownDNS     = "the DNS settings of watchers cannot be changed: they talk to the API server and to 169.254.169.254 only"
	restricted = "the manager's pods keep to the Pod Security level restricted already; those of watchers are checked by an admission policy, and cannot differ"
	ownRights  = "the operator's rights are part of each way to install it: see docs/install.md"
)

// options are all options of NTH: the values of its chart from version 0.21.0 to 0.27.6, in the order of
// its values.yaml, and after them what only the program knows.
var options = []option{
	{key: "image.repository", fallback: "public.ecr.aws/aws-ec2/aws-node-termination-handler", advice: ownImage},
	{key: "image.tag", fallback: "", advice: ownImage},
	{key: "image.pullPolicy", fallback: "IfNotPresent"},
	{key: "image.pullSecrets", fallback: list{}},
	{key: "nameOverride", fallback: "", advice: "set namePrefix, of kustomize and of the chart alike"},
	{key: "fullnameOverride", fallback: "", advice: "set namePrefix, of kustomize and of the chart alike"},
	{key: "serviceAccount.create", fallback: true, advice: "create the service account node-termination-manager in node-termination-system as you created NTH's, then write serviceAccount: {create: false, name: node-termination-manager} among the values of our chart"},
	{key: "serviceAccount.name", advice: "the service account is node-termination-manager in node-termination-system: name it in the role's trust policy or in the Pod Identity association"},
	{key: "serviceAccount.annotations", fallback: tree{}},
	{key: "rbac.create", fallback: true, advice: ownRights},
	{key: "rbac.pspEnabled", fallback: true, advice: "Kubernetes has no PodSecurityPolicies any more: label the namespaces as docs/install.md says", same: true},
	{key: "customLabels", fallback: tree{}},
	{key: "podLabels", fallback: tree{}},
	{key: "podAnnotations", fallback: tree{}},
	{key: "podSecurityContext", fallback: tree{"fsGroup": 1000}, advice: restricted},
	{key: "securityContext", fallback: tree{"readOnlyRootFilesystem": true, "runAsNonRoot": true, "allowPrivilegeEscalation": false, "runAsUser": 1000, "runAsGroup": 1000}, advice: restricted},
	{key: "terminationGracePeriodSeconds", advice: "no process has to end in time: what was received is stored, and the next leader goes on within ten seconds"},
	{key: "resources", fallback: tree{}},
	{key: "nodeSelector", fallback: tree{}},
	{key: "affinity", fallback: tree{}},
	{key: "tolerations", fallback: list{}},
	{key: "topologySpreadConstraints", fallback: list{}, since: "0.22.0", reads: queue, advice: "the manager's replicas are spread over nodes and zones already: to change that set topologySpreadConstraints, with the labels of the manager"},
	{key: "extraEnv", fallback: list{}},
	{key: "probes", fallback: tree{"httpGet": tree{"path": "/healthz", "port": 8080}, "initialDelaySeconds": 5, "periodSeconds": 5}, advice: ownProbes},
	{key: "logLevel", env: "LOG_LEVEL", flag: "log-level", fallback: "info"},
	{key: "logFormatVersion", env: "LOG_FORMAT_VERSION", flag: "log-format-version", fallback: 1, advice: "log lines are other ones: change what searches them, or have it read NodeTerminations"},
	{key: "jsonLogging", env: "JSON_LOGGING", flag: "json-logging", fallback: false, advice: "logs are JSON; --log-format=console among the manager's args is the other format", same: true},
	{key: "enablePrometheusServer", env: "ENABLE_PROMETHEUS_SERVER", flag: "enable-prometheus-server", fallback: false},
	{key: "prometheusServerPort", env: "PROMETHEUS_SERVER_PORT", flag: "prometheus-server-port", fallback: 9092},
	{key: "dryRun", env: "DRY_RUN", flag: "dry-run", fallback: false},
	{key: "cordonOnly", env: "CORDON_ONLY", flag: "cordon-only", fallback: false},
	{key: "taintNode", env: "TAINT_NODE", flag: "taint-node", fallback: false},
	{key: "enableOutOfServiceTaint", env: "ENABLE_OUT_OF_SERVICE_TAINT", flag: "enable-out-of-service-taint", fallback: false, since: "0.26.0"},
	{key: "excludeFromLoadBalancers", env: "EXCLUDE_FROM_LOAD_BALANCERS", flag: "exclude-from-load-balancers", fallback: false},
	{key: "deleteLocalData", env: "DELETE_LOCAL_DATA", flag: "delete-local-data", fallback: true, advice: "pods with emptyDir volumes are evicted too, as the instance takes the data with it: keep them on the node with drain.skip, or with the annotation nodetermination.dev/drain: skip"},
	{key: "ignoreDaemonSets", env: "IGNORE_DAEMON_SETS", flag: "ignore-daemon-sets", fallback: true, advice: "pods of DaemonSets always stay, and do not make a drain fail"},
	{key: "podTerminationGracePeriod", env: "POD_TERMINATION_GRACE_PERIOD", flag: "pod-termination-grace-period", fallback: -1},
	{key: "nodeTerminationGracePeriod", env: "NODE_TERMINATION_GRACE_PERIOD", flag: "node-termination-grace-period", fallback: 120},
	{key: "emitKubernetesEvents", env: "EMIT_KUBERNETES_EVENTS", flag: "emit-kubernetes-events", fallback: false},
	{key: "completeLifecycleActionDelaySeconds", env: "COMPLETE_LIFECYCLE_ACTION_DELAY_SECONDS", flag: "complete-lifecycle-action-delay-seconds", fallback: -1, reads: queue},
	{key: "kubernetesEventsExtraAnnotations", env: "KUBERNETES_EVENTS_EXTRA_ANNOTATIONS", flag: "kubernetes-events-extra-annotations", fallback: ""},
	{key: "webhookURL", env: "WEBHOOK_URL", flag: "webhook-url", fallback: ""},
	{key: "webhookURLSecretName", fallback: ""},
	{key: "webhookHeaders", env: "WEBHOOK_HEADERS", flag: "webhook-headers", fallback: ""},
	{key: "webhookProxy", env: "WEBHOOK_PROXY", flag: "webhook-proxy", fallback: ""},
	{key: "webhookTemplate", env: "WEBHOOK_TEMPLATE", flag: "webhook-template", fallback: ""},
	{key: "webhookTemplateConfigMapName", fallback: ""},
	{key: "webhookTemplateConfigMapKey", fallback: ""},
	{key: "enableSqsTerminationDraining", env: "ENABLE_SQS_TERMINATION_DRAINING", flag: "enable-sqs-termination-draining", fallback: false},
	{key: "replicas", fallback: 1, reads: queue},
	{key: "strategy", fallback: tree{}, reads: queue, advice: "the manager's Deployment is updated by its default strategy; a replica takes over within seconds"},
	{key: "podDisruptionBudget", fallback: tree{}, reads: queue},
	{key: "serviceMonitor.create", fallback: false, reads: queue},
	{key: "serviceMonitor.namespace", reads: queue, advice: "the ServiceMonitor is in the manager's namespace: have Prometheus select it there, by serviceMonitorNamespaceSelector"},
	{key: "serviceMonitor.labels", fallback: tree{}, reads: queue},
	{key: "serviceMonitor.interval", fallback: "30s", reads: queue},
	{key: "serviceMonitor.sampleLimit", fallback: 5000, reads: queue, advice: "no label of a metric is unbounded, so there is no limit: add one with a patch of the ServiceMonitor"},
	{key: "priorityClassName", fallback: "system-cluster-critical", reads: queue},
	{key: "awsRegion", env: "AWS_REGION", flag: "aws-region", fallback: "", reads: queue},
	{key: "queueURL", env: "QUEUE_URL", flag: "queue-url", fallback: "", reads: queue},
	{key: "workers", env: "WORKERS", flag: "workers", fallback: 10, reads: queue, advice: "there is no number of workers to set: the nearest deadline comes first, and how many evictions are in flight is found while it runs", same: true},
	{key: "checkASGTagBeforeDraining", env: "CHECK_ASG_TAG_BEFORE_DRAINING", flag: "check-asg-tag-before-draining", fallback: true, reads: queue, advice: "it has no effect in NTH, whose chart always sets checkTagBeforeDraining too"},
	{key: "checkTagBeforeDraining", env: "CHECK_TAG_BEFORE_DRAINING", flag: "check-tag-before-draining", fallback: true, reads: queue},
	{key: "managedAsgTag", env: "MANAGED_ASG_TAG", flag: "managed-asg-tag", fallback: managedTag, reads: queue, advice: "it has no effect in NTH, whose chart always sets managedTag too"},
	{key: "managedTag", env: "MANAGED_TAG", flag: "managed-tag", fallback: managedTag, reads: queue},
	{key: "useProviderId", env: "USE_PROVIDER_ID", flag: "use-provider-id", fallback: false, advice: "nodes are found by their providerID unless nodeIdentity is PrivateDNSName", same: true},
	{key: "targetNodeOs", fallback: "linux", reads: imds},
	{key: "linuxPodLabels", fallback: tree{}, reads: imds},
	{key: "windowsPodLabels", fallback: tree{}, reads: imds, advice: onlyLinux},
	{key: "linuxPodAnnotations", fallback: tree{}, reads: imds},
	{key: "windowsPodAnnotations", fallback: tree{}, reads: imds, advice: onlyLinux},
	{key: "updateStrategy", fallback: tree{"type": "RollingUpdate", "rollingUpdate": tree{"maxUnavailable": "25%"}}, reads: imds, advice: "imds.podTemplate.updateStrategy is the same; what a watcher misses while it restarts, it reads afterwards"},
	{key: "daemonsetPriorityClassName", fallback: "system-node-critical", reads: imds},
	{key: "podMonitor.create", fallback: false, reads: imds},
	{key: "podMonitor.namespace", reads: imds, advice: "the PodMonitor is in the watchers' namespace: have Prometheus select it there, by podMonitorNamespaceSelector"},
	{key: "podMonitor.labels", fallback: tree{}, reads: imds},
	{key: "podMonitor.interval", fallback: "30s", reads: imds},
	{key: "podMonitor.sampleLimit", fallback: 5000, reads: imds, advice: "no label of a metric is unbounded, so there is no limit: add one with a patch of the PodMonitor"},
	{key: "useHostNetwork", fallback: true, reads: imds},
	{key: "dnsPolicy", fallback: "", advice: ownDNS},
	{key: "dnsConfig", fallback: tree{}, advice: ownDNS},
	{key: "linuxDnsPolicy", fallback: "ClusterFirstWithHostNet", reads: imds, advice: ownDNS},
	{key: "windowsDnsPolicy", fallback: "ClusterFirst", reads: imds, advice: onlyLinux},
	{key: "daemonsetNodeSelector", fallback: tree{}, reads: imds},
	{key: "linuxNodeSelector", fallback: tree{}, reads: imds},
	{key: "windowsNodeSelector", fallback: tree{}, reads: imds, advice: onlyLinux},
	{key: "daemonsetAffinity", fallback: notFargate, reads: imds},
	{key: "linuxAffinity", fallback: tree{}, reads: imds},
	{key: "windowsAffinity", fallback: tree{}, reads: imds, advice: onlyLinux},
	{key: "daemonsetTolerations", fallback: list{tree{"operator": "Exists"}}, reads: imds},
	{key: "linuxTolerations", fallback: list{}, reads: imds},
	{key: "windowsTolerations", fallback: list{}, reads: imds, advice: onlyLinux},
	{key: "enableProbesServer", env: "ENABLE_PROBES_SERVER", flag: "enable-probes-server", fallback: false, reads: imds, advice: ownProbes, same: true},
	{key: "metadataTries", env: "METADATA_TRIES", flag: "metadata-tries", fallback: 3, reads: imds, advice: "a watcher tries until the metadata service answers, and the policy's status counts those that are not ready", same: true},
	{key: "enableSpotInterruptionDraining", env: "ENABLE_SPOT_INTERRUPTION_DRAINING", flag: "enable-spot-interruption-draining", fallback: true, reads: imds},
	{key: "enableASGLifecycleDraining", env: "ENABLE_ASG_LIFECYCLE_DRAINING", flag: "enable-asg-lifecycle-draining", fallback: true, since: "0.24.1", reads: imds},
	{key: "enableScheduledEventDraining", env: "ENABLE_SCHEDULED_EVENT_DRAINING", flag: "enable-scheduled-event-draining", fallback: true, reads: imds},
	{key: "enableRebalanceMonitoring", env: "ENABLE_REBALANCE_MONITORING", flag: "enable-rebalance-monitoring", fallback: false, reads: imds},
	{key: "enableRebalanceDraining", env: "ENABLE_REBALANCE_DRAINING", flag: "enable-rebalance-draining", fallback: false, reads: imds},
	{key: "deleteSqsMsgIfNodeNotFound", env: "DELETE_SQS_MSG_IF_NODE_NOT_FOUND", flag: "delete-sqs-msg-if-node-not-found", fallback: false, reads: queue},
	{key: "heartbeatInterval", env: "HEARTBEAT_INTERVAL", flag: "heartbeat-interval", fallback: -1, since: "0.26.0", reads: queue},
	{key: "heartbeatUntil", env: "HEARTBEAT_UNTIL", flag: "heartbeat-until", fallback: -1, since: "0.26.0", reads: queue},
	{key: "sqsMsgVisibilityTimeoutSec", env: "SQS_MSG_VISIBILITY_TIMEOUT_SEC", flag: "sqs-msg-visibility-timeout-sec", fallback: 20, since: "0.27.3", reads: queue, advice: "a message is deleted as soon as it is stored in the cluster, so there is nothing to hide it for", same: true},
	{key: "awsEndpoint", env: "AWS_ENDPOINT", flag: "aws-endpoint", fallback: "", reads: queue, advice: "the AWS SDK's variables AWS_ENDPOINT_URL_SQS, AWS_ENDPOINT_URL_AUTO_SCALING and AWS_ENDPOINT_URL_EC2 do this: set them in the manager's env"},
	{key: "awsAccessKeyID", fallback: nil, reads: queue, advice: "give the manager a role instead of a key: docs/aws.md"},
	{key: "awsSecretAccessKey", fallback: nil, reads: queue, advice: "give the manager a role instead of a key: docs/aws.md"},
	{key: "instanceMetadataURL", env: "INSTANCE_METADATA_URL", flag: "metadata-url", fallback: "", reads: imds, advice: "imds.endpoint is the same, without a path; imds.endpointMode: IPv6 is EC2's by IPv6"},
	{key: "procUptimeFile", env: "UPTIME_FROM_FILE", flag: "uptime-from-file", fallback: "/proc/uptime", reads: imds, advice: "that a node has booted is seen by its boot ID", same: true},

	{key: "TAINT_EFFECT", env: "TAINT_EFFECT", flag: "taint-effect", fallback: "NoSchedule"},
	{key: "WEBHOOK_TEMPLATE_FILE", env: "WEBHOOK_TEMPLATE_FILE", flag: "webhook-template-file", fallback: ""},
	{key: "KUBE_API_QPS", env: "KUBE_API_QPS", flag: "kube-api-qps", fallback: 5, advice: "requests are limited by the API server, in a flow of their own: there is nothing to set", same: true},
	{key: "KUBE_API_BURST", env: "KUBE_API_BURST", flag: "kube-api-burst", fallback: 10, advice: "requests are limited by the API server, in a flow of their own: there is nothing to set", same: true},
	{key: "USE_APISERVER_CACHE", env: "USE_APISERVER_CACHE", flag: "use-apiserver-cache", fallback: false, advice: "a drain watches the pods of its node, from the API server's cache", same: true},
	{key: "PROBES_SERVER_PORT", env: "PROBES_SERVER_PORT", flag: "probes-server-port", fallback: 8080, advice: ownProbes, same: true},
	{key: "PROBES_SERVER_ENDPOINT", env: "PROBES_SERVER_ENDPOINT", flag: "probes-server-endpoint", fallback: "/healthz", advice: ownProbes, same: true},
	{key: "NODE_NAME", env: "NODE_NAME", flag: "node-name", fallback: "", advice: "it is set for each pod", same: true},
	{key: "POD_NAME", env: "POD_NAME", flag: "pod-name", fallback: "", advice: "it is set for each pod", same: true},
	{key: "NAMESPACE", env: "NAMESPACE", flag: "pod-namespace", fallback: "", advice: "it is set for each pod", same: true},
	{key: "KUBERNETES_SERVICE_HOST", env: "KUBERNETES_SERVICE_HOST", flag: "kubernetes-service-host", fallback: "", advice: "the operator finds the API server as every pod does: set the variable in the manager's env, and name it in its arg --watcher-env"},
	{key: "KUBERNETES_SERVICE_PORT", env: "KUBERNETES_SERVICE_PORT", flag: "kubernetes-service-port", fallback: "", advice: "the operator finds the API server as every pod does: set the variable in the manager's env, and name it in its arg --watcher-env"},
}

// managedTag is the tag that NTH looks for by default.
const managedTag = "aws-node-termination-handler/managed"

// notFargate is the chart's default for the affinity of its DaemonSet.
var notFargate = tree{"nodeAffinity": tree{"requiredDuringSchedulingIgnoredDuringExecution": tree{"nodeSelectorTerms": list{
	tree{"matchExpressions": list{tree{"key": computeType, "operator": "NotIn", "values": list{"fargate"}}}},
}}}}

const computeType = "eks.amazonaws.com/compute-type"

// renamed are the variables and flags that NTH deprecates, which count where the newer one is not set.
var renamed = map[string]string{
	"GRACE_PERIOD": "POD_TERMINATION_GRACE_PERIOD", "MANAGED_ASG_TAG": "MANAGED_TAG", "CHECK_ASG_TAG_BEFORE_DRAINING": "CHECK_TAG_BEFORE_DRAINING",
}

// optionOf returns the first option for which ok is true, or nil.
func optionOf(ok func(*option) bool) *option {
	for i := range options {
		if ok(&options[i]) {
			return &options[i]
		}
	}
	return nil
}
