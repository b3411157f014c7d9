// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// malformed returns the n-th message that is no document of AWS.
func malformed(n int) string {
	kinds := []string{
		"malformed %d",
		`{"n": %d`,
		`[%d]`,
		`{"n": %d}`,
		`{"Type": "Notification", "Message": "%d"}`,
		`{"source": "aws.ec2", "detail-type": "EC2 Spot Instance Interruption Warning", "n": %d}`,
		`{"source": "aws.ec2", "detail-type": "EC2 Spot Instance Interruption Warning", "id": "%d", "time": "2026-11-22T05:08:00Z", "detail": {"instance-id": "i-../../etc"}}`,
		`{"LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING", "EC2InstanceId": %d}`,
		strings.Repeat(`{"a":`, 20_000) + "%d",
		strings.Repeat("\u00e9\U0001f4a3", 10_000) + "%d",
	}
	return fmt.Sprintf(kinds[n%len(kinds)], n)
}

// TestMalformedMessages: ten good messages among a thousand that cannot be read are received at once. The others
// stay in the queue, the policy says so, and receiving them again and again costs nothing lasting.
func TestMalformedMessages(t *testing.T) {
	const (
		bad, good = 1000, 10
		// atOnce is for a hundred batches on a busy machine, well below the time after which
		// those that cannot be read are seen again.
		atOnce = 15 * time.Second
		rounds = 4
		// growth leaves the garbage collector some room. A round's messages are 16 MB.
		growth = 16 << 20
		most   = 128 << 20
	)
	m := startManager(t)
	f := emptyFixture(t, ownSim(t))
	nodes := f.nodes(good)
	for i := range bad {
		if _, err := f.sim.SendMessage(f.queue, malformed(i)); err != nil {
			t.Fatal(err)
		}
		if i%(bad/good) == bad/good/2 {
			f.interrupt(nodes[i/(bad/good)])
		}
	}

	begun := time.Now()
	f.apply()
	for _, node := range nodes {
		f.until(node, v1alpha1.StateCompleted)
		f.untilNode(node, cordoned)
	}
	took := time.Since(begun)
	t.Logf("%d nodes were drained after %s", good, took)
	if took > atOnce {
		t.Errorf("that is more than %s", atOnce)
	}
	f.untilEachReceived(bad, 1)
	f.untilStatus(func(status *v1alpha1.NodeTerminationPolicyStatus) error {
		source := status.Sources[0]
		if !*source.Ready || !strings.Contains(source.Message, "More than 100 messages") || !strings.Contains(source.Message, "cannot be read") {
			return fmt.Errorf("the policy says %+v, want ready and how many cannot be read", source)
		}
		return nil
	})
	checkReported := func() {
		t.Helper()
		eventually(t, func() error {
			if lines := m.said("message cannot be read"); len(lines) != bad {
				return fmt.Errorf("the log has %d lines about messages that cannot be read, want one for each of %d", len(lines), bad)
			}
			return nil
		})
	}
	checkReported()

	before, err := m.Usage()
	if err != nil {
		t.Fatal(err)
	}
	for round := range rounds {
		f.sim.Advance(visible)
		f.untilEachReceived(bad, round+2)
	}
	after, err := m.Usage()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("resident: %d MB after the first time, %d MB after %d more, at most %d MB", before.Memory>>20, after.Memory>>20, rounds, after.MaxMemory>>20)
	if after.MaxMemory > before.MaxMemory+growth || after.MaxMemory > most {
		t.Errorf("the manager grew from %d to %d MB, want %d MB at most", before.MaxMemory>>20, after.MaxMemory>>20, most>>20)
	}
	checkReported()
}

// untilEachReceived waits until there are n messages in the queue and each was received so often.
func (f *fixture) untilEachReceived(n, times int) {
	f.t.Helper()
	eventually(f.t, func() error {
		messages := f.messages()
		if len(messages) != n {
			return fmt.Errorf("the queue has %d messages, want %d", len(messages), n)
		}
		for i := range messages {
			if messages[i].Receives < times {
				return fmt.Errorf("message %q was received %d times, want %d", messages[i].ID, messages[i].Receives, times)
			}
		}
		return nil
	})
}
