// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/operator"
)

// getDaemonSet returns a policy's DaemonSet for Linux.
func getDaemonSet(t *testing.T, policy string) (*appsv1.DaemonSet, error) {
	t.Helper()
	return getDaemonSetOf(t, &linux, policy)
}

func getDaemonSetOf(t *testing.T, system *operatingSystem, policy string) (*appsv1.DaemonSet, error) {
	t.Helper()
	ds := &appsv1.DaemonSet{}
	return ds, admin(t).Get(t.Context(), client.ObjectKey{Namespace: operator.WatcherNamespace, Name: system.daemonSetName(policy)}, ds)
}

// podsOf returns the pods of a policy's watchers, on Linux and Windows.
func podsOf(t *testing.T, policy string) ([]corev1.Pod, error) {
	t.Helper()
	var all []corev1.Pod
	for _, system := range []*operatingSystem{&linux, &windows} {
		var pods corev1.PodList
		err := admin(t).List(t.Context(), &pods, client.InNamespace(operator.WatcherNamespace), client.MatchingLabels{instanceLabel: system.daemonSetName(policy)})
		if err != nil {
			return nil, err
		}
		all = append(all, pods.Items...)
	}
	return all, nil
}

// untilSource waits until what a policy's status says of its source is as check wants it.
func untilSource(t *testing.T, policy *v1alpha1.NodeTerminationPolicy, check func(v1alpha1.SourceStatus) error) {
	t.Helper()
	eventually(t, func() error {
		if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(policy), policy); err != nil {
			return err
		}
		if policy.Status.ObservedGeneration != policy.Generation || len(policy.Status.Sources) != 1 {
			return fmt.Errorf("policy %s was not reconciled", policy.Name)
		}
		return check(policy.Status.Sources[0])
	})
}

// watchersReady returns a check that all of n watchers are ready.
func watchersReady(n int32) func(v1alpha1.SourceStatus) error {
	return func(s v1alpha1.SourceStatus) error {
		if !*s.Ready || s.Reason != v1alpha1.ReasonReady || ptr.Deref(s.WatchersDesired, -1) != n || ptr.Deref(s.WatchersReady, -1) != n || s.Message != "" {
			return fmt.Errorf("want %d watchers that listen, got %+v: %s", n, s, s.Message)
		}
		return nil
	}
}

// notReady returns a check that the source is not ready for a reason, and that its message has the texts.
func notReady(reason string, texts ...string) func(v1alpha1.SourceStatus) error {
	return func(s v1alpha1.SourceStatus) error {
		if *s.Ready || s.Reason != reason {
			return fmt.Errorf("want not ready with %s, got %+v: %s", reason, s, s.Message)
		}
		for _, text := range texts {
			if !strings.Contains(s.Message, text) {
				return fmt.Errorf("the message lacks %q: %s", text, s.Message)
			}
		}
		return nil
	}
}

func change(t *testing.T, object client.Object, f func()) {
	t.Helper()
	eventually(t, func() error {
		if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		f()
		return admin(t).Update(t.Context(), object)
	})
}

// TestWatchersRunWhereThePolicySelects: the scheduler and the controller of
// DaemonSets take the affinity as the operator takes the selector.
func TestWatchersRunWhereThePolicySelects(t *testing.T) {
	t.Parallel()
	nodes := map[string]string{} // their names
	for short, labels := range map[string]map[string]string{
		"spot":     {"pool": "spot", "zone": "a"},
		"spot-b":   {"pool": "spot", "zone": "b", "gpu": ""},
		"demand":   {"pool": "on-demand", "zone": "a"},
		"none":     {},
		"ec2":      {"pool": "spot", ec2node.ComputeTypeLabel: "ec2"},
		"auto":     {"pool": "spot", ec2node.ComputeTypeLabel: "auto"},
		"fargate":  {"pool": "spot", ec2node.ComputeTypeLabel: "fargate"},
		"hybrid":   {"pool": "spot", ec2node.ComputeTypeLabel: "hybrid"},
		"windows":  {"pool": "spot", corev1.LabelOSStable: "windows"},
		"elsewise": {"pool": "spot", "other": "test"},
	} {
		nodes[newNodes(t, 1, func(node *corev1.Node) { maps.Copy(node.Labels, labels) })[0].Name] = short
	}
	type requirements = []v1alpha1.LabelSelectorRequirement
	in, notIn := metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn
	exists, doesNotExist := metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist
	for i, test := range []struct {
		labels      map[string]string
		expressions requirements
		want        []string
	}{
		{nil, nil, []string{"demand", "ec2", "elsewise", "none", "spot", "spot-b", "windows"}},
		{map[string]string{"pool": "spot"}, nil, []string{"ec2", "elsewise", "spot", "spot-b", "windows"}},
		{map[string]string{"pool": "spot", "zone": "a"}, nil, []string{"spot"}},
		{map[string]string{"gpu": ""}, nil, []string{"spot-b"}},
		{nil, requirements{{Key: "pool", Operator: in, Values: []string{"on-demand", "reserved"}}}, []string{"demand"}},
		{nil, requirements{{Key: "pool", Operator: notIn, Values: []string{"spot"}}}, []string{"demand", "none"}},
		{nil, requirements{{Key: "zone", Operator: notIn, Values: []string{"a", "b"}}}, []string{"ec2", "elsewise", "none", "windows"}},
		{nil, requirements{{Key: "zone", Operator: exists}}, []string{"demand", "spot", "spot-b"}},
		{nil, requirements{{Key: "zone", Operator: doesNotExist}}, []string{"ec2", "elsewise", "none", "windows"}},
		{
			map[string]string{"pool": "spot"},
			requirements{{Key: "zone", Operator: exists}, {Key: "zone", Operator: notIn, Values: []string{"b"}}, {Key: "gpu", Operator: doesNotExist}},
			[]string{"spot"},
		},
		{map[string]string{ec2node.ComputeTypeLabel: "ec2"}, nil, []string{"ec2"}},
		{map[string]string{ec2node.ComputeTypeLabel: "auto"}, nil, nil},
		{map[string]string{corev1.LabelOSStable: "windows"}, nil, []string{"windows"}},
	} {
		name := fmt.Sprintf("selects-%d", i)
		policy := applyIMDS(t, name, func(spec *v1alpha1.NodeTerminationPolicySpec) {
			maps.Copy(spec.NodeSelector.MatchLabels, labelValues(test.labels))
			spec.NodeSelector.MatchExpressions = test.expressions
		})
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("%s selects %v and %v", name, test.labels, test.expressions)
			}
		})
		untilSource(t, policy, watchersReady(int32(len(test.want))))
		pods, err := podsOf(t, name)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, pod := range pods {
			got = append(got, nodes[pod.Spec.NodeName])
		}
		slices.Sort(got)
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: watchers run on %v, want %v", name, got, test.want)
		}
	}
}

// TestWatchersFollowThePolicy: changes roll, and what is not asked for any more goes.
func TestWatchersFollowThePolicy(t *testing.T) {
	t.Parallel()
	newNodes(t, 3)
	policy := applyIMDS(t, "follows")
	untilSource(t, policy, watchersReady(3))
	if ready := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.ConditionSourcesReady); ready == nil || ready.Status != metav1.ConditionTrue {
		t.Errorf("SourcesReady is %+v", ready)
	}

	change(t, policy, func() {
		policy.Spec.Sources[0].IMDS = &v1alpha1.IMDSSource{
			PollIntervalSeconds: ptr.To[int32](5),
			EndpointMode:        v1alpha1.EndpointIPv6,
			LogLevel:            "debug",
			PodTemplate: &v1alpha1.WatcherPodTemplate{
				PriorityClassName: "system-cluster-critical",
				HostNetwork:       ptr.To(false),
				Annotations:       map[string]string{"team": "platform"},
				Env:               []v1alpha1.WatcherEnvVar{{Name: "HTTPS_PROXY", Value: "http://proxy:3128"}},
				ImagePullPolicy:   corev1.PullAlways,
				UpdateStrategy:    &v1alpha1.WatcherUpdateStrategy{RollingUpdate: &v1alpha1.WatcherRollingUpdate{MaxUnavailable: ptr.To(intstr.FromString("100%"))}},
				SecurityContext:   &v1alpha1.WatcherSecurityContext{RunAsUser: ptr.To[int64](1000)},
			},
		}
	})
	eventually(t, func() error {
		pods, err := podsOf(t, policy.Name)
		for _, pod := range pods {
			c := pod.Spec.Containers[0]
			if pod.Spec.HostNetwork || pod.Spec.PriorityClassName != "system-cluster-critical" || pod.Annotations["team"] != "platform" ||
				!slices.Contains(c.Args, "--poll-interval=5s") || !slices.Contains(c.Args, "--endpoint-mode=IPv6") || !slices.Contains(c.Args, "--log-level=debug") ||
				!slices.Contains(c.Env, corev1.EnvVar{Name: "HTTPS_PROXY", Value: "http://proxy:3128"}) || c.ImagePullPolicy != corev1.PullAlways ||
				ptr.Deref(pod.Spec.SecurityContext.RunAsUser, 0) != 1000 {
				return fmt.Errorf("pod %s is of the policy before: %v", pod.Name, c.Args)
			}
		}
		if len(pods) != 3 {
			return fmt.Errorf("%d pods, want 3", len(pods))
		}
		return err
	})
	untilSource(t, policy, watchersReady(3))

	change(t, policy, func() { policy.Spec.NodeSelector.MatchLabels = map[string]v1alpha1.LabelValue{"no": "node"} })
	untilSource(t, policy, watchersReady(0))

	change(t, policy, func() {
		policy.Spec.Sources = []v1alpha1.Source{{Name: "queue", SQS: &v1alpha1.SQSSource{QueueURL: queueURL}}}
	})
	untilGone(t, policy.Name)
	change(t, policy, func() {
		policy.Spec.Sources = []v1alpha1.Source{{Name: "again", IMDS: &v1alpha1.IMDSSource{}}}
		policy.Spec.NodeSelector.MatchLabels = labelValues(labelOf(t))
	})
	untilSource(t, policy, watchersReady(3))

	ds, err := getDaemonSet(t, policy.Name)
	if err != nil {
		t.Fatal(err)
	}
	if owner := metav1.GetControllerOf(ds); owner == nil || owner.UID != policy.UID || owner.Kind != "NodeTerminationPolicy" {
		t.Errorf("the DaemonSet is owned by %+v, want the policy", owner)
	}
	if err := admin(t).Delete(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	untilGone(t, policy.Name)
}

// untilGone waits until a policy's DaemonSet and its pods are gone.
func untilGone(t *testing.T, policy string) {
	t.Helper()
	eventually(t, func() error {
		if _, err := getDaemonSet(t, policy); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the DaemonSet is still there: %w", err)
		}
		if pods, err := podsOf(t, policy); err != nil || len(pods) > 0 {
			return fmt.Errorf("%d pods are still there: %w", len(pods), err)
		}
		return nil
	})
}

// TestDriftIsCorrected: whatever somebody does to the DaemonSet is undone, of what its admission policy lets pass.
func TestDriftIsCorrected(t *testing.T) {
	t.Parallel()
	newNodes(t, 1)
	policy := applyIMDS(t, "drifts")
	untilSource(t, policy, watchersReady(1))
	original, err := getDaemonSet(t, policy.Name)
	if err != nil {
		t.Fatal(err)
	}
	restored := func(what string) {
		t.Helper()
		eventually(t, func() error {
			ds, err := getDaemonSet(t, policy.Name)
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			for _, diff := range []string{
				cmp.Diff(original.Spec, ds.Spec), cmp.Diff(original.Labels, ds.Labels), cmp.Diff(original.OwnerReferences, ds.OwnerReferences),
			} {
				if diff != "" {
					return fmt.Errorf("%s: the DaemonSet is not as it was:\n%s", what, diff)
				}
			}
			return nil
		})
	}
	ds := original.DeepCopy()
	for what, edit := range map[string]func(){
		"affinity":   func() { ds.Spec.Template.Spec.Affinity = nil },
		"toleration": func() { ds.Spec.Template.Spec.Tolerations = nil },
		"labels":     func() { ds.Labels = nil },
		"strategy": func() {
			ds.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
		},
		"user":    func() { ds.Spec.Template.Spec.SecurityContext.RunAsUser = ptr.To[int64](1000) },
		"pulling": func() { ds.Spec.Template.Spec.Containers[0].ImagePullPolicy = corev1.PullNever },
		"flag": func() {
			ds.Spec.Template.Spec.Containers[0].Args = append(ds.Spec.Template.Spec.Containers[0].Args, "--endpoint=http://evil.example.com")
		},
		"owner":    func() { ds.OwnerReferences = nil },
		"selector": func() { ds.Spec.Template.Spec.NodeSelector = map[string]string{"example.com/nowhere": ""} },
		"argument": func() { ds.Spec.Template.Spec.Containers[0].Args = nil },
		"variable": func() { ds.Spec.Template.Spec.Containers[0].Env = nil },
		"volume": func() {
			ds.Spec.Template.Spec.Volumes = append(ds.Spec.Template.Spec.Volumes, corev1.Volume{Name: "other", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
		},
	} {
		change(t, ds, edit)
		restored(what)
	}
	if err := admin(t).Delete(t.Context(), ds); err != nil {
		t.Fatal(err)
	}
	restored("deleted")
	untilSource(t, policy, watchersReady(1))

	stray := original.DeepCopy()
	stray.ObjectMeta = metav1.ObjectMeta{Namespace: operator.WatcherNamespace, Name: "imds-watcher-of-nobody", Labels: original.Labels}
	create(t, stray)
	eventually(t, func() error {
		err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(stray), stray)
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("a DaemonSet that no policy asks for is still there: %w", err)
		}
		return nil
	})
}

// TestStatusSaysWhatIsWrong: with the pods, or with the DaemonSet itself.
func TestStatusSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	node := newNodes(t, 2)[1]
	policy := applyIMDS(t, "wrong")
	untilSource(t, policy, watchersReady(2))

	setPod := func(status corev1.ContainerStatus, ready corev1.ConditionStatus) {
		t.Helper()
		eventually(t, func() error {
			pods, err := podsOf(t, policy.Name)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(pods, func(pod corev1.Pod) bool { return pod.Spec.NodeName == node.Name })
			if i < 0 {
				return fmt.Errorf("no pod on node %s", node.Name)
			}
			pod := &pods[i]
			status.Name = watcher
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{status}
			for i := range pod.Status.Conditions {
				if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReady {
					c.Status = ready
				}
			}
			return admin(t).Status().Update(t.Context(), pod)
		})
	}
	setPod(corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
		Reason: "ImagePullBackOff", Message: "Back-off pulling image",
	}}}, corev1.ConditionFalse)
	untilSource(t, policy, notReady(v1alpha1.ReasonWatchersNotReady, "1 of 2 watchers", node.Name, "ImagePullBackOff: Back-off pulling image"))
	if ready := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.ConditionSourcesReady); ready == nil ||
		ready.Status != metav1.ConditionFalse || ready.Reason != v1alpha1.ReasonWatchersNotReady || !strings.Contains(ready.Message, "source metadata: ") {
		t.Errorf("SourcesReady is %+v", ready)
	}
	setPod(corev1.ContainerStatus{}, corev1.ConditionTrue)
	untilSource(t, policy, watchersReady(2))

	setPod(corev1.ContainerStatus{
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 20s"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: 1, Message: "the instance metadata service is disabled: enable it\n",
		}},
	}, corev1.ConditionFalse)
	untilSource(t, policy, notReady(v1alpha1.ReasonMetadataUnavailable, node.Name, "the instance metadata service is disabled: enable it"))
	setPod(corev1.ContainerStatus{}, corev1.ConditionTrue)
	untilSource(t, policy, watchersReady(2))

	change(t, policy, func() {
		requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
		for i := range 20 { // each of which makes the API server's message longer
			name := corev1.ResourceName(fmt.Sprintf("example.com/no-%d", i))
			requests[name], limits[name] = resource.MustParse("2"), resource.MustParse("1")
		}
		policy.Spec.Sources[0].IMDS.PodTemplate = &v1alpha1.WatcherPodTemplate{Resources: &corev1.ResourceRequirements{Requests: requests, Limits: limits}}
	})
	untilSource(t, policy, notReady(v1alpha1.ReasonWatchersNotReady, "example.com/no-", linux.daemonSetName(policy.Name)))

	change(t, policy, func() {
		policy.Spec.Sources[0].IMDS.PodTemplate = &v1alpha1.WatcherPodTemplate{PriorityClassName: "of-nobody"}
	})
	untilSource(t, policy, notReady(v1alpha1.ReasonWatchersNotReady, "have no pod", "describe daemonset "+linux.daemonSetName(policy.Name)))

	change(t, policy, func() {
		policy.Spec.Sources[0].IMDS.PodTemplate = nil
	})
	untilSource(t, policy, watchersReady(2))
}
