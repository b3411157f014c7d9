// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/testcluster"
)

// fixture is what one test has to itself: a queue, a policy that listens to it, the nodes that the
// policy selects, and a namespace.
type fixture struct {
	t         *testing.T
	sim       *awssim.Server
	queueName string
	queue     string // its URL
	label     map[string]string
	policy    *v1alpha1.NodeTerminationPolicy
	namespace string
}

var fixtures atomic.Int64

// newFixture makes a fixture without nodes and waits until its queue is up.
func newFixture(t *testing.T, change ...func(*v1alpha1.NodeTerminationPolicySpec)) *fixture {
	t.Helper()
	f := emptyFixture(t, aws)
	f.apply(change...)
	f.untilReady()
	return f
}

// emptyFixture makes a fixture without nodes and policy, with its queue in sim.
func emptyFixture(t *testing.T, sim *awssim.Server) *fixture {
	t.Helper()
	name := fmt.Sprintf("e2e-%d", fixtures.Add(1))
	f := &fixture{t: t, sim: sim, queueName: name, label: map[string]string{"e2e": name}, namespace: cluster.Get(t).CreateNamespace(t)}
	var err error
	if f.queue, err = sim.CreateQueue(name, nil); err != nil {
		t.Fatal(err)
	}
	return f
}

// apply creates the policy.
func (f *fixture) apply(change ...func(*v1alpha1.NodeTerminationPolicySpec)) {
	f.t.Helper()
	f.policy = &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: f.queueName}}
	f.policy.Spec = v1alpha1.NodeTerminationPolicySpec{
		NodeSelector: &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"e2e": v1alpha1.LabelValue(f.queueName)}},
		Sources:      []v1alpha1.Source{{Name: "queue", SQS: &v1alpha1.SQSSource{QueueURL: f.queue}}},
	}
	for _, set := range change {
		set(&f.policy.Spec)
	}
	f.create(f.policy)
}

// create creates an object, which is deleted at the end of the test.
func (f *fixture) create(object client.Object) {
	f.t.Helper()
	if err := admin(f.t).Create(f.t.Context(), object); err != nil {
		f.t.Fatalf("creating a %T: %v", object, err)
	}
	f.t.Cleanup(func() { f.remove(object) })
}

func (f *fixture) remove(object client.Object) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // the test's own has ended
	defer cancel()
	if err := admin(f.t).Delete(ctx, object); client.IgnoreNotFound(err) != nil {
		f.t.Logf("cleaning up: %v", err)
	}
}

// nodes makes n nodes that the policy selects. Their NodeTerminations are deleted at the end.
func (f *fixture) nodes(n int) []*corev1.Node {
	f.t.Helper()
	nodes := cluster.Get(f.t).CreateNodes(f.t, n, func(node *corev1.Node) { maps.Copy(node.Labels, f.label) })
	for _, node := range nodes {
		f.t.Cleanup(func() { f.remove(&v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instanceOf(node)}}) })
	}
	return nodes
}

// pods makes n pods on a node.
func (f *fixture) pods(node *corev1.Node, n int, change ...func(*corev1.Pod)) []*corev1.Pod {
	f.t.Helper()
	return cluster.Get(f.t).CreatePods(f.t, f.namespace, node.Name, n, change...)
}

// stopsIn makes pods that take some time to stop.
func stopsIn(d time.Duration) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, testcluster.TerminatesAfter, d.String())
		pod.Spec.TerminationGracePeriodSeconds = ptr.To(int64(60))
	}
}

// critical makes pods of the last wave.
func critical(pod *corev1.Pod) { pod.Spec.PriorityClassName = "system-cluster-critical" }

// stuck makes pods that budgetForGood blocks.
func stuck(pod *corev1.Pod) {
	metav1.SetMetaDataLabel(&pod.ObjectMeta, "stuck", "yes")
}

// budgetForGood makes a disruption budget that never lets a stuck pod go, and waits until it is in force.
func (f *fixture) budgetForGood() *policyv1.PodDisruptionBudget {
	f.t.Helper()
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "for-good"},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: ptr.To(intstr.FromInt32(1000)),
			Selector:     &metav1.LabelSelector{MatchLabels: map[string]string{"stuck": "yes"}},
		},
	}
	f.create(budget)
	eventually(f.t, func() error {
		if err := admin(f.t).Get(f.t.Context(), client.ObjectKeyFromObject(budget), budget); err != nil {
			return err
		}
		if budget.Status.ObservedGeneration < budget.Generation {
			return fmt.Errorf("budget %s was not seen yet", budget.Name)
		}
		return nil
	})
	return budget
}

func instanceOf(node *corev1.Node) string {
	id, _ := ec2node.InstanceID(node)
	return id
}

// send sends a message as AWS does and returns when.
func (f *fixture) send(notice awssim.Notice) time.Time {
	f.t.Helper()
	sent := time.Now()
	if _, err := f.sim.Send(f.queue, notice); err != nil {
		f.t.Fatal(err)
	}
	return sent
}

// interrupt sends the notice that a node's spot instance is taken back.
func (f *fixture) interrupt(node *corev1.Node) time.Time {
	f.t.Helper()
	return f.send(spot(node))
}

func spot(node *corev1.Node) awssim.Notice {
	return awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{instanceOf(node)}}
}

// messages are those in the queue, hidden or not.
func (f *fixture) messages() []awssim.Message {
	f.t.Helper()
	messages, err := f.sim.Messages(f.queue)
	if err != nil {
		f.t.Fatal(err)
	}
	return messages
}

func (f *fixture) untilQueueEmpty() {
	f.t.Helper()
	eventually(f.t, func() error {
		if messages := f.messages(); len(messages) > 0 {
			return fmt.Errorf("%d messages are still in the queue, the first is %+v", len(messages), messages[0])
		}
		return nil
	})
}

// termination is a node's NodeTermination.
func (f *fixture) termination(node *corev1.Node) (*v1alpha1.NodeTermination, error) {
	nt := &v1alpha1.NodeTermination{}
	return nt, admin(f.t).Get(f.t.Context(), client.ObjectKey{Name: instanceOf(node)}, nt)
}

// until waits until a node's NodeTermination is in a state.
func (f *fixture) until(node *corev1.Node, state string) *v1alpha1.NodeTermination {
	f.t.Helper()
	var nt *v1alpha1.NodeTermination
	eventually(f.t, func() (err error) {
		if nt, err = f.termination(node); err != nil {
			return err
		}
		ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != state {
			return fmt.Errorf("NodeTermination %s should be %s and is %+v", nt.Name, state, ready)
		}
		if state == v1alpha1.StateDraining && nt.Status.Pods == nil {
			return fmt.Errorf("the pods of NodeTermination %s are not known yet", nt.Name)
		}
		return nil
	})
	return nt
}

func (f *fixture) untilNode(node *corev1.Node, check func(*corev1.Node) error) {
	f.t.Helper()
	eventually(f.t, func() error {
		current := &corev1.Node{}
		if err := admin(f.t).Get(f.t.Context(), client.ObjectKeyFromObject(node), current); err != nil {
			return err
		}
		return check(current)
	})
}

func cordoned(node *corev1.Node) error {
	if !node.Spec.Unschedulable {
		return fmt.Errorf("node %s is not cordoned", node.Name)
	}
	return nil
}

func schedulable(node *corev1.Node) error {
	if node.Spec.Unschedulable {
		return fmt.Errorf("node %s is cordoned", node.Name)
	}
	return nil
}

// untilEvicted waits until pods are shutting down and returns them as they are then.
func (f *fixture) untilEvicted(pods []*corev1.Pod) []*corev1.Pod {
	f.t.Helper()
	evicted := make([]*corev1.Pod, len(pods))
	for i, pod := range pods {
		evicted[i] = &corev1.Pod{}
		eventually(f.t, func() error {
			err := admin(f.t).Get(f.t.Context(), client.ObjectKeyFromObject(pod), evicted[i])
			if err == nil && evicted[i].DeletionTimestamp == nil {
				err = fmt.Errorf("pod %s was not evicted", pod.Name)
			}
			return err
		})
	}
	return evicted
}

// podsOn returns the names of the pods on a node that were not evicted.
func (f *fixture) podsOn(node *corev1.Node) []string {
	f.t.Helper()
	var pods corev1.PodList
	if err := admin(f.t).List(f.t.Context(), &pods, client.MatchingFields{"spec.nodeName": node.Name}); err != nil {
		f.t.Fatal(err)
	}
	var names []string
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil {
			names = append(names, pod.Name)
		}
	}
	return names
}

// policyCondition is a condition of the policy as it is now.
func (f *fixture) policyCondition(kind string) (*metav1.Condition, error) {
	current := &v1alpha1.NodeTerminationPolicy{}
	if err := admin(f.t).Get(f.t.Context(), client.ObjectKeyFromObject(f.policy), current); err != nil {
		return nil, err
	}
	f.policy.Status = current.Status
	condition := meta.FindStatusCondition(current.Status.Conditions, kind)
	if condition == nil || condition.ObservedGeneration != current.Generation {
		return nil, fmt.Errorf("policy %s was not looked at yet", f.policy.Name)
	}
	return condition, nil
}

// untilReady waits until the policy is ready.
func (f *fixture) untilReady() {
	f.t.Helper()
	eventually(f.t, func() error {
		ready, err := f.policyCondition(v1alpha1.ConditionReady)
		if err == nil && ready.Status != metav1.ConditionTrue {
			err = fmt.Errorf("policy %s is not ready: %s: %s", f.policy.Name, ready.Reason, ready.Message)
		}
		return err
	})
}

// evictions counts how often each pod of the namespace was evicted by an eviction (create) or a
// deletion (delete).
func (f *fixture) evictions(verb string) map[string]int {
	f.t.Helper()
	return f.count(func(r *request) bool { return r.evictsPod() && r.Verb == verb })
}

// count counts the requests about each pod of the namespace that match.
func (f *fixture) count(match func(*request) bool) map[string]int {
	f.t.Helper()
	found, err := audit.find(func(r *request) bool { return r.Object.Namespace == f.namespace && match(r) })
	if err != nil {
		f.t.Fatal(err)
	}
	counts := map[string]int{}
	for i := range found {
		counts[found[i].Object.Name]++
	}
	return counts
}

// checkEvictedOnce checks that each of the pods was evicted once, and no other pod was. A request
// that was broken off may have been the one.
func (f *fixture) checkEvictedOnce(pods ...*corev1.Pod) {
	f.t.Helper()
	counts := f.evictions("create")
	for name, n := range f.evictions("delete") {
		counts[name] += n
	}
	brokenOff := f.count(func(r *request) bool { return r.requestsEviction() && r.brokenOff() })
	for _, pod := range pods {
		if counts[pod.Name] != 1 && (counts[pod.Name] != 0 || brokenOff[pod.Name] == 0) {
			f.t.Errorf("pod %s was evicted %d times, want once", pod.Name, counts[pod.Name])
		}
		delete(counts, pod.Name)
	}
	for name, n := range counts {
		f.t.Errorf("pod %s was evicted %d times, want never", name, n)
	}
}

// describe is a policy's or termination's conditions in one line, for messages.
func describe(conditions []metav1.Condition) string {
	parts := make([]string, 0, len(conditions))
	for _, c := range conditions {
		parts = append(parts, fmt.Sprintf("%s=%s (%s: %s)", c.Type, c.Status, c.Reason, c.Message))
	}
	return strings.Join(parts, "; ")
}
