// SPDX-License-Identifier: Apache-2.0

// Command bench measures how fast the operator is and what it uses, beside what it may use. Linux only.
//
//	go run ./hack/bench drain --nodes=50
//	go run ./hack/bench --help
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

// bench is one thing to measure.
type bench struct {
	name, about string
	// measure notes what it finds in the results.
	measure func(ctx context.Context, l *lab, o *options, r *results) error
	// tables shows what was found.
	tables func(r *results) []table
}

// benches are what can be measured, in the order in which all of it is.
var benches = []bench{
	{"parser", "throughput and allocations of the parser of messages", measureParser, parserTables},
	{"watcher", "what a watcher uses at rest", measureWatcher, watcherTables},
	{"delivery", "from a message sent to its NodeTermination stored", measureDelivery, deliveryTables},
	{"leader", "from the loss of the leader to the first action of the other replica", measureLeader, leaderTables},
	{"blocked", "what drains use that a disruption budget blocks", measureBlocked, blockedTables},
	{"simulate", "bursts of many nodes at a model of the API server", measureSimulate, simulateTables},
	{"drain", "many nodes interrupted at once, beside the same evictions straight from a client", measureDrain, drainTables},
	{"idle", "what the manager uses at rest, with and without pods in the cluster", measureIdle, idleTables},
}

// Commands that measure nothing, each to be given alone.
const (
	pageCommand     = "page"
	scenarioCommand = "scenario"
)

// options are the flags, and the command if it is not to measure.
type options struct {
	command   string
	json      string
	nodes     counts
	pods      int
	perBudget counts
	widths    counts
	cpus      int
	latency   time.Duration
	messages  int
	runs      int
	length    time.Duration
	interval  time.Duration
	idlePods  int
	metrics   string
	profiles  string
	simulated int

	handlerCommand string
	handlerEnv     []string
}

// counts is a flag of numbers with commas between them.
type counts []int

// String implements flag.Value.
func (c *counts) String() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(*c), " ", ","), "[]")
}

// Set implements flag.Value.
func (c *counts) Set(value string) error {
	*c = nil
	for text := range strings.SplitSeq(value, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is not a number: write some like 10,50", text)
		}
		*c = append(*c, n)
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	chosen, o, err := parse(args, out)
	if err != nil {
		return err
	}
	switch o.command {
	case pageCommand:
		return writePage(o.json)
	case scenarioCommand:
		return recordScenario(ctx, o.metrics)
	}
	r, err := readResults(o.json)
	if err != nil {
		return err
	}
	l, err := newLab()
	if err != nil {
		return err
	}
	l.apiServerCPUs, l.latency, l.profiles = o.cpus, o.latency, o.profiles
	err = measureAll(ctx, l, chosen, o, r, out)
	return errors.Join(err, l.close())
}

// measureAll measures one after the other, and keeps what is done if another fails.
func measureAll(ctx context.Context, l *lab, chosen []bench, o *options, r *results, out io.Writer) error {
	for _, b := range chosen {
		l.progress("%s: %s", b.name, b.about)
		if err := b.measure(ctx, l, o, r); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		r.note(b.name)
		if err := r.write(o.json); err != nil {
			return err
		}
		for _, t := range b.tables(r) {
			if err := t.text(out); err != nil {
				return err
			}
		}
	}
	return nil
}

// parse reads the command line: names of benches, or a command, and then flags. No name, or all, is
// every bench.
func parse(args []string, out io.Writer) ([]bench, *options, error) {
	o := &options{nodes: counts{20, 50, 200, 500}, perBudget: counts{0}, widths: counts{32, 150, 400}}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&o.json, "json", "", "keep the results in this `file`; those of other benches that are in it stay")
	flags.Var(&o.nodes, "nodes", "drain: so many `nodes` at once, one measurement for each number")
	flags.IntVar(&o.pods, "pods", 0, "drain: pods on each node (default 25 for 20 nodes, 20 from 500 nodes on, else 30)")
	flags.Var(&o.perBudget, "pods-per-budget", "drain: so many `pods` share a PodDisruptionBudget, which allows all of them to be evicted at once; 0 for no budgets; one measurement for each number")
	flags.Var(&o.widths, "widths", "drain: so many `evictions` in flight for the floor, each in turn; the best of them counts")
	flags.IntVar(&o.cpus, "api-server-cpus", 0, "hold the API server to so many `cores`; 0 for all")
	flags.DurationVar(&o.latency, "latency", 0, "have whoever drains nodes reach the API server with this round trip `time`")
	flags.StringVar(&o.profiles, "profile", "", "drain: save profiles of the manager's CPU and heap, and of the floor's CPU, in this `directory`")
	flags.StringVar(&o.handlerCommand, "handler-command", "", "drain: also measure another handler, started by this shell `command` with KUBECONFIG, QUEUE_URL, AWS_ENDPOINT_URL and AWS credentials in its environment")
	flags.Func("handler-env", "drain: a `variable`, KEY=value, for the other handler; may be given several times", func(value string) error {
		if !strings.Contains(value, "=") {
			return errors.New("write KEY=value")
		}
		o.handlerEnv = append(o.handlerEnv, value)
		return nil
	})
	flags.StringVar(&o.metrics, "metrics", "", "scenario: write the manager's metrics, each second, to this `file`")
	flags.IntVar(&o.messages, "messages", 100, "delivery: messages, one after the other")
	flags.IntVar(&o.runs, "runs", 5, "leader: how often a leader is killed, and how often one is stopped")
	flags.DurationVar(&o.length, "for", 2*time.Minute, "blocked, idle, watcher: how long to measure")
	flags.DurationVar(&o.interval, "poll-interval", 2*time.Second, "watcher: how often it polls")
	flags.IntVar(&o.idlePods, "idle-pods", 50_000, "idle: pods in the cluster, besides none")
	flags.IntVar(&o.simulated, "simulated-nodes", 5000, "simulate: `nodes` in the largest bursts")
	flags.Usage = func() { usage(out, flags) }
	names := 0
	for names < len(args) && !strings.HasPrefix(args[names], "-") {
		names++
	}
	if err := flags.Parse(args[names:]); err != nil {
		return nil, nil, err
	}
	if flags.NArg() > 0 {
		return nil, nil, fmt.Errorf("%q after a flag: write the names first, then the flags", flags.Arg(0))
	}
	for name, n := range map[string]int{"messages": o.messages, "runs": o.runs, "idle-pods": o.idlePods, "simulated-nodes": o.simulated} {
		if n < 1 {
			return nil, nil, fmt.Errorf("--%s=%d: write 1 or more", name, n)
		}
	}
	if slices.Contains(o.nodes, 0) || slices.Contains(o.widths, 0) {
		return nil, nil, errors.New("--nodes and --widths take numbers from 1 on")
	}
	if o.cpus < 0 || o.latency < 0 || o.handlerCommand == "" && len(o.handlerEnv) > 0 {
		return nil, nil, errors.New("--api-server-cpus and --latency take 0 or more, --handler-env goes with --handler-command")
	}
	if o.pods < 0 || o.length < time.Second || o.interval < time.Second {
		return nil, nil, errors.New("--pods takes 0 or more, --for and --poll-interval 1s or more")
	}
	chosen, err := choose(args[:names], o)
	return chosen, o, err
}

func choose(names []string, o *options) ([]bench, error) {
	if len(names) == 0 || slices.Equal(names, []string{"all"}) {
		return benches, nil
	}
	if len(names) == 1 && (names[0] == pageCommand || names[0] == scenarioCommand) {
		o.command = names[0]
		switch {
		case o.command == pageCommand && o.json == "":
			return nil, errors.New("page: name the file of the results with --json")
		case o.command == scenarioCommand && o.metrics == "":
			return nil, errors.New("scenario: name the file for the metrics with --metrics")
		}
		return nil, nil
	}
	var chosen []bench
	for _, name := range names {
		i := slices.IndexFunc(benches, func(b bench) bool { return b.name == name })
		if i < 0 {
			return nil, fmt.Errorf("%q cannot be measured: write all, or some of %s", name, benchNames())
		}
		chosen = append(chosen, benches[i])
	}
	return chosen, nil
}

func benchNames() string {
	names := make([]string, len(benches))
	for i, b := range benches {
		names[i] = b.name
	}
	return strings.Join(names, ", ")
}

func usage(out io.Writer, flags *flag.FlagSet) {
	_, _ = fmt.Fprintf(out, "Usage: bench [NAME...] [flags]\n\nWhat can be measured, all of it by default:\n\n")
	for _, b := range benches {
		_, _ = fmt.Fprintf(out, "  %-9s %s\n", b.name, b.about)
	}
	_, _ = fmt.Fprintf(out, "\n\"bench page --json=FILE\" measures nothing and writes the results in the file into %s.\n"+
		"\"bench scenario --metrics=FILE\" has a bit of everything happen to nodes, for the picture of the dashboard.\n\n", pagePath)
	flags.PrintDefaults()
}
