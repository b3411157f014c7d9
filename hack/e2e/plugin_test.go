// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/cli"
	"github.com/nodetermination/operator/controllers/cli/kubectl-nt/control"
	"github.com/nodetermination/operator/controllers/cli/kubectl-nt/explain"
	"github.com/nodetermination/operator/controllers/cli/kubectl-nt/forecast"
	"github.com/nodetermination/operator/controllers/cli/kubectl-nt/status"
	"github.com/nodetermination/operator/hack/testcluster"
)

// plugin runs a verb of kubectl nt as an administrator, and returns what it prints.
func plugin(t *testing.T, verb func(*cli.Plugin) *cobra.Command, args ...string) string {
	t.Helper()
	out := &bytes.Buffer{}
	p := &cli.Plugin{
		IOStreams: genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: out, ErrOut: t.Output()},
		Flags:     genericclioptions.NewConfigFlags(true),
	}
	p.Flags.KubeConfig = ptr.To(cluster.Get(t).Kubeconfig())
	command := verb(p)
	command.SetArgs(args)
	command.SetOut(out)
	if err := command.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("kubectl nt %s %s: %v\n%s", command.Name(), strings.Join(args, " "), err, out)
	}
	return out.String()
}

// generatedPods makes pods of all kinds on a node, at random: their forecasts differ by seconds nowhere near
// the border between two outcomes. Each takes all of its grace period to shut down, as a forecast assumes.
func (f *fixture) generatedPods(node *corev1.Node, random *rand.Rand) {
	f.t.Helper()
	for range 6 {
		grace := []int64{1, 5, 10, 200, 600}[random.Intn(5)]
		kind := random.Intn(6)
		f.pods(node, 1, func(pod *corev1.Pod) {
			pod.Spec.TerminationGracePeriodSeconds = &grace
			metav1.SetMetaDataAnnotation(&pod.ObjectMeta, testcluster.TerminatesAfter, (time.Duration(grace) * time.Second).String())
			switch kind {
			case 0:
				stuck(pod)
			case 1:
				metav1.SetMetaDataAnnotation(&pod.ObjectMeta, "karpenter.sh/do-not-disrupt", "true")
			case 2:
				metav1.SetMetaDataAnnotation(&pod.ObjectMeta, v1alpha1.AnnotationDrain, "skip")
			case 3:
				critical(pod)
				pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](5)
			case 4:
				metav1.SetMetaDataLabel(&pod.ObjectMeta, "free", "yes")
			}
		})
	}
}

// budgetForAny makes a disruption budget that always lets a free pod go.
func (f *fixture) budgetForAny() {
	f.t.Helper()
	f.create(&policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "any"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(0)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"free": "yes"}}},
	})
}

// untilBudgetsCount waits until the budgets know of all of their pods: a forecast believes what they say.
func (f *fixture) untilBudgetsCount() {
	f.t.Helper()
	testcluster.Eventually(f.t, patience, func() error {
		var budgets policyv1.PodDisruptionBudgetList
		if err := admin(f.t).List(f.t.Context(), &budgets, client.InNamespace(f.namespace)); err != nil {
			return err
		}
		for i := range budgets.Items {
			budget := &budgets.Items[i]
			var pods corev1.PodList
			if err := admin(f.t).List(f.t.Context(), &pods, client.InNamespace(f.namespace), client.MatchingLabels(budget.Spec.Selector.MatchLabels)); err != nil {
				return err
			}
			if n := int32(len(pods.Items)); budget.Status.ObservedGeneration != budget.Generation || budget.Status.CurrentHealthy != n {
				return fmt.Errorf("budget %s has %d healthy pods of %d", budget.Name, budget.Status.CurrentHealthy, n)
			}
		}
		return nil
	})
}

// TestForecastComesTrue: what is forecast of generated nodes is what becomes of each of their pods.
func TestForecastComesTrue(t *testing.T) {
	const notice = 75 * time.Second
	startManager(t)
	f := newFixture(t)
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewSource(seed))
	nodes := f.nodes(4)
	var names []string
	for _, node := range nodes {
		f.generatedPods(node, random)
		names = append(names, node.Name)
	}
	f.budgetForGood()
	f.budgetForAny()
	f.untilBudgetsCount()
	var foreseen forecast.Forecast
	out := plugin(t, forecast.NewCommand, append(names, "--together", "--notice", notice.String(), "-o", "json")...)
	if err := json.Unmarshal([]byte(out), &foreseen); err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes {
		plugin(t, control.NewTestCommand, node.Name, "--deadline", notice.String(), "--yes")
	}
	for i, node := range nodes {
		var nt *v1alpha1.NodeTermination
		testcluster.Eventually(t, notice+time.Minute, func() error {
			nt = &v1alpha1.NodeTermination{}
			if err := admin(t).Get(t.Context(), client.ObjectKey{Name: instanceOf(node)}, nt); err != nil {
				return err
			}
			if nt.Status.CompletionTime == nil {
				state, message := cli.State(nt)
				return fmt.Errorf("%s: %s", state, message)
			}
			return nil
		})
		if name := foreseen.Nodes[i].Name; name != node.Name {
			t.Fatalf("the forecast of %s is in the place of %s", name, node.Name)
		}
		for j := range foreseen.Nodes[i].Pods {
			pod := &foreseen.Nodes[i].Pods[j]
			if became := becameOf(t, nt, pod); became != pod.Outcome {
				t.Errorf("pod %s on %s: forecast %s (%s), and became %s: %+v", pod.Name, node.Name, pod.Outcome, pod.Reason, became, nt.Status.PodOutcomes)
			}
		}
	}
	for _, text := range []string{plugin(t, explain.NewCommand, nodes[0].Name), plugin(t, status.NewCommand)} {
		t.Log("\n" + text)
	}
}

// becameOf returns what became of a pod, in the words of a forecast.
func becameOf(t *testing.T, nt *v1alpha1.NodeTermination, pod *forecast.PodForecast) forecast.Outcome {
	t.Helper()
	err := admin(t).Get(t.Context(), client.ObjectKey{Namespace: pod.Namespace, Name: pod.Name}, &corev1.Pod{})
	if client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	for i := range nt.Status.PodOutcomes {
		outcome := &nt.Status.PodOutcomes[i]
		if outcome.Namespace != pod.Namespace || outcome.Name != pod.Name {
			continue
		}
		switch outcome.Outcome {
		case v1alpha1.PodCutShort:
			return forecast.CutShort
		case v1alpha1.PodRemaining:
			return forecast.Blocked
		}
	}
	if err == nil {
		return forecast.Stays
	}
	return forecast.LeavesInTime
}

// TestPluginDrains: a drain by the plugin is waited for, and cancelled.
func TestPluginDrains(t *testing.T) {
	startManager(t)
	f := newFixture(t)
	node := f.nodes(1)[0]
	f.pods(node, 2)
	out := plugin(t, control.NewDrainCommand, node.Name, "--reason", "kernel update", "--wait", "--timeout", "1m")
	if !strings.Contains(out, "Completed: 2 pods gone") {
		t.Errorf("it does not end with what was done:\n%s", out)
	}
	f.untilNode(node, cordoned)
	plugin(t, control.NewCancelCommand, node.Name)
	f.untilNode(node, schedulable)
	plugin(t, control.NewSuspendCommand, "--policy", f.policy.Name)
	plugin(t, control.NewResumeCommand, "--policy", f.policy.Name)

	plugin(t, control.NewTestCommand, node.Name, "--deadline", "15s", "--yes")
	f.untilNode(node, cordoned)
	f.untilNode(node, schedulable) // it is over at its deadline
}
