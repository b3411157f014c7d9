// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"regexp"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
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

// operatingSystem is what differs between the watchers of Linux nodes and those of Windows nodes, which have a
// DaemonSet each.
type operatingSystem struct {
	// name is the value of the label kubernetes.io/os.
	name corev1.OSName
	// prefix begins the DaemonSet's name. None begins with another one.
	prefix string
	// command starts the watcher.
	command string
	// memory is what a watcher may use, unless the policy says otherwise.
	memory string
	// secure sets what the pods may do on the node.
	secure func(*coreac.PodSpecApplyConfiguration, *coreac.ContainerApplyConfiguration, v1alpha1.WatcherPodTemplate)
}

var linux = operatingSystem{name: corev1.Linux, prefix: watcher + "-", command: "/" + watcher, memory: "64Mi", secure: secureLinux}

// daemonSetName returns the name of a policy's DaemonSet. It is also a label, and the
// beginning of the pods' names, of which Kubernetes would cut off what is too
// long. A policy's name that is too long or has dots in it gets a hash in its
// place, so that no two policies share a name.
func (system *operatingSystem) daemonSetName(policy string) string {
	const room = 57 // of the 63 of a label, less the hyphen and five letters that pods add
	name := system.prefix + policy
	if len(name) <= room && !notADNSLabel.MatchString(name) {
		return name
	}
	hash := fmt.Sprintf("-%x", sha256.Sum256([]byte(policy)))[:9]
	name = notADNSLabel.ReplaceAllString(name, "-")
	return name[:min(len(name), room-len(hash))] + hash
}

// daemonSet returns the DaemonSet that runs a watcher on each node of the system that the policy selects.
func (system *operatingSystem) daemonSet(
	policy *v1alpha1.NodeTerminationPolicy, source *v1alpha1.Source, settings watcherSettings,
) *appsac.DaemonSetApplyConfiguration {
	name := system.daemonSetName(policy.Name)
	labels := maps.Clone(everyWatcher)
	labels[instanceLabel] = name
	change := ptr.Deref(source.IMDS.PodTemplate, v1alpha1.WatcherPodTemplate{})
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
			WithUpdateStrategy(updateStrategy(change.UpdateStrategy)).
			WithTemplate(system.podTemplate(policy, source, settings, change).WithLabels(labels))) // win: the DaemonSet finds its pods by them
}

// updateStrategy returns how the pods are replaced, by default some at a time.
func updateStrategy(change *v1alpha1.WatcherUpdateStrategy) *appsac.DaemonSetUpdateStrategyApplyConfiguration {
	own := ptr.Deref(change, v1alpha1.WatcherUpdateStrategy{})
	strategy := appsac.DaemonSetUpdateStrategy().WithType(cmp.Or(own.Type, appsv1.RollingUpdateDaemonSetStrategyType))
	if own.Type == appsv1.OnDeleteDaemonSetStrategyType {
		return strategy
	}
	rolling := appsac.RollingUpdateDaemonSet().WithMaxUnavailable(intstr.FromString("10%"))
	atATime := ptr.Deref(own.RollingUpdate, v1alpha1.WatcherRollingUpdate{})
	if atATime.MaxSurge != nil {
		rolling.WithMaxSurge(*atATime.MaxSurge).WithMaxUnavailable(intstr.FromInt32(0))
	}
	if atATime.MaxUnavailable != nil {
		rolling.WithMaxUnavailable(*atATime.MaxUnavailable)
	}
	return strategy.WithRollingUpdate(rolling)
}

// podTemplate returns the watchers' pod: safe defaults, changed by the policy.
func (system *operatingSystem) podTemplate(
	policy *v1alpha1.NodeTerminationPolicy, source *v1alpha1.Source, settings watcherSettings, change v1alpha1.WatcherPodTemplate,
) *coreac.PodTemplateSpecApplyConfiguration {
	container := system.container(policy.Name, source, settings, change)
	spec := coreac.PodSpec().
		WithServiceAccountName(settings.serviceAccount).
		WithAutomountServiceAccountToken(true). // it ends with the pod and names the node
		WithHostNetwork(ptr.Deref(change.HostNetwork, true)).
		WithDNSPolicy(corev1.DNSDefault). // no names are looked up: the cluster's DNS need not work
		WithEnableServiceLinks(false).
		WithPriorityClassName(cmp.Or(change.PriorityClassName, "system-node-critical")).
		WithTolerations(tolerations(change.Tolerations)...).
		WithNodeSelector(map[string]string{corev1.LabelOSStable: string(system.name)}).
		WithAffinity(coreac.Affinity().WithNodeAffinity(affinity(policy.Spec.NodeSelector))).
		WithTerminationGracePeriodSeconds(watcherStopSeconds).
		WithVolumes(coreac.Volume().WithName("run").WithEmptyDir(coreac.EmptyDirVolumeSource()))
	system.secure(spec, container, change)
	return coreac.PodTemplateSpec().
		WithLabels(v1alpha1.Labels(change.Labels)).
		WithAnnotations(change.Annotations).
		WithSpec(spec.WithContainers(container))
}

func (system *operatingSystem) container(
	policy string, source *v1alpha1.Source, settings watcherSettings, change v1alpha1.WatcherPodTemplate,
) *coreac.ContainerApplyConfiguration {
	container := coreac.Container().
		WithName(watcher).
		WithImage(settings.image).
		WithCommand(system.command).
		WithArgs(arguments(policy, source)...).
		WithEnv(environment(settings.env, change.Env)...).
		WithVolumeMounts(coreac.VolumeMount().WithName("run").WithMountPath(watcherRun)).
		WithResources(resources(change.Resources, system.memory)).
		WithStartupProbe(system.probe(watcherStartSeconds, 300)).
		WithReadinessProbe(system.probe(watcherProbeSeconds, 1)).
		// The policy's status shows its termination message.
		WithTerminationMessagePolicy(corev1.TerminationMessageFallbackToLogsOnError)
	if change.ImagePullPolicy != "" {
		container.WithImagePullPolicy(change.ImagePullPolicy)
	}
	if port := source.IMDS.MetricsPort; port != nil {
		// By its name a PodMonitor finds it. With the host's network the API server opens it on the host.
		container.WithPorts(coreac.ContainerPort().WithName("metrics").WithContainerPort(*port).WithProtocol(corev1.ProtocolTCP))
	}
	return container
}

// arguments returns the watcher's flags. Those of fields that the policy leaves unset are left out. The admission policy
// of the watchers' namespace knows each of them.
func arguments(policy string, source *v1alpha1.Source) []string {
	imds := source.IMDS
	args := []string{"--policy=" + policy, "--source=" + source.Name, "--poll-interval=" + imds.PollInterval().String()}
	for _, flag := range []struct{ name, value string }{
		{"endpoint", imds.Endpoint},
		{"endpoint-mode", string(imds.EndpointMode)},
		{"log-level", string(imds.LogLevel)},
		{"log-format", string(imds.LogFormat)},
	} {
		if flag.value != "" {
			args = append(args, "--"+flag.name+"="+flag.value)
		}
	}
	if port := imds.MetricsPort; port != nil {
		args = append(args, fmt.Sprintf("--metrics-port=%d", *port))
	}
	return args
}

// environment returns the watcher's variables: its node's name, those of the manager, and those of the policy, which win.
func environment(managers []corev1.EnvVar, policys []v1alpha1.WatcherEnvVar) []*coreac.EnvVarApplyConfiguration {
	env := []*coreac.EnvVarApplyConfiguration{coreac.EnvVar().WithName(nodeNameEnv).
		WithValueFrom(coreac.EnvVarSource().WithFieldRef(coreac.ObjectFieldSelector().WithFieldPath("spec.nodeName")))}
	for _, e := range managers {
		if !slices.ContainsFunc(policys, func(own v1alpha1.WatcherEnvVar) bool { return own.Name == e.Name }) {
			env = append(env, coreac.EnvVar().WithName(e.Name).WithValue(e.Value))
		}
	}
	for _, e := range policys {
		env = append(env, coreac.EnvVar().WithName(e.Name).WithValue(e.Value))
	}
	return env
}

// secureLinux gives the pods a user who is not root, and none of the node but its network.
func secureLinux(spec *coreac.PodSpecApplyConfiguration, container *coreac.ContainerApplyConfiguration, change v1alpha1.WatcherPodTemplate) {
	own := ptr.Deref(change.SecurityContext, v1alpha1.WatcherSecurityContext{})
	security := coreac.PodSecurityContext().
		WithRunAsNonRoot(true).
		WithSeccompProfile(coreac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))
	security.RunAsUser, security.RunAsGroup = own.RunAsUser, own.RunAsGroup
	if profile := own.SeccompProfile; profile != nil {
		security.SeccompProfile.WithType(corev1.SeccompProfileType(profile.Type))
		security.SeccompProfile.LocalhostProfile = localhostProfile(profile)
	}
	if profile := own.AppArmorProfile; profile != nil {
		security.WithAppArmorProfile(coreac.AppArmorProfile().WithType(corev1.AppArmorProfileType(profile.Type)))
		security.AppArmorProfile.LocalhostProfile = localhostProfile(profile)
	}
	spec.WithSecurityContext(security)
	spec.Volumes[0].EmptyDir.
		WithMedium(corev1.StorageMediumMemory).
		WithSizeLimit(resource.MustParse("64Ki"))
	container.WithSecurityContext(coreac.SecurityContext().
		WithAllowPrivilegeEscalation(false).
		WithReadOnlyRootFilesystem(true).
		WithCapabilities(coreac.Capabilities().WithDrop("ALL")))
}

// localhostProfile returns the name of a profile on the node, nil if it is the container runtime's.
func localhostProfile(profile *v1alpha1.WatcherProfile) *string {
	if profile.LocalhostProfile == "" {
		return nil
	}
	return &profile.LocalhostProfile
}

func (system *operatingSystem) probe(period, failures int32) *coreac.ProbeApplyConfiguration {
	return coreac.Probe().
		WithExec(coreac.ExecAction().WithCommand(system.command, "probe")).
		WithPeriodSeconds(period).
		WithTimeoutSeconds(5).
		WithFailureThreshold(failures)
}

func resources(change *corev1.ResourceRequirements, memory string) *coreac.ResourceRequirementsApplyConfiguration {
	if change == nil {
		return coreac.ResourceRequirements().
			WithRequests(corev1.ResourceList{
				corev1.ResourceCPU:    resource.MustParse("5m"),
				corev1.ResourceMemory: resource.MustParse("24Mi"),
			}).
			// No limit on CPU: a throttled watcher receives events late.
			WithLimits(corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)})
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
