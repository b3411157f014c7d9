// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/operator"
)

// kubeletOf returns a client with the credentials of a node's kubelet, as whoever takes over the node has them.
func kubeletOf(t *testing.T, node *corev1.Node) client.Client {
	t.Helper()
	config := cluster.Get(t).Config()
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:node:" + node.Name, Groups: []string{"system:nodes", "system:authenticated"},
	}
	c, err := client.New(config, client.Options{Scheme: admin(t).Scheme(), Mapper: admin(t).RESTMapper()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// withTokenOf returns a client with the token of a watcher's pod, which its node's kubelet gets.
func withTokenOf(t *testing.T, kubelet client.Client, pod *corev1.Pod) client.Client {
	t.Helper()
	token := ""
	eventually(t, func() (err error) { // the API server takes a moment to know that the pod is that kubelet's
		token, err = tokenFor(t, kubelet, pod.Spec.ServiceAccountName, pod)
		return err
	})
	config := rest.AnonymousClientConfig(cluster.Get(t).Config())
	config.BearerToken, config.QPS = token, -1
	c, err := client.New(config, client.Options{Scheme: admin(t).Scheme(), Mapper: admin(t).RESTMapper()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tokenFor requests a token of a service account of the watchers' namespace that is bound to a pod; to none if it is nil.
func tokenFor(t *testing.T, c client.Client, account string, pod *corev1.Pod) (string, error) {
	t.Helper()
	request := &authenticationv1.TokenRequest{}
	if pod != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	}
	err := c.SubResource("token").Create(t.Context(),
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: operator.WatcherNamespace, Name: account}}, request)
	return request.Status.Token, err
}

// annotate writes an annotation as a kubelet can on its own Node.
func annotate(t *testing.T, c client.Client, node *corev1.Node, key, value string) error {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{key: value}}})
	if err != nil {
		t.Fatal(err)
	}
	return c.Patch(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name}}, client.RawPatch(types.MergePatchType, patch))
}

// untilWatcher waits for the watcher of a node.
func untilWatcher(t *testing.T, node *corev1.Node) *corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	eventually(t, func() error {
		if pods = watchersOn(t, node); len(pods) == 0 {
			return fmt.Errorf("there is no watcher on node %s", node.Name)
		}
		return nil
	})
	return &pods[0]
}

// TestKubelet: whoever takes over a node has the credentials of its kubelet, and gets at nothing of others by them.
func TestKubelet(t *testing.T) {
	startManager(t, func(opts *operator.Options) { opts.Args = append(opts.Args, "--watcher-image="+operator.Image) })
	f := newFixture(t, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Sources = append(spec.Sources, v1alpha1.Source{Name: "metadata", IMDS: &v1alpha1.IMDSSource{}})
	})
	nodes := f.nodes(2)
	own, other := nodes[0], nodes[1]
	kubelet := kubeletOf(t, own)
	theirs := corev1.Taint{Key: "example.com/theirs", Effect: corev1.TaintEffectNoSchedule}

	t.Run("lies about what was applied", func(t *testing.T) {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"taints":[{"key":"example.com/theirs","effect":"NoSchedule"}]},
			"metadata":{"labels":{"node.kubernetes.io/exclude-from-external-load-balancers":"theirs"}}}`))
		if err := admin(t).Patch(t.Context(), own.DeepCopy(), patch); err != nil {
			t.Fatal(err)
		}
		lie := fmt.Sprintf(`{"instanceID":%q,"taint":"example.com/theirs","waiting":true,"excludedSince":1,"outOfService":true}`, instanceOf(own))
		if err := annotate(t, kubelet, own, v1alpha1.AnnotationApplied, lie); err != nil {
			t.Fatalf("a kubelet annotates its own Node: %v", err)
		}
		f.untilNode(own, func(node *corev1.Node) error {
			if node.Annotations[v1alpha1.AnnotationApplied] != "" {
				return fmt.Errorf("node %s was not looked at yet", node.Name)
			}
			if !slices.Contains(node.Spec.Taints, theirs) || node.Labels[corev1.LabelNodeExcludeBalancers] != "theirs" {
				t.Errorf("taints %v, labels %v; want those of others as they were", node.Spec.Taints, node.Labels)
			}
			return nil
		})
		// Names of others' instances, and what cannot be read, change nothing.
		for _, lie := range []string{
			fmt.Sprintf(`{"instanceID":%q,"unschedulable":true,"taint":"example.com/theirs"}`, instanceOf(other)),
			`{"instanceID":`, strings.Repeat("x", 100000), "",
		} {
			if err := annotate(t, kubelet, own, v1alpha1.AnnotationApplied, lie); err != nil {
				t.Errorf("a kubelet annotates its own Node: %v", err)
			}
		}
	})

	pod, otherPod := untilWatcher(t, own), untilWatcher(t, other)
	t.Run("what it cannot do", func(t *testing.T) {
		nt := func(instance, node string) *v1alpha1.NodeTermination {
			return &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instance}, Spec: v1alpha1.NodeTerminationSpec{
				InstanceID: instance, NodeName: node,
				Events: []v1alpha1.Event{{ID: "a", Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceSQS, Time: metav1.Now()}},
			}}
		}
		token := func(account string, pod *corev1.Pod) error { _, err := tokenFor(t, kubelet, account, pod); return err }
		untaint := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"taints":null}}`))
		for what, err := range map[string]error{
			"annotate another Node":                    annotate(t, kubelet, other, v1alpha1.AnnotationDrain, "now"),
			"remove taints of its own Node":            kubelet.Patch(t.Context(), own.DeepCopy(), untaint),
			"create a NodeTermination of its instance": kubelet.Create(t.Context(), nt(instanceOf(own), own.Name)),
			"create one of another instance":           kubelet.Create(t.Context(), nt(instanceOf(other), other.Name)),
			"list NodeTerminations":                    kubelet.List(t.Context(), &v1alpha1.NodeTerminationList{}),
			"list policies":                            kubelet.List(t.Context(), &v1alpha1.NodeTerminationPolicyList{}),
			"list the manager's secrets":               kubelet.List(t.Context(), &corev1.SecretList{}, client.InNamespace(operator.Namespace)),
			"a token of the watchers for no pod":       token("imds-watcher", nil),
			"a token of another node's watcher":        token("imds-watcher", otherPod),
		} {
			if !apierrors.IsForbidden(err) {
				t.Errorf("%s: %v, want it forbidden", what, err)
			}
		}
	})

	t.Run("the token of its watcher", func(t *testing.T) {
		stolen := withTokenOf(t, kubelet, pod)
		if err := forge(t.Context(), stolen, other, instanceOf(other)); err == nil || !strings.Contains(err.Error(), "has to be "+own.Name) {
			t.Errorf("it writes about another node: %v", err)
		}
		if err := forge(t.Context(), stolen, own, instanceOf(other)); err != nil {
			t.Errorf("what the manager has to find out: %v", err)
		}
		eventually(t, func() error {
			err := admin(t).Get(t.Context(), client.ObjectKey{Name: instanceOf(other)}, &v1alpha1.NodeTermination{})
			if !apierrors.IsNotFound(err) {
				return fmt.Errorf("what is forged about another instance is still there: %w", err)
			}
			return nil
		})
		f.untilNode(other, schedulable)
	})

	t.Run("the drain of its own node", func(t *testing.T) {
		if err := annotate(t, kubelet, own, v1alpha1.AnnotationDrain, strings.Repeat("x", 100000)); err != nil {
			t.Fatal(err)
		}
		f.until(own, v1alpha1.StateCompleted)
		f.untilNode(other, schedulable)
	})
}
