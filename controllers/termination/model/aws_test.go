// SPDX-License-Identifier: Apache-2.0

package model

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
)

// maintenance is one that AWS has scheduled for a machine.
type maintenance struct {
	number     int
	code       string // of the metadata service
	start, end time.Time
	updated    time.Time
	over       bool
	canceled   bool
	// health: it is received by the queue; listed: the metadata service lists it.
	health, listed bool
	// others: it affects an unknown instance as well.
	others bool
	m      *machine
}

// codes are what a maintenance can do, with what AWS Health calls it.
var codes = []struct{ code, typeCode string }{
	{"instance-reboot", "AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED"},
	{"system-reboot", "AWS_EC2_SYSTEM_REBOOT_MAINTENANCE_SCHEDULED"},
	{"instance-retirement", "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED"},
	{"instance-stop", "AWS_EC2_INSTANCE_STOP_SCHEDULED"},
}

func (m *maintenance) typeCode() string {
	for _, c := range codes {
		if c.code == m.code {
			return c.typeCode
		}
	}
	return ""
}

// eventID returns the id that the metadata service gives it.
func (m *maintenance) eventID() string { return fmt.Sprintf("instance-event-%016x", m.number) }

// touch dates a change of a maintenance: later than the one before.
func (m *maintenance) touch(now time.Time) {
	if next := m.updated.Add(time.Second); now.Before(next) {
		now = next
	}
	m.updated = now
}

// metadata is what an instance's metadata service says. Empty: nothing.
type metadata struct {
	spotAction string
	spotTime   time.Time
	rebalance  time.Time
	target     string
	// maintenance are the lists, scheduled and history.
	maintenance []*maintenance
}

// documents returns the bodies by path, as the watcher reads them.
func (d *metadata) documents() map[string]string {
	bodies := map[string]string{}
	if d.spotAction != "" {
		bodies["spot/instance-action"] = fmt.Sprintf(`{"action":%q,"time":%q}`, d.spotAction, d.spotTime.UTC().Format(time.RFC3339))
	}
	if !d.rebalance.IsZero() {
		bodies["events/recommendations/rebalance"] = fmt.Sprintf(`{"noticeTime":%q}`, d.rebalance.UTC().Format(time.RFC3339))
	}
	bodies["autoscaling/target-lifecycle-state"] = d.target
	var scheduled, history []string
	for _, m := range d.maintenance {
		switch {
		case m.canceled:
			history = append(history, maintenanceEntry(m, "canceled"))
		case m.over:
			history = append(history, maintenanceEntry(m, "completed"))
		default:
			scheduled = append(scheduled, maintenanceEntry(m, "active"))
		}
	}
	bodies["events/maintenance/scheduled"] = "[" + strings.Join(scheduled, ",") + "]"
	bodies["events/maintenance/history"] = "[" + strings.Join(history, ",") + "]"
	return bodies
}

// groupName is the one Auto Scaling group there is.
const groupName = "group"

// wait is a lifecycle action: a group waits at a hook for an instance.
type wait struct {
	hook, token, destination string
	since, lastHeartbeat     time.Time
	timeout, global          time.Duration
	over                     bool
}

// end returns when the group stops to wait.
func (w *wait) end() time.Time {
	end, last := w.lastHeartbeat.Add(w.timeout), w.since.Add(w.global)
	if last.Before(end) {
		return last
	}
	return end
}

// autoScaling answers for EC2 Auto Scaling and EC2: a termination.AWS.
type autoScaling struct{ w *world }

// Instance implements termination.AWS.
func (a autoScaling) Instance(_ awsapi.Account, id string, _ time.Duration) (in awsapi.Instance, known bool, err error) {
	for _, m := range a.w.machines {
		if m.id == id {
			return awsapi.Instance{Found: true, State: m.state}, true, nil
		}
	}
	return awsapi.Instance{}, true, nil
}

// GroupInstance implements termination.AWS.
func (a autoScaling) GroupInstance(_ context.Context, _ awsapi.Account, instanceID string) (awsapi.GroupInstance, error) {
	switch m := a.w.machine(instanceID); {
	case m == nil:
		return awsapi.GroupInstance{}, nil
	case m.waiting() != nil:
		return awsapi.GroupInstance{Group: groupName, State: "Terminating:Wait"}, nil
	case m.inService():
		return awsapi.GroupInstance{Group: groupName, State: "InService"}, nil
	}
	return awsapi.GroupInstance{Group: groupName, State: "Terminating:Proceed"}, nil
}

// DescribeHooks implements termination.AWS.
func (a autoScaling) DescribeHooks(context.Context, awsapi.Account, string) ([]awsapi.Hook, error) {
	var hooks []awsapi.Hook
	for i, name := range hookNames[:a.w.hooks] {
		hooks = append(hooks, awsapi.Hook{Name: name, HeartbeatTimeout: hookTimeouts[i], GlobalTimeout: hookGlobal})
	}
	return hooks, nil
}

// The hooks that the group may have.
var (
	hookNames    = []string{"drain", "logs"}
	hookTimeouts = []time.Duration{30 * time.Minute, 10 * time.Minute}
	hookGlobal   = 2 * time.Hour
)

// find returns the wait that an action is about; nil if the group does not wait there.
func (a autoScaling) find(action awsapi.Action) (*machine, *wait) {
	m := a.w.machine(action.InstanceID)
	if m == nil {
		return nil, nil
	}
	i := slices.IndexFunc(m.waits, func(w *wait) bool {
		return !w.over && w.hook == action.Hook && (action.Token == "" || action.Token == w.token)
	})
	if i < 0 {
		return m, nil
	}
	return m, m.waits[i]
}

// Heartbeat implements termination.AWS.
func (a autoScaling) Heartbeat(_ context.Context, action awsapi.Action) error {
	_, wait := a.find(action)
	if wait == nil {
		return awsapi.ErrNoAction
	}
	wait.lastHeartbeat = a.w.now
	return nil
}

// Complete implements termination.AWS.
func (a autoScaling) Complete(_ context.Context, action awsapi.Action, _ awsapi.Result) error {
	m, wait := a.find(action)
	if wait == nil {
		return awsapi.ErrNoAction
	}
	a.w.completed(m, wait)
	wait.over = true
	a.w.after(time.Second, "the group goes on", m.goOn)
	return nil
}

// waiting returns the first wait that is not over; nil if there is none.
func (m *machine) waiting() *wait {
	for _, w := range m.waits {
		if !w.over {
			return w
		}
	}
	return nil
}

// inService reports whether the group has the instance in service.
func (m *machine) inService() bool {
	return m.state == "running" && len(m.waits) == 0 && !m.inPool && m.metadata.target == "InService"
}

// goOn does what the group has waited for, once it does not wait any more.
func (m *machine) goOn() {
	if len(m.waits) == 0 || m.waiting() != nil {
		return
	}
	destination := m.waits[0].destination
	m.waits = nil
	if destination != "WarmPool" {
		m.terminate()
		return
	}
	m.inPool = true
	m.w.announceState(m, "stopping", 0)
	m.state = "stopped"
	m.setReady(false)
	m.w.after(40*time.Second, "the instance is in the warm pool", func() { m.w.announceState(m, "stopped", 0) })
}

// expire has the group go on where nobody has kept it waiting.
func (m *machine) expire() {
	for _, w := range m.waits {
		if !w.over && !m.w.now.Before(w.end()) {
			w.over = true
			m.w.after(time.Second, "the group goes on", m.goOn)
		}
	}
}

// announceState has EventBridge say which state the instance has entered.
func (w *world) announceState(m *machine, state string, delay time.Duration) {
	w.send(stateDocument(w.now, m.id, state), "state "+state, delay)
}

// actionFor returns what the policies that there are do about a kind: false if they differ,
// there is none, or one of them is in mode DryRun.
func (w *world) actionFor(kind v1alpha1.EventKind) (v1alpha1.EventAction, bool) {
	var action v1alpha1.EventAction
	for i := range w.api.policies {
		p := &w.api.policies[i]
		if p.Spec.Mode == v1alpha1.ModeDryRun {
			continue
		}
		got := actionOf(p, kind)
		if action != "" && got != action {
			return "", false
		}
		action = got
	}
	return action, action != ""
}

// actionOf returns what a policy does about a kind.
func actionOf(policy *v1alpha1.NodeTerminationPolicy, kind v1alpha1.EventKind) v1alpha1.EventAction {
	for _, rule := range policy.Spec.Events {
		if rule.Kind == kind {
			return rule.Action
		}
	}
	if kind == v1alpha1.RebalanceRecommendation {
		return v1alpha1.ActionCordon
	}
	return v1alpha1.ActionCordonAndDrain
}
