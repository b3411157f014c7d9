// SPDX-License-Identifier: Apache-2.0

// Package cli has what the verbs of the kubectl plugin share: the connection to the cluster, what they look up
// there, and exit codes.
package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// The exit codes, which docs/kubectl-nt.md lists.
const (
	// ExitError: the verb could not do what it was asked for.
	ExitError = 1
	// ExitFailed: it did, and the answer is bad: a condition of --fail-on holds, or what was waited for
	// ended otherwise than Completed.
	ExitFailed = 2
	// ExitTimeout: --timeout passed before there was an answer.
	ExitTimeout = 3
)

// ExitCodeError is an error with an exit code of its own.
type ExitCodeError struct {
	Code int
	Err  error
}

// Error implements error.
func (e *ExitCodeError) Error() string { return e.Err.Error() }

// Unwrap returns the error itself.
func (e *ExitCodeError) Unwrap() error { return e.Err }

// ExitCode returns the exit code for an error.
func ExitCode(err error) int {
	var own *ExitCodeError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &own):
		return own.Code
	}
	return ExitError
}

// ExactlyOne returns a check that there is one argument.
func ExactlyOne(what string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("give one %s: %s", what, command.UseLine())
		}
		return nil
	}
}

// Plugin is what every verb is given.
type Plugin struct {
	genericiooptions.IOStreams
	// Flags are kubectl's own: kubeconfig, context, namespace and so on.
	Flags *genericclioptions.ConfigFlags
	// Connect makes a client in place of one by Flags. Nil: there is no other.
	Connect func() (client.WithWatch, error)
}

// Config returns the configuration of a client.
func (p *Plugin) Config() (*rest.Config, error) {
	config, err := p.Flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("no cluster to ask: %w: set --kubeconfig or KUBECONFIG", err)
	}
	config.QPS = -1 // priority and fairness in the API server is the limit
	return config, nil
}

// Client returns a client for the kinds that verbs read and write.
func (p *Plugin) Client() (client.WithWatch, error) {
	if p.Connect != nil {
		return p.Connect()
	}
	config, err := p.Config()
	if err != nil {
		return nil, err
	}
	scheme, err := NewScheme()
	if err != nil {
		return nil, err
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("cannot reach the cluster: %w", err)
	}
	return c, nil
}

// NewScheme returns the kinds that verbs read and write.
func NewScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, eventsv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return scheme, nil
}
