// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
)

const (
	testGroup    = "workers"
	testInstance = "i-1234567890abcdef0"
)

// testGroups is a simulator whose clock stands, with one hook, and the SDK's client.
type testGroups struct {
	*autoscaling.Client
	sim *Server
	t   *testing.T
}

func newTestGroups(t *testing.T, hook LifecycleHook) testGroups {
	t.Helper()
	s := start(t, Options{Now: stopped})
	hook.Group, hook.Name = testGroup, "hook"
	if err := s.PutLifecycleHook(hook); err != nil {
		t.Fatal(err)
	}
	return testGroups{autoscaling.NewFromConfig(sdk(t, s)), s, t}
}

func (g testGroups) begin() string {
	g.t.Helper()
	return must[LifecycleAction](g.t)(g.sim.BeginLifecycleAction(testGroup, "hook", testInstance)).Token
}

func (g testGroups) complete(edit func(*autoscaling.CompleteLifecycleActionInput)) error {
	in := &autoscaling.CompleteLifecycleActionInput{
		AutoScalingGroupName: aws.String(testGroup), LifecycleHookName: aws.String("hook"), LifecycleActionResult: aws.String("CONTINUE"),
	}
	edit(in)
	_, err := g.CompleteLifecycleAction(g.t.Context(), in)
	return err
}

func (g testGroups) heartbeat(token string) error {
	_, err := g.RecordLifecycleActionHeartbeat(g.t.Context(), &autoscaling.RecordLifecycleActionHeartbeatInput{
		AutoScalingGroupName: aws.String(testGroup), LifecycleHookName: aws.String("hook"), LifecycleActionToken: &token,
	})
	return err
}

// state is the instance's lifecycle state as Auto Scaling describes it.
func (g testGroups) state() string {
	g.t.Helper()
	out := must[*autoscaling.DescribeAutoScalingInstancesOutput](g.t)(g.DescribeAutoScalingInstances(g.t.Context(),
		&autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{testInstance}}))
	if len(out.AutoScalingInstances) != 1 || *out.AutoScalingInstances[0].AutoScalingGroupName != testGroup {
		g.t.Fatalf("instances %+v, want one in the group", out.AutoScalingInstances)
	}
	return *out.AutoScalingInstances[0].LifecycleState
}

func (g testGroups) expectInactive(err error, what string) {
	g.t.Helper()
	if errorCode(err) != "ValidationError" || !strings.Contains(err.Error(), "No active Lifecycle Action found with "+what) {
		g.t.Errorf("error %v, want a ValidationError about %s", err, what)
	}
}

func TestAutoScalingComplete(t *testing.T) {
	for _, test := range []struct {
		launching bool
		result    string
		waiting   string
		then      string
	}{
		{false, "CONTINUE", "Terminating:Wait", "Terminating:Proceed"},
		{false, "ABANDON", "Terminating:Wait", "Terminating:Proceed"},
		{true, "CONTINUE", "Pending:Wait", "InService"},
		{true, "ABANDON", "Pending:Wait", "Terminating"},
	} {
		g := newTestGroups(t, LifecycleHook{Launching: test.launching})
		token := g.begin()
		if got := g.state(); got != test.waiting {
			t.Errorf("%+v: the instance is %s", test, got)
		}
		byToken := func(in *autoscaling.CompleteLifecycleActionInput) {
			in.LifecycleActionToken, in.LifecycleActionResult = &token, &test.result
		}
		if err := g.complete(byToken); err != nil {
			t.Errorf("%+v: %v", test, err)
		}
		if got := g.state(); got != test.then {
			t.Errorf("%+v: afterwards the instance is %s", test, got)
		}
		g.expectInactive(g.complete(byToken), "token "+token)
		action := g.sim.LifecycleActions()[0]
		if action.Result != test.result || action.TimedOut || !action.Ended.Equal(epoch) {
			t.Errorf("%+v: recorded as %+v", test, action)
		}
	}
}

func TestAutoScalingCompleteByInstance(t *testing.T) {
	g := newTestGroups(t, LifecycleHook{})
	byInstance := func(in *autoscaling.CompleteLifecycleActionInput) { in.InstanceId = aws.String(testInstance) }
	g.expectInactive(g.complete(byInstance), "instance ID "+testInstance)
	g.begin()
	if err := g.complete(byInstance); err != nil {
		t.Error(err)
	}
}

func TestAutoScalingTwoHooks(t *testing.T) {
	g := newTestGroups(t, LifecycleHook{})
	if err := g.sim.PutLifecycleHook(LifecycleHook{Group: testGroup, Name: "second"}); err != nil {
		t.Fatal(err)
	}
	token := g.begin()
	must[LifecycleAction](t)(g.sim.BeginLifecycleAction(testGroup, "second", testInstance))
	if err := g.complete(func(in *autoscaling.CompleteLifecycleActionInput) { in.LifecycleActionToken = &token }); err != nil {
		t.Fatal(err)
	}
	if got := g.state(); got != "Terminating:Wait" {
		t.Errorf("with one hook left the instance is %s", got)
	}
}

func TestAutoScalingTimeouts(t *testing.T) {
	g := newTestGroups(t, LifecycleHook{HeartbeatTimeout: 30 * time.Second, DefaultResult: "CONTINUE"})
	token := g.begin()
	// Heartbeats hold it open, each for the heartbeat timeout, until the global timeout of 100 of them.
	for elapsed := 20 * time.Second; elapsed < 3000*time.Second; elapsed += 20 * time.Second {
		g.sim.Advance(20 * time.Second)
		if err := g.heartbeat(token); err != nil {
			t.Fatalf("heartbeat after %v: %v", elapsed, err)
		}
	}
	g.sim.Advance(20 * time.Second)
	g.expectInactive(g.heartbeat(token), "token "+token)
	action := g.sim.LifecycleActions()[0]
	if !action.TimedOut || action.Result != "CONTINUE" || !action.Ended.Equal(epoch.Add(3000*time.Second)) || len(action.Heartbeats) != 149 {
		t.Errorf("ended with %d heartbeats as %+v", len(action.Heartbeats), action)
	}

	token = g.begin()
	g.sim.Advance(29 * time.Second)
	if got := g.state(); got != "Terminating:Wait" {
		t.Errorf("before the heartbeat timeout the instance is %s", got)
	}
	g.sim.Advance(time.Second)
	if got := g.state(); got != "Terminating:Proceed" {
		t.Errorf("after the heartbeat timeout the instance is %s", got)
	}
	g.expectInactive(g.heartbeat(token), "token "+token)
}

func TestAutoScalingValidation(t *testing.T) {
	g := newTestGroups(t, LifecycleHook{})
	token := g.begin()
	for want, edit := range map[string]func(*autoscaling.CompleteLifecycleActionInput){
		"AutoScalingGroup name not found": func(in *autoscaling.CompleteLifecycleActionInput) { in.AutoScalingGroupName = aws.String("other") },
		"No Lifecycle Hook found":         func(in *autoscaling.CompleteLifecycleActionInput) { in.LifecycleHookName = aws.String("other") },
		"use CONTINUE or ABANDON":         func(in *autoscaling.CompleteLifecycleActionInput) { in.LifecycleActionResult = aws.String("GO") },
		"length equal to 36":              func(in *autoscaling.CompleteLifecycleActionInput) { in.LifecycleActionToken = aws.String("x") },
		"must be given":                   func(in *autoscaling.CompleteLifecycleActionInput) { in.LifecycleActionToken = nil },
		"instance ID i-22222222": func(in *autoscaling.CompleteLifecycleActionInput) {
			in.LifecycleActionToken, in.InstanceId = nil, aws.String("i-22222222")
		},
	} {
		err := g.complete(func(in *autoscaling.CompleteLifecycleActionInput) {
			in.LifecycleActionToken = &token
			edit(in)
		})
		if errorCode(err) != "ValidationError" || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want a ValidationError with %q", err, want)
		}
	}
	for _, hook := range []LifecycleHook{
		{Name: "a"},
		{Group: "a"},
		{Group: "a", Name: "a", HeartbeatTimeout: time.Second},
		{Group: "a", Name: "a", DefaultResult: "GO"},
	} {
		if err := g.sim.PutLifecycleHook(hook); err == nil {
			t.Errorf("hook %+v was accepted", hook)
		}
	}
	if _, err := g.sim.BeginLifecycleAction("other", "hook", testInstance); err == nil {
		t.Error("began an action of a group that is not there")
	}
}

func TestAutoScalingDescribe(t *testing.T) {
	g := newTestGroups(t, LifecycleHook{HeartbeatTimeout: 2 * time.Hour, Launching: true})
	hooks := must[*autoscaling.DescribeLifecycleHooksOutput](t)(g.DescribeLifecycleHooks(t.Context(), &autoscaling.DescribeLifecycleHooksInput{
		AutoScalingGroupName: aws.String(testGroup), LifecycleHookNames: []string{"hook"},
	})).LifecycleHooks
	if len(hooks) != 1 {
		t.Fatalf("hooks %+v, want one", hooks)
	}
	if h := hooks[0]; *h.HeartbeatTimeout != 7200 || *h.GlobalTimeout != 172_800 || *h.DefaultResult != "ABANDON" ||
		*h.LifecycleTransition != "autoscaling:EC2_INSTANCE_LAUNCHING" || *h.LifecycleHookName != "hook" || *h.AutoScalingGroupName != testGroup {
		t.Errorf("hook %+v", h)
	}
	if _, err := g.DescribeLifecycleHooks(t.Context(), &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: aws.String("other")}); errorCode(err) != "ValidationError" {
		t.Errorf("hooks of another group: %v", err)
	}

	for _, id := range []string{"i-11111111", "i-22222222", "i-33333333"} {
		g.sim.PutGroupInstance(testGroup, id)
	}
	groups := must[*autoscaling.DescribeAutoScalingGroupsOutput](t)(g.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{
		AutoScalingGroupNames: []string{testGroup, "other"},
	})).AutoScalingGroups
	if len(groups) != 1 || len(groups[0].Instances) != 3 || groups[0].Instances[0].LifecycleState != "InService" {
		t.Errorf("groups %+v", groups)
	}
	pages := autoscaling.NewDescribeAutoScalingInstancesPaginator(g, &autoscaling.DescribeAutoScalingInstancesInput{MaxRecords: aws.Int32(2)})
	var sizes []int
	for pages.HasMorePages() {
		sizes = append(sizes, len(must[*autoscaling.DescribeAutoScalingInstancesOutput](t)(pages.NextPage(t.Context())).AutoScalingInstances))
	}
	if len(sizes) != 2 || sizes[0] != 2 || sizes[1] != 1 {
		t.Errorf("pages of %v instances, want 2 and 1", sizes)
	}
}
