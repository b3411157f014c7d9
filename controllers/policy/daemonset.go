// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsac "k8s.io/client-go/applyconfigurations/apps/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	metaac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

const (
	// watcher is the component's name: the pods' container, and what their service account's name has in it.
	watcher = "imds-watcher"
	// watcherBinary is where the image has it.
	watcherBinary = "/imds-watcher"
	// watcherRun is where it keeps the file that its probe reads.
	watcherRun = "/run/imds-watcher"

	// watcherStopSeconds is all the time a watcher needs to stop: it holds nothing.
	watcherStopSeconds = 5
	// watcherProbeSeconds is how often a watcher that has started is probed. Each
	// probe is a process of its own on every node, so it is seldom; the heartbeat
	// itself tolerates short failures, so one answer decides.
	watcherProbeSeconds = 180
	// watcherStartSeconds is how often until then, for up to ten minutes: it tries
	// again by itself, and to be restarted helps little.
	watcherStartSeconds = 2
)

// Labels of the DaemonSets and their pods. All are also the DaemonSets' selectors,
// which cannot change.
const (
	nameLabel      = "app.kubernetes.io/name"
	componentLabel = "app.kubernetes.io/component"
	instanceLabel  = "app.kubernetes.io/instance"
)

// everyWatcher are the labels that all watchers' DaemonSets have.
var everyWatcher = map[string]string{nameLabel: v1alpha1.FieldManager, componentLabel: watcher}

// notADNSLabel is what a policy's name may have in it and a pod's host name not.
var notADNSLabel = regexp.MustCompile(`[^a-z0-9-]+`)

// daemonSetName returns the name of a policy's DaemonSet. It is also a label, and the
// beginning of the pods' names, of which Kubernetes would cut off what is too
// long. A policy's name that is too long or has dots in it gets a hash in its
// place, so that no two policies share a name.
func daemonSetName(policy string) string {
	const room = 57 // of the 63 of a label, less the hyphen and five letters that pods add
	name := watcher + "-" + policy
	if len(name) <= room && !notADNSLabel.MatchString(name) {
		return name
	}
	hash := fmt.Sprintf("-%x", sha256.Sum256([]byte(policy)))[:9]
	name = notADNSLabel.ReplaceAllString(name, "-")
	return name[:min(len(name), room-len(hash))] + hash
}

// daemonSet returns the DaemonSet that runs a watcher on each node that the policy selects.
func daemonSet(policy *v1alpha1.NodeTerminationPolicy, source *v1alpha1.Source, settings watcherSettings) *appsac.DaemonSetApplyConfiguration {
	name := daemonSetName(policy.Name)
	labels := maps.Clone(everyWatcher)
	labels[instanceLabel] = name
	return appsac.DaemonSet(name, settings.namespace).
		WithLabels(labels).
		WithOwnerReferences(metaac.OwnerReference().
			WithAPIVersion(v1alpha1.GroupVersion.String()).
			WithKind("NodeTerminationPolicy").
			WithName(policy.Name).
			WithUID(policy.UID).
			WithController(true)).
		WithSpec(appsac.DaemonSetSpec().
			WithSelector(metaac.LabelSelector().WithMatchLabels(labels)).
			WithUpdateStrategy(appsac.DaemonSetUpdateStrategy().
				WithRollingUpdate(appsac.RollingUpdateDaemonSet().WithMaxUnavailable(intstr.FromString("10%")))).
			WithTemplate(podTemplate(policy, source, settings, labels)))
}

// podTemplate returns the watchers' pod: safe defaults, changed by the policy.
func podTemplate(
	policy *v1alpha1.NodeTerminationPolicy, source *v1alpha1.Source, settings watcherSettings, labels map[string]string,
) *coreac.PodTemplateSpecApplyConfiguration {
	change := ptr.Deref(source.IMDS.PodTemplate, v1alpha1.WatcherPodTemplate{})
	return coreac.PodTemplateSpec().
		WithLabels(v1alpha1.Labels(change.Labels)).
		WithLabels(labels). // win: the DaemonSet finds its pods by them
		WithAnnotations(change.Annotations).
		WithSpec(coreac.PodSpec().
			WithServiceAccountName(settings.serviceAccount).
			WithAutomountServiceAccountToken(true). // it ends with the pod and names the node
			WithHostNetwork(ptr.Deref(change.HostNetwork, true)).
			WithDNSPolicy(corev1.DNSDefault). // no names are looked up: the cluster's DNS need not work
			WithEnableServiceLinks(false).
			WithPriorityClassName(cmp.Or(change.PriorityClassName, "system-node-critical")).
			WithTolerations(tolerations(change.Tolerations)...).
			WithAffinity(coreac.Affinity().WithNodeAffinity(affinity(policy.Spec.NodeSelector))).
			WithTerminationGracePeriodSeconds(watcherStopSeconds).
			WithSecurityContext(coreac.PodSecurityContext().
				WithRunAsNonRoot(true).
				WithSeccompProfile(coreac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
			WithVolumes(coreac.Volume().WithName("run").WithEmptyDir(coreac.EmptyDirVolumeSource().
				WithMedium(corev1.StorageMediumMemory).
				WithSizeLimit(resource.MustParse("64Ki")))).
			WithContainers(container(policy.Name, source, settings, change.Resources)))
}

func container(
	policy string, source *v1alpha1.Source, settings watcherSettings, change *corev1.ResourceRequirements,
) *coreac.ContainerApplyConfiguration {
	container := coreac.Container().
		WithName(watcher).
		WithImage(settings.image).
		WithCommand(watcherBinary).
		WithArgs(
			"--policy="+policy,
			"--source="+source.Name,
			"--poll-interval="+source.IMDS.PollInterval().String(),
		).
		WithEnv(coreac.EnvVar().WithName(nodeNameEnv).
			WithValueFrom(coreac.EnvVarSource().WithFieldRef(coreac.ObjectFieldSelector().WithFieldPath("spec.nodeName")))).
		WithVolumeMounts(coreac.VolumeMount().WithName("run").WithMountPath(watcherRun)).
		WithResources(resources(change)).
		WithStartupProbe(probe(watcherStartSeconds, 300)).
		WithReadinessProbe(probe(watcherProbeSeconds, 1)).
		// The policy's status shows its termination message.
		WithTerminationMessagePolicy(corev1.TerminationMessageFallbackToLogsOnError).
		WithSecurityContext(coreac.SecurityContext().
			WithAllowPrivilegeEscalation(false).
			WithReadOnlyRootFilesystem(true).
			WithCapabilities(coreac.Capabilities().WithDrop("ALL")))
	for _, e := range settings.env {
		container.WithEnv(coreac.EnvVar().WithName(e.Name).WithValue(e.Value))
	}
	if port := source.IMDS.MetricsPort; port != nil {
		container.
			WithArgs(fmt.Sprintf("--metrics-port=%d", *port)).
			// By its name a PodMonitor finds it. With the host's network the API server opens it on the host.
			WithPorts(coreac.ContainerPort().WithName("metrics").WithContainerPort(*port).WithProtocol(corev1.ProtocolTCP))
	}
	return container
}

func probe(period, failures int32) *coreac.ProbeApplyConfiguration {
	return coreac.Probe().
		WithExec(coreac.ExecAction().WithCommand(watcherBinary, "probe")).
		WithPeriodSeconds(period).
		WithTimeoutSeconds(5).
		WithFailureThreshold(failures)
}

func resources(change *corev1.ResourceRequirements) *coreac.ResourceRequirementsApplyConfiguration {
	if change == nil {
		return coreac.ResourceRequirements().
			WithRequests(corev1.ResourceList{
				corev1.ResourceCPU:    resource.MustParse("5m"),
				corev1.ResourceMemory: resource.MustParse("24Mi"),
			}).
			// No limit on CPU: a throttled watcher receives events late.
			WithLimits(corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")})
	}
	resources := coreac.ResourceRequirements().WithRequests(change.Requests).WithLimits(change.Limits)
	for _, claim := range change.Claims {
		resources.WithClaims(coreac.ResourceClaim().WithName(claim.Name).WithRequest(claim.Request))
	}
	return resources
}

// tolerations returns what the policy tolerates, by default every taint: an instance is
// interrupted whatever taints its node has.
func tolerations(change []v1alpha1.Toleration) []*coreac.TolerationApplyConfiguration {
	if len(change) == 0 {
		change = []v1alpha1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
	var tolerations []*coreac.TolerationApplyConfiguration
	for _, t := range change {
		toleration := coreac.Toleration().WithKey(t.Key).WithOperator(t.Operator).WithValue(t.Value).WithEffect(t.Effect)
		toleration.TolerationSeconds = t.TolerationSeconds
		tolerations = append(tolerations, toleration)
	}
	return tolerations
}

// affinity selects the nodes that the policy's selector selects, less those that are
// never this operator's. Both kinds of selector mean the same by each operator: NotIn
// also selects nodes without the label.
func affinity(selector *v1alpha1.LabelSelector) *coreac.NodeAffinityApplyConfiguration {
	term := coreac.NodeSelectorTerm().WithMatchExpressions(
		requirement(corev1.LabelOSStable, corev1.NodeSelectorOpIn, string(corev1.Linux)),
		requirement(ec2node.ComputeTypeLabel, corev1.NodeSelectorOpNotIn, "auto", "fargate", "hybrid"),
	)
	if selector != nil {
		for _, key := range slices.Sorted(maps.Keys(selector.MatchLabels)) {
			term.WithMatchExpressions(requirement(key, corev1.NodeSelectorOpIn, string(selector.MatchLabels[key])))
		}
		for _, e := range selector.MatchExpressions {
			term.WithMatchExpressions(requirement(e.Key, operators[e.Operator], e.Values...))
		}
	}
	return coreac.NodeAffinity().WithRequiredDuringSchedulingIgnoredDuringExecution(
		coreac.NodeSelector().WithNodeSelectorTerms(term))
}

var operators = map[metav1.LabelSelectorOperator]corev1.NodeSelectorOperator{
	metav1.LabelSelectorOpIn:           corev1.NodeSelectorOpIn,
	metav1.LabelSelectorOpNotIn:        corev1.NodeSelectorOpNotIn,
	metav1.LabelSelectorOpExists:       corev1.NodeSelectorOpExists,
	metav1.LabelSelectorOpDoesNotExist: corev1.NodeSelectorOpDoesNotExist,
}

func requirement(key string, operator corev1.NodeSelectorOperator, values ...string) *coreac.NodeSelectorRequirementApplyConfiguration {
	return coreac.NodeSelectorRequirement().WithKey(key).WithOperator(operator).WithValues(values...)
}
