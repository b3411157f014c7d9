// SPDX-License-Identifier: Apache-2.0

// Package control has the verbs that change something: drain, cancel, suspend, resume and test. Each says what it
// changed, and leaves the rest to the operator.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/cli"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// NewDrainCommand returns "kubectl nt drain".
func NewDrainCommand(plugin *cli.Plugin) *cobra.Command {
	var reason string
	var wait bool
	var timeout time.Duration
	command := &cobra.Command{
		Use:   "drain NODE --reason TEXT",
		Short: "Have a node cordoned and drained by the operator",
		Long: "Have a node cordoned and drained by the operator, by the annotation nodetermination.dev/drain on it. It has no deadline:\n" +
			"disruption budgets are kept, and the instance is not terminated. \"kubectl nt cancel\" takes it back.\n\n" +
			"With --wait, exits with 0 only if the drain has completed, with 2 if it ended otherwise, and with 3 if --timeout passed.",
		Example:           "  kubectl nt drain ip-10-0-3-7.ec2.internal --reason \"kernel update\" --wait",
		Args:              cli.ExactlyOne("node"),
		ValidArgsFunction: plugin.CompleteNodes,
		RunE: func(command *cobra.Command, args []string) error {
			if reason == "" {
				return errors.New("--reason: write why, such as --reason \"kernel update\": the record keeps it")
			}
			d := drainer{Plugin: plugin}
			target, err := d.request(command.Context(), args[0], reason)
			if err != nil || !wait {
				return err
			}
			return d.wait(command.Context(), target, timeout)
		},
	}
	command.Flags().StringVar(&reason, "reason", "", "Why, for people: the NodeTermination keeps it")
	command.Flags().BoolVar(&wait, "wait", false, "Show the progress and return when the drain has ended")
	command.Flags().DurationVar(&timeout, "timeout", 0, "With --wait: how long at most; 0 is until it has ended")
	return command
}

// drainer drains a node.
type drainer struct {
	*cli.Plugin
	client client.Client
}

// request sets the annotation on a node that the operator can drain.
func (d *drainer) request(ctx context.Context, name, reason string) (*cli.Target, error) {
	var err error
	if d.client, err = d.Client(); err != nil {
		return nil, err
	}
	target, policy, err := governed(ctx, d.client, name)
	if err != nil {
		return nil, err
	}
	before, annotated := target.Node.Annotations[v1alpha1.AnnotationDrain]
	if annotated && before == reason {
		_, _ = fmt.Fprintf(d.Out, "%s is to be drained already (reason: %s)\n", target, reason)
		return target, nil
	}
	if err := annotate(ctx, d.client, target.Node, &reason); err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintf(d.Out, "%s annotated: policy %s cordons and drains it (reason: %s); kubectl nt cancel %s takes it back\n",
		target, policy.Name, reason, target.Node.Name)
	switch {
	case policy.Spec.DryRun():
		_, _ = fmt.Fprintf(d.ErrOut, "policy %s is in mode DryRun: nothing but the annotation is changed\n", policy.Name)
	case policy.Spec.Suspended():
		_, _ = fmt.Fprintf(d.ErrOut, "policy %s is suspended: nothing happens until kubectl nt resume --policy %s\n", policy.Name, policy.Name)
	}
	return target, nil
}

// governed returns a node and the policy that governs it. The error says why the operator would do nothing.
func governed(ctx context.Context, reader client.Reader, name string) (*cli.Target, *v1alpha1.NodeTerminationPolicy, error) {
	target, err := cli.Find(ctx, reader, name)
	switch {
	case err != nil:
		return nil, nil, err
	case target == nil || target.Node == nil:
		return nil, nil, fmt.Errorf("there is no node %s: kubectl get nodes lists them", name)
	case target.InstanceID == "" && ec2node.LacksProviderID(target.Node):
		return nil, nil, fmt.Errorf("%s names no EC2 instance, as it has no providerID: where a policy has nodeIdentity PrivateDNSName, kubectl annotate node %s %s=REASON drains it", target, name, v1alpha1.AnnotationDrain)
	case target.InstanceID == "":
		return nil, nil, fmt.Errorf("%s is none that the operator drains: its providerID %q names no EC2 instance, or EKS Auto Mode runs it", target, target.Node.Spec.ProviderID)
	}
	policies, err := cli.Policies(ctx, reader)
	if err != nil {
		return nil, nil, err
	}
	policy := ec2node.Governing(policies, target.Node)
	if policy == nil {
		return nil, nil, fmt.Errorf("no NodeTerminationPolicy selects %s, so that nothing would be done: add one that does, or change its nodeSelector", target)
	}
	return target, policy, nil
}

// annotate sets the annotation that requests a drain; nil removes it.
func annotate(ctx context.Context, c client.Client, node *corev1.Node, reason *string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":         node.UID, // another node of that name is not meant
		"annotations": map[string]any{v1alpha1.AnnotationDrain: reason},
	}})
	if err != nil {
		return err
	}
	if err := c.Patch(ctx, node, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("cannot annotate node %s: %w", node.Name, err)
	}
	return nil
}
