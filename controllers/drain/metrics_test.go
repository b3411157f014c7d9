// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// What a deadline costs a pod is counted by why, once for a pod, and only once it was evicted.
func TestExecutorCountsWhatIsCutShort(t *testing.T) {
	for name, test := range map[string]struct {
		in   Input
		code int32
		want string
	}{
		"time enough":             {in: Input{Deadline: after(60)}},
		"no deadline":             {},
		"clipped":                 {in: Input{Deadline: after(20)}, want: cutByGrace},
		"clipped, but refused":    {in: Input{Deadline: after(20)}, code: 403},
		"clipped, but gone":       {in: Input{Deadline: after(20)}, code: 404},
		"past a budget":           {in: Input{Earliest: after(-60), Deadline: after(20), Blockers: blockedBy(BlockedByBudget, "a")}, want: cutByBudget},
		"past the server":         {in: Input{Earliest: after(-60), Deadline: after(20), Blockers: blockedBy(BlockedByServer, "a")}, want: cutByRefusal},
		"terminating namespace":   {in: Input{Blockers: blockedBy(BlockedByNamespace, "a")}},
		"shortened":               {in: Input{Deadline: after(20), Pods: []Pod{newPod("a", terminating(start, 30))}}, want: cutByGrace},
		"shortened again":         {in: Input{Deadline: after(10), Pods: []Pod{newPod("a", terminating(start, 18))}}},
		"less by the policy":      {in: Input{Deadline: after(20), Drain: &v1alpha1.DrainSpec{PodGracePeriodSeconds: ptr.To[int32](10)}}},
		"clipped from the policy": {in: Input{Deadline: after(20), Drain: &v1alpha1.DrainSpec{PodGracePeriodSeconds: ptr.To[int32](60)}}, want: cutByGrace},
	} {
		t.Run(name, func(t *testing.T) {
			test.in.Now = start
			if test.in.Pods == nil {
				test.in.Pods = []Pod{newPod("a")}
			}
			plan := NewPlan(test.in)
			if len(plan.Actions) != 1 {
				t.Fatalf("%+v", plan)
			}
			counts := func() (all map[string]float64) {
				all = map[string]float64{}
				for _, why := range []string{cutByBudget, cutByRefusal, cutByGrace} {
					all[why] = testutil.ToFloat64(cutShortTotal.WithLabelValues(why))
				}
				return all
			}
			want := counts()
			if test.want != "" {
				want[test.want]++
			}
			e := NewExecutor(ExecutorOptions{Clock: clocktesting.NewFakeClock(start), Client: fakeClient(t, func(*http.Request) (*http.Response, error) {
				return answer(metav1.Status{Code: max(201, test.code)}), nil
			})})
			e.Set("owner", plan.Actions)
			e.sendAll(t.Context())
			e.running.Wait()
			if diff := cmp.Diff(want, counts()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
