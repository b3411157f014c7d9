// SPDX-License-Identifier: Apache-2.0

// The watcher of node-termination-operator, which runs on every node: it learns from the
// instance metadata service that the node's instance is about to be terminated, and stores
// that as a NodeTermination.
//
// "imds-watcher probe" is for the kubelet: its exit code is 0 while the watcher works.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"

	"github.com/nodetermination/operator/controllers/logging"
	"github.com/nodetermination/operator/controllers/source/imds"
	"github.com/nodetermination/operator/controllers/version"
)

const (
	// nodeNameEnv comes from the downward API.
	nodeNameEnv = "NODE_NAME"
	// maxTerminationMessage is what the kubelet takes, in bytes.
	// https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
	maxTerminationMessage = 4096
)

type options struct {
	policy, source     string
	pollInterval       time.Duration
	endpoint           string
	endpointMode       string
	heartbeat          string
	metricsPort        int
	terminationMessage string
	version            bool
	log                logging.Options
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		os.Exit(1)
	}
}

// run carries out one command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	probe := len(args) > 0 && args[0] == "probe"
	if probe {
		args = args[1:]
	}
	o, err := parseFlags(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err == nil && o.version:
		_, _ = fmt.Fprintln(stdout, "imds-watcher", version.String())
	case err == nil && probe:
		err = imds.Probe(o.heartbeat)
	case err == nil:
		err = watch(ctx, o)
	}
	if err == nil {
		return nil
	}
	_, _ = fmt.Fprintln(stderr, "imds-watcher:", err)
	if !probe {
		writeTerminationMessage(o.terminationMessage, err)
	}
	return err
}

// parseFlags reads the command line. The error is flag.ErrHelp if help was asked for, and given.
func parseFlags(args []string, stdout io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("imds-watcher", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // an error is one line, without all flags after it
	flags.StringVar(&o.policy, "policy", "", "`name` of the NodeTerminationPolicy that it watches for, for the log")
	flags.StringVar(&o.source, "source", "", "`name` of the policy's source, for the log")
	flags.DurationVar(&o.pollInterval, "poll-interval", 2*time.Second, "how often to ask the metadata service, from 1s to 60s")
	flags.StringVar(&o.endpoint, "endpoint", "", "`URL` of the metadata service; that of the SDK's environment variables if empty")
	flags.StringVar(&o.endpointMode, "endpoint-mode", "", "IPv4 or IPv6: at which of EC2's addresses the metadata service is asked; that of the SDK's environment variables if empty")
	flags.StringVar(&o.heartbeat, "heartbeat-file", "/run/imds-watcher/heartbeat", "`file` that the probe reads, or empty for none")
	flags.IntVar(&o.metricsPort, "metrics-port", 0, "`port` at which metrics are served, without authentication, or 0 for none")
	flags.StringVar(&o.terminationMessage, "termination-message-path", "/dev/termination-log", "existing `file` for the reason why it ends with an error")
	flags.BoolVar(&o.version, "version", false, "print version, commit and date of this build, and exit")
	o.log.BindFlags(flags)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = fmt.Fprintln(stdout, "Flags of imds-watcher; \"imds-watcher probe\" takes --heartbeat-file:")
		flags.SetOutput(stdout)
		flags.PrintDefaults()
	case err != nil:
		err = fmt.Errorf("%w: imds-watcher -help lists the flags", err)
	case flags.NArg() > 0:
		err = fmt.Errorf("argument %q: there are flags, and probe as the first word; imds-watcher -help lists them", flags.Arg(0))
	case o.pollInterval < time.Second || o.pollInterval > time.Minute:
		err = fmt.Errorf("--poll-interval %s: write a duration from 1s to 60s", o.pollInterval)
	case o.endpoint != "" && o.endpointMode != "":
		err = fmt.Errorf("--endpoint says where the metadata service is, and --endpoint-mode %s which of EC2's own addresses: leave one of them out", o.endpointMode)
	case o.metricsPort < 0 || o.metricsPort > 65535:
		err = fmt.Errorf("--metrics-port %d: write a port from 1 to 65535, or 0 for no metrics", o.metricsPort)
	}
	return o, err
}

func watch(ctx context.Context, o options) error {
	limitMemory()
	nodeName := os.Getenv(nodeNameEnv)
	if nodeName == "" {
		return fmt.Errorf("%s is not set: give the container the node's name by the downward API (fieldRef: spec.nodeName)", nodeNameEnv)
	}
	log, err := o.log.New()
	if err != nil {
		return err
	}
	config, err := clusterConfig()
	if err != nil {
		return fmt.Errorf("cannot find a cluster: %w", err)
	}
	bootID, err := readBootID()
	if err != nil {
		return fmt.Errorf("cannot read the boot ID: %w", err)
	}
	watcher, err := imds.New(imds.Options{
		NodeName:     nodeName,
		BootID:       bootID,
		PollInterval: o.pollInterval,
		Endpoint:     o.endpoint,
		EndpointMode: o.endpointMode,
		Heartbeat:    o.heartbeat,
		Metrics:      o.metricsAddress(),
		Config:       config,
		Log:          log.WithValues("policy", o.policy, "source", o.source),
		Clock:        clock.RealClock{},
	})
	if err != nil {
		return err
	}
	return watcher.Run(ctx)
}

// metricsAddress returns the address of the metrics, empty for none.
func (o *options) metricsAddress() string {
	if o.metricsPort == 0 {
		return ""
	}
	return ":" + strconv.Itoa(o.metricsPort)
}

// limitMemory trades a little of the time that is spent at the start for memory:
// there is next to nothing on the heap. The environment's GOMAXPROCS and GOGC win.
func limitMemory() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// clusterConfig returns the configuration of KUBECONFIG where it is set, else the pod's.
func clusterConfig() (*rest.Config, error) {
	if file := os.Getenv(clientcmd.RecommendedConfigPathEnvVar); file != "" {
		return clientcmd.BuildConfigFromFlags("", file)
	}
	return rest.InClusterConfig()
}

// writeTerminationMessage leaves the reason why the watcher ends for the kubelet, and through
// the pod's status for the policy. Outside of a container there is no such file, and none is made.
func writeTerminationMessage(path string, reason error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0) //nolint:gosec // its own flag names it
	if err != nil {
		return
	}
	message := reason.Error()
	_, _ = file.WriteString(message[:min(len(message), maxTerminationMessage)])
	_ = file.Close()
}
