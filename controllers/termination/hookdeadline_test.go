// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"testing"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// brief is what a hook's heartbeat timeout is at least.
func brief(hook *awssim.LifecycleHook) { hook.HeartbeatTimeout = 30 * time.Second }

// Not in parallel: the fault is everybody's.
func TestBriefHookIsKeptWaitingWhileHeartbeatsSucceed(t *testing.T) {
	for name, test := range map[string]struct {
		denied bool
		want   time.Duration
	}{
		"ten minutes":                  {want: 10 * time.Minute},
		"one timeout if none succeeds": {denied: true, want: 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSetting(t, 1, nil)
			s.budget()
			if test.denied {
				if _, err := sim.AddFault(awssim.Fault{Action: "RecordLifecycleActionHeartbeat", Code: "AccessDenied"}); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(sim.ClearFaults)
			}
			s.untilHolds(s.terminate(0, s.waits(0, "drain", brief)), func(nt *v1alpha1.NodeTermination) error {
				if len(nt.Status.LifecycleHooks) == 0 || nt.Status.Deadline == nil {
					return fmt.Errorf("hooks %+v", nt.Status.LifecycleHooks)
				}
				hook := nt.Status.LifecycleHooks[0]
				if wait := hook.Deadline.Sub(hook.StartTime.Time); wait > test.want || wait < test.want-5*time.Second {
					return fmt.Errorf("it is kept waiting for %s, want %s", wait, test.want)
				}
				if !nt.Status.Deadline.Equal(&hook.Deadline) {
					return fmt.Errorf("deadline %s, want the hook's, %s", nt.Status.Deadline, hook.Deadline)
				}
				return nil
			})
		})
	}
}
