// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"fmt"
	"testing"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// What is remembered is bounded, each hook once and with its latest receipt.
func TestAdoptions(t *testing.T) {
	a := newAdoptions()
	hook := func(i int) *adopted {
		return &adopted{instanceID: fmt.Sprint("i", i/2), hook: v1alpha1.LifecycleHook{Name: fmt.Sprint(i)}, sent: epoch, handle: "first"}
	}
	for i := range maxAdopted + 10 {
		a.add(hook(i))
	}
	again := hook(0)
	again.handle = "second"
	a.add(again)
	due, next := a.take(epoch, maxAdopted+10)
	if len(due) != maxAdopted || len(a.handles()) != maxAdopted || !next.IsZero() {
		t.Fatalf("%d hooks are due, %d remembered, next %s", len(due), len(a.handles()), next)
	}
	if due, _ := a.take(epoch, maxAdopted+10); len(due) != 0 {
		t.Errorf("%d hooks are due twice", len(due))
	}
	for i, h := range due {
		if want := map[bool]string{true: "second", false: "first"}[h.hook.Name == "0"]; h.handle != want {
			t.Errorf("hook %s has the %s receipt", h.hook.Name, h.handle)
		}
		switch i % 2 {
		case 0:
			a.forget(h)
		case 1:
			a.putBack(h, epoch.Add(time.Minute))
		}
	}
	due, next = a.take(epoch, maxAdopted)
	if len(due) != 0 || !next.Equal(epoch.Add(time.Minute)) {
		t.Errorf("%d are due before their time, next %s", len(due), next)
	}
	if due, _ = a.take(epoch.Add(time.Minute), 7); len(due) != 7 {
		t.Errorf("%d are taken, want 7", len(due))
	}
	for _, h := range due {
		a.putBack(h, time.Time{})
	}
	if a.take(epoch.Add(hookLife), maxAdopted); a.count != 0 || len(a.hooks) != 0 || a.busy != 0 {
		t.Errorf("after two days %d are remembered, %d busy", a.count, a.busy)
	}
}
