// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/cli"
)

// testPrefix begins the ids of the events of tests.
const testPrefix = "kubectl-nt-test-"

// testKinds are the kinds that can be tested: others need more than a deadline, or do more than a drill may.
var testKinds = []v1alpha1.EventKind{v1alpha1.SpotInterruption, v1alpha1.CapacityReservationInterruption, v1alpha1.RebalanceRecommendation}

// NewTestCommand returns "kubectl nt test".
func NewTestCommand(plugin *cli.Plugin) *cobra.Command {
	t := tester{Plugin: plugin}
	command := &cobra.Command{
		Use:   "test NODE",
		Short: "Pretend that AWS has announced something about a node's instance",
		Long: "Pretend that AWS has announced something about a node's instance, for game days. The node is really cordoned, and its pods are really\n" +
			"evicted, as the policy says. AWS takes nothing: the test is over at its deadline, and the node is uncordoned then.",
		Example:           "  kubectl nt test ip-10-0-3-7.ec2.internal --kind SpotInterruption --deadline 2m",
		Args:              cli.ExactlyOne("node"),
		ValidArgsFunction: plugin.CompleteNodes,
		RunE:              func(command *cobra.Command, args []string) error { return t.run(command.Context(), args[0]) },
	}
	command.Flags().StringVar(&t.kind, "kind", string(v1alpha1.SpotInterruption), "Kind of event: "+kindNames())
	command.Flags().DurationVar(&t.deadline, "deadline", 2*time.Minute, "How long from now the instance is said to go away")
	command.Flags().BoolVarP(&t.yes, "yes", "y", false, "Do not ask")
	_ = command.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(strings.Split(kindNames(), ", "), cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	return command
}

// kindNames returns the kinds that can be tested.
func kindNames() string {
	var names []string
	for _, kind := range testKinds {
		names = append(names, string(kind))
	}
	return strings.Join(names, ", ")
}

// tester makes up an event.
type tester struct {
	*cli.Plugin
	kind     string
	deadline time.Duration
	yes      bool
}

// run asks, and stores the event.
func (t *tester) run(ctx context.Context, name string) error {
	kind := v1alpha1.EventKind(t.kind)
	switch {
	case !slices.Contains(testKinds, kind):
		return fmt.Errorf("--kind %s: write one of %s", t.kind, kindNames())
	case t.deadline < 10*time.Second:
		return fmt.Errorf("--deadline %s: write 10s or more, such as 2m", t.deadline)
	}
	c, err := t.Client()
	if err != nil {
		return err
	}
	target, policy, err := governed(ctx, c, name)
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	deadline := metav1.NewTime(now.Add(t.deadline).Truncate(time.Second))
	if err := t.confirm(target, policy, kind, deadline.Time); err != nil {
		return err
	}
	e := v1alpha1.Event{
		ID: testPrefix + strings.TrimPrefix(v1alpha1.TaintKey(kind), v1alpha1.KeyPrefix), Kind: kind, Source: v1alpha1.SourceManual,
		Time: metav1.NewTime(now), Deadline: &deadline, Description: "a test by kubectl nt test",
		BootID: target.Node.Status.NodeInfo.BootID, PolicyName: policy.Name, Cancelled: ptr.To(false),
	}
	if err := put(ctx, c, target.InstanceID, target.Node.Name, e); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(t.Out, "%s of %s stored in NodeTermination %s; it is over at %s, or by kubectl nt cancel %s\n",
		kind, target, target.InstanceID, deadline.Format(time.RFC3339), target.Node.Name)
	return nil
}

// confirm asks whether that is meant.
func (t *tester) confirm(target *cli.Target, policy *v1alpha1.NodeTerminationPolicy, kind v1alpha1.EventKind, deadline time.Time) error {
	what := map[v1alpha1.EventAction]string{
		v1alpha1.ActionCordonAndDrain: "cordons the node and evicts its pods, if need be past disruption budgets",
		v1alpha1.ActionCordon:         "cordons the node", v1alpha1.ActionIgnore: "does nothing but record it",
	}[policy.Spec.ActionFor(kind)]
	if policy.Spec.DryRun() {
		what = "says what it would do, as its mode is DryRun"
	}
	_, _ = fmt.Fprintf(t.ErrOut, "A %s with the deadline %s is made up for %s (%s). Policy %s %s.\n",
		kind, deadline.Format(time.RFC3339), target, target.InstanceID, policy.Name, what)
	if t.yes {
		return nil
	}
	_, _ = fmt.Fprint(t.ErrOut, "Type yes to go on: ")
	answer, _ := bufio.NewReader(t.In).ReadString('\n') // no answer is no
	if strings.TrimSpace(answer) != "yes" {
		return errors.New("nothing was done: the answer was not yes; --yes does not ask")
	}
	return nil
}
