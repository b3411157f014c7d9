// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/smithy-go"
)

// ErrNoAction is that the group does not wait at the hook: the action was completed
// or timed out, or there is no such hook or group any more.
var ErrNoAction = errors.New("the Auto Scaling group does not wait at the hook")

// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2autoscaling.html
const (
	describeLifecycleHooks         Operation = "autoscaling:DescribeLifecycleHooks"
	describeAutoScalingInstances   Operation = "autoscaling:DescribeAutoScalingInstances"
	recordLifecycleActionHeartbeat Operation = "autoscaling:RecordLifecycleActionHeartbeat"
	completeLifecycleAction        Operation = "autoscaling:CompleteLifecycleAction"
)

// hooksAge is for how long the hooks of a group are remembered.
const hooksAge = 5 * time.Minute

// Action is a lifecycle action: one wait of an instance at a lifecycle hook.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html
type Action struct {
	// Region of the group. Empty: the SDK's own chain, such as AWS_REGION.
	Region string
	// Group and Hook are names.
	Group, Hook string
	// Token and InstanceID say which action it is: one of them is enough, and
	// both are sent if both are there.
	Token, InstanceID string
}

// Result is how a lifecycle action ends.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CompleteLifecycleAction.html
type Result string

// How a lifecycle action ends. A termination goes on with either; Abandon also
// ends the instance's other actions, and terminates an instance that is launched.
const (
	Continue Result = "CONTINUE"
	Abandon  Result = "ABANDON"
)

// Hook is a lifecycle hook of a group.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LifecycleHook.html
type Hook struct {
	Name string
	// Launching: instances wait at it when they are launched, otherwise when they are terminated.
	Launching bool
	// HeartbeatTimeout is how long the group waits after the action's start or a
	// heartbeat, GlobalTimeout how long it waits in all. Zero: AWS did not say.
	HeartbeatTimeout, GlobalTimeout time.Duration
}

type groupKey struct{ region, name string }

// DescribeHooks returns the group's hooks, as they were at most five minutes ago. Its error
// is ErrNoAction if there is no such group, ErrBusy, or says what to do.
func (c *Client) DescribeHooks(ctx context.Context, region, group string) ([]Hook, error) {
	key := groupKey{region, group}
	if known, ok := c.hooks.Get(key); ok {
		hooks, _ := known.([]Hook)
		return slices.Clone(hooks), nil
	}
	asked := c.opts.Clock.Now()
	var hooks []Hook
	err := c.call(ctx, region, describeLifecycleHooks, func(ctx context.Context, to *connection) error {
		out, err := to.autoScaling.DescribeLifecycleHooks(ctx, &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: &group})
		if err != nil {
			return noAction(err)
		}
		for _, hook := range out.LifecycleHooks {
			hooks = append(hooks, Hook{
				Name:             aws.ToString(hook.LifecycleHookName),
				Launching:        aws.ToString(hook.LifecycleTransition) == "autoscaling:EC2_INSTANCE_LAUNCHING",
				HeartbeatTimeout: seconds(hook.HeartbeatTimeout),
				GlobalTimeout:    seconds(hook.GlobalTimeout),
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.hooks.Set(key, hooks, hooksAge-c.opts.Clock.Since(asked))
	return slices.Clone(hooks), nil
}

// seconds returns the duration of so many seconds, zero if AWS did not say.
func seconds(n *int32) time.Duration {
	return time.Duration(aws.ToInt32(n)) * time.Second
}

// TerminatingGroup returns the name of the group in which the instance waits at a
// termination hook; empty if it waits at none. Its error is ErrBusy or says what to do.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-lifecycle.html
func (c *Client) TerminatingGroup(ctx context.Context, region, instanceID string) (string, error) {
	group, state, err := c.lifecycleState(ctx, region, instanceID)
	// Warmed:Terminating:Wait is the same in a warm pool.
	if err != nil || !strings.HasSuffix(state, "Terminating:Wait") {
		return "", err
	}
	return group, nil
}

// InService reports whether the instance is in service in its group. The error is that of
// TerminatingGroup.
func (c *Client) InService(ctx context.Context, region, instanceID string) (bool, error) {
	_, state, err := c.lifecycleState(ctx, region, instanceID)
	return state == "InService", err
}

// lifecycleState returns the instance's group and its lifecycle state there; empty if it is in none.
func (c *Client) lifecycleState(ctx context.Context, region, instanceID string) (group, state string, err error) {
	err = c.call(ctx, region, describeAutoScalingInstances, func(ctx context.Context, to *connection) error {
		out, err := to.autoScaling.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{instanceID}})
		if err != nil {
			return err
		}
		for _, instance := range out.AutoScalingInstances {
			if aws.ToString(instance.InstanceId) == instanceID {
				group, state = aws.ToString(instance.AutoScalingGroupName), aws.ToString(instance.LifecycleState)
			}
		}
		return nil
	})
	return group, state, err
}

// Heartbeat makes the group wait for the hook's heartbeat timeout from now on,
// but not past its global timeout. Its error is ErrNoAction, ErrBusy, or says what to do.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_RecordLifecycleActionHeartbeat.html
func (c *Client) Heartbeat(ctx context.Context, action Action) error {
	if err := action.validate(); err != nil {
		return err
	}
	err := c.call(ctx, action.Region, recordLifecycleActionHeartbeat, func(ctx context.Context, to *connection) error {
		_, err := to.autoScaling.RecordLifecycleActionHeartbeat(ctx, &autoscaling.RecordLifecycleActionHeartbeatInput{
			AutoScalingGroupName: &action.Group, LifecycleHookName: &action.Hook,
			LifecycleActionToken: unlessEmpty(action.Token), InstanceId: unlessEmpty(action.InstanceID),
		})
		return noAction(err)
	})
	countCall(heartbeatCall, err)
	return err
}

// Complete ends the group's wait. Its error is ErrNoAction, ErrBusy, or says what
// to do. ErrNoAction may follow a call that was carried out and whose answer was lost.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CompleteLifecycleAction.html
func (c *Client) Complete(ctx context.Context, action Action, result Result) error {
	if err := action.validate(); err != nil {
		return err
	}
	err := c.call(ctx, action.Region, completeLifecycleAction, func(ctx context.Context, to *connection) error {
		_, err := to.autoScaling.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{
			AutoScalingGroupName: &action.Group, LifecycleHookName: &action.Hook, LifecycleActionResult: aws.String(string(result)),
			LifecycleActionToken: unlessEmpty(action.Token), InstanceId: unlessEmpty(action.InstanceID),
		})
		return noAction(err)
	})
	countCall(completions[result], err)
	return err
}

// noActionMessage is how Auto Scaling says ErrNoAction, under the code of every invalid parameter.
var noActionMessage = regexp.MustCompile(`(?i)no active lifecycle action|no lifecycle hook found|autoscalinggroup name not found`)

// noAction returns ErrNoAction with its details if err means that, else err itself.
func noAction(err error) error {
	answer, ok := errors.AsType[smithy.APIError](err)
	if ok && answer.ErrorCode() == "ValidationError" && noActionMessage.MatchString(answer.ErrorMessage()) {
		return fmt.Errorf("%w any more: %s", ErrNoAction, detailOf(Refused, err))
	}
	return err
}

// validate returns an error unless the action can be named to AWS.
func (a Action) validate() error {
	if a.Group == "" || a.Hook == "" || a.Token == "" && a.InstanceID == "" {
		return fmt.Errorf("group %q, hook %q, token %q, instance %q name no lifecycle action: give the group, the hook, and the token or the instance",
			a.Group, a.Hook, a.Token, a.InstanceID)
	}
	return nil
}

// unlessEmpty returns nil for an empty parameter, which is not sent.
func unlessEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
