// SPDX-License-Identifier: Apache-2.0

// Release makes what users install: images, without a container engine, and the files of a release.
// "make image", "make push" and "make release" call it, in the root of the repository.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = `Usage, in the root of the repository:

  release image [flags]    write dist/image.tar, an OCI layout for linux/amd64, linux/arm64 and windows/amd64
  release push [flags]     push what "release image" wrote to the registry of --image
  release all [flags]      write all files of a release, whose image is pushed to --image, into dist

Flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// options are the flags of all commands.
type options struct {
	// root is the repository's root, dist where everything is written.
	root, dist string
	// version is the release's, with a leading v; empty for none.
	version string
	// image is where push sends it, and where a release has it: registry/repository:tag.
	image string
}

// run carries out one command line.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	var o options
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.root, "root", ".", "`folder` of the repository's root")
	flags.StringVar(&o.dist, "dist", "dist", "`folder` in which everything is written")
	flags.StringVar(&o.version, "version", "", "`version` of the release, such as v0.1.0; that of the commit if empty")
	flags.StringVar(&o.image, "image", "", "where the image is pushed: `registry/repository:tag`")
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	err := flags.Parse(args)
	help := func() {
		_, _ = fmt.Fprint(stdout, usage)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
	}
	switch {
	case errors.Is(err, flag.ErrHelp) || command == "" || command == "help" || command == "-h" || command == "--help":
		help()
		return nil
	case err != nil:
		return fmt.Errorf("%w: release help lists the flags", err)
	case flags.NArg() > 0:
		return fmt.Errorf("argument %q: release help lists the flags", flags.Arg(0))
	}
	switch command {
	case "image":
		return image(ctx, &o, stdout)
	case "push":
		return push(ctx, &o, stdout)
	case "all":
		return release(ctx, &o, stdout)
	}
	return fmt.Errorf("command %q: write image, push or all", command)
}
