// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/nodetermination/operator/hack/awssim"
)

const (
	bound    = 20 * time.Second // for things that take milliseconds
	region   = "us-east-1"
	group    = "workers"
	instance = "i-0abc1234def567890"
)

var account = Account{Region: region}

var epoch = time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)

// fixture is a Client and the AWS that it calls.
type fixture struct {
	*Client
	t        *testing.T
	sim      *awssim.Server
	clock    *clocktesting.FakeClock
	notified chan string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: clocktesting.NewFakeClock(epoch), notified: make(chan string, 1000)}
	var err error
	if f.sim, err = awssim.Start(awssim.Options{Now: f.clock.Now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.sim.Close() })
	f.Client = New(Options{Clock: f.clock, LoadAWSConfig: at(f.sim.URL()), Notify: func(id string) { f.notified <- id }})
	return f
}

// at is the SDK's default configuration with fixed credentials and an endpoint. Connections
// are not kept: closing the simulator would wait for those never used.
func at(endpoint string) func(context.Context, ...func(*config.LoadOptions) error) (aws.Config, error) {
	return func(ctx context.Context, options ...func(*config.LoadOptions) error) (aws.Config, error) {
		return config.LoadDefaultConfig(ctx, append(options,
			config.WithBaseEndpoint(endpoint),
			config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("AKIATEST", "secret", "")),
			config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.DisableKeepAlives = true })),
		)...)
	}
}

// start runs the Client until the test ends.
func (f *fixture) start() {
	f.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Start(ctx) }()
	f.t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				f.t.Error(err)
			}
		case <-time.After(bound):
			f.t.Error("Start does not end with its context")
		}
	})
}

// fault makes calls fail.
func (f *fixture) fault(fault awssim.Fault) {
	f.t.Helper()
	if _, err := f.sim.AddFault(fault); err != nil {
		f.t.Fatal(err)
	}
}

// hook puts a termination hook into the group.
func (f *fixture) hook(name string) {
	f.t.Helper()
	if err := f.sim.PutLifecycleHook(awssim.LifecycleHook{Group: group, Name: name, HeartbeatTimeout: 5 * time.Minute}); err != nil {
		f.t.Fatal(err)
	}
}

// begin lets the instance wait at the hook.
func (f *fixture) begin(hook string) awssim.LifecycleAction {
	f.t.Helper()
	action, err := f.sim.BeginLifecycleAction(group, hook, instance)
	if err != nil {
		f.t.Fatal(err)
	}
	return action
}

// put puts an instance into EC2.
func (f *fixture) put(in awssim.Instance) {
	f.t.Helper()
	if err := f.sim.PutInstance(in); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) waitFor(what string, condition func() bool) {
	f.t.Helper()
	for end := time.Now().Add(bound); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("waited %s for %s", bound, what)
		}
	}
}

// gathered lets the instances that are wanted be asked for, and returns the IDs that are told of.
func (f *fixture) gathered(n int) map[string]bool {
	f.t.Helper()
	f.waitFor("instances to be gathered", f.clock.HasWaiters)
	f.clock.Step(gatherFor)
	told := map[string]bool{}
	for range n {
		select {
		case id := <-f.notified:
			told[id] = true
		case <-time.After(bound):
			f.t.Fatalf("told of %d instances, want %d", len(told), n)
		}
	}
	return told
}
