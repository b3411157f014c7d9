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
// messages are heard again as soon as it is mended.
func TestQueueProblems(t *testing.T) {
	startManager(t)
	for _, test := range []struct {
		name          string
		wrong, mend   func(*testing.T, *world)
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
			w := newWorldIn(t, ownSim(t))
			node := w.nodes(1)[0]
			test.wrong(t, w)
			eventually(t, func() error {
				c, err := w.policyCondition(v1alpha1.ConditionSourcesReady)
				if err == nil && (c.Status != metav1.ConditionFalse || c.Reason != test.reason || !strings.Contains(c.Message, test.words)) {
					err = fmt.Errorf("SourcesReady is %s, %s: %s; want False, %s: …%s…", c.Status, c.Reason, c.Message, test.reason, test.words)
				}
				return err
			})
			if ready, err := w.policyCondition(v1alpha1.ConditionReady); err != nil || ready.Status != metav1.ConditionFalse || ready.Reason != test.reason {
				t.Errorf("Ready is %+v, %v, want False, %s", ready, err, test.reason)
			}
			test.mend(t, w)
			w.interrupt(node)
			w.until(node, v1alpha1.StateCompleted)
			w.untilHeard()
			w.untilQueueEmpty()
		})
	}
}

func deleteQueue(t *testing.T, w *world) {
	t.Helper()
	if err := w.sim.DeleteQueue(w.queue); err != nil {
		t.Fatal(err)
	}
}

func createQueue(t *testing.T, w *world) {
	t.Helper()
	if _, err := w.sim.CreateQueue(w.queueName, nil); err != nil {
		t.Fatal(err)
	}
}

func closeSim(t *testing.T, w *world) {
	t.Helper()
	if err := w.sim.Close(); err != nil {
		t.Fatal(err)
	}
}

// reopenSim opens another simulator at the same address.
func reopenSim(t *testing.T, w *world) {
	t.Helper()
	sim, err := awssim.Start(awssim.Options{Addr: strings.TrimPrefix(w.sim.URL(), "http://")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	w.sim = sim
	createQueue(t, w)
}

// failing makes calls fail, and has the manager make one: a message ends its long poll.
func failing(action, code string) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		t.Helper()
		if _, err := w.sim.AddFault(awssim.Fault{Service: "sqs", Action: action, Code: code}); err != nil {
			t.Fatal(err)
		}
		w.send(awssim.Notice{Kind: awssim.TestNotification})
	}
}

func clearFaults(t *testing.T, w *world) {
	t.Helper()
	w.sim.ClearFaults()
	w.sim.Advance(visible) // for a message that could not be deleted
}

// TestNoCredentials: a manager that AWS knows nothing of says so on its policies, and goes on.
func TestNoCredentials(t *testing.T) {
	startManager(t, func(opts *operator.Options) {
		opts.Env = []string{"AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true"}
	})
	w := emptyWorld(t, aws)
	w.apply()
	eventually(t, func() error {
		c, err := w.policyCondition(v1alpha1.ConditionSourcesReady)
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
	w := newWorldIn(t, sim)
	nodes := w.nodes(2)
	w.interrupt(nodes[0])
	w.until(nodes[0], v1alpha1.StateCompleted)
	w.untilReadBy(w.queue, 1)

	// A second policy on the queue has no consumer of its own.
	second := *w
	second.queueName += "-second"
	second.apply()
	second.untilHeard()
	w.untilReadBy(w.queue, 1)

	old := w.queue
	other, err := sim.CreateQueue(w.queueName+"-other", nil)
	if err != nil {
		t.Fatal(err)
	}
	w.moveTo(other)
	w.untilReadBy(other, 1)
	w.untilReadBy(old, 1)
	w.queue = other
	w.interrupt(nodes[1])
	w.until(nodes[1], v1alpha1.StateCompleted)

	second.remove(second.policy)
	w.untilReadBy(old, 0)
	w.untilReadBy(other, 1)
	w.remove(w.policy)
	w.untilReadBy(other, 0)
}

// moveTo makes the policy name another queue.
func (w *world) moveTo(queueURL string) {
	w.t.Helper()
	current := &v1alpha1.NodeTerminationPolicy{}
	eventually(w.t, func() error {
		if err := admin(w.t).Get(w.t.Context(), client.ObjectKeyFromObject(w.policy), current); err != nil {
			return err
		}
		current.Spec.Sources[0].SQS.QueueURL = queueURL
		return admin(w.t).Update(w.t.Context(), current)
	})
}

// untilReadBy waits until n calls wait for messages of a queue.
func (w *world) untilReadBy(queueURL string, n int) {
	w.t.Helper()
	eventually(w.t, func() error {
		waiting := 0
		for _, call := range w.sim.Calls("sqs", "ReceiveMessage") {
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
