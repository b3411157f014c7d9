// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/cli"
)

// NewSuspendCommand returns "kubectl nt suspend".
func NewSuspendCommand(plugin *cli.Plugin) *cobra.Command {
	return newSuspendCommand(plugin, true, &cobra.Command{
		Use:     "suspend NODE|INSTANCE | --policy NAME",
		Short:   "Stop a termination, or all of a policy, where it is",
		Long:    "Stop a termination, or all of a policy, where it is: nothing more is changed on nodes and pods. Heartbeats go on, and AWS does not wait.",
		Example: "  kubectl nt suspend ip-10-0-3-7.ec2.internal\n  kubectl nt suspend --policy workers",
	})
}

// NewResumeCommand returns "kubectl nt resume".
func NewResumeCommand(plugin *cli.Plugin) *cobra.Command {
	return newSuspendCommand(plugin, false, &cobra.Command{
		Use:     "resume NODE|INSTANCE | --policy NAME",
		Short:   "Let go on what was suspended",
		Long:    "Let go on what was suspended. A drain may take drain.timeoutSeconds anew.",
		Example: "  kubectl nt resume ip-10-0-3-7.ec2.internal\n  kubectl nt resume --policy workers",
	})
}

// newSuspendCommand completes either.
func newSuspendCommand(plugin *cli.Plugin, suspend bool, command *cobra.Command) *cobra.Command {
	var policy string
	command.ValidArgsFunction = plugin.CompleteTerminations
	command.RunE = func(command *cobra.Command, args []string) error {
		if (len(args) == 1) == (policy != "") || len(args) > 1 {
			return errors.New("give one node or instance, or --policy: " + command.UseLine())
		}
		c, err := plugin.Client()
		if err != nil {
			return err
		}
		object, err := suspendable(command.Context(), c, args, policy)
		if err != nil {
			return err
		}
		return setSuspend(command.Context(), plugin, c, object, suspend)
	}
	command.Flags().StringVar(&policy, "policy", "", "Name of a policy, all of whose terminations are meant")
	_ = command.RegisterFlagCompletionFunc("policy", plugin.CompletePolicies) // the flag is there
	return command
}

// suspendable returns the policy, or the termination of a node or an instance.
func suspendable(ctx context.Context, c client.Client, args []string, policy string) (client.Object, error) {
	if policy != "" {
		object := &v1alpha1.NodeTerminationPolicy{}
		err := c.Get(ctx, client.ObjectKey{Name: policy}, object)
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("there is no NodeTerminationPolicy %s: kubectl get ntp lists them", policy)
		}
		return object, err
	}
	target, err := cli.Find(ctx, c, args[0])
	switch {
	case err != nil:
		return nil, err
	case target == nil || target.Termination == nil:
		return nil, fmt.Errorf("%s has no NodeTermination: kubectl get nt lists them", args[0])
	}
	return target.Termination, nil
}

// setSuspend sets spec.suspend where it differs.
func setSuspend(ctx context.Context, plugin *cli.Plugin, c client.Client, object client.Object, suspend bool) error {
	what, was := "", false
	switch object := object.(type) {
	case *v1alpha1.NodeTerminationPolicy:
		what, was = "policy "+object.Name, object.Spec.Suspended()
	case *v1alpha1.NodeTermination:
		what, was = "termination "+object.Name, object.Spec.Suspend != nil && *object.Spec.Suspend
	}
	word := "resumed"
	if suspend {
		word = "suspended"
	}
	if was == suspend {
		_, _ = fmt.Fprintf(plugin.Out, "%s is %s already\n", what, word)
		return nil
	}
	patch := fmt.Sprintf(`{"spec":{"suspend":%t}}`, suspend)
	if err := c.Patch(ctx, object, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		return fmt.Errorf("cannot change %s: %w", what, err)
	}
	_, _ = fmt.Fprintf(plugin.Out, "%s %s\n", what, word)
	return nil
}
