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

// ErrNoAction is that Auto Scaling knows no such lifecycle action: it was completed or timed
// out, or the group has no such hook any more. It may also be one that has begun this moment, or
// that of another account's group of the same name: see Client.GroupInstance.
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
	// Account has the group.
	Account Account
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

type groupKey struct {
	account Account
	name    string
}

// DescribeHooks returns the group's hooks, as they were at most five minutes ago. Its error
// is ErrBusy or says what to do.
func (c *Client) DescribeHooks(ctx context.Context, at Account, group string) ([]Hook, error) {
	key := groupKey{at, group}
	if known, ok := c.hooks.Get(key); ok {
		hooks, _ := known.([]Hook)
		return slices.Clone(hooks), nil
	}
	asked := c.opts.Clock.Now()
	var hooks []Hook
	err := c.call(ctx, at, describeLifecycleHooks, func(ctx context.Context, to *connection) error {
		out, err := to.autoScaling.DescribeLifecycleHooks(ctx, &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: &group})
		if err != nil {
			return err
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

// GroupInstance is an instance in its group. The zero value is none: Auto Scaling lists no such
// instance, which has been terminated or is another account's or region's.
type GroupInstance struct {
	// Group is the group's name.
	Group string
	// State is its lifecycle state, such as Terminating:Wait.
	// https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-lifecycle.html
	State string
}

// Listed reports whether Auto Scaling lists the instance.
func (in GroupInstance) Listed() bool { return in.Group != "" }

// WaitsToTerminate reports whether the instance waits at a termination hook.
func (in GroupInstance) WaitsToTerminate() bool {
	return strings.HasSuffix(in.State, "Terminating:Wait") // also in a warm pool, Warmed:Terminating:Wait
}

// InService reports whether the instance is in service.
func (in GroupInstance) InService() bool { return in.State == "InService" }

// GroupInstance returns the instance as Auto Scaling lists it. Its error is ErrBusy or says what to do.
func (c *Client) GroupInstance(ctx context.Context, at Account, instanceID string) (in GroupInstance, err error) {
	err = c.call(ctx, at, describeAutoScalingInstances, func(ctx context.Context, to *connection) error {
		out, err := to.autoScaling.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{instanceID}})
		if err != nil {
			return err
		}
		for _, instance := range out.AutoScalingInstances {
			if aws.ToString(instance.InstanceId) == instanceID {
				in = GroupInstance{aws.ToString(instance.AutoScalingGroupName), aws.ToString(instance.LifecycleState)}
			}
		}
		return nil
	})
	return in, err
}

// Heartbeat makes the group wait for the hook's heartbeat timeout from now on,
// but not past its global timeout. Its error is ErrNoAction, ErrBusy, or says what to do.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_RecordLifecycleActionHeartbeat.html
func (c *Client) Heartbeat(ctx context.Context, action Action) error {
	if err := action.validate(); err != nil {
		return err
	}
	err := c.call(ctx, action.Account, recordLifecycleActionHeartbeat, func(ctx context.Context, to *connection) error {
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
	err := c.call(ctx, action.Account, completeLifecycleAction, func(ctx context.Context, to *connection) error {
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
var noActionMessage = regexp.MustCompile(`(?i)no active lifecycle action|no lifecycle hook found`)

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
