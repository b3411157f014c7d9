// SPDX-License-Identifier: Apache-2.0

// Package migrate converts the configuration of the AWS Node Termination Handler (NTH) to that of this operator:
// the command "kubectl nt migrate". What is not converted is written to standard error, with what to do.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/cli"
)

const (
	// defaultName is the name of the policy that is made of files.
	defaultName = "nth"
	// defaultNamespace is where NTH is by its own documentation.
	defaultNamespace = "kube-system"
)

// The values of --output.
const (
	outputPolicies      = "policies"
	outputKustomization = "kustomization"
	outputValues        = "values"
)

// command holds the flags.
type command struct {
	genericiooptions.IOStreams
	kubeconfig  *genericclioptions.ConfigFlags // kubectl's own, which the plugin parses for all verbs
	files       []string
	release     string
	fromCluster bool
	output      string
	mode        string
}

// NewCommand returns the command "migrate".
func NewCommand(plugin *cli.Plugin) *cobra.Command {
	c := &command{IOStreams: plugin.IOStreams, kubeconfig: plugin.Flags}
	cmd := &cobra.Command{
		Use:   "migrate (-f VALUES | --release NAME | --from-cluster)",
		Short: "Convert the configuration of the AWS Node Termination Handler",
		Long: `Convert the configuration of the AWS Node Termination Handler (NTH).

It is read from the values of NTH's Helm chart (-f, which overrides the others where both are given), from an
installed release, or from the DaemonSet and the Deployment that run. Nothing in the cluster is changed.

Standard output has what -o asks for, with a comment beside each field that says which value it comes from:
policies, an overlay for kustomize, or values of this operator's chart. Standard error lists what is left to do,
what is different, and what has no counterpart.

Exit codes: 0 everything is converted or listed; 1 nothing is converted, or NTH's chart does not have a value:
the others are converted all the same.`,
		Example: `  # From the values of NTH's chart
  kubectl nt migrate -f values.yaml > policies.yaml

  # From an installed release, as values of this operator's chart
  kubectl nt migrate --release aws-node-termination-handler -n kube-system -o values > values.yaml

  # From what runs, to try it beside NTH
  kubectl nt migrate --from-cluster --mode DryRun | kubectl apply -f -`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&c.files, "values", "f", nil, "File with values of NTH's Helm chart, - for standard input. Of several the last goes before the others.")
	flags.StringVar(&c.release, "release", "", "Name of an installed Helm release of NTH. -n names its namespace.")
	flags.BoolVar(&c.fromCluster, "from-cluster", false, "Read the DaemonSets and Deployments of NTH that run; with -n in one namespace.")
	flags.StringVarP(&c.output, "output", "o", outputPolicies, "What to write: policies, kustomization or values.")
	flags.StringVar(&c.mode, "mode", "", "Mode of the policies, DryRun or Enforce. Unset: DryRun if NTH has dryRun, else Enforce.")
	return cmd
}

// check returns an error if the flags do not go together.
func (c *command) check() error {
	outputs := []string{outputPolicies, outputKustomization, outputValues}
	switch {
	case c.release != "" && c.fromCluster:
		return errors.New("--release and --from-cluster: write one of them")
	case c.release == "" && !c.fromCluster && len(c.files) == 0:
		return errors.New("nothing to convert: write -f values.yaml, --release NAME or --from-cluster")
	case !slices.Contains(outputs, c.output):
		return fmt.Errorf("-o %s: write %s", printable(c.output), strings.Join(outputs, ", "))
	case c.mode != "" && c.mode != string(v1alpha1.ModeDryRun) && c.mode != string(v1alpha1.ModeEnforce):
		return fmt.Errorf("--mode %s: write DryRun or Enforce", printable(c.mode))
	}
	return nil
}

// run converts, and writes everything at the end.
func (c *command) run(ctx context.Context) error {
	if err := c.check(); err != nil {
		return err
	}
	values, err := c.readFiles()
	if err != nil {
		return err
	}
	installations, unknown, err := c.read(ctx, values)
	if err != nil {
		return err
	}
	out, all, err := convert(installations, c.output, c.mode)
	if err != nil {
		return err
	}
	if err := all.print(c.ErrOut); err != nil {
		return err
	}
	if _, err := c.Out.Write(out); err != nil {
		return err
	}
	if len(unknown) > 0 {
		return errors.New(strings.Join(unknown, "\n"))
	}
	return nil
}

// readFiles returns the values of the files, merged.
func (c *command) readFiles() (tree, error) {
	merged := tree{}
	for _, file := range c.files {
		values, err := c.readFile(file)
		if err != nil {
			return nil, err
		}
		merged = merge(merged, ofChart(values))
	}
	return merged, nil
}

func (c *command) readFile(name string) (tree, error) {
	if name == "-" {
		return parseValues("standard input", c.In)
	}
	file, err := os.Open(name) //nolint:gosec // whoever runs the command names it
	if err != nil {
		return nil, fmt.Errorf("-f %w", err)
	}
	values, err := parseValues(name, file)
	return values, errors.Join(err, file.Close())
}

// read returns the settings of each installation of NTH, and the values that its chart does not have.
func (c *command) read(ctx context.Context, values tree) (installations []*settings, unknown []string, err error) {
	switch {
	case c.fromCluster:
		client, err := c.client()
		if err != nil {
			return nil, nil, err
		}
		if installations, err = readCluster(ctx, client, c.namespace("")); err != nil {
			return nil, nil, err
		}
	case c.release != "":
		s, under, err := c.readRelease(ctx)
		if err != nil {
			return nil, nil, err
		}
		installations, values = []*settings{s}, merge(under, values)
	default:
		installations = []*settings{newSettings(defaultName, origin(c.files), c.namespace(defaultNamespace))}
	}
	for _, s := range installations {
		for _, sentence := range s.readValues(values) {
			if !slices.Contains(unknown, sentence) {
				unknown = append(unknown, sentence)
			}
		}
	}
	return installations, unknown, nil
}

// origin returns files for people.
func origin(files []string) string {
	var names []string
	for _, file := range files {
		if file == "-" {
			file = "standard input"
		}
		names = append(names, file)
	}
	return strings.Join(names, ", ")
}

// readRelease returns the settings of a release, before its values are read, and these.
func (c *command) readRelease(ctx context.Context) (*settings, tree, error) {
	client, err := c.client()
	if err != nil {
		return nil, nil, err
	}
	namespace, _, err := c.kubeconfig.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, nil, err
	}
	r, err := readRelease(ctx, client, namespace, c.release)
	if err == nil {
		err = r.check(c.release)
	}
	if err != nil {
		return nil, nil, err
	}
	s := newSettings(c.release, "the release "+namespace+"/"+c.release, namespace)
	const since = "0.24.1"
	if r.older(since) {
		s.set["enableASGLifecycleDraining"] = setting{value: false, from: "enableASGLifecycleDraining, which the chart has from version " + since + " on"}
	}
	return s, ofChart(r.Config), nil
}

// namespace returns what -n says, or another.
func (c *command) namespace(other string) string {
	if c.kubeconfig.Namespace != nil && *c.kubeconfig.Namespace != "" {
		return *c.kubeconfig.Namespace
	}
	return other
}

func (c *command) client() (kubernetes.Interface, error) {
	config, err := c.kubeconfig.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

// convert returns what is written to standard output for all installations, and the notes about them.
func convert(installations []*settings, output, mode string) ([]byte, *notes, error) {
	var policies []policy
	var origins []string
	all, watchers := &notes{}, false
	for _, s := range installations {
		policies = append(policies, s.policies(mode)...)
		origins = append(origins, s.origin)
		watchers = watchers || !s.hasQueue()
	}
	changes := combine(installations)
	var errs []error
	for _, s := range installations {
		errs = append(errs, s.err())
		all.merge(&s.notes)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	if len(policies) == 0 {
		return nil, nil, errors.New("NTH runs on Windows nodes only: " + onlyLinux + ". Write enableSqsTerminationDraining: true and queueURL into a file, and give that with -f too")
	}
	rename(policies)
	if len(policies) > 1 {
		all.add(todo, "several policies", "a node that two of them select is governed by one: set priority, and nodeSelector so that each selects its own")
	}
	if len(changes) > 0 && output == outputPolicies {
		all.add(todo, "the installation", "-o kustomization and -o values have what NTH's has of "+strings.Join(keysOf(changes), ", "))
	}
	var objects []object
	switch output {
	case outputValues:
		objects = append(objects, chartValues(policies, changes, watchers))
	case outputKustomization:
		overlay, err := kustomization(changes, watchers)
		if err != nil {
			return nil, nil, err
		}
		objects = append(objects, overlay)
	default:
		for _, p := range policies {
			objects = append(objects, p.manifest())
		}
	}
	content, err := encode(objects...)
	return append([]byte("# By kubectl nt migrate, from "+oneLine(strings.Join(origins, ", "))+".\n"), content...), all, err
}

// rename gives each policy a name of its own.
func rename(policies []policy) {
	known := map[string]bool{}
	for i := range policies {
		name := policies[i].name
		for n := 2; known[policies[i].name]; n++ {
			policies[i].name = fmt.Sprintf("%s-%d", name, n)
		}
		known[policies[i].name] = true
	}
}
