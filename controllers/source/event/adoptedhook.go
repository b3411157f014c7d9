// SPDX-License-Identifier: Apache-2.0

package event

import (
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// MaxHookWait is how long a group waits at a hook at the most.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LifecycleHook.html
const MaxHookWait = 48 * time.Hour

// AdoptedHook is a hook that a policy adopts, and the message of a queue that is about
// it. The message stays in the queue until the hook is completed.
type AdoptedHook struct {
	// InstanceID is the EC2 instance that waits.
	InstanceID string
	// Hook is where it waits.
	Hook v1alpha1.LifecycleHook
	// Launching: it is a launch hook, which waits for the instance's node. Otherwise it is
	// a termination hook of an instance that has no node.
	Launching bool
	// Sent is when the message entered the queue.
	Sent time.Time
	// Receipt is the latest receipt handle of the message.
	Receipt string
}
