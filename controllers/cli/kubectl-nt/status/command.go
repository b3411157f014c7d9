// SPDX-License-Identifier: Apache-2.0

// Package status shows policies, their sources and the terminations under way, the most urgent first.
package status

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/controllers/cli"
)

// refreshInterval is how often -w looks.
const refreshInterval = 2 * time.Second

// NewCommand returns "kubectl nt status".
func NewCommand(plugin *cli.Plugin) *cobra.Command {
	var watch bool
	command := &cobra.Command{
		Use:     "status",
		Short:   "Show policies, sources and terminations, the most urgent first",
		Long:    "Show policies, their sources and watchers, and the terminations under way, the most urgent first, with what to do.",
		Example: "  kubectl nt status -w",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := plugin.Client()
			if err != nil {
				return err
			}
			if !watch {
				lines, err := look(command.Context(), c, time.Now())
				if err != nil {
					return err
				}
				_, err = io.WriteString(plugin.Out, strings.Join(lines, "\n")+"\n")
				return err
			}
			return refresh(command.Context(), plugin.Out, c)
		},
	}
	command.Flags().BoolVarP(&watch, "watch", "w", false, "Refresh until it is interrupted")
	return command
}

// look reads the cluster and returns the lines to show.
func look(ctx context.Context, c client.Reader, now time.Time) ([]string, error) {
	policies, err := cli.Policies(ctx, c)
	if err != nil {
		return nil, err
	}
	terminations, err := cli.Terminations(ctx, c)
	if err != nil {
		return nil, err
	}
	return screen(policies, terminations, now), nil
}

// refresh shows the lines again and again in the same place, until ctx ends. What cannot be read for a moment
// leaves what was read last, and a line that says so.
func refresh(ctx context.Context, out io.Writer, c client.Reader) error {
	ticker := time.NewTicker(refreshInterval)
	defer ticker.Stop()
	var lines []string
	for {
		now := time.Now()
		shown, err := look(ctx, c, now)
		switch {
		case err == nil:
			lines = shown
		case lines == nil:
			return err
		case ctx.Err() == nil:
			shown = append(append([]string{}, lines...), "", cut("not up to date: "+err.Error()))
		default:
			return nil
		}
		if _, err := io.WriteString(out, frame(append(shown, "", now.Format(time.TimeOnly)+"  Ctrl-C ends"))); err != nil {
			return fmt.Errorf("cannot write: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// frame returns lines that overwrite those before them: each is cleared behind its end only, so that nothing flickers.
func frame(lines []string) string {
	const home, clearLine, clearBelow = "\x1b[H", "\x1b[K", "\x1b[J"
	return home + strings.Join(lines, clearLine+"\n") + clearLine + "\n" + clearBelow
}
