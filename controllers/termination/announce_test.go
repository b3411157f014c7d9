// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/testcluster"
)

// Each step is told on the Node and the NodeTermination, and each pod that is told to go has one
// event, which says why and by when.
func TestKubernetesEventsTellTheStory(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.KubernetesEvents = &v1alpha1.KubernetesEvents{Mode: v1alpha1.KubernetesEventsEmit, Annotations: map[string]string{"team": "platform"}}
	})
	node := s.nodes[0].Name
	pods := cluster.CreatePods(t, s.ns, node, 3, grace(2))
	nt := s.until(s.terminate(0, notice("a", 2*time.Minute)), v1alpha1.StateCompleted)
	want := map[string]string{} // the notes' beginnings
	for _, about := range []string{"Node/" + node, "NodeTermination/" + nt.Name} {
		want[about+"/Draining"], want[about+"/Completed"] = "SpotInterruption: ", "SpotInterruption: "+meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady).Message
	}
	for _, pod := range pods {
		want["Pod/"+pod.Name+"/Evicted"] = "SpotInterruption: its node " + node + " is about to go away, at " + inClock(nt.Status.Deadline.Time)
	}
	testcluster.Eventually(t, patience, func() error {
		var list eventsv1.EventList
		if err := admin.List(t.Context(), &list); err != nil {
			return err
		}
		seen := map[string]int{}
		for i := range list.Items {
			e := &list.Items[i]
			key := e.Regarding.Kind + "/" + e.Regarding.Name + "/" + e.Reason
			note, wanted := want[key]
			if !wanted {
				continue
			}
			seen[key]++
			if e.ReportingController != v1alpha1.FieldManager || e.Annotations["team"] != "platform" || !strings.HasPrefix(e.Note, note) || e.Series != nil {
				t.Errorf("%s: %+v, want %q", key, e, note)
			}
		}
		for key := range want {
			if seen[key] != 1 {
				return fmt.Errorf("%d events %s, want one", seen[key], key)
			}
		}
		return nil
	})
}
