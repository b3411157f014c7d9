// SPDX-License-Identifier: Apache-2.0

// Helm makes the chart of config/helm: its templates from what kustomize builds of config, so that
// both install the same, and the archive of a release. "make helm" calls it, in the root of the
// repository.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

const usage = `Usage, in the root of the repository:

  helm generate [flags]    write what is generated of config/helm
  helm package [flags]     write the chart's archive of a release

Flags:
`

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "helm:", err)
		os.Exit(1)
	}
}

// run carries out one command line.
func run(args []string, stdout io.Writer) error {
	var root string
	var release releaseOptions
	flags := flag.NewFlagSet("helm", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&root, "root", ".", "`folder` of the repository's root")
	flags.StringVar(&release.dist, "dist", "dist", "`folder` in which package writes the archive")
	flags.StringVar(&release.version, "version", "", "`version` of the release, such as v0.1.0")
	flags.StringVar(&release.image, "image", "", "the release's image, `registry/repository@sha256:...`")
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp) || command == "" || command == "help" || command == "-h" || command == "--help":
		_, _ = fmt.Fprint(stdout, usage)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return nil
	case err != nil:
		return fmt.Errorf("%w: helm help lists the flags", err)
	case flags.NArg() > 0:
		return fmt.Errorf("argument %q: helm help lists the flags", flags.Arg(0))
	}
	switch command {
	case "generate":
		return generate(root)
	case "package":
		path, err := pack(root, release)
		if err == nil {
			_, _ = fmt.Fprintln(stdout, path)
		}
		return err
	}
	return fmt.Errorf("command %q: write generate or package", command)
}
