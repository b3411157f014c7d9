// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
)

// What people delete stays deleted for what was received before, but not for what is said later.
func TestDeletedStaysDeleted(t *testing.T) {
	c := live(t)
	queue, other := newStore(c), newStore(c)
	queue.Memory = NewMemory()
	other.Memory = queue.Memory // of another queue
	mustStore(t, queue, maintenance(time.Minute, time.Hour, false), "node")
	if err := c.Delete(t.Context(), get(t, c, instance)); err != nil {
		t.Fatal(err)
	}
	mustPut(t, other, maintenance(time.Minute, time.Hour, false), "node", Known)
	mustPut(t, queue, maintenance(0, 2*time.Hour, false), "node", Known)
	if err := c.Get(t.Context(), client.ObjectKey{Name: instance}, &v1alpha1.NodeTermination{}); !apierrors.IsNotFound(err) {
		t.Fatalf("it was made anew: %v", err)
	}
	mustStore(t, newStore(c), maintenance(0, time.Hour, false), "node") // of a source that has no memory
	mustStore(t, queue, maintenance(2*time.Minute, time.Hour, false), "node")
}

// Only what is stored is remembered.
func TestFailureIsNotRemembered(t *testing.T) {
	s := newStore(live(t))
	s.Memory = NewMemory()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Put(ctx, fact("a"), "node"); err == nil {
		t.Fatal("it was stored")
	}
	mustPut(t, s, state(0, "running"), "node", NothingToEnd)
	mustStore(t, s, fact("a"), "node")
	mustStore(t, s, state(0, "running"), "node")
}

func TestMemory(t *testing.T) {
	moved := fact("a")
	moved.Event.Deadline = at(time.Hour)
	for name, test := range map[string]struct {
		stored []event.Fact
		asked  event.Fact
		want   bool
	}{
		"nothing":                     {asked: fact("a")},
		"another event":               {stored: []event.Fact{fact("b")}, asked: fact("a")},
		"the same":                    {stored: []event.Fact{fact("a")}, asked: fact("a"), want: true},
		"the same in another boot":    {stored: []event.Fact{fact("a")}, asked: booted(fact("a")), want: true},
		"another in the same second":  {stored: []event.Fact{fact("a")}, asked: moved},
		"a later one":                 {stored: []event.Fact{maintenance(0, 0, false)}, asked: maintenance(1, 0, false)},
		"an earlier one":              {stored: []event.Fact{maintenance(1, 0, false)}, asked: maintenance(0, 0, false), want: true},
		"cancelled in the second":     {stored: []event.Fact{maintenance(0, 0, false)}, asked: maintenance(0, 0, true)},
		"not cancelled in the second": {stored: []event.Fact{maintenance(0, 0, true)}, asked: maintenance(0, 0, false), want: true},
		"stored in the wrong order":   {stored: []event.Fact{maintenance(1, 0, false), maintenance(0, 0, false)}, asked: maintenance(1, 0, false), want: true},
		"a later state in the second": {stored: []event.Fact{state(0, "stopping")}, asked: state(0, "stopped")},
	} {
		m := NewMemory()
		for _, f := range test.stored {
			m.add(instance, f.Event)
		}
		if got := m.knows(instance, test.asked.Event); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
		if m.knows("i-0abc1234def567891", test.asked.Event) {
			t.Errorf("%s: of another instance", name)
		}
	}
}
