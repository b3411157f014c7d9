// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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
		"spot", "spot.batch", "spot-batch", strings.Repeat("a", 44), strings.Repeat("a", 45), strings.Repeat("a", 46),
		long, long[:252] + "b", long[:60] + "." + long[:60], "1.2.3",
	} {
		name := daemonSetName(policy)
		if errs := validation.IsDNS1123Label(name); len(errs) > 0 || len(name) > 57 {
			t.Errorf("%s for policy %s: %d letters, %v", name, policy, len(name), errs)
		}
		if other, taken := names[name]; taken {
			t.Errorf("%s is the name for both %s and %s", name, policy, other)
		}
		names[name] = policy
		if again := daemonSetName(policy); again != name {
			t.Errorf("%s is called %s and then %s", policy, name, again)
		}
	}
	if got := daemonSetName("spot"); got != "imds-watcher-spot" {
		t.Errorf("the DaemonSet of policy spot is called %s", got)
	}
}

// No port is opened unless a policy asks for metrics.
func TestMetricsPort(t *testing.T) {
	t.Parallel()
	policy := &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: "spot", UID: "1"}}
	for _, port := range []*int32{nil, ptr.To[int32](9808)} {
		set := daemonSet(policy, &v1alpha1.Source{Name: "metadata", IMDS: &v1alpha1.IMDSSource{MetricsPort: port}}, settings)
		container := set.Spec.Template.Spec.Containers[0]
		asks := strings.Contains(strings.Join(container.Args, " "), "--metrics-port=9808")
		opens := len(container.Ports) == 1 && *container.Ports[0].Name == "metrics" && *container.Ports[0].ContainerPort == 9808
		if want := port != nil; asks != want || opens != want || !want && len(container.Ports) > 0 {
			t.Errorf("metricsPort %v: arguments %v, ports %v", port, container.Args, container.Ports)
		}
	}
}

// podOf returns the pod that a policy's watchers run as, in its usual form.
func podOf(t *testing.T, change *v1alpha1.WatcherPodTemplate) corev1.PodTemplateSpec {
	t.Helper()
	policy := &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: "spot", UID: "1"}}
	content, err := json.Marshal(daemonSet(policy, &v1alpha1.Source{Name: "metadata", IMDS: &v1alpha1.IMDSSource{PodTemplate: change}}, settings))
	if err != nil {
		t.Fatal(err)
	}
	var ds appsv1.DaemonSet
	if err := json.Unmarshal(content, &ds); err != nil {
		t.Fatal(err)
	}
	return ds.Spec.Template
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
	if diff := cmp.Diff(want, pod); diff != "" {
		t.Errorf("podTemplate changes other than what it says (-want +got):\n%s", diff)
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
