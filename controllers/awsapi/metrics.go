// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// hookCallsTotal counts calls that change a lifecycle action.
var hookCallsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "node_termination_lifecycle_hook_calls_total",
	Help: "Calls to Auto Scaling about lifecycle hooks that wait, by call (continue and abandon complete a hook, heartbeat keeps it waiting) and result: succeeded, ended (the hook does not wait any more) or failed.",
}, []string{"call", "result"})

// Calls, as labels. Those that complete a hook are by their Result.
const heartbeatCall = "heartbeat"

var completions = map[Result]string{Continue: "continue", Abandon: "abandon"}

func init() {
	metrics.Registry.MustRegister(hookCallsTotal)
	// All begin at zero, so that a rate sees the first one.
	for _, call := range []string{heartbeatCall, completions[Continue], completions[Abandon]} {
		for _, err := range []error{nil, ErrNoAction, errors.ErrUnsupported} {
			hookCallsTotal.WithLabelValues(call, resultOf(err))
		}
	}
}

// countCall counts a call by its result. One that was not sent does not count.
func countCall(call string, err error) {
	if !errors.Is(err, ErrBusy) {
		hookCallsTotal.WithLabelValues(call, resultOf(err)).Inc()
	}
}

// resultOf returns a call's result, as a label.
func resultOf(err error) string {
	switch {
	case err == nil:
		return "succeeded"
	case errors.Is(err, ErrNoAction):
		return "ended"
	}
	return "failed"
}
