// SPDX-License-Identifier: Apache-2.0

// Command bench measures what the operator's programs use, and prints it beside what they may use
// and what the AWS Node Termination Handler uses. Linux only.
//
//	go run ./hack/bench watcher
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// benches are what can be measured.
var benches = map[string]func(ctx context.Context, args []string, out io.Writer) error{
	"watcher": watcher,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 || benches[args[0]] == nil {
		return fmt.Errorf("name what to measure: %s", strings.Join(slices.Sorted(maps.Keys(benches)), ", "))
	}
	return benches[args[0]](ctx, args[1:], out)
}
