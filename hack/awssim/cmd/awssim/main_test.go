// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/nodetermination/operator/hack/awssim"
)

// awssimOut runs a command line and returns what it prints.
func awssimOut(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	err := run(t.Context(), args, strings.NewReader(""), &out, io.Discard)
	return strings.TrimSpace(out.String()), err
}

type ready struct {
	Endpoint string
	Queues   map[string]string
	Metadata map[string]string
}

// startServe runs serve and returns what it announces and how it ends.
func startServe(ctx context.Context, t *testing.T, stdin io.Reader, args ...string) (ready, <-chan error) {
	t.Helper()
	read, write := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, append([]string{"serve"}, args...), stdin, write, io.Discard)
		_ = write.CloseWithError(io.ErrUnexpectedEOF)
		done <- err
	}()
	line, err := bufio.NewReader(read).ReadBytes('\n')
	if err != nil {
		t.Fatalf("serve printed %q: %v", line, errors.Join(err, <-done))
	}
	var r ready
	if err := json.Unmarshal(line, &r); err != nil {
		t.Fatal(err)
	}
	return r, done
}

func ended(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("serve ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("serve did not end within 10 s")
	}
}

func TestServeSendFaultCalls(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, done := startServe(ctx, t, strings.NewReader(""), "--queue", "a", "--queue", "b", "--region", "eu-west-1")
	if !strings.HasSuffix(r.Queues["a"], "/123456789012/a") || len(r.Queues) != 2 {
		t.Errorf("queues %v", r.Queues)
	}
	for _, kind := range awssim.Kinds() {
		out, err := awssimOut(t, "send", "--endpoint", r.Endpoint, "--queue-url", r.Queues["a"], kind,
			"--instance", "i-1234567890abcdef0", "--sns", "--time", "-1m", "--not-before", "2h", "--body", "x")
		if err != nil || !strings.Contains(out, "messageID") {
			t.Errorf("send %s: %q, %v", kind, out, err)
		}
	}
	if out, err := awssimOut(t, "fault", "--endpoint", r.Endpoint, "--service", "sqs", "--code", "throttle", "--delay", "1ms"); err != nil || out != `{"id":1}` {
		t.Errorf("fault: %q, %v", out, err)
	}
	for _, args := range [][]string{{"fault", "--clear"}, {"calls"}, {"calls", "--clear"}} {
		if _, err := awssimOut(t, append(args, "--endpoint", r.Endpoint)...); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
	cancel()
	ended(t, done)
}

func TestServeSay(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, done := startServe(ctx, t, strings.NewReader(""), "--metadata", "i-11111111", "--metadata", "i-22222222")
	if len(r.Metadata) != 2 || r.Metadata["i-11111111"] == r.Metadata["i-22222222"] {
		t.Errorf("metadata %v", r.Metadata)
	}
	for _, kind := range awssim.MetadataKinds() {
		if out, err := awssimOut(t, "say", "--endpoint", r.Metadata["i-22222222"], kind, "--time", "2m", "--not-before", "2h", "--path", "x"); err != nil || out != "{}" {
			t.Errorf("say %s: %q, %v", kind, out, err)
		}
	}
	cancel()
	ended(t, done)
}

func TestServeUntilStdinCloses(t *testing.T) {
	stdin, write := io.Pipe()
	_, done := startServe(t.Context(), t, stdin, "--until-stdin-closes")
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	ended(t, done)
}

func TestMistakes(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"", "name a command"},
		{"dance", "name a command"},
		{"serve --addr 0.0.0.0:0", "loopback"},
		{"serve --queue a.fifo", "standard queues only"},
		{"serve now", "unexpected"},
		{"send --endpoint http://127.0.0.1:1", "name one kind"},
		{"send spot", "--endpoint is missing"},
		{"send spot --time yesterday", "2026-03-01T12:00:00Z"},
		{"say --endpoint http://127.0.0.1:1", "name one kind"},
		{"say spot", "--endpoint is missing"},
		{"calls", "--endpoint is missing"},
		{"fault --code throttle", "--endpoint is missing"},
	} {
		if _, err := awssimOut(t, strings.Fields(test.args)...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("awssim %s: error %v, want %q", test.args, err, test.want)
		}
	}
	for _, args := range []string{"help", "--help", "serve --help", "send -h"} {
		if _, err := awssimOut(t, strings.Fields(args)...); !errors.Is(err, flag.ErrHelp) {
			t.Errorf("awssim %s: %v, want the help", args, err)
		}
	}
}
