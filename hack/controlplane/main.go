// Command controlplane installs and runs a Kubernetes control plane on this machine, with nothing
// but Go: kube-apiserver, kube-controller-manager, kube-scheduler and etcd for real, and kwok in
// place of the kubelets. The go.mod of this folder says which versions. Linux only.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

const usage = `Usage: controlplane COMMAND [flags]

  build   download or build the binaries, once per machine and version, and print the directory they are in
  run     start a control plane, print KUBECONFIG=<file> once it is healthy, and keep it running
  up      start a control plane in the background
  down    stop the one that up started

While it runs, "run" reads lines from its standard input and answers each with one line:

  stop COMPONENT     kill a component; its data stays               -> stopped COMPONENT
  start COMPONENT    start it again, on the same port and data      -> started COMPONENT
  stall COMPONENT    have it do nothing for now                     -> stalled COMPONENT
  resume COMPONENT   have it go on                                  -> resumed COMPONENT

where COMPONENT is etcd, kube-apiserver, kube-controller-manager, kube-scheduler or kwok.

"controlplane COMMAND -h" lists the flags; --kubernetes=1.34 is another version of Kubernetes than the default. Environment variables say where binaries come from:

  CONTROLPLANE          download or build forces either; unset, what cannot be downloaded is built
  CONTROLPLANE_MIRROR   the URL of a mirror, with the folders dl.k8s.io and github.com
  HTTPS_PROXY           the proxy for downloads
  KUBEBUILDER_ASSETS    a directory that has them all: nothing is downloaded or built
`

func main() {
	// SIGPIPE would end us without cleaning up when whoever reads our output has died.
	signal.Ignore(syscall.SIGPIPE)
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)

	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return fmt.Errorf("no command given")
	}
	name, args := args[0], args[1:]
	flags := flag.NewFlagSet("controlplane "+name, flag.ExitOnError)
	switch name {
	case "build":
		kubernetes := kubernetesFlag(flags)
		parse(flags, args)
		binaries, err := binariesFor(*kubernetes)
		if err != nil {
			return err
		}
		assets, err := ensureAssets(ctx, binaries)
		if err != nil {
			return err
		}
		fmt.Println(assets)
		return nil
	case "run":
		var opts runOptions
		flags.StringVar(&opts.dir, "dir", "", "keep data, certificates and logs in this empty or new `directory` (default: a temporary one, removed at the end)")
		flags.StringVar(&opts.kubeconfig, "kubeconfig", "", "write the administrator's kubeconfig to this new `file` (default: in the directory)")
		flags.StringVar(&opts.auditLog, "audit-log", "", "write one line of metadata for every API request to this `file`")
		flags.IntVar(&opts.apiServerCPUs, "api-server-cpus", 0, "hold the API server to so many `cores`; 0 for all")
		flags.StringVar(&opts.pidFile, "pid-file", "", "hold this `file` locked, with the process ID in it, while running")
		flags.BoolVar(&opts.untilStdinCloses, "until-stdin-closes", false, "end when standard input closes, as it does when the parent dies")
		kubernetes := kubernetesFlag(flags)
		parse(flags, args)
		opts.kubernetes = *kubernetes
		return run(ctx, opts)
	case "up", "down":
		dir := flags.String("dir", "", "the `directory` with the state of the background control plane (default: in the user's data home)")
		kubernetes := kubernetesFlag(flags)
		parse(flags, args)
		state, err := newState(*dir)
		if err != nil {
			return err
		}
		if name == "down" {
			return state.down(ctx)
		}
		return state.up(ctx, *kubernetes)
	case "help", "-h", "-help", "--help":
		fmt.Print(usage)
		return nil
	}
	return fmt.Errorf("unknown command %q: use build, run, up or down", name)
}

// kubernetesFlag adds the flag for the version of Kubernetes.
func kubernetesFlag(flags *flag.FlagSet) *string {
	return flags.String("kubernetes", "", "the `version` of Kubernetes, one of "+strings.Join(kubernetesVersions(), ", ")+"; the default is "+binaries[1].version())
}

// parse ends the process if args are not all flags of the set.
func parse(flags *flag.FlagSet, args []string) {
	_ = flags.Parse(args) // flag.ExitOnError
	if flags.NArg() > 0 {
		fmt.Fprintf(flags.Output(), "%s: unexpected argument %q\n", flags.Name(), flags.Arg(0))
		flags.Usage()
		os.Exit(2)
	}
}
