// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	autoScalingVersion   = "2011-01-01"
	autoScalingNamespace = "http://autoscaling.amazonaws.com/doc/2011-01-01/"

	launching   = "autoscaling:EC2_INSTANCE_LAUNCHING"
	terminating = "autoscaling:EC2_INSTANCE_TERMINATING"
)

// autoScaling is Auto Scaling's groups, hooks and lifecycle actions.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/Welcome.html
type autoScaling struct {
	service
	server *Server

	mu      sync.Mutex
	groups  map[string]*group
	actions []*LifecycleAction // in the order they began
}

type group struct {
	account   string
	hooks     map[string]LifecycleHook
	instances map[string]string // ID to lifecycle state
}

// LifecycleHook is a hook of an Auto Scaling group.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LifecycleHook.html
type LifecycleHook struct {
	Group string `json:"group"`
	Name  string `json:"name"`
	// Account has the group, which only its callers see. Default: Account.
	Account string `json:"account,omitempty"`
	// Launching makes it a hook of launches instead of terminations.
	Launching bool `json:"launching,omitempty"`
	// HeartbeatTimeout is how long the action stays open after its start or a heartbeat, in
	// nanoseconds in JSON. Default an hour. The global timeout is 100 of them, 48 hours at most.
	HeartbeatTimeout time.Duration `json:"heartbeatTimeout,omitempty"`
	// DefaultResult when it times out: CONTINUE or ABANDON (default).
	DefaultResult string `json:"defaultResult,omitempty"`
}

func (h LifecycleHook) transition() string {
	if h.Launching {
		return launching
	}
	return terminating
}

func (h LifecycleHook) globalTimeout() time.Duration {
	return min(100*h.HeartbeatTimeout, 48*time.Hour)
}

// LifecycleAction is one wait of an instance for a hook.
type LifecycleAction struct {
	Token      string        `json:"token"`
	Hook       LifecycleHook `json:"hook"`
	InstanceID string        `json:"instanceID"`
	Begun      time.Time     `json:"begun"`
	// Deadline is when it times out unless there is a heartbeat, at the latest GlobalDeadline.
	Deadline       time.Time   `json:"deadline"`
	GlobalDeadline time.Time   `json:"globalDeadline"`
	Heartbeats     []time.Time `json:"heartbeats,omitempty"`
	// Result is CONTINUE or ABANDON once it has ended, at Ended, by CompleteLifecycleAction or because it TimedOut.
	Result   string    `json:"result,omitempty"`
	Ended    time.Time `json:"ended,omitzero"`
	TimedOut bool      `json:"timedOut,omitempty"`
}

func newAutoScaling(server *Server) *autoScaling {
	s := &autoScaling{server: server, groups: map[string]*group{}}
	s.service = service{name: "autoscaling", encode: queryEncoder{autoScalingNamespace}, actions: map[string]handler{
		"DescribeLifecycleHooks":         s.describeLifecycleHooks,
		"CompleteLifecycleAction":        s.completeLifecycleAction,
		"RecordLifecycleActionHeartbeat": s.recordLifecycleActionHeartbeat,
		"DescribeAutoScalingInstances":   s.describeInstances,
		"DescribeAutoScalingGroups":      s.describeGroups,
	}}
	return s
}

func validationError(format string, args ...any) *apiError {
	return &apiError{Code: "ValidationError", Message: fmt.Sprintf(format, args...)}
}

// PutLifecycleHook creates or replaces a hook, and its group if there is none of the name.
func (s *Server) PutLifecycleHook(hook LifecycleHook) error {
	if hook.HeartbeatTimeout == 0 {
		hook.HeartbeatTimeout = time.Hour
	}
	hook.DefaultResult = cmp.Or(hook.DefaultResult, "ABANDON")
	switch {
	case hook.Group == "" || hook.Name == "":
		return validationError("A hook needs the name of its group and one of its own.")
	case hook.HeartbeatTimeout < 30*time.Second || hook.HeartbeatTimeout > 2*time.Hour:
		return validationError("Heartbeat timeout %v: use 30s to 2h.", hook.HeartbeatTimeout)
	case hook.DefaultResult != "CONTINUE" && hook.DefaultResult != "ABANDON":
		return validationError("Default result %q: use CONTINUE or ABANDON.", hook.DefaultResult)
	}
	s.asg.mu.Lock()
	defer s.asg.mu.Unlock()
	g := s.asg.group(hook.Group)
	g.hooks[hook.Name] = hook
	g.account = cmp.Or(hook.Account, g.account)
	return nil
}

// PutGroupInstance puts an instance into the group, in service; the group is created if there is none of the name.
func (s *Server) PutGroupInstance(groupName, instanceID string) {
	s.asg.mu.Lock()
	defer s.asg.mu.Unlock()
	s.asg.group(groupName).instances[instanceID] = "InService"
}

// BeginLifecycleAction lets the instance wait for the hook, as a launch or termination would, and
// sends nothing: Server.Send does both. It fails if there is no such hook.
func (s *Server) BeginLifecycleAction(groupName, hookName, instanceID string) (LifecycleAction, error) {
	s.asg.mu.Lock()
	defer s.asg.mu.Unlock()
	hook, err := s.asg.hook(groupName, hookName)
	if err != nil {
		return LifecycleAction{}, err
	}
	return s.asg.begin(hook, instanceID), nil
}

// LifecycleActions returns all lifecycle actions, open or ended, in the order they began.
func (s *Server) LifecycleActions() []LifecycleAction {
	s.asg.mu.Lock()
	defer s.asg.mu.Unlock()
	s.asg.settle(s.now())
	all := make([]LifecycleAction, len(s.asg.actions))
	for i, action := range s.asg.actions {
		all[i] = *action
		all[i].Heartbeats = slices.Clone(action.Heartbeats)
	}
	return all
}

// group finds or makes a group.
func (s *autoScaling) group(name string) *group {
	if s.groups[name] == nil {
		s.groups[name] = &group{account: Account, hooks: map[string]LifecycleHook{}, instances: map[string]string{}}
	}
	return s.groups[name]
}

// visible returns a group of the caller's account.
func (s *autoScaling) visible(req *request, name string) (*group, error) {
	g, ok := s.groups[name]
	if !ok || g.account != req.account {
		return nil, validationError("AutoScalingGroup name not found - AutoScalingGroup %s not found", name)
	}
	return g, nil
}

func (s *autoScaling) hook(groupName, hookName string) (LifecycleHook, error) {
	g, ok := s.groups[groupName]
	if !ok {
		return LifecycleHook{}, validationError("AutoScalingGroup name not found - AutoScalingGroup %s not found", groupName)
	}
	hook, ok := g.hooks[hookName]
	if !ok {
		return LifecycleHook{}, validationError("No Lifecycle Hook found with name %s in AutoScalingGroup %s", hookName, groupName)
	}
	return hook, nil
}

func (s *autoScaling) begin(hook LifecycleHook, instanceID string) LifecycleAction {
	now := s.server.now()
	action := &LifecycleAction{
		Token: newUUID(), Hook: hook, InstanceID: instanceID, Begun: now,
		Deadline: now.Add(hook.HeartbeatTimeout), GlobalDeadline: now.Add(hook.globalTimeout()),
	}
	s.actions = append(s.actions, action)
	state := "Terminating:Wait"
	if hook.Launching {
		state = "Pending:Wait"
	}
	s.group(hook.Group).instances[instanceID] = state
	return *action
}

// beginFor begins the lifecycle action that the notice is about.
func (s *autoScaling) beginFor(n Notice) (LifecycleAction, error) {
	s.mu.Lock()
	_, err := s.hook(n.Group, n.Hook)
	s.mu.Unlock()
	if err != nil {
		if err := s.server.PutLifecycleHook(LifecycleHook{Group: n.Group, Name: n.Hook, Launching: n.Launching}); err != nil {
			return LifecycleAction{}, err
		}
	}
	return s.server.BeginLifecycleAction(n.Group, n.Hook, n.InstanceIDs[0])
}

// settle ends the actions that have timed out.
func (s *autoScaling) settle(now time.Time) {
	for _, action := range s.actions {
		if action.Result == "" && !action.Deadline.After(now) {
			action.TimedOut = true
			s.end(action, action.Hook.DefaultResult, action.Deadline)
		}
	}
}

// end ends an action; the instance proceeds when nothing else holds it.
func (s *autoScaling) end(action *LifecycleAction, result string, at time.Time) {
	action.Result, action.Ended = result, at
	for _, other := range s.actions {
		if other.Result == "" && other.InstanceID == action.InstanceID && other.Hook.Group == action.Hook.Group {
			return
		}
	}
	state := "Terminating:Proceed"
	if action.Hook.Launching {
		state = "InService"
		if result == "ABANDON" {
			state = "Terminating"
		}
	}
	s.group(action.Hook.Group).instances[action.InstanceID] = state
}

// active finds the open action that a call names, by token or by instance.
func (s *autoScaling) active(req *request) (*LifecycleAction, error) {
	if _, err := s.visible(req, req.form.Get("AutoScalingGroupName")); err != nil {
		return nil, err
	}
	hook, err := s.hook(req.form.Get("AutoScalingGroupName"), req.form.Get("LifecycleHookName"))
	if err != nil {
		return nil, err
	}
	token, instance := req.form.Get("LifecycleActionToken"), req.form.Get("InstanceId")
	switch {
	case token == "" && instance == "":
		return nil, validationError("Either an instance ID or a lifecycle action token must be given.")
	case token != "" && len(token) != 36:
		return nil, validationError("1 validation error detected: Value '%s' at 'lifecycleActionToken' failed to satisfy constraint: Member must have length equal to 36", token)
	}
	for _, action := range s.actions {
		if action.Result == "" && action.Hook.Group == hook.Group && action.Hook.Name == hook.Name &&
			(token == "" || token == action.Token) && (instance == "" || instance == action.InstanceID) {
			return action, nil
		}
	}
	if token != "" {
		return nil, validationError("No active Lifecycle Action found with token %s", token)
	}
	return nil, validationError("No active Lifecycle Action found with instance ID %s", instance)
}

// completeLifecycleAction implements CompleteLifecycleAction.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CompleteLifecycleAction.html
func (s *autoScaling) completeLifecycleAction(req *request) (any, error) {
	result := req.form.Get("LifecycleActionResult")
	if result != "CONTINUE" && result != "ABANDON" {
		return nil, validationError("Invalid lifecycle action result %q: use CONTINUE or ABANDON", result)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.server.now()
	s.settle(now)
	action, err := s.active(req)
	if err != nil {
		return nil, err
	}
	s.end(action, result, now)
	return struct{}{}, nil
}

// recordLifecycleActionHeartbeat implements RecordLifecycleActionHeartbeat.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_RecordLifecycleActionHeartbeat.html
func (s *autoScaling) recordLifecycleActionHeartbeat(req *request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.server.now()
	s.settle(now)
	action, err := s.active(req)
	if err != nil {
		return nil, err
	}
	action.Heartbeats = append(action.Heartbeats, now)
	action.Deadline = now.Add(action.Hook.HeartbeatTimeout)
	if action.Deadline.After(action.GlobalDeadline) {
		action.Deadline = action.GlobalDeadline
	}
	return struct{}{}, nil
}
