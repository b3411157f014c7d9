// SPDX-License-Identifier: Apache-2.0

// Package forecast says what would become of nodes and their pods if AWS took the nodes now: from a cluster or
// from manifests, by the planner that drains them. It changes nothing.
package forecast

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/cli"
)

const example = `  # All nodes, each by itself
  kubectl nt forecast

  # Three nodes of a zone at once; a pipeline stops if a pod would be cut short or a service down
  kubectl nt forecast -l topology.kubernetes.io/zone=us-east-1a --together --fail-on cut-short,downtime

  # Without a cluster, from what kubectl get -o json or -o yaml has written
  kubectl nt forecast -f pods.json,nodes.json,pdbs.yaml

  # As another policy would do it, with the notice of a lifecycle hook
  kubectl nt forecast ip-10-0-3-7.ec2.internal --policy batch --notice 10m -o wide`

// options are the flags.
type options struct {
	*cli.Plugin
	files      []string
	selector   string
	policy     string
	notice     time.Duration
	readyAfter time.Duration
	together   bool
	output     string
	failOn     []string
}

// NewCommand returns "kubectl nt forecast".
func NewCommand(plugin *cli.Plugin) *cobra.Command {
	o := &options{Plugin: plugin}
	command := &cobra.Command{
		Use:               "forecast [NODE...]",
		Short:             "Say what would become of pods if AWS took their nodes now",
		Long:              "Say what would become of pods if AWS took their nodes now, with a notice of two minutes, by the planner that drains nodes.\nNothing is changed. All nodes by default, each by itself.",
		Example:           example,
		ValidArgsFunction: plugin.CompleteNodes,
		RunE:              func(command *cobra.Command, names []string) error { return o.run(command.Context(), names) },
	}
	flags := command.Flags()
	flags.StringSliceVarP(&o.files, "filename", "f", nil, "Files or folders with pods, nodes, disruption budgets, policies and volumes, as JSON or YAML, instead of the cluster; - for standard input")
	flags.StringVarP(&o.selector, "selector", "l", "", "Selector of nodes by their labels, such as topology.kubernetes.io/zone=us-east-1a")
	flags.StringVar(&o.policy, "policy", "", "Name of a policy that is to govern the nodes, whatever it selects")
	flags.DurationVar(&o.notice, "notice", 2*time.Minute, "How long before they go away the nodes get their notice")
	flags.DurationVar(&o.readyAfter, "ready-after", 30*time.Second, "How long a pod that replaces another one is assumed to take to be ready")
	flags.BoolVar(&o.together, "together", false, "All nodes at once, instead of each by itself while the others stay")
	flags.StringVarP(&o.output, "output", "o", "", "Output format: wide, json or yaml")
	flags.StringSliceVar(&o.failOn, "fail-on", nil, "Exit with 2 if there is any pod with this: cut-short, blocked, downtime")
	for name, completion := range map[string]cobra.CompletionFunc{
		"policy":  plugin.CompletePolicies,
		"output":  cobra.FixedCompletions([]string{"wide", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp),
		"fail-on": cobra.FixedCompletions([]string{failOnCutShort, failOnBlocked, failOnDowntime}, cobra.ShellCompDirectiveNoFileComp),
	} {
		_ = command.RegisterFlagCompletionFunc(name, completion) // the flag is there
	}
	return command
}

// run forecasts and prints.
func (o *options) run(ctx context.Context, names []string) error {
	if err := o.validate(names); err != nil {
		return err
	}
	s, err := o.read(ctx)
	if err != nil {
		return err
	}
	r, err := o.request(s, names)
	if err != nil {
		return err
	}
	f := newForecast(s, r)
	if err := o.write(f); err != nil {
		return err
	}
	if failed := f.Summary.failures(o.failOn); len(failed) > 0 {
		return &cli.ExitCodeError{Code: cli.ExitFailed, Err: errors.New("--fail-on " + strings.Join(failed, ", "))}
	}
	return nil
}

// validate returns what is wrong with the flags.
func (o *options) validate(names []string) error {
	switch {
	case o.notice < time.Second:
		return fmt.Errorf("--notice=%s: write how long the notice is, such as 2m", o.notice)
	case o.readyAfter < 0:
		return fmt.Errorf("--ready-after=%s: write how long a pod takes to be ready, such as 30s", o.readyAfter)
	case o.selector != "" && len(names) > 0:
		return errors.New("give either names of nodes or -l, not both")
	case !slices.Contains([]string{"", "wide", "json", "yaml"}, o.output):
		return fmt.Errorf("-o %s: write wide, json or yaml", o.output)
	}
	for _, condition := range o.failOn {
		if !slices.Contains([]string{failOnCutShort, failOnBlocked, failOnDowntime}, condition) {
			return fmt.Errorf("--fail-on %s: write cut-short, blocked or downtime, or several with commas", condition)
		}
	}
	return nil
}

// read reads the cluster, or the files.
func (o *options) read(ctx context.Context) (*snapshot, error) {
	s := newSnapshot()
	if len(o.files) > 0 {
		if err := s.readFiles(o.files, o.In); err != nil {
			return nil, err
		}
		if err := s.checkFiles(); err != nil {
			return nil, err
		}
	} else {
		config, err := o.Config()
		if err != nil {
			return nil, err
		}
		policies, err := o.Client()
		if err != nil {
			return nil, err
		}
		if err := s.readCluster(ctx, config, policies); err != nil {
			return nil, err
		}
	}
	s.finish()
	return s, nil
}

// checkFiles returns what is missing in files, and notes what a forecast can do without.
func (s *snapshot) checkFiles() error {
	const write = "add a file with what \"kubectl get %s -o json\" prints"
	switch {
	case s.seen["Node"] == 0:
		return fmt.Errorf("there is no Node in the files: "+write, "nodes")
	case s.seen["Pod"] == 0:
		return fmt.Errorf("there is no Pod in the files: "+write, "pods --all-namespaces")
	}
	if s.seen["PodDisruptionBudget"] == 0 {
		s.gaps = append(s.gaps, "there is no PodDisruptionBudget in the files")
	}
	if s.seen["NodeTerminationPolicy"] == 0 {
		s.assumeDefaults("there is no NodeTerminationPolicy in the files")
	}
	if s.seen["PersistentVolume"] == 0 && s.useClaims() {
		s.gaps = append(s.gaps, "there is no PersistentVolume in the files: that volumes are bound to a zone is not known")
	}
	return nil
}

// useClaims reports whether a pod has a volume claim.
func (s *snapshot) useClaims() bool {
	for _, p := range s.pods {
		if len(p.Claims) > 0 {
			return true
		}
	}
	return false
}

// request returns what is asked for of a snapshot.
func (o *options) request(s *snapshot, names []string) (*request, error) {
	nodes, err := o.choose(s, names)
	if err != nil {
		return nil, err
	}
	forced := s.defaults
	if o.policy != "" {
		i := slices.IndexFunc(s.policies, func(p v1alpha1.NodeTerminationPolicy) bool { return p.Name == o.policy })
		if i < 0 {
			return nil, fmt.Errorf("there is no NodeTerminationPolicy %s: write one of %s", o.policy, policyNames(s.policies))
		}
		forced = &s.policies[i]
	}
	return &request{
		assumptions: assumptions{kind: v1alpha1.SpotInterruption, notice: o.notice, readyAfter: o.readyAfter, now: time.Now().Truncate(time.Second)},
		nodes:       nodes, together: o.together,
		governs: func(n *node) governance { return governanceOf(s, n, forced) },
	}, nil
}

// policyNames returns the names of policies for people.
func policyNames(policies []v1alpha1.NodeTerminationPolicy) string {
	if len(policies) == 0 {
		return "none, as there are no policies"
	}
	names := make([]string, len(policies))
	for i := range policies {
		names[i] = policies[i].Name
	}
	return strings.Join(names, ", ")
}

// choose returns the nodes that go away.
func (o *options) choose(s *snapshot, names []string) ([]*node, error) {
	if len(names) > 0 {
		var nodes []*node
		for _, name := range names {
			name = strings.TrimPrefix(strings.TrimPrefix(name, "nodes/"), "node/")
			n := s.nodes[name]
			if n == nil {
				return nil, fmt.Errorf("there is no node %s", name)
			}
			if !slices.Contains(nodes, n) {
				nodes = append(nodes, n)
			}
		}
		return nodes, nil
	}
	selector, err := labels.Parse(o.selector)
	if err != nil {
		return nil, fmt.Errorf("-l %s: %w", o.selector, err)
	}
	nodes := slices.DeleteFunc(s.sortedNodes(), func(n *node) bool { return !selector.Matches(labels.Set(n.Labels)) })
	if len(nodes) == 0 {
		return nil, fmt.Errorf("no node has the labels of -l %s: kubectl get nodes --show-labels lists them", o.selector)
	}
	return nodes, nil
}

// write prints the forecast in the format that is asked for.
func (o *options) write(f *Forecast) error {
	if o.output == "" || o.output == "wide" {
		return f.print(o.Out, o.output == "wide")
	}
	printer, err := genericclioptions.NewJSONYamlPrintFlags().ToPrinter(o.output)
	if err != nil {
		return err
	}
	return printer.PrintObj(f, o.Out)
}
