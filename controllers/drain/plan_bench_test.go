// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"testing"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// A full node: 110 pods, with what makes a plan most work.
func BenchmarkNewPlan(b *testing.B) {
	in := Input{Now: start, Deadline: after(120), Own: own, Drain: &v1alpha1.DrainSpec{Skip: []v1alpha1.PodRule{
		{Namespaces: []string{"monitoring"}}, {PodSelector: selector("app", "agent")},
	}}}
	for i := range 110 {
		pod := newPod(fmt.Sprintf("pod-%03d", 109-i), labelled("app", "web"))
		if i%10 == 0 {
			pod.Preferences = 1 << (i / 10 % 6)
		}
		in.Pods = append(in.Pods, pod)
	}
	b.ReportAllocs()
	for b.Loop() {
		NewPlan(in)
	}
}
