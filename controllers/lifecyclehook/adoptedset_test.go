// SPDX-License-Identifier: Apache-2.0

package lifecyclehook

import (
	"fmt"
	"testing"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/source/event"
)

// What is remembered is bounded, each hook once and with its latest receipt.
func TestAdoptedSet(t *testing.T) {
	a := newAdoptedSet()
	hook := func(i int) event.AdoptedHook {
		return event.AdoptedHook{InstanceID: fmt.Sprint("i", i/2), Hook: v1alpha1.LifecycleHook{Name: fmt.Sprint(i)}, Sent: start, Receipt: "first"}
	}
	for i := range maxAdopted + 10 {
		a.add(hook(i))
	}
	again := hook(0)
	again.Receipt = "second"
	a.add(again)
	due, next := a.take(start, maxAdopted+10)
	if len(due) != maxAdopted || len(a.receipts()) != maxAdopted || !next.IsZero() {
		t.Fatalf("%d hooks are due, %d remembered, next %s", len(due), len(a.receipts()), next)
	}
	if due, _ := a.take(start, maxAdopted+10); len(due) != 0 {
		t.Errorf("%d hooks are due twice", len(due))
	}
	for i, h := range due {
		if want := map[bool]string{true: "second", false: "first"}[h.Hook.Name == "0"]; h.Receipt != want {
			t.Errorf("hook %s has the %s receipt", h.Hook.Name, h.Receipt)
		}
		switch i % 2 {
		case 0:
			a.remove(h)
		case 1:
			a.putBack(h, start.Add(time.Minute))
		}
	}
	due, next = a.take(start, maxAdopted)
	if len(due) != 0 || !next.Equal(start.Add(time.Minute)) {
		t.Errorf("%d are due before their time, next %s", len(due), next)
	}
	if due, _ = a.take(start.Add(time.Minute), 7); len(due) != 7 {
		t.Errorf("%d are taken, want 7", len(due))
	}
	for _, h := range due {
		a.putBack(h, time.Time{})
	}
	if a.take(start.Add(event.MaxHookWait), maxAdopted); a.count != 0 || len(a.hooks) != 0 || a.busy != 0 {
		t.Errorf("after two days %d are remembered, %d busy", a.count, a.busy)
	}
}
