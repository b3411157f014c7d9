// SPDX-License-Identifier: Apache-2.0

package event

import (
	"slices"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const stateRunning = "running"

// statesInOrder are the states that end an instance, as one follows the other. Two of them
// may have the same time.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
var statesInOrder = []string{"stopping", "stopped", "shutting-down", "terminated"}

// parseStateChange reads what state an instance has entered. AWS gives no time for the
// shutdown of the operating system: the deadline is an estimate. Running is a fact too,
// with an entry of its own: see Resolves.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html
func parseStateChange(b eventBridgeEvent) (Document, error) {
	d, err := b.instance()
	if err != nil {
		return Document{}, err
	}
	if err := required("detail.state", d.State, "an instance state such as running or stopping"); err != nil {
		return Document{}, err
	}
	const shutdown = 2 * time.Minute
	e := b.event(v1alpha1.InstanceStateChange)
	e.InstanceAction = d.State
	switch {
	case d.State == stateRunning:
		e.ID += "-" + stateRunning
	case slices.Contains(statesInOrder, d.State):
		e.Deadline = at(b.time.Add(shutdown))
	default:
		return Document{Passed: "instance state " + quote(d.State) + " ends nothing"}, nil
	}
	return d.fact(e), nil
}
