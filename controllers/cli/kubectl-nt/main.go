// SPDX-License-Identifier: Apache-2.0

// Kubectl-nt is a plugin of kubectl, "kubectl nt": it says what would happen to nodes, what happens and what
// happened, and drains them by hand. It decides nothing by itself: the planner, the parsers and the API types do.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/nodetermination/operator/controllers/cli"
	"github.com/nodetermination/operator/controllers/cli/kubectl-nt/control"
	"github.com/nodetermination/operator/controllers/cli/kubectl-nt/explain"
	"github.com/nodetermination/operator/controllers/cli/kubectl-nt/forecast"
	"github.com/nodetermination/operator/controllers/cli/kubectl-nt/migrate"
	"github.com/nodetermination/operator/controllers/cli/kubectl-nt/status"
	"github.com/nodetermination/operator/controllers/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	plugin := &cli.Plugin{
		IOStreams: genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
		Flags:     genericclioptions.NewConfigFlags(true),
	}
	code := run(ctx, plugin, os.Args[1:])
	stop()
	os.Exit(code)
}

// run runs one command line and returns its exit code.
func run(ctx context.Context, plugin *cli.Plugin, args []string) int {
	root := newRoot(plugin)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		_, _ = fmt.Fprintln(plugin.ErrOut, "error:", oneLine(err.Error()))
	}
	return cli.ExitCode(err)
}

// oneLine returns a text without line breaks.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// newRoot returns "kubectl nt" with all its verbs.
func newRoot(plugin *cli.Plugin) *cobra.Command {
	root := &cobra.Command{
		Use:           "kubectl-nt",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl nt"},
		Short:         "What would happen to nodes, what happens, and what happened",
		Long:          "What would happen to nodes when AWS takes their instances, what happens, and what happened.\nIt works with the node termination operator, https://github.com/nodetermination/operator.",
		Version:       version.String(),
		SilenceErrors: true, // run prints them
		SilenceUsage:  true, // an error is one line
	}
	root.SetIn(plugin.In)
	root.SetOut(plugin.Out)
	root.SetErr(plugin.ErrOut)
	root.SetFlagErrorFunc(func(command *cobra.Command, err error) error {
		return fmt.Errorf("%w: %s --help lists the flags", err, command.CommandPath())
	})
	plugin.Flags.AddFlags(root.PersistentFlags())
	root.AddCommand(
		forecast.NewCommand(plugin),
		explain.NewCommand(plugin),
		status.NewCommand(plugin),
		control.NewDrainCommand(plugin),
		control.NewCancelCommand(plugin),
		control.NewSuspendCommand(plugin),
		control.NewResumeCommand(plugin),
		control.NewTestCommand(plugin),
		migrate.NewCommand(plugin),
	)
	return root
}
