// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// Receivers that stall take every slot: the first that is free is for the one to which nothing is under way.
func TestStallingReceiversHoldUpNoOther(t *testing.T) {
	dispatcher := NewDispatcher(func(string) {})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = dispatcher.Start(ctx) }()
	defer func() { cancel(); <-ended }()
	stalled, release := make(chan struct{}), make(chan struct{})
	stalls := func(ctx context.Context) Outcome {
		select {
		case stalled <- struct{}{}:
		case <-ctx.Done():
		}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return Outcome{Result: Retry}
	}
	for i := range 10 {
		for _, name := range []string{"a", "b", "c", "d"} {
			dispatcher.Deliver(Attempt{Termination: fmt.Sprint(i), Webhook: name}, stalls)
		}
	}
	bound := time.After(time.Minute)
	for range maxDeliveries {
		select {
		case <-stalled:
		case <-bound:
			t.Fatal("the receivers that stall do not take every slot")
		}
	}
	delivered := make(chan struct{})
	dispatcher.Deliver(Attempt{Webhook: "healthy"}, func(context.Context) Outcome {
		close(delivered)
		return Outcome{Result: Delivered}
	})
	release <- struct{}{}
	select {
	case <-delivered:
	case <-stalled:
		t.Error("a receiver that stalls has the slot that another waits for")
	case <-bound:
		t.Error("nobody has the slot that is free")
	}
}
