// SPDX-License-Identifier: Apache-2.0

package event

import "github.com/nodetermination/operator/api/v1alpha1"

// parseSpotInterruption reads the notice that a spot instance is interrupted.
// It comes two minutes ahead, except that hibernation begins at once.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
func parseSpotInterruption(b eventBridgeEvent) (Document, error) {
	d, err := b.instance()
	if err != nil {
		return Document{}, err
	}
	e := b.event(v1alpha1.SpotInterruption)
	e.InstanceAction = cut(d.Action, maxAction)
	e.Deadline = at(b.noticeEnd())
	if d.Action == "hibernate" {
		e.Deadline = at(b.time)
	}
	return d.fact(e), nil
}
