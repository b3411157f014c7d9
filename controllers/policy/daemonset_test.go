// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/operator"
)

func TestDaemonSetName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 253)
	names := map[string]string{}
	for _, policy := range []string{
		"spot", "windows-spot", "spot-windows", "windows-imds-watcher-spot", "spot.batch", "spot-batch", strings.Repeat("a", 44), strings.Repeat("a", 45), strings.Repeat("a", 46),
		long, long[:252] + "b", long[:60] + "." + long[:60], "1.2.3",
	} {
		name := linux.daemonSetName(policy)
		if errs := validation.IsDNS1123Label(name); len(errs) > 0 || len(name) > 57 {
			t.Errorf("%s for policy %s: %d letters, %v", name, policy, len(name), errs)
		}
		if other, taken := names[name]; taken {
			t.Errorf("%s is the name for both %s and %s", name, policy, other)
		}
		names[name] = policy
		ofWindows := windows.daemonSetName(policy)
		if errs := validation.IsDNS1123Label(ofWindows); len(errs) > 0 || len(ofWindows) > 57 || names[ofWindows] != "" {
			t.Errorf("%s for policy %s on Windows, with %q: %d letters, %v", ofWindows, policy, names[ofWindows], len(ofWindows), errs)
		}
		names[ofWindows] = policy + " on Windows"
		if again := linux.daemonSetName(policy); again != name {
			t.Errorf("%s is called %s and then %s", policy, name, again)
		}
	}
	if got := linux.daemonSetName("spot"); got != "imds-watcher-spot" {
		t.Errorf("the DaemonSet of policy spot is called %s", got)
	}
}

// No port is opened unless a policy asks for metrics.
func TestMetricsPort(t *testing.T) {
	t.Parallel()
	policy := &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: "spot", UID: "1"}}
	for _, port := range []*int32{nil, ptr.To[int32](9808)} {
		set := linux.daemonSet(policy, &v1alpha1.Source{Name: "metadata", IMDS: &v1alpha1.IMDSSource{MetricsPort: port}}, settings)
		container := set.Spec.Template.Spec.Containers[0]
		asks := strings.Contains(strings.Join(container.Args, " "), "--metrics-port=9808")
		opens := len(container.Ports) == 1 && *container.Ports[0].Name == "metrics" && *container.Ports[0].ContainerPort == 9808
		if want := port != nil; asks != want || opens != want || !want && len(container.Ports) > 0 {
			t.Errorf("metricsPort %v: arguments %v, ports %v", port, container.Args, container.Ports)
		}
	}
}

// daemonSetOf returns the DaemonSet of a policy, in its usual form.
func daemonSetOf(t *testing.T, system *operatingSystem, imds *v1alpha1.IMDSSource, settings watcherSettings) *appsv1.DaemonSet {
	t.Helper()
	policy := &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: "spot", UID: "1"}}
	content, err := json.Marshal(system.daemonSet(policy, &v1alpha1.Source{Name: "metadata", IMDS: imds}, settings))
	if err != nil {
		t.Fatal(err)
	}
	ds := &appsv1.DaemonSet{}
	if err := json.Unmarshal(content, ds); err != nil {
		t.Fatal(err)
	}
	return ds
}

// podOf returns the pod that a policy's watchers run as on Linux.
func podOf(t *testing.T, change *v1alpha1.WatcherPodTemplate) corev1.PodTemplateSpec {
	t.Helper()
	return daemonSetOf(t, &linux, &v1alpha1.IMDSSource{PodTemplate: change}, settings).Spec.Template
}

// richTemplate changes all that can be changed.
func richTemplate() *v1alpha1.WatcherPodTemplate {
	return &v1alpha1.WatcherPodTemplate{
		Resources: &corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("0.1")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("131072Ki")},
		},
		Tolerations: []v1alpha1.Toleration{
			{Key: "dedicated", Operator: corev1.TolerationOpEqual, Value: "batch", Effect: corev1.TaintEffectNoSchedule},
			{Key: "node.kubernetes.io/unreachable", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](0)},
		},
		PriorityClassName: "system-cluster-critical",
		HostNetwork:       ptr.To(false),
		Labels:            map[string]v1alpha1.LabelValue{"team": "platform", componentLabel: "manager"},
		Annotations:       map[string]string{"example.com/scrape": "false"},
		Env:               []v1alpha1.WatcherEnvVar{{Name: "HTTPS_PROXY", Value: "http://proxy.example.com:3128"}, {Name: "TZ"}},
		ImagePullPolicy:   corev1.PullAlways,
		UpdateStrategy:    &v1alpha1.WatcherUpdateStrategy{RollingUpdate: &v1alpha1.WatcherRollingUpdate{MaxSurge: ptr.To(intstr.FromInt32(2))}},
		SecurityContext: &v1alpha1.WatcherSecurityContext{
			RunAsUser: ptr.To[int64](1000), RunAsGroup: ptr.To[int64](2000),
			SeccompProfile:  &v1alpha1.WatcherProfile{Type: v1alpha1.ProfileLocalhost, LocalhostProfile: "profiles/watcher.json"},
			AppArmorProfile: &v1alpha1.WatcherProfile{Type: v1alpha1.ProfileRuntimeDefault},
		},
	}
}

func TestPodTemplateChangesThePods(t *testing.T) {
	t.Parallel()
	change := richTemplate()
	pod := podOf(t, change)
	want := podOf(t, nil)
	want.Labels["team"] = "platform" // and the labels by which the DaemonSet finds its pods stay
	want.Annotations = change.Annotations
	want.Spec.HostNetwork = false
	want.Spec.PriorityClassName = change.PriorityClassName
	want.Spec.Tolerations = nil
	for _, t := range change.Tolerations {
		want.Spec.Tolerations = append(want.Spec.Tolerations, corev1.Toleration(t))
	}
	want.Spec.Containers[0].Resources = *change.Resources
	want.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways
	want.Spec.Containers[0].Env = append(want.Spec.Containers[0].Env, corev1.EnvVar{Name: "HTTPS_PROXY", Value: "http://proxy.example.com:3128"}, corev1.EnvVar{Name: "TZ"})
	want.Spec.SecurityContext.RunAsUser, want.Spec.SecurityContext.RunAsGroup = ptr.To[int64](1000), ptr.To[int64](2000)
	want.Spec.SecurityContext.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: ptr.To("profiles/watcher.json")}
	want.Spec.SecurityContext.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	if diff := cmp.Diff(want, pod); diff != "" {
		t.Errorf("podTemplate changes other than what it says (-want +got):\n%s", diff)
	}
}

// TestFlagsOfTheSource: what the policy leaves unset is left to the watcher, which has the same defaults.
func TestFlagsOfTheSource(t *testing.T) {
	t.Parallel()
	always := []string{"--policy=spot", "--source=metadata", "--poll-interval=2s"}
	for name, test := range map[string]struct {
		source v1alpha1.IMDSSource
		want   []string
	}{
		"nothing":  {v1alpha1.IMDSSource{}, nil},
		"IPv6":     {v1alpha1.IMDSSource{EndpointMode: v1alpha1.EndpointIPv6}, []string{"--endpoint-mode=IPv6"}},
		"IPv4":     {v1alpha1.IMDSSource{EndpointMode: v1alpha1.EndpointIPv4}, []string{"--endpoint-mode=IPv4"}},
		"endpoint": {v1alpha1.IMDSSource{Endpoint: "http://[::1]:1338"}, []string{"--endpoint=http://[::1]:1338"}},
		"log":      {v1alpha1.IMDSSource{LogLevel: "debug", LogFormat: "console"}, []string{"--log-level=debug", "--log-format=console"}},
		"metrics":  {v1alpha1.IMDSSource{MetricsPort: ptr.To[int32](9808)}, []string{"--metrics-port=9808"}},
	} {
		for _, system := range []*operatingSystem{&linux, &windows} {
			got := daemonSetOf(t, system, &test.source, settings).Spec.Template.Spec.Containers[0].Args
			if diff := cmp.Diff(slices.Concat(always, test.want), got); diff != "" {
				t.Errorf("%s on %s (-want +got):\n%s", name, system.name, diff)
			}
		}
	}
}

func TestUpdateStrategy(t *testing.T) {
	t.Parallel()
	rolling := func(unavailable, surge string) *v1alpha1.WatcherUpdateStrategy {
		update := &v1alpha1.WatcherRollingUpdate{}
		if unavailable != "" {
			update.MaxUnavailable = ptr.To(intstr.Parse(unavailable))
		}
		if surge != "" {
			update.MaxSurge = ptr.To(intstr.Parse(surge))
		}
		return &v1alpha1.WatcherUpdateStrategy{RollingUpdate: update}
	}
	for name, test := range map[string]struct {
		change *v1alpha1.WatcherUpdateStrategy
		want   string
	}{
		"nothing":       {nil, `{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":"10%"}}`},
		"a type":        {&v1alpha1.WatcherUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType}, `{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":"10%"}}`},
		"on delete":     {&v1alpha1.WatcherUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}, `{"type":"OnDelete"}`},
		"a number":      {rolling("3", ""), `{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":3}}`},
		"surge":         {rolling("", "25%"), `{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":0,"maxSurge":"25%"}}`},
		"surge instead": {rolling("0%", "1"), `{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":"0%","maxSurge":1}}`},
	} {
		got, err := json.Marshal(updateStrategy(test.change))
		if err != nil || string(got) != test.want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, test.want)
		}
	}
}

// TestPolicysVariablesWin over those of the manager: a name cannot be there twice.
func TestPolicysVariablesWin(t *testing.T) {
	t.Parallel()
	manager := settings
	manager.env = []corev1.EnvVar{{Name: "HTTPS_PROXY", Value: "http://manager:3128"}, {Name: "NO_PROXY", Value: "10.0.0.0/8"}}
	change := &v1alpha1.WatcherPodTemplate{Env: []v1alpha1.WatcherEnvVar{{Name: "HTTPS_PROXY", Value: "http://policy:3128"}}}
	got := daemonSetOf(t, &linux, &v1alpha1.IMDSSource{PodTemplate: change}, manager).Spec.Template.Spec.Containers[0].Env[1:]
	want := []corev1.EnvVar{{Name: "NO_PROXY", Value: "10.0.0.0/8"}, {Name: "HTTPS_PROXY", Value: "http://policy:3128"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestWindowsPods: what differs is what Windows needs, and the API server takes no more.
func TestWindowsPods(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]*v1alpha1.WatcherPodTemplate{"as it is": nil, "changed": richTemplate()} {
		want := daemonSetOf(t, &linux, &v1alpha1.IMDSSource{PodTemplate: change}, settings)
		got := daemonSetOf(t, &windows, &v1alpha1.IMDSSource{PodTemplate: change}, settings)
		want.Name = "windows-imds-watcher-spot"
		for _, labels := range []map[string]string{want.Labels, want.Spec.Selector.MatchLabels, want.Spec.Template.Labels} {
			labels[instanceLabel] = want.Name
		}
		pod := &want.Spec.Template.Spec
		pod.OS = &corev1.PodOS{Name: corev1.Windows}
		pod.NodeSelector = map[string]string{corev1.LabelOSStable: "windows"}
		pod.HostNetwork = true
		pod.SecurityContext = &corev1.PodSecurityContext{WindowsOptions: &corev1.WindowsSecurityContextOptions{
			HostProcess: ptr.To(true), RunAsUserName: ptr.To(`NT AUTHORITY\LocalService`),
		}}
		pod.Volumes[0].EmptyDir = &corev1.EmptyDirVolumeSource{}
		c := &pod.Containers[0]
		c.Command, c.SecurityContext = []string{"imds-watcher.exe"}, nil
		c.StartupProbe.Exec.Command = []string{"imds-watcher.exe", "probe"}
		c.ReadinessProbe.Exec.Command = []string{"imds-watcher.exe", "probe"}
		if change == nil {
			c.Resources.Limits[corev1.ResourceMemory] = resource.MustParse("128Mi")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

// TestPodsAreSafe: nothing but what a watcher needs.
func TestPodsAreSafe(t *testing.T) {
	t.Parallel()
	spec := podOf(t, nil).Spec
	c := spec.Containers[0]
	switch {
	case !*spec.SecurityContext.RunAsNonRoot, spec.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault:
		t.Errorf("the pod's security context: %+v", spec.SecurityContext)
	case *c.SecurityContext.AllowPrivilegeEscalation, !*c.SecurityContext.ReadOnlyRootFilesystem, c.SecurityContext.Capabilities.Drop[0] != "ALL":
		t.Errorf("the container's security context: %+v", c.SecurityContext)
	case len(c.Ports) > 0, spec.HostPID, spec.HostIPC, len(spec.Volumes) != 1, spec.Volumes[0].EmptyDir == nil:
		t.Error("the pod takes more of its node than the network")
	case !spec.HostNetwork, spec.PriorityClassName != "system-node-critical":
		t.Errorf("host network %t, priority class %s", spec.HostNetwork, spec.PriorityClassName)
	}
	if diff := cmp.Diff(map[string]string{"kubernetes.io/os": "linux"}, spec.NodeSelector); diff != "" {
		t.Errorf("node selector (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]corev1.Toleration{{Operator: corev1.TolerationOpExists}}, spec.Tolerations); diff != "" {
		t.Errorf("tolerations (-want +got):\n%s", diff)
	}
	for name, want := range map[string]resource.Quantity{
		"request of CPU":    resource.MustParse("5m"),
		"request of memory": resource.MustParse("24Mi"),
		"limit of memory":   resource.MustParse("64Mi"),
	} {
		got := map[string]*resource.Quantity{
			"request of CPU": c.Resources.Requests.Cpu(), "request of memory": c.Resources.Requests.Memory(), "limit of memory": c.Resources.Limits.Memory(),
		}[name]
		if !got.Equal(want) {
			t.Errorf("%s is %s, want %s", name, got, &want)
		}
	}
	wantArgs := []string{"--policy=spot", "--source=metadata", "--poll-interval=2s"}
	if diff := cmp.Diff(wantArgs, c.Args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	if len(c.Env) != 1 || c.Env[0].Name != "NODE_NAME" || c.Env[0].ValueFrom.FieldRef.FieldPath != "spec.nodeName" {
		t.Errorf("environment %+v", c.Env)
	}
}

// TestImageIsTheManagersOwn unless another is given.
func TestImageIsTheManagersOwn(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Get(t).CreateNamespace(t), Name: "manager"}}
	pod.Spec.Containers = []corev1.Container{{Name: "sidecar", Image: "example.com/sidecar"}, {Name: "manager", Image: image}}
	create(t, pod)
	other := pod.DeepCopy()
	other.ObjectMeta = metav1.ObjectMeta{Namespace: pod.Namespace, Name: "other"}
	other.Spec.Containers[1].Name = "other"
	create(t, other)
	key := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
	for name, test := range map[string]struct {
		given string
		pod   types.NamespacedName
		want  string
		err   error
	}{
		"own":             {"", key, image, nil},
		"given":           {"example.com/given", key, "example.com/given", nil},
		"in no pod":       {"", types.NamespacedName{}, "", errNoImage},
		"no namespace":    {"", types.NamespacedName{Name: "manager"}, "", errNoImage},
		"no such pod":     {"", types.NamespacedName{Namespace: operator.Namespace, Name: "gone"}, "", errNoImage},
		"other container": {"", types.NamespacedName{Namespace: pod.Namespace, Name: "other"}, "", errNoImage},
	} {
		r := &Reconciler{Live: admin(t), Watchers: WatcherOptions{Image: test.given}, Pod: test.pod}
		for range 2 {
			if got, err := r.image(t.Context()); got != test.want || !errors.Is(err, test.err) {
				t.Errorf("%s: image %q, %v; want %q, %v", name, got, err, test.want, test.err)
			}
		}
	}
}
