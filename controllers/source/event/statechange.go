// SPDX-License-Identifier: Apache-2.0

package event

import "github.com/nodetermination/operator/api/v1alpha1"

const stateRunning = "running"

// parseStateChange reads what state an instance has entered. A state that ends the
// instance has its own time as the deadline: there is no notice. Running is a fact too,
// see Resolves.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html
func parseStateChange(b eventBridgeEvent) (Document, error) {
	d, err := b.instance()
	if err != nil {
		return Document{}, err
	}
	if err := required("detail.state", d.State, "an instance state such as running or stopping"); err != nil {
		return Document{}, err
	}
	e := b.event(v1alpha1.InstanceStateChange)
	e.InstanceAction = d.State
	switch d.State {
	case stateRunning:
	case "stopping", "stopped", "shutting-down", "terminated":
		e.Deadline = at(b.time)
	default:
		return Document{Passed: "instance state " + quote(d.State) + " ends nothing"}, nil
	}
	return d.fact(e), nil
}
