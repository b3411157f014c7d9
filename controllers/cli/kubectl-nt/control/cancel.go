// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/cli"
	"github.com/nodetermination/operator/controllers/source/event"
	"github.com/nodetermination/operator/controllers/source/store"
)

// NewCancelCommand returns "kubectl nt cancel".
func NewCancelCommand(plugin *cli.Plugin) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel NODE|INSTANCE",
		Short: "Take back what people requested: a drain by annotation, or a test",
		Long: "Take back what people requested: the annotation nodetermination.dev/drain of a node, and the events of \"kubectl nt test\".\n" +
			"What AWS has announced stays, and is listed: deleting its NodeTermination cancels that too.",
		Example:           "  kubectl nt cancel ip-10-0-3-7.ec2.internal",
		Args:              cli.ExactlyOne("node or instance"),
		ValidArgsFunction: plugin.CompleteTerminations,
		RunE: func(command *cobra.Command, args []string) error {
			c, err := plugin.Client()
			if err != nil {
				return err
			}
			return cancel(command.Context(), plugin, c, args[0])
		},
	}
}

// cancel removes the annotation and cancels tests.
func cancel(ctx context.Context, plugin *cli.Plugin, c client.Client, name string) error {
	target, err := cli.Find(ctx, c, name)
	switch {
	case err != nil:
		return err
	case target == nil:
		return fmt.Errorf("there is neither a node nor a NodeTermination %s: kubectl get nodes,nt lists them", name)
	}
	cancelled := 0
	if target.Node != nil {
		if _, annotated := target.Node.Annotations[v1alpha1.AnnotationDrain]; annotated {
			if err := annotate(ctx, c, target.Node, nil); err != nil {
				return err
			}
			cancelled++
			_, _ = fmt.Fprintf(plugin.Out, "%s: annotation %s removed\n", target, v1alpha1.AnnotationDrain)
		}
	}
	var others []string
	for _, e := range activeEvents(target.Termination) {
		switch {
		case e.Source == v1alpha1.SourceManual && e.Kind == v1alpha1.Manual && cancelled > 0:
		case strings.HasPrefix(e.ID, testPrefix) && e.Source == v1alpha1.SourceManual:
			e.Cancelled = ptr.To(true)
			if err := put(ctx, c, target.InstanceID, target.Termination.Spec.NodeName, e); err != nil {
				return err
			}
			cancelled++
			_, _ = fmt.Fprintf(plugin.Out, "%s: test of %s cancelled\n", target, e.Kind)
		default:
			others = append(others, fmt.Sprintf("%s (%s, %s)", e.Kind, e.Source, e.Time.UTC().Format(time.RFC3339)))
		}
	}
	rest := ""
	if len(others) > 0 {
		rest = fmt.Sprintf("%s has events that only their source cancels: %s: kubectl delete nt %s undoes what was done for them",
			target, strings.Join(others, ", "), target.InstanceID)
	}
	switch {
	case cancelled == 0 && rest != "":
		return errors.New(rest)
	case cancelled == 0:
		return fmt.Errorf("nothing to cancel: %s has neither the annotation %s nor an event that counts", target, v1alpha1.AnnotationDrain)
	case rest != "":
		_, _ = fmt.Fprintln(plugin.ErrOut, rest)
	}
	return nil
}

// activeEvents returns the events of a termination that count, or may; nil has none.
func activeEvents(nt *v1alpha1.NodeTermination) []v1alpha1.Event {
	if nt == nil {
		return nil
	}
	states := map[string]v1alpha1.EventState{}
	for _, status := range nt.Status.Events {
		states[status.ID] = status.State
	}
	var active []v1alpha1.Event
	for _, e := range nt.Spec.Events {
		if state := states[e.ID]; !event.EndsOthers(e) && (state == "" || state == v1alpha1.EventActive) {
			active = append(active, e)
		}
	}
	return active
}

// put stores an event.
func put(ctx context.Context, c client.Client, instanceID, nodeName string, e v1alpha1.Event) error {
	facts := store.Store{Live: c, Client: c, Log: klog.Background(), Clock: clock.RealClock{}}
	if _, err := facts.Put(ctx, event.Fact{InstanceID: instanceID, Event: e}, nodeName); err != nil {
		return fmt.Errorf("cannot store the event in NodeTermination %s: %w", instanceID, err)
	}
	return nil
}
