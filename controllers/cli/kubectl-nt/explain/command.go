// SPDX-License-Identifier: Apache-2.0

// Package explain tells what happened to a pod, a node or an instance, from NodeTerminations and Kubernetes events.
package explain

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/cli"
)

// NewCommand returns "kubectl nt explain".
func NewCommand(plugin *cli.Plugin) *cobra.Command {
	return &cobra.Command{
		Use:   "explain POD|NODE|INSTANCE",
		Short: "Tell what happened, and when",
		Long: "Tell what happened to a node or an instance: what AWS said, what was done, who was blocked by what, and how much time was left.\n" +
			"Of a pod, which may be long gone, by its name, by pod/NAME in the namespace of -n, or by NAMESPACE/NAME.",
		Example:           "  kubectl nt explain ip-10-0-3-7.ec2.internal\n  kubectl nt explain -n shop pod/web-7d9f8c6b5d-x2x4k",
		Args:              cli.ExactlyOne("pod, node or instance"),
		ValidArgsFunction: plugin.CompleteTerminations,
		RunE: func(command *cobra.Command, args []string) error {
			c, err := plugin.Client()
			if err != nil {
				return err
			}
			return explain(command.Context(), plugin, c, args[0])
		},
	}
}

// explain finds what a name stands for and tells its story.
func explain(ctx context.Context, plugin *cli.Plugin, c client.Client, name string) error {
	if pod, is := strings.CutPrefix(strings.TrimPrefix(name, "pods/"), "pod/"); is || strings.HasPrefix(name, "pods/") {
		return explainPod(ctx, plugin, c, pod)
	}
	target, err := cli.Find(ctx, c, name)
	switch {
	case err != nil:
		return err
	case target == nil:
		return explainPod(ctx, plugin, c, name)
	case target.Termination == nil:
		_, _ = fmt.Fprintf(plugin.Out, "%s: nothing is known to have happened to it%s. %s\n", target, instanceSuffix(target), whyNothing)
		return nil
	}
	nt := target.Termination
	events, err := eventsAbout(ctx, c, func(e *eventsv1.Event) bool {
		return e.Regarding.Kind == "NodeTermination" && e.Regarding.Name == nt.Name
	})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(plugin.Out, "Instance %s, node %s\n", nt.Name, nt.Spec.NodeName)
	tell(plugin.Out, story(nt, events))
	return nil
}

// whyNothing is why there may be no record.
const whyNothing = "Either AWS announced nothing that was received, or its NodeTermination was deleted: by people, or some time after its node was gone (spec.ttlSecondsAfterFinished, a day). Kubernetes keeps events for an hour."

// instanceSuffix returns that a node is none of EC2's.
func instanceSuffix(target *cli.Target) string {
	if target.InstanceID == "" {
		return ", as its providerID names no EC2 instance"
	}
	return ""
}

// explainPod tells what became of a pod, by its name or by namespace/name.
func explainPod(ctx context.Context, plugin *cli.Plugin, c client.Client, name string) error {
	namespace, short, found := strings.Cut(name, "/")
	if !found {
		namespace, short = namespaceOf(plugin), name
	}
	full := name
	if namespace != "" {
		full = namespace + "/" + short
	}
	all, err := cli.Terminations(ctx, c)
	if err != nil {
		return err
	}
	events, err := eventsAbout(ctx, c, func(e *eventsv1.Event) bool {
		return e.Regarding.Kind == "Pod" && isPod(full, e.Regarding.Namespace, e.Regarding.Name)
	})
	if err != nil {
		return err
	}
	var moments []moment
	for i := range events {
		moments = append(moments, moment{eventTime(&events[i]), fmt.Sprintf("pod %s/%s: %s: %s", events[i].Regarding.Namespace, events[i].Regarding.Name, events[i].Reason, events[i].Note)})
	}
	var about []*v1alpha1.NodeTermination
	for i := range all {
		if known := podMoments(&all[i], full); len(known) > 0 {
			moments, about = append(moments, known...), append(about, &all[i])
		}
	}
	if namespace != "" {
		moments = append(moments, present(ctx, c, namespace, short)...)
	}
	if len(moments) == 0 {
		return fmt.Errorf("nothing is known of %s: it is neither a node, an instance nor a pod with a record. A pod that is evicted as usual leaves a Kubernetes event only, for an hour; give its namespace by -n or as NAMESPACE/NAME", name)
	}
	sortMoments(moments)
	tell(plugin.Out, moments)
	for _, nt := range about {
		_, _ = fmt.Fprintf(plugin.Out, "The whole story: kubectl nt explain %s\n", nt.Name)
	}
	return nil
}

// namespaceOf returns the namespace that -n names; empty: any.
func namespaceOf(plugin *cli.Plugin) string {
	if plugin.Flags == nil || plugin.Flags.Namespace == nil {
		return ""
	}
	return *plugin.Flags.Namespace
}

// present returns where a pod runs now; nothing if it does not.
func present(ctx context.Context, c client.Client, namespace, name string) []moment {
	pod := &corev1.Pod{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, pod); err != nil {
		return nil
	}
	what := fmt.Sprintf("pod %s/%s is %s on node %s", namespace, name, pod.Status.Phase, pod.Spec.NodeName)
	if pod.DeletionTimestamp != nil {
		what += ", and has until " + clock(pod.DeletionTimestamp.Time) + " to shut down"
	}
	return []moment{{what: what}}
}

// eventsAbout returns the Kubernetes events of this operator that are about something.
func eventsAbout(ctx context.Context, c client.Client, about func(*eventsv1.Event) bool) ([]eventsv1.Event, error) {
	var list eventsv1.EventList
	if err := c.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("cannot list events: %w", err)
	}
	var some []eventsv1.Event
	for i := range list.Items {
		if e := &list.Items[i]; e.ReportingController == v1alpha1.FieldManager && about(e) {
			some = append(some, *e)
		}
	}
	return some, nil
}

// tell prints moments, each with its time.
func tell(out io.Writer, moments []moment) {
	for _, m := range moments {
		at := strings.Repeat(" ", len(clock(m.at)))
		if !m.at.IsZero() {
			at = clock(m.at)
		}
		_, _ = fmt.Fprintf(out, "%s  %s\n", at, m.what)
	}
}
