package testcluster

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	ec2node "github.com/nodetermination/operator/controllers/node"
)

// TerminatesAfter is an annotation of pods: how long, as a Go duration, the pod takes to terminate
// after it was deleted or evicted, at most its grace period. Without it a pod terminates at once.
const TerminatesAfter = "kwok.nodetermination.dev/terminates-after"

// readyTimeout bounds the waits for what is created here. It takes less than a second on an idle
// machine.
const readyTimeout = 3 * time.Minute

// CreateNodes creates n nodes like those of EC2 instances, each changed by the given functions
// before it is created, and returns them when they are ready for pods. They are deleted at the end
// of the test.
func (c *Cluster) CreateNodes(tb testing.TB, n int, change ...func(*corev1.Node)) []*corev1.Node {
	tb.Helper()
	nodes := make([]*corev1.Node, n)
	for i := range nodes {
		node := newNode(c.nodes.Add(1))
		for _, f := range change {
			f(node)
		}
		c.create(tb, node)
		nodes[i] = node
	}
	for _, node := range nodes {
		Eventually(tb, readyTimeout, func() error {
			if err := c.client.Get(tb.Context(), client.ObjectKeyFromObject(node), node); err != nil {
				return err
			}
			for _, taint := range node.Spec.Taints {
				if taint.Key == corev1.TaintNodeNotReady {
					return fmt.Errorf("node %s is not ready", node.Name)
				}
			}
			return nil
		})
	}
	return nodes
}

// newNode returns the i-th node: its name, instance and boot are its own.
func newNode(i int64) *corev1.Node {
	name := fmt.Sprintf("ip-10-%d-%d-%d.ec2.internal", i>>16&0xff, i>>8&0xff, i&0xff)
	resources := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("8"),
		corev1.ResourceMemory: resource.MustParse("32Gi"),
		corev1.ResourcePods:   resource.MustParse("110"),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				corev1.LabelHostname:           name,
				corev1.LabelOSStable:           "linux",
				corev1.LabelArchStable:         "amd64",
				corev1.LabelInstanceTypeStable: "m6i.2xlarge",
				corev1.LabelTopologyRegion:     "us-east-1",
				corev1.LabelTopologyZone:       "us-east-1a",
			},
			Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"},
		},
		Spec: corev1.NodeSpec{ProviderID: fmt.Sprintf("aws:///us-east-1a/i-0abc%013x", i)},
		Status: corev1.NodeStatus{
			Capacity:    resources,
			Allocatable: resources,
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.%d.%d.%d", i>>16&0xff, i>>8&0xff, i&0xff)},
				{Type: corev1.NodeHostName, Address: name},
			},
			NodeInfo: corev1.NodeSystemInfo{BootID: fmt.Sprintf("00000000-0000-4000-8000-%012x", i)},
		},
	}
}

// accountTimeout bounds how long a namespace has no service account: the controller that creates it may have to come
// back after a test has stopped the API server, and waits a minute at most between its attempts.
const accountTimeout = 3 * time.Minute

// CreateNamespace creates a namespace in which pods can be created and returns its name. At the end
// of the test it is deleted with everything in it; nobody waits for that.
func (c *Cluster) CreateNamespace(tb testing.TB) string {
	tb.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	c.create(tb, ns)
	Eventually(tb, accountTimeout, func() error {
		return c.client.Get(tb.Context(), types.NamespacedName{Namespace: ns.Name, Name: "default"}, &corev1.ServiceAccount{})
	})
	return ns.Name
}

// CreatePods creates n pods on a node, without asking the scheduler, each changed by the given
// functions before it is created, and returns them when they are ready.
func (c *Cluster) CreatePods(tb testing.TB, namespace, node string, n int, change ...func(*corev1.Pod)) []*corev1.Pod {
	tb.Helper()
	pods := make([]*corev1.Pod, n)
	for i := range pods {
		pods[i] = &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-", Namespace: namespace},
			Spec: corev1.PodSpec{
				NodeName:   node,
				Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}},
			},
		}
		for _, f := range change {
			f(pods[i])
		}
		c.create(tb, pods[i])
	}
	for _, pod := range pods {
		Eventually(tb, readyTimeout, func() error {
			if err := c.client.Get(tb.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
				return err
			}
			if ec2node.PodReady(pod) {
				return nil
			}
			return fmt.Errorf("pod %s is %s and not ready", pod.Name, pod.Status.Phase)
		})
	}
	return pods
}

// create creates an object and has it deleted at the end of the test.
func (c *Cluster) create(tb testing.TB, obj client.Object) {
	tb.Helper()
	if err := c.client.Create(tb.Context(), obj); err != nil {
		tb.Fatalf("creating a %T: %v", obj, err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // the test's own has ended
		defer cancel()
		if err := client.IgnoreNotFound(c.client.Delete(ctx, obj, client.GracePeriodSeconds(0))); err != nil {
			tb.Logf("cleaning up: %v", err)
		}
	})
}

// Eventually calls check until it returns nil, and fails the test with its last error if that takes
// longer than the timeout.
func Eventually(tb testing.TB, timeout time.Duration, check func() error) {
	tb.Helper()
	deadline := time.Now().Add(timeout)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("not within %s: %v", timeout, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
