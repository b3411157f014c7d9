// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nodetermination/operator/controllers/webhook"
)

// Receivers that stall take every slot: the first that is free is for the one that nothing is under way to.
func TestStallingReceiversHoldUpNoOther(t *testing.T) {
	teller := &Teller{Notify: func(string) {}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = teller.Start(ctx) }()
	defer func() { cancel(); <-ended }()
	stalled, release := make(chan struct{}), make(chan struct{})
	stalls := func(ctx context.Context) webhook.Outcome {
		select {
		case stalled <- struct{}{}:
		case <-ctx.Done():
		}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return webhook.Outcome{Result: webhook.Retry}
	}
	for i := range 10 {
		for _, name := range []string{"a", "b", "c", "d"} {
			teller.outcomeOf(attempt{termination: fmt.Sprint(i), webhook: name}, stalls)
		}
	}
	bound := time.After(patience)
	for range maxDeliveries {
		select {
		case <-stalled:
		case <-bound:
			t.Fatal("the receivers that stall do not take every slot")
		}
	}
	told := make(chan struct{})
	teller.outcomeOf(attempt{webhook: "healthy"}, func(context.Context) webhook.Outcome {
		close(told)
		return webhook.Outcome{Result: webhook.Delivered}
	})
	release <- struct{}{}
	select {
	case <-told:
	case <-stalled:
		t.Error("a receiver that stalls has the slot that another waits for")
	case <-bound:
		t.Error("nobody has the slot that is free")
	}
}
