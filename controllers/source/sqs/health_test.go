// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/testutil"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	"github.com/nodetermination/operator/hack/awssim"
)

// waitForHealth waits until the queue is ready or not for the reason, and returns the message.
func (f *fixture) waitForHealth(reason string) (message string) {
	f.t.Helper()
	f.waitFor("reason "+reason, func() bool { return f.Health(f.queue).Reason == reason })
	health := f.Health(f.queue)
	if want := reason == v1alpha1.ReasonReady || reason == v1alpha1.ReasonShortRetention; health.Ready != want {
		f.t.Errorf("ready is %v for %s", health.Ready, reason)
	}
	return health.Message
}

// asleep waits until the failing receiver waits for its next try.
func (f *fixture) asleep() {
	f.t.Helper()
	f.waitFor("the timers of the backoff and of the attributes", func() bool { return f.clock.Waiters() >= 2 })
}

// receives is how many calls to ReceiveMessage have been made.
func (f *fixture) receives() int { return len(f.sim.Calls("sqs", "ReceiveMessage")) }

// wake lets the failing receiver, which is asleep, try again.
func (f *fixture) wake() {
	f.t.Helper()
	f.asleep()
	before := f.receives()
	f.step(maxBackoff)
	f.waitFor("the next try", func() bool { return f.receives() > before })
}

// Each problem of a queue says what to do and is over by itself when its cause is.
func TestProblemsAreToldApart(t *testing.T) {
	for _, test := range []struct {
		name   string
		fault  awssim.Fault
		reason string
		says   string
	}{
		{
			"queue gone", awssim.Fault{Action: "ReceiveMessage", Code: "QueueDoesNotExist"},
			v1alpha1.ReasonQueueNotFound, "create it, or correct queueURL",
		},
		{
			"access denied", awssim.Fault{Action: "ReceiveMessage", Code: "AccessDenied", Message: "User: arn:aws:iam::123456789012:user/x is not authorized."},
			v1alpha1.ReasonAccessDenied, "Allow sqs:ReceiveMessage on the queue to the manager's AWS identity: AccessDenied: User: arn:aws:iam::123456789012:user/x is not authorized.",
		},
		{
			"key denied", awssim.Fault{Action: "ReceiveMessage", Code: "KMS.AccessDeniedException"},
			v1alpha1.ReasonAccessDenied, "Allow kms:Decrypt",
		},
		{"throttled", awssim.Fault{Action: "ReceiveMessage", Code: awssim.Throttle}, v1alpha1.ReasonThrottled, "slow down"},
		{"expired credentials", awssim.Fault{Action: "ReceiveMessage", Code: "ExpiredToken"}, v1alpha1.ReasonNoCredentials, "renew them"},
		{"invalid credentials", awssim.Fault{Action: "ReceiveMessage", Code: "InvalidClientTokenId"}, v1alpha1.ReasonNoCredentials, "renew them"},
		{"server error", awssim.Fault{Action: "ReceiveMessage", Code: awssim.ServerError}, v1alpha1.ReasonSourceError, "Simulated by awssim"},
		{"connection lost", awssim.Fault{Action: "ReceiveMessage", Drop: awssim.DropBefore}, v1alpha1.ReasonUnreachable, "network policies"},
		{"everything denied", awssim.Fault{Code: "AccessDenied"}, v1alpha1.ReasonAccessDenied, "sqs:ReceiveMessage"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, node("a", instance))
			f.policy("all")
			if _, err := f.sim.AddFault(test.fault); err != nil {
				t.Fatal(err)
			}
			f.run()
			message := f.waitForHealth(test.reason)
			if !strings.Contains(message, test.says) || !strings.HasSuffix(message, ".") {
				t.Errorf("message %q, want %q in it", message, test.says)
			}
			for range 3 {
				f.wake()
			}
			if again := f.waitForHealth(test.reason); again != message {
				t.Errorf("the message changes: %q, before: %q", again, message)
			}
			f.asleep()
			f.sim.ClearFaults()
			f.spot(instance)
			f.wake()
			f.handled(1)
			if message := f.waitForHealth(v1alpha1.ReasonReady); message != "" {
				t.Errorf("ready, but: %q", message)
			}
		})
	}
}

// One receiver tries, and waits longer every time.
func TestFailingReceivesBackOff(t *testing.T) {
	f := newFixture(t, node("a", instance))
	f.policy("all")
	f.run()
	f.waitForHealth(v1alpha1.ReasonReady)
	if err := f.sim.DeleteQueue(f.url); err != nil { // under a waiting receive
		t.Fatal(err)
	}
	f.waitForHealth(v1alpha1.ReasonQueueNotFound)
	for _, wait := range []time.Duration{1, 2, 4, 8, 10, 10} {
		wait *= time.Second
		f.asleep()
		before := f.receives()
		f.step(wait/2 - 1)
		if f.clock.Waiters() < 2 || f.receives() != before {
			t.Fatalf("tried again before %s", wait/2)
		}
		f.step(wait/2 + 1)
		f.waitFor("the next try", func() bool { return f.receives() == before+1 })
	}
	f.asleep()
	if _, err := f.sim.CreateQueue("q", nil); err != nil {
		t.Fatal(err)
	}
	f.wake()
	f.waitForHealth(v1alpha1.ReasonReady)
}

// What cannot be deleted or given back is a problem too, until it works.
func TestOtherCallsDenied(t *testing.T) {
	for _, test := range []struct{ action, instance, says string }{
		{"DeleteMessageBatch", instance, "Allow sqs:DeleteMessage on"},
		{"ChangeMessageVisibilityBatch", stranger, "Allow sqs:ChangeMessageVisibility on"},
	} {
		f := newFixture(t, node("a", instance))
		f.policy("all")
		if _, err := f.sim.AddFault(awssim.Fault{Action: test.action, Code: "AccessDenied"}); err != nil {
			t.Fatal(err)
		}
		f.spot(test.instance)
		f.run()
		f.handled(1)
		if message := f.waitForHealth(v1alpha1.ReasonAccessDenied); !strings.Contains(message, test.says) {
			t.Errorf("message %q, want %q in it", message, test.says)
		}
		f.sim.ClearFaults()
		f.step(visibility)
		f.handled(1)
		f.waitForHealth(v1alpha1.ReasonReady)
		f.stop()
	}
}

func TestShortRetention(t *testing.T) {
	f := newFixture(t)
	var err error
	if f.queue.URL, err = f.sim.CreateQueue("short", map[string]string{"MessageRetentionPeriod": "600"}); err != nil {
		t.Fatal(err)
	}
	f.run()
	if message := f.waitForHealth(v1alpha1.ReasonShortRetention); !strings.Contains(message, "keeps messages for 10m0s only") {
		t.Errorf("message %q", message)
	}
}

// Not to be allowed to look at the attributes is no problem.
func TestAttributesDenied(t *testing.T) {
	f := newFixture(t)
	if _, err := f.sim.AddFault(awssim.Fault{Action: "GetQueueAttributes", Code: "AccessDenied"}); err != nil {
		t.Fatal(err)
	}
	f.run()
	f.waitFor("the attributes to be asked for", func() bool { return len(f.sim.Calls("sqs", "GetQueueAttributes")) > 0 })
	if message := f.waitForHealth(v1alpha1.ReasonReady); message != "" {
		t.Errorf("message %q", message)
	}
}

func TestNoCredentials(t *testing.T) {
	withoutAWS(t)
	f := newFixture(t)
	f.opts.LoadAWSConfig = config.LoadDefaultConfig
	f.run()
	if message := f.waitForHealth(v1alpha1.ReasonNoCredentials); !strings.Contains(message, "service account an AWS identity") {
		t.Errorf("message %q", message)
	}
}

func TestNoRegion(t *testing.T) {
	withoutAWS(t)
	f := newFixture(t)
	f.queue.Region = ""
	f.run()
	if message := f.waitForHealth(v1alpha1.ReasonNoRegion); !strings.Contains(message, "set the source's region") {
		t.Errorf("message %q", message)
	}
	t.Setenv("AWS_REGION", "us-east-1")
	f.waitFor("the timer of the backoff", f.clock.HasWaiters)
	f.step(maxBackoff)
	f.waitForHealth(v1alpha1.ReasonReady)
}

// withoutAWS keeps the machine's own AWS configuration out of the test.
func withoutAWS(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_EC2_METADATA_DISABLED": "true", "HOME": t.TempDir(),
		"AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_PROFILE": "", "AWS_CONFIG_FILE": "", "AWS_SHARED_CREDENTIALS_FILE": "",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_ROLE_ARN": "",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": "", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "",
	} {
		t.Setenv(name, value)
	}
}

// AWS_ENDPOINT_URL holds for the hosts that the SDK finds by the region.
func TestEndpointFromEnvironment(t *testing.T) {
	withoutAWS(t)
	f := newFixture(t)
	t.Setenv("AWS_ENDPOINT_URL", f.sim.URL())
	f.queue = Queue{URL: "https://sqs.us-east-1.amazonaws.com/" + awssim.Account + "/q", Region: "us-east-1"}
	f.run()
	f.waitForHealth(v1alpha1.ReasonReady)
	for _, call := range f.sim.Calls("sqs", "") {
		if !strings.Contains(call.UserAgent, "app/node-termination-operator") {
			t.Errorf("user agent %q", call.UserAgent)
		}
	}
}

func TestConnectionRefused(t *testing.T) {
	f := newFixture(t)
	f.queue.URL = strings.Replace(f.url, f.sim.URL(), "http://127.0.0.1:1", 1)
	f.run()
	if message := f.waitForHealth(v1alpha1.ReasonUnreachable); !strings.Contains(message, "No connection to 127.0.0.1:1 (connection refused)") {
		t.Errorf("message %q", message)
	}
}

func TestHostNotFound(t *testing.T) {
	f := newFixture(t)
	f.queue = Queue{URL: "https://sqs.us-esat-1.amazonaws.com/123456789012/q", Region: "us-esat-1"}
	f.opts.LoadAWSConfig = func(ctx context.Context, options ...func(*config.LoadOptions) error) (aws.Config, error) {
		cfg, err := signed(ctx, options...)
		cfg.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.Proxy = nil
			t.DialContext = func(_ context.Context, _, address string) (net.Conn, error) {
				host, _, err := net.SplitHostPort(address)
				if err != nil {
					return nil, err
				}
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}}
			}
		})
		return cfg, err
	}
	f.run()
	if message := f.waitForHealth(v1alpha1.ReasonUnreachable); !strings.Contains(message, "Cannot find the address of sqs.us-esat-1.amazonaws.com: correct the region") {
		t.Errorf("message %q", message)
	}
}

// changed is called at once for what matters, and now and then for the rest.
func TestChangesAreNotified(t *testing.T) {
	clock := clocktesting.NewFakeClock(epoch)
	notified := 0
	h := newHealth(Queue{}, clock, logr.Discard(), func() { notified++ })
	check := func(what string, want int) {
		t.Helper()
		if notified != want {
			t.Errorf("%s: notified %d times, want %d", what, notified, want)
		}
	}
	noRegion := &awsapi.Error{Cause: awsapi.NoRegion}
	h.worked(receiving, nil)
	check("ready", 1)
	h.worked(receiving, nil)
	check("still ready", 1)
	h.event()
	h.handled()
	check("an event right after", 1)
	clock.Step(notifyInterval)
	h.handled()
	check("an event a while ago", 2)
	h.worked(receiving, noRegion)
	check("a problem", 3)
	h.worked(receiving, noRegion)
	check("still a problem", 3)
	h.worked(receiving, context.DeadlineExceeded)
	check("another problem", 4)
	h.worked(receiving, nil)
	check("ready again", 5)
	h.worked(removing, context.DeadlineExceeded)
	check("a problem of deleting", 6)
	clock.Step(problemLife + 1)
	h.worked(receiving, nil)
	check("a problem that did not come back", 7)
	if state := h.health(); !state.Ready {
		t.Errorf("%+v", state)
	}
}

func TestHealthMessageIsBounded(t *testing.T) {
	clock := clocktesting.NewFakeClock(epoch)
	h := newHealth(Queue{URL: "https://" + strings.Repeat("q", 500)}, clock, logr.Discard(), func() {})
	long := errors.New(strings.Repeat("long ", 1000))
	for _, op := range []awsapi.Operation{receiving, removing, hiding} {
		h.worked(op, long)
	}
	h.setAttributes(queueAttributes{retention: time.Minute})
	h.unread("id", long)
	if n := len(h.health().Message); n > 1024 {
		t.Errorf("%d bytes", n)
	}
}

func TestAmount(t *testing.T) {
	for n, want := range map[int]string{
		1: "1 message", 2: "2 messages", 10: "10 messages", 11: "More than 10 messages",
		100: "More than 10 messages", 101: "More than 100 messages", recentLimit: "More than 1000 messages",
	} {
		if got := amount(n, "message"); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

// TestEntityThatCannotBeRead: what a message says about other instances is stored, and the part that cannot be
// read is counted and told once, however often the message is received.
func TestEntityThatCannotBeRead(t *testing.T) {
	f := newFixture(t, node("a", instance))
	f.policy("all")
	f.run()
	body, err := awssim.Notice{Kind: awssim.Health, Time: f.clock.Now(), InstanceIDs: []string{instance, instance2}}.Message()
	if err != nil {
		t.Fatal(err)
	}
	body = strings.ReplaceAll(body, instance2, "i-wxyz")
	before := testutil.ToFloat64(unreadEntitiesTotal)
	for range 2 {
		f.sendBody(body)
		f.handled(1)
	}
	f.termination(instance)
	if got := testutil.ToFloat64(unreadEntitiesTotal) - before; got != 2 { // of two messages
		t.Errorf("%v entities are counted, want 2", got)
	}
	if message := f.waitForHealth(v1alpha1.ReasonReady); !strings.Contains(message, `"i-wxyz", expected an EC2 instance ID`) {
		t.Errorf("the queue's message is %q", message)
	}
	if lines := f.logged.with("an entity of a message cannot be read", "i-wxyz"); len(lines) != 2 {
		t.Errorf("logged %q", lines)
	}
}
