// SPDX-License-Identifier: Apache-2.0

// Command demo shows on this machine, within a minute or so, how a spot interruption in an SQS queue
// becomes a drained node, and then one in an instance's metadata. Kubernetes and the operator are
// real; AWS and the machines under the nodes are simulated. Everything ends with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

func main() {
	keep := flag.Bool("keep", os.Getenv("KEEP") != "", "leave everything running until Ctrl-C, and print a small tour (default with KEEP=1)")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "demo: unexpected argument %q: the only flag is --keep\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := run(newTerminal(os.Stdout), *keep); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func run(t *terminal, keep bool) (err error) {
	// "go run", our parent, does not pass a SIGTERM on: have the kernel send us one when it is gone.
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0)
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	defer func() {
		if err != nil && ctx.Err() != nil { // whatever failed, it failed for that
			err = errors.New("interrupted")
		}
	}()
	log.SetLogger(logr.Discard()) // of the libraries; what matters is returned as an error

	p := &playground{terminal: t}
	defer p.stop()
	if err := p.start(ctx); err != nil {
		return err
	}
	var s *story
	for _, announce := range []func(*story, context.Context) error{(*story).sendToQueue, (*story).announceInMetadata} {
		if s, err = newStory(p); err != nil {
			return err
		}
		if err := s.run(ctx, announce); err != nil {
			return err
		}
	}
	if err := s.showAfterwards(ctx); err != nil {
		return err
	}
	if !keep {
		t.printf("To keep it running, and for a small tour: make demo KEEP=1\n")
		return nil
	}
	s.guide()
	return p.wait(ctx)
}
