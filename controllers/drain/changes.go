// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"context"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
)

// changes holds back the names of what has changed for the delay given to AddAfter, so
// that many changes of one name in that time become one. Adding to it does not wait for notify.
type changes = workqueue.TypedDelayingInterface[string]

// newChanges returns no changes yet. They are held until notifyOf runs.
func newChanges(clock clock.WithTicker) changes {
	return workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[string]{Clock: clock})
}

// notifyOf calls notify for each change that is due, one after the other, until ctx is done.
func notifyOf(ctx context.Context, changes changes, notify func(name string)) {
	context.AfterFunc(ctx, changes.ShutDown)
	for {
		name, shutdown := changes.Get()
		if shutdown || ctx.Err() != nil {
			return
		}
		notify(name)
		changes.Done(name)
	}
}
