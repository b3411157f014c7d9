// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/awssim"
)

// TestStays: pods keep the time that they have, and a node stays as decided until AWS has taken its
// instance, whatever others do.
func TestStays(t *testing.T) {
	startManager(t)
	for name, test := range map[string]func(*testing.T){
		"maintenance under way":                 testMaintenanceUnderWay,
		"stopping":                              testStoppingKeepsGrace,
		"drained during a maintenance":          testManualDuringMaintenance,
		"blocked pod with a long grace period":  testBlockedWithLongGrace,
		"newcomers":                             testNewcomers,
		"returners":                             testReturners,
		"uncordoned by others":                  testUncordonedByOthers,
		"cordon refused":                        testCordonRefused,
		"waiting for the budget":                testWaitsUncordoned,
		"most of the nodes are said to be gone": testTooManyStop,
		"suspended policy":                      testSuspendedPolicy,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// graceOf makes pods that have a grace period of some seconds.
func graceOf(seconds int64) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Spec.TerminationGracePeriodSeconds = &seconds }
}

// checkGrace checks that each pod was evicted with its own grace period.
func (f *fixture) checkGrace(evicted []*corev1.Pod) {
	f.t.Helper()
	for _, pod := range evicted {
		if got, want := *pod.DeletionGracePeriodSeconds, *pod.Spec.TerminationGracePeriodSeconds; got != want {
			f.t.Errorf("pod %s got a grace period of %d s, want its own of %d s", pod.Name, got, want)
		}
	}
}

// timesOutAfter makes the policy's drains time out after some seconds.
func timesOutAfter(seconds int32) func(*v1alpha1.NodeTerminationPolicySpec) {
	return func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Drain = &v1alpha1.DrainSpec{TimeoutSeconds: &seconds}
	}
}

// testMaintenanceUnderWay: nobody knows how much time is left, so that a budget is respected for
// as long as any soft drain would, and pods get their own grace period.
func testMaintenanceUnderWay(t *testing.T) {
	const timeout = 10
	f := newFixture(t, timesOutAfter(timeout))
	f.budgetForGood()
	node := f.nodes(1)[0]
	pods := f.pods(node, 1, stopsIn(2*time.Second))
	kept := f.pods(node, 1, stopsIn(2*time.Second), stuck)
	notice := f.maintenance(node, time.Now().Add(-10*time.Minute))
	notice.Status = "open"
	sent := f.send(notice)
	f.checkGrace(f.untilEvicted(pods))
	f.checkGrace(f.untilEvicted(kept))
	if nt := f.until(node, v1alpha1.StateCompleted); nt.Status.Deadline != nil {
		t.Errorf("the deadline is %s, want none", nt.Status.Deadline)
	}
	deleted, err := audit.find(func(r *request) bool {
		return r.Verb == "delete" && r.evictsPod() && r.Object.Namespace == f.namespace
	})
	if err != nil || len(deleted) != 1 || deleted[0].At.Before(sent.Add((timeout-1)*time.Second)) {
		t.Errorf("deleted %+v, %v, want one pod about %d s after %s", deleted, err, timeout, sent)
	}
}

// testStoppingKeepsGrace: the operating system gives the pods more time than a second.
func testStoppingKeepsGrace(t *testing.T) {
	f := newFixture(t)
	f.budgetForGood()
	node := f.nodes(1)[0]
	pods := f.pods(node, 1, stopsIn(2*time.Second))
	kept := f.pods(node, 1, stopsIn(2*time.Second), stuck)
	f.send(awssim.Notice{Kind: awssim.StateChange, InstanceIDs: []string{instanceOf(node)}, State: "stopping"})
	f.checkGrace(f.untilEvicted(slices.Concat(pods, kept)))
	f.until(node, v1alpha1.StateCompleted)
}

// testManualDuringMaintenance: a maintenance for which the policy only cordons sets no deadline.
func testManualDuringMaintenance(t *testing.T) {
	f := newFixture(t, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Events = []v1alpha1.EventRule{{Kind: v1alpha1.ScheduledMaintenance, Action: v1alpha1.ActionCordon}}
	})
	node := f.nodes(1)[0]
	pods := f.pods(node, 1, stopsIn(2*time.Second))
	notice := f.maintenance(node, time.Now().Add(-time.Minute))
	notice.Status = "open"
	f.send(notice)
	f.until(node, v1alpha1.StateCordoned)
	f.annotate(node, "kernel update")
	f.checkGrace(f.untilEvicted(pods))
	if nt := f.until(node, v1alpha1.StateCompleted); nt.Status.Deadline != nil || nt.Status.Cause != v1alpha1.Manual {
		t.Errorf("cause %s, deadline %s, want Manual without one", nt.Status.Cause, nt.Status.Deadline)
	}
}

// testBlockedWithLongGrace: it is deleted early enough to get its grace period, but its budget has
// half of the time.
func testBlockedWithLongGrace(t *testing.T) {
	const grace, notice = 20 * time.Second, 50 * time.Second
	f := newFixture(t)
	f.budgetForGood()
	node := f.nodes(1)[0]
	long := f.pods(node, 1, stuck, graceOf(int64(grace/time.Second)))
	longer := f.pods(node, 1, stuck, graceOf(600))
	sent := time.Now()
	deadline := sent.Add(notice).Truncate(time.Second)
	f.send(awssim.Notice{Kind: awssim.CapacityReservation, InstanceIDs: []string{instanceOf(node)}, NotBefore: deadline, Time: sent})
	f.until(node, v1alpha1.StateCompleted)
	deleted, err := audit.find(func(r *request) bool {
		return r.Verb == "delete" && r.evictsPod() && r.Object.Namespace == f.namespace
	})
	if err != nil || len(deleted) != 2 {
		t.Fatalf("deleted %+v, %v, want two pods", deleted, err)
	}
	for i := range deleted {
		left := deadline.Sub(deleted[i].At)
		if half := notice / 2; left > half+time.Second || left < grace {
			t.Errorf("pod %s was deleted %s before the deadline, want %s to %s", deleted[i].Object.Name, left, grace, half)
		}
	}
	f.checkEvictedOnce(slices.Concat(long, longer)...)
}

// testNewcomers: a pod that is bound to the node after its drain is evicted too.
func testNewcomers(t *testing.T) {
	f := newFixture(t)
	node := f.nodes(1)[0]
	first := f.pods(node, 1)
	f.interrupt(node)
	f.until(node, v1alpha1.StateCompleted)
	late := f.pods(node, 1, stopsIn(2*time.Second))
	f.checkGrace(f.untilEvicted(late))
	f.until(node, v1alpha1.StateCompleted)
	f.checkEvictedOnce(slices.Concat(first, late)...)
}

// tolerant is a pod template whose pods go to a node, whatever it is tainted with.
func tolerant(node *corev1.Node) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "tolerant"}},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{corev1.LabelHostname: node.Labels[corev1.LabelHostname]},
			Tolerations:  []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers:   []corev1.Container{{Name: "main", Image: "example.com/app"}},
		},
	}
}

// untilPodsOn waits until a node has n pods that stay.
func (f *fixture) untilPodsOn(node *corev1.Node, n int) {
	f.t.Helper()
	eventually(f.t, func() error {
		if names := f.podsOn(node); len(names) != n {
			return fmt.Errorf("pods %v are on node %s, want %d", names, node.Name, n)
		}
		return nil
	})
}

// testReturners: what comes back at once, by the scheduler or by itself, keeps no drain from its end
// and no group waiting, and is not evicted as fast as it comes.
func testReturners(t *testing.T) {
	f := newFixture(t)
	node := f.nodes(1)[0]
	bound := tolerant(node)
	bound.Labels = map[string]string{"app": "bound"}
	bound.Spec.NodeName = node.Name
	for _, template := range []corev1.PodTemplateSpec{tolerant(node), bound} {
		f.create(&appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: template.Labels["app"]},
			Spec: appsv1.ReplicaSetSpec{
				Replicas: ptr.To[int32](2), Selector: &metav1.LabelSelector{MatchLabels: template.Labels}, Template: template,
			},
		})
	}
	f.untilPodsOn(node, 4)
	f.terminate(node, time.Hour)
	nt := f.until(node, v1alpha1.StateCompleted)
	f.checkContinuedOnce(node)
	f.untilPodsOn(node, 4)
	if took := nt.Status.CompletionTime.Sub(nt.Status.StartTime.Time); took > 30*time.Second {
		t.Errorf("the drain took %s", took)
	}
	if n := len(f.evictions("create")); n > 4+10 {
		t.Errorf("%d pods were evicted, want the 4 and ten a minute", n)
	}
}

// testUncordonedByOthers: with a deadline ahead a drained node is cordoned again. Where it was only
// cordoned, without a deadline, whoever uncordons it has cancelled that.
func testUncordonedByOthers(t *testing.T) {
	f := newFixture(t)
	nodes := f.nodes(2)
	drained, recommended := nodes[0], nodes[1]
	f.send(f.maintenance(drained, time.Now().Add(time.Hour)))
	f.until(drained, v1alpha1.StateCompleted)
	f.send(awssim.Notice{Kind: awssim.RebalanceRecommendation, InstanceIDs: []string{instanceOf(recommended)}})
	f.until(recommended, v1alpha1.StateCordoned)
	for _, node := range nodes {
		f.patch(node.DeepCopy(), `{"spec": {"unschedulable": null}}`)
	}
	f.untilNode(drained, cordoned)
	f.until(recommended, v1alpha1.StateCancelled)
	f.untilNode(recommended, func(current *corev1.Node) error { return asBefore(recommended, current) })
}

// testCordonRefused: somebody's admission policy keeps the node from being changed. Its pods are
// evicted in time all the same, and it is cordoned once that is allowed.
func testCordonRefused(t *testing.T) {
	f := newFixture(t)
	node := f.nodes(1)[0]
	pods := f.pods(node, 2)
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: f.queueName + "-frozen"},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{
				ObjectSelector: &metav1.LabelSelector{MatchLabels: f.label},
				ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Update},
					Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"nodes"}},
				}}},
			},
			Validations: []admissionv1.Validation{{Expression: "object.spec == oldObject.spec", Message: "nodes are frozen"}},
		},
	}
	f.create(policy)
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: policy.Name},
		Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: policy.Name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}},
	}
	f.create(binding)
	eventually(t, func() error { // a policy takes effect some time after it is created
		frozen := node.DeepCopy()
		frozen.Spec.Unschedulable = true
		err := admin(t).Patch(t.Context(), frozen, client.MergeFrom(node), client.DryRunAll)
		if err == nil {
			return errors.New("the node can be changed")
		}
		if !strings.Contains(err.Error(), "frozen") {
			return err
		}
		return nil
	})
	f.interrupt(node)
	nt := f.until(node, v1alpha1.StateCompleted)
	f.checkEvictedOnce(pods...)
	if got := describe(nt.Status.Conditions); !strings.Contains(got, "nodes are frozen") {
		t.Errorf("the conditions are %s, want why the cordon was refused", got)
	}
	f.remove(binding)
	f.untilNode(node, cordoned)
}

// testWaitsUncordoned: of the nodes that are annotated at once only as many are cordoned as may be
// drained at once. The others prefer to get no pods.
func testWaitsUncordoned(t *testing.T) {
	const n = 5
	f := newFixture(t, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Drain = &v1alpha1.DrainSpec{TimeoutSeconds: ptr.To[int32](600), Budget: &v1alpha1.DrainBudget{MaxNodes: ptr.To(intstr.FromInt32(1))}}
	})
	f.budgetForGood()
	nodes := f.nodes(n)
	for _, node := range nodes {
		f.pods(node, 1, stuck)
		f.annotate(node, "new image")
	}
	eventually(t, func() error {
		var unschedulable, waiting int
		for _, node := range nodes {
			current := &corev1.Node{}
			if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(node), current); err != nil {
				return err
			}
			if current.Spec.Unschedulable {
				unschedulable++
			}
			if slices.ContainsFunc(current.Spec.Taints, func(taint corev1.Taint) bool { return taint.MatchTaint(&ec2node.WaitingTaint) }) {
				waiting++
			}
		}
		if unschedulable > 1 {
			t.Fatalf("%d nodes are cordoned", unschedulable)
		}
		if unschedulable != 1 || waiting != n-1 {
			return fmt.Errorf("%d nodes are cordoned, %d wait, want 1 and %d", unschedulable, waiting, n-1)
		}
		return nil
	})
}

// testTooManyStop: messages say that most of a policy's nodes terminate, and EC2 that the instances
// run: what a budget blocks stays.
func testTooManyStop(t *testing.T) {
	const n = 5
	f := newFixture(t)
	f.budgetForGood()
	nodes := f.nodes(n)
	eventually(t, func() error {
		if _, err := f.policyCondition(v1alpha1.ConditionReady); err != nil {
			return err
		}
		if got := ptr.Deref(f.policy.Status.Nodes, 0); got != n {
			return fmt.Errorf("the policy governs %d nodes, want %d", got, n)
		}
		return nil
	})
	kept := map[*corev1.Node]*corev1.Pod{}
	for _, node := range nodes {
		kept[node] = f.pods(node, 1, stuck)[0]
		if err := f.sim.PutInstance(awssim.Instance{ID: instanceOf(node), State: "running"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range nodes {
		f.send(awssim.Notice{Kind: awssim.StateChange, InstanceIDs: []string{instanceOf(node)}, State: "terminated"})
	}
	// The first three are believed: a policy's limit is three at least.
	eventually(t, func() error {
		asked := 0
		for _, node := range nodes {
			nt, err := f.termination(node)
			if err != nil {
				return err
			}
			if strings.Contains(describe(nt.Status.Conditions), v1alpha1.ReasonInstanceRunning) {
				asked++
			}
		}
		if asked < n-3 {
			return fmt.Errorf("EC2 has contradicted for %d nodes, want at least %d", asked, n-3)
		}
		return nil
	})
	staying := 0
	for node := range kept {
		staying += len(f.podsOn(node))
	}
	if staying < n-3 {
		t.Errorf("%d blocked pods are left, want at least %d", staying, n-3)
	}
}

// testSuspendedPolicy: what the policy drains stops where it is, and goes on when it is resumed.
func testSuspendedPolicy(t *testing.T) {
	f := newFixture(t)
	budget := f.budgetForGood()
	nodes := f.nodes(2)
	var pods []*corev1.Pod
	for _, node := range nodes {
		pods = append(pods, f.pods(node, 1, stuck)...)
		f.annotate(node, "new image")
	}
	for _, node := range nodes {
		f.until(node, v1alpha1.StateDraining)
	}
	f.patch(f.policy, `{"spec": {"suspend": true}}`)
	for _, node := range nodes {
		f.until(node, v1alpha1.StateSuspended)
	}
	// Another policy's node has a pod under the same budget: it goes once the manager has seen
	// that the budget is gone.
	other := newFixture(t)
	witness := other.nodes(1)[0]
	moved := f.pods(witness, 1, stuck)
	other.annotate(witness, "new image")
	other.until(witness, v1alpha1.StateDraining)
	f.remove(budget)
	other.until(witness, v1alpha1.StateCompleted)
	f.checkEvictedOnce(moved...)
	f.patch(f.policy, `{"spec": {"suspend": false}}`)
	for _, node := range nodes {
		f.until(node, v1alpha1.StateCompleted)
	}
	f.checkEvictedOnce(append(pods, moved...)...)
}
