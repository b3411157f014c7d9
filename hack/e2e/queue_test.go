// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/operator"
)

// TestQueueProblems: whatever is wrong with a queue, its policy says what and what to do, and
// messages are received again as soon as it is mended.
func TestQueueProblems(t *testing.T) {
	startManager(t)
	for _, test := range []struct {
		name          string
		wrong, mend   func(*testing.T, *fixture)
		reason, words string
	}{
		{"queue gone", deleteQueue, createQueue, v1alpha1.ReasonQueueNotFound, "create it, or correct queueURL"},
		{"unreachable", closeSim, reopenSim, v1alpha1.ReasonUnreachable, "check network policies"},
		{"access denied", failing("ReceiveMessage", "AccessDenied"), clearFaults, v1alpha1.ReasonAccessDenied, "Allow sqs:ReceiveMessage on the queue"},
		{"deleting denied", failing("DeleteMessageBatch", "AccessDenied"), clearFaults, v1alpha1.ReasonAccessDenied, "Allow sqs:DeleteMessage on the queue"},
		{"throttled", failing("ReceiveMessage", awssim.Throttle), clearFaults, v1alpha1.ReasonThrottled, "AWS asks to slow down"},
		{"bad credentials", failing("ReceiveMessage", "InvalidClientTokenId"), clearFaults, v1alpha1.ReasonNoCredentials, "AWS does not accept the manager's credentials: renew them"},
		{"expired credentials", failing("ReceiveMessage", "ExpiredToken"), clearFaults, v1alpha1.ReasonNoCredentials, "AWS does not accept the manager's credentials: renew them"},
		{"server error", failing("ReceiveMessage", awssim.ServerError), clearFaults, v1alpha1.ReasonSourceError, "is tried again"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFixtureIn(t, ownSim(t))
			node := f.nodes(1)[0]
			test.wrong(t, f)
			eventually(t, func() error {
				c, err := f.policyCondition(v1alpha1.ConditionSourcesReady)
				if err == nil && (c.Status != metav1.ConditionFalse || c.Reason != test.reason || !strings.Contains(c.Message, test.words)) {
					err = fmt.Errorf("SourcesReady is %s, %s: %s; want False, %s: …%s…", c.Status, c.Reason, c.Message, test.reason, test.words)
				}
				return err
			})
			if ready, err := f.policyCondition(v1alpha1.ConditionReady); err != nil || ready.Status != metav1.ConditionFalse || ready.Reason != test.reason {
				t.Errorf("Ready is %+v, %v, want False, %s", ready, err, test.reason)
			}
			test.mend(t, f)
			f.interrupt(node)
			f.until(node, v1alpha1.StateCompleted)
			f.untilReady()
			f.untilQueueEmpty()
		})
	}
}

func deleteQueue(t *testing.T, f *fixture) {
	t.Helper()
	if err := f.sim.DeleteQueue(f.queue); err != nil {
		t.Fatal(err)
	}
}

func createQueue(t *testing.T, f *fixture) {
	t.Helper()
	if _, err := f.sim.CreateQueue(f.queueName, nil); err != nil {
		t.Fatal(err)
	}
}

func closeSim(t *testing.T, f *fixture) {
	t.Helper()
	if err := f.sim.Close(); err != nil {
		t.Fatal(err)
	}
}

// reopenSim opens another simulator at the same address.
func reopenSim(t *testing.T, f *fixture) {
	t.Helper()
	sim, err := awssim.Start(awssim.Options{Addr: strings.TrimPrefix(f.sim.URL(), "http://")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	f.sim = sim
	createQueue(t, f)
}

// failing makes calls fail, and has the manager make one: a message ends its long poll.
func failing(action, code string) func(*testing.T, *fixture) {
	return func(t *testing.T, f *fixture) {
		t.Helper()
		if _, err := f.sim.AddFault(awssim.Fault{Service: "sqs", Action: action, Code: code}); err != nil {
			t.Fatal(err)
		}
		f.send(awssim.Notice{Kind: awssim.TestNotification})
	}
}

func clearFaults(t *testing.T, f *fixture) {
	t.Helper()
	f.sim.ClearFaults()
	f.sim.Advance(visible) // for a message that could not be deleted
}

// TestNoCredentials: a manager that AWS knows nothing of says so on its policies, and goes on.
func TestNoCredentials(t *testing.T) {
	startManager(t, func(opts *operator.Options) {
		opts.Env = []string{"AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true"}
	})
	f := emptyFixture(t, aws)
	f.apply()
	eventually(t, func() error {
		c, err := f.policyCondition(v1alpha1.ConditionSourcesReady)
		if err == nil && (c.Reason != v1alpha1.ReasonNoCredentials || !strings.Contains(c.Message, "Give the manager's service account an AWS identity")) {
			err = fmt.Errorf("SourcesReady is %s, %s: %s", c.Status, c.Reason, c.Message)
		}
		return err
	})
}

// TestConsumersFollowPolicies: a queue is read from when a policy names it until none does.
func TestConsumersFollowPolicies(t *testing.T) {
	startManager(t)
	sim := ownSim(t)
	f := newFixtureIn(t, sim)
	nodes := f.nodes(2)
	f.interrupt(nodes[0])
	f.until(nodes[0], v1alpha1.StateCompleted)
	f.untilReadBy(f.queue, 1)

	// A second policy on the queue has no consumer of its own.
	second := *f
	second.queueName += "-second"
	second.apply()
	second.untilReady()
	f.untilReadBy(f.queue, 1)

	old := f.queue
	other, err := sim.CreateQueue(f.queueName+"-other", nil)
	if err != nil {
		t.Fatal(err)
	}
	f.moveTo(other)
	f.untilReadBy(other, 1)
	f.untilReadBy(old, 1)
	f.queue = other
	f.interrupt(nodes[1])
	f.until(nodes[1], v1alpha1.StateCompleted)

	second.remove(second.policy)
	f.untilReadBy(old, 0)
	f.untilReadBy(other, 1)
	f.remove(f.policy)
	f.untilReadBy(other, 0)
}

// moveTo makes the policy name another queue.
func (f *fixture) moveTo(queueURL string) {
	f.t.Helper()
	current := &v1alpha1.NodeTerminationPolicy{}
	eventually(f.t, func() error {
		if err := admin(f.t).Get(f.t.Context(), client.ObjectKeyFromObject(f.policy), current); err != nil {
			return err
		}
		current.Spec.Sources[0].SQS.QueueURL = queueURL
		return admin(f.t).Update(f.t.Context(), current)
	})
}

// untilReadBy waits until n calls wait for messages of a queue.
func (f *fixture) untilReadBy(queueURL string, n int) {
	f.t.Helper()
	eventually(f.t, func() error {
		waiting := 0
		for _, call := range f.sim.Calls("sqs", "ReceiveMessage") {
			if !call.Done && call.Params["QueueUrl"] == queueURL {
				waiting++
			}
		}
		if waiting != n {
			return fmt.Errorf("queue %s is being read by %d calls, want %d", queueURL, waiting, n)
		}
		return nil
	})
}
