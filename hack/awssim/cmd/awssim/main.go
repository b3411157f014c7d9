// SPDX-License-Identifier: Apache-2.0

// Command awssim runs the AWS simulator as a process and controls one that runs.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nodetermination/operator/hack/awssim"
)

const usage = `awssim simulates SQS, EC2, Auto Scaling and STS for the AWS SDK.

  awssim serve [--addr 127.0.0.1:0] [--region R] [--queue NAME]... [--metadata i-...]... [--until-stdin-closes]
      Prints {"endpoint": ..., "queues": {NAME: URL}, "metadata": {i-...: URL}} on one line and serves
      until SIGTERM or SIGINT.
  awssim send --endpoint URL --queue-url URL KIND [--instance i-...]... [flags]
      Sends the message AWS would. KIND: %s.
  awssim say --endpoint METADATA-URL KIND [flags]
      Makes an instance's metadata announce what AWS would. KIND: %s.
  awssim calls --endpoint URL [--service S] [--action A] [--clear]
      Prints the calls received, one JSON object a line.
  awssim fault --endpoint URL [flags] | --clear
      Makes calls fail from now on; prints {"id": ...}.

"awssim COMMAND --help" lists the flags.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "awssim:", err)
		os.Exit(1)
	}
}

// run carries out one command line.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	commands := map[string]func(context.Context, *command) error{"serve": serve, "send": send, "say": say, "calls": calls, "fault": fault}
	if len(args) == 0 || commands[args[0]] == nil {
		_, _ = fmt.Fprintf(stderr, usage, strings.Join(awssim.Kinds(), ", "), strings.Join(awssim.MetadataKinds(), ", "))
		if len(args) > 0 && slices.Contains([]string{"help", "-help", "--help", "-h"}, args[0]) {
			return flag.ErrHelp
		}
		return errors.New("name a command: serve, send, say, calls or fault")
	}
	flags := flag.NewFlagSet("awssim "+args[0], flag.ContinueOnError)
	flags.SetOutput(stderr)
	return commands[args[0]](ctx, &command{FlagSet: flags, args: args[1:], stdin: stdin, stdout: stdout})
}

// command is a command line under way.
type command struct {
	*flag.FlagSet
	args   []string
	stdin  io.Reader
	stdout io.Writer
}

// parse reads the flags, which may stand before and after the words, and returns the words.
func (c *command) parse() (words []string, err error) {
	for rest := c.args; ; {
		if err := c.Parse(rest); err != nil {
			return nil, err
		}
		if c.NArg() == 0 {
			return words, nil
		}
		words, rest = append(words, c.Arg(0)), c.Args()[1:]
	}
}

// list is a flag that may be given several times.
type list []string

// String implements flag.Value.
func (l *list) String() string { return strings.Join(*l, ",") }

// Set implements flag.Value.
func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// moment is a flag that takes a time, or a duration from now.
type moment struct{ time.Time }

// Set implements flag.Value.
func (m *moment) Set(value string) error {
	if d, err := time.ParseDuration(value); err == nil {
		m.Time = time.Now().Add(d)
		return nil
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return errors.New("use a time such as 2026-03-01T12:00:00Z, or a duration from now such as 90m")
	}
	m.Time = t
	return nil
}

func serve(ctx context.Context, c *command) (err error) {
	addr := c.String("addr", "127.0.0.1:0", "loopback `address` to listen on")
	region := c.String("region", "us-east-1", "`region` to be")
	untilStdinCloses := c.Bool("until-stdin-closes", false, "end when standard input ends as well")
	var queues, instances list
	c.Var(&queues, "queue", "`name` of a queue to create; may be repeated")
	c.Var(&instances, "metadata", "`ID` of an instance whose metadata to serve on a port of its own; may be repeated")
	if words, err := c.parse(); err != nil || len(words) > 0 {
		return errors.Join(err, unexpected(words))
	}
	server, err := awssim.Start(awssim.Options{Addr: *addr, Region: *region})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	ready := struct {
		Endpoint string            `json:"endpoint"`
		Queues   map[string]string `json:"queues"`
		Metadata map[string]string `json:"metadata,omitempty"`
	}{server.URL(), map[string]string{}, map[string]string{}}
	for _, name := range queues {
		if ready.Queues[name], err = server.CreateQueue(name, nil); err != nil {
			return fmt.Errorf("queue %q: %w", name, err)
		}
	}
	var services []*awssim.Metadata
	defer func() {
		for _, service := range services {
			err = errors.Join(err, service.Close())
		}
	}()
	for _, id := range instances {
		service, err := awssim.StartMetadata(awssim.MetadataOptions{Instance: awssim.MetadataInstance{ID: id}})
		if err != nil {
			return fmt.Errorf("metadata of %q: %w", id, err)
		}
		services = append(services, service)
		ready.Metadata[id] = service.URL()
	}
	if err := json.NewEncoder(c.stdout).Encode(ready); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if *untilStdinCloses {
		go func() {
			defer cancel()
			_, _ = io.Copy(io.Discard, c.stdin)
		}()
	}
	<-ctx.Done()
	return nil
}

func unexpected(words []string) error {
	if len(words) == 0 {
		return nil
	}
	return fmt.Errorf("unexpected %q", words)
}

func send(ctx context.Context, c *command) error {
	endpoint := c.String("endpoint", "", "`URL` of the running simulator")
	queueURL := c.String("queue-url", "", "`URL` of the queue")
	var n awssim.Notice
	var at, notBefore moment
	c.Var((*list)(&n.InstanceIDs), "instance", "`ID` of the instance; for health it may be repeated")
	c.StringVar(&n.ID, "id", "", "`ID` of the event")
	c.Var(&at, "time", "`time` of the event, or a duration from now such as -10m")
	c.BoolVar(&n.SNS, "sns", false, "wrap the message as an SNS topic does")
	c.StringVar(&n.Body, "body", "", "the `text` of a raw message")
	c.StringVar(&n.Action, "instance-action", "", "spot, capacity-reservation: terminate, stop or hibernate")
	c.StringVar(&n.State, "state", "", "state-change: the `state` entered")
	c.Var(&notBefore, "not-before", "health, capacity-reservation: `time` it begins, or a duration from now")
	c.StringVar(&n.Status, "status", "", "health: upcoming, open or closed")
	c.StringVar(&n.EventARN, "event-arn", "", "health: `ARN` of the event")
	c.StringVar(&n.TypeCode, "type-code", "", "health: the event's type `code`")
	c.StringVar(&n.Group, "group", "", "lifecycle: `name` of the Auto Scaling group")
	c.StringVar(&n.Hook, "hook", "", "lifecycle: `name` of the hook")
	c.BoolVar(&n.Launching, "launching", false, "lifecycle: of a launch, not a termination")
	c.StringVar(&n.Destination, "destination", "", "lifecycle: EC2, AutoScalingGroup or WarmPool")
	words, err := c.parse()
	if err != nil {
		return err
	}
	if len(words) != 1 {
		return fmt.Errorf("name one kind of message: %s", strings.Join(awssim.Kinds(), ", "))
	}
	n.Kind, n.Time, n.NotBefore = words[0], at.Time, notBefore.Time
	return c.control(ctx, *endpoint, http.MethodPost, "notices", url.Values{"queueURL": {*queueURL}}, n)
}

func say(ctx context.Context, c *command) error {
	endpoint := c.String("endpoint", "", "`URL` of the instance's metadata, as awssim serve printed it")
	var e awssim.MetadataEvent
	var at, notBefore moment
	c.Var(&at, "time", "spot: `time` of the action; rebalance: of the notice; or a duration from now")
	c.StringVar(&e.Action, "instance-action", "", "spot: terminate, stop or hibernate")
	c.StringVar(&e.EventID, "event-id", "", "maintenance: `ID` of the event")
	c.StringVar(&e.Code, "code", "", "maintenance: `code` such as system-reboot or instance-retirement")
	c.StringVar(&e.State, "state", "", "maintenance: active, completed or canceled; target-state: the `state`")
	c.Var(&notBefore, "not-before", "maintenance: `time` it begins, or a duration from now")
	c.StringVar(&e.Description, "description", "", "maintenance: `text` for people")
	c.StringVar(&e.Path, "path", "", "document: its `path` below /latest/")
	c.StringVar(&e.Body, "body", "", "document: its content; without it the document is removed")
	words, err := c.parse()
	if err != nil {
		return err
	}
	if len(words) != 1 {
		return fmt.Errorf("name one kind of event: %s", strings.Join(awssim.MetadataKinds(), ", "))
	}
	e.Kind, e.Time, e.NotBefore = words[0], at.Time, notBefore.Time
	return c.control(ctx, *endpoint, http.MethodPost, "events", nil, e)
}

func calls(ctx context.Context, c *command) error {
	endpoint := c.String("endpoint", "", "`URL` of the running simulator")
	service := c.String("service", "", "only calls of sqs, ec2, autoscaling or sts")
	action := c.String("action", "", "only calls of this API `action`")
	forget := c.Bool("clear", false, "empty the log instead")
	if words, err := c.parse(); err != nil || len(words) > 0 {
		return errors.Join(err, unexpected(words))
	}
	method := http.MethodGet
	if *forget {
		method = http.MethodDelete
	}
	return c.control(ctx, *endpoint, method, "calls", url.Values{"service": {*service}, "action": {*action}}, nil)
}

func fault(ctx context.Context, c *command) error {
	endpoint := c.String("endpoint", "", "`URL` of the running simulator")
	forget := c.Bool("clear", false, "end all faults instead")
	var f awssim.Fault
	c.StringVar(&f.Service, "service", "", "sqs, ec2, autoscaling or sts; any if not given")
	c.StringVar(&f.Action, "action", "", "API `action`; any if not given")
	c.StringVar(&f.AccessKey, "access-key", "", "only calls with this access key `ID`")
	c.IntVar(&f.Times, "times", 0, "`number` of calls; until cleared if not given")
	c.Float64Var(&f.Probability, "probability", 0, "0 to 1; always if not given")
	c.StringVar(&f.Code, "code", "", "error `code`: one of AWS's, throttle or server-error")
	c.IntVar(&f.Status, "status", 0, "HTTP `status` of the error; the code's usual one if not given")
	c.StringVar(&f.Message, "message", "", "`text` of the error")
	c.IntVar(&f.FailEntries, "fail-entries", 0, "fail the first `n` entries of each batch instead of the call")
	c.DurationVar(&f.Delay, "delay", 0, "answer this `duration` later")
	c.StringVar(&f.Drop, "drop", "", "break the connection: before or after carrying the call out")
	c.IntVar(&f.Duplicates, "duplicates", 0, "deliver each message `n` more times")
	c.BoolVar(&f.NewestFirst, "newest-first", false, "deliver the newest messages first")
	if words, err := c.parse(); err != nil || len(words) > 0 {
		return errors.Join(err, unexpected(words))
	}
	if *forget {
		return c.control(ctx, *endpoint, http.MethodDelete, "faults", nil, nil)
	}
	return c.control(ctx, *endpoint, http.MethodPost, "faults", nil, f)
}

// control calls the simulator's control endpoint and prints its answer, a list one item a line.
func (c *command) control(ctx context.Context, endpoint, method, path string, query url.Values, body any) error {
	if endpoint == "" {
		return errors.New("--endpoint is missing: the URL that awssim serve printed")
	}
	content, err := json.Marshal(body)
	if err != nil {
		return err
	}
	target := strings.TrimRight(endpoint, "/") + "/_awssim/" + path + "?" + query.Encode()
	request, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(content))
	if err != nil {
		return err
	}
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(answer)))
	}
	var items []json.RawMessage
	if json.Unmarshal(answer, &items) != nil {
		items = []json.RawMessage{bytes.TrimSpace(answer)}
	}
	for _, item := range items {
		if _, err := fmt.Fprintf(c.stdout, "%s\n", item); err != nil {
			return err
		}
	}
	return nil
}
