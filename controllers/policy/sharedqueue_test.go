// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

func TestLowMaxReceiveCount(t *testing.T) {
	shared := v1alpha1.Source{Name: "shared", SQS: &v1alpha1.SQSSource{QueueURL: queueURL, ClusterName: "production"}}
	own := v1alpha1.Source{Name: "own", SQS: &v1alpha1.SQSSource{QueueURL: queueURL}}
	metadata := v1alpha1.Source{Name: "metadata", IMDS: &v1alpha1.IMDSSource{}}
	for name, test := range map[string]struct {
		sources []v1alpha1.Source
		count   int
		status  metav1.ConditionStatus // empty: there is no condition
	}{
		"no queue":                         {[]v1alpha1.Source{metadata}, 1, ""},
		"a queue of its own":               {[]v1alpha1.Source{own}, 1, ""},
		"no redrive policy, or none known": {[]v1alpha1.Source{metadata, shared}, 0, metav1.ConditionFalse},
		"once":                             {[]v1alpha1.Source{own, shared}, 1, metav1.ConditionTrue},
		"too few":                          {[]v1alpha1.Source{shared}, 19, metav1.ConditionTrue},
		"enough":                           {[]v1alpha1.Source{shared}, 20, metav1.ConditionFalse},
	} {
		t.Run(name, func(t *testing.T) {
			got := lowMaxReceiveCount(test.sources, func(*v1alpha1.SQSSource) int { return test.count })
			switch {
			case got == nil && test.status == "":
			case got == nil || got.Status != test.status:
				t.Errorf("condition %+v, want it %q", got, test.status)
			case got.Status == metav1.ConditionTrue && !strings.HasPrefix(got.Message, "source shared: "):
				t.Errorf("message %s", got.Message)
			}
		})
	}
}
