// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// TestLogOfADrain: each line says what it is about under the same keys, and nothing is said twice, though
// a pod is blocked for a while and the termination is looked at many times.
func TestLogOfADrain(t *testing.T) {
	m := startManager(t)
	f := newFixture(t)
	budget := f.budgetForGood()
	node := f.nodes(1)[0]
	f.pods(node, 3, stopsIn(2*time.Second))
	f.pods(node, 1, stuck)
	f.interrupt(node)
	eventually(t, func() error {
		nt, err := f.termination(node)
		if err == nil && len(nt.Status.Blocked) == 0 {
			err = fmt.Errorf("no pod is blocked: %+v", nt.Status.Pods)
		}
		return err
	})
	f.remove(budget)
	nt := f.until(node, v1alpha1.StateCompleted)
	f.remove(nt)
	f.untilNode(node, schedulable)
	m.untilSays(t, "Reverted what was done to the node")

	var got []string
	for _, said := range m.said(instanceOf(node)) {
		var line struct{ Level, Msg, Instance, Node, Policy, Event string }
		if err := json.Unmarshal([]byte(said.text), &line); err != nil {
			t.Fatalf("%q: %v", said.text, err)
		}
		got = append(got, line.Msg)
		if line.Level != "info" || line.Instance != nt.Name || line.Node != node.Name {
			t.Errorf("%s", said.text)
		}
		if event := nt.Spec.Events[0].ID; line.Event != event || line.Policy != f.policy.Name {
			t.Errorf("want policy %s and event %s: %s", f.policy.Name, event, said.text)
		}
	}
	want := []string{
		"event stored", "NodeTermination is " + v1alpha1.StateDraining, "NodeTermination is " + v1alpha1.StateCompleted, "Reverted what was done to the node",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the log says %q, want %q", got, want)
	}
}
