// SPDX-License-Identifier: Apache-2.0

package event

import "github.com/nodetermination/operator/api/v1alpha1"

// parseCapacityReservationInterruption reads the warning, two minutes ahead,
// that the owner of an interruptible capacity reservation reclaims it.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitor-interruptible-cr.html
func parseCapacityReservationInterruption(b eventBridgeEvent) (Document, error) {
	d, err := b.instance()
	if err != nil {
		return Document{}, err
	}
	e := b.event(v1alpha1.CapacityReservationInterruption)
	e.InstanceAction = cut(d.Action, maxAction)
	e.Deadline = at(b.noticeEnd())
	if stated, err := parseTime("detail.instance-termination-time", d.TerminationTime); err == nil { // optional
		e.Deadline = at(stated)
	}
	return d.fact(e), nil
}
