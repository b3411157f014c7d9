// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

const role = "arn:aws:iam::210987654321:role/queues/reader"

// newRoleFixture has a node, a policy and its queue, which is read with a role. Its
// time is the present, by which the SDK tells whether credentials have expired.
func newRoleFixture(t *testing.T) *fixture {
	t.Helper()
	withoutAWS(t)
	now := time.Now().Truncate(time.Second)
	f := newFixture(t, node("a", instance, func(n *corev1.Node) {
		n.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-time.Hour))
	}))
	f.clock.SetTime(now)
	t.Setenv("AWS_ENDPOINT_URL_STS", f.sim.URL())
	f.queue.RoleARN = role
	f.policy("all", func(p *v1alpha1.NodeTerminationPolicy) { p.Spec.Sources[0].SQS.RoleARN = role })
	return f
}

// Every call about the queue is made with its role, which is assumed once.
func TestRoleIsAssumed(t *testing.T) {
	f := newRoleFixture(t)
	f.spot(instance)
	f.spot(stranger)
	f.run()
	f.handled(2)
	f.waitForHealth(v1alpha1.ReasonReady)
	if f.termination(instance) == nil {
		t.Error("the message was not stored")
	}
	actions := map[string]int{}
	for _, call := range f.sim.Calls("sqs", "") {
		actions[call.Action]++
		if call.Role != role {
			t.Errorf("%s was signed by %q, want %s", call.Action, call.Role, role)
		}
	}
	for _, action := range []string{"ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"} {
		if actions[action] == 0 {
			t.Errorf("no call to %s", action)
		}
	}
	assumes := f.sim.Calls("sts", "AssumeRole")
	if len(assumes) != 1 {
		t.Fatalf("the role was assumed %d times, want once", len(assumes))
	}
	if got := assumes[0].Params["RoleSessionName"]; got != "node-termination-operator" {
		t.Errorf("the session is named %q", got)
	}
}

// A role that cannot be assumed says what to do, and is over by itself.
func TestRoleProblems(t *testing.T) {
	for _, test := range []struct {
		name   string
		fault  awssim.Fault
		reason string
		says   string
	}{
		{
			"not allowed", awssim.Fault{Service: "sts", Code: "AccessDenied", Message: "User: arn:aws:iam::123456789012:user/x is not authorized."},
			v1alpha1.ReasonAccessDenied, "Cannot assume the source's roleARN: allow sts:AssumeRole on " + role +
				" to the manager's AWS identity, and trust that identity in the role's trust policy: AccessDenied: User: arn:aws:iam::123456789012:user/x is not authorized.",
		},
		{"throttled", awssim.Fault{Service: "sts", Code: awssim.Throttle}, v1alpha1.ReasonThrottled, "slow down"},
		{"own credentials expired", awssim.Fault{Service: "sts", Code: "ExpiredToken"}, v1alpha1.ReasonNoCredentials, "AWS does not accept the manager's credentials"},
		{"region", awssim.Fault{Service: "sts", Code: "RegionDisabledException"}, v1alpha1.ReasonSourceError, "STS refuses sts:AssumeRole, which is tried again: RegionDisabledException"},
		{"unreachable", awssim.Fault{Service: "sts", Drop: awssim.DropBefore}, v1alpha1.ReasonUnreachable, "No connection to {STS} (EOF): check network policies"},
		{
			"the role may not read", awssim.Fault{Service: "sqs", Action: "ReceiveMessage", Code: "AccessDenied"},
			v1alpha1.ReasonAccessDenied, "Allow sqs:ReceiveMessage on the queue to role " + role,
		},
		{
			"the role's session is refused", awssim.Fault{Service: "sqs", Action: "ReceiveMessage", Code: "InvalidClientTokenId"},
			v1alpha1.ReasonNoCredentials, "AWS does not accept the credentials of role " + role,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newRoleFixture(t)
			if _, err := f.sim.AddFault(test.fault); err != nil {
				t.Fatal(err)
			}
			f.run()
			message := f.waitForHealth(test.reason)
			says := strings.ReplaceAll(test.says, "{STS}", strings.TrimPrefix(f.sim.URL(), "http://"))
			if !strings.Contains(message, says) || !strings.HasSuffix(message, ".") {
				t.Errorf("message %q, want %q in it", message, says)
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

// Two policies that read one queue with different identities: whoever gets a
// message stores what either of them governs, and each has its own health.
func TestRolesAreConsumersOfTheirOwn(t *testing.T) {
	f := newRoleFixture(t)
	plain := f.queue
	plain.RoleARN = ""
	f.policy("without", selecting("b"))
	if _, err := f.sim.AddFault(awssim.Fault{Service: "sts", Code: "AccessDenied"}); err != nil {
		t.Fatal(err)
	}
	f.run()
	f.Ensure([]Queue{f.queue, plain})
	f.waitForHealth(v1alpha1.ReasonAccessDenied)
	f.waitFor("the other consumer", func() bool { return f.Health(plain).Ready })
	f.spot(instance) // which the policy with the role selects
	f.handled(1)
	if f.termination(instance) == nil || len(f.messages()) != 0 {
		t.Error("the message was not stored by the other consumer")
	}
}
