// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// minMaxReceiveCount is how often a message of a queue that clusters share should be received at
// the least before SQS moves it away: each cluster may receive those of the others a few times.
const minMaxReceiveCount = 20

// lowMaxReceiveCount returns the condition that says whether a queue that clusters share moves
// messages to its dead-letter queue too soon; nil if no source is such a queue. maxReceiveCount returns that of
// a queue's redrive policy, zero if there is none or it is not known.
func lowMaxReceiveCount(sources []v1alpha1.Source, maxReceiveCount func(*v1alpha1.SQSSource) int) *metav1.Condition {
	var condition *metav1.Condition
	for _, source := range sources {
		if source.SQS == nil || source.SQS.ClusterName == "" {
			continue
		}
		if count := maxReceiveCount(source.SQS); count > 0 && count < minMaxReceiveCount {
			return &metav1.Condition{
				Type: v1alpha1.ConditionLowMaxReceiveCount, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonMaxReceiveCount,
				Message: fmt.Sprintf("source %s: the queue moves a message to its dead-letter queue when it was received %d times, which may be before the right cluster has received it: set maxReceiveCount in its redrive policy to at least %d, such as 100",
					source.Name, count, minMaxReceiveCount),
			}
		}
		condition = &metav1.Condition{
			Type: v1alpha1.ConditionLowMaxReceiveCount, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonEnoughReceives,
			Message: "no queue that clusters share is known to move messages to a dead-letter queue too soon",
		}
	}
	return condition
}
