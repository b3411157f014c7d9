// SPDX-License-Identifier: Apache-2.0

package event

import "github.com/nodetermination/operator/api/v1alpha1"

// parseRebalanceRecommendation reads the signal that a spot instance is at
// elevated risk of interruption. It has no deadline.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
func parseRebalanceRecommendation(b eventBridgeEvent) (Document, error) {
	d, err := b.instance()
	if err != nil {
		return Document{}, err
	}
	return d.fact(b.event(v1alpha1.RebalanceRecommendation)), nil
}
