// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// The SDK's own provider assumes the role, and the calls made with it are logged with the role.
func TestSTSAssumeRole(t *testing.T) {
	const role = "arn:aws:iam::210987654321:role/team/queue"
	q := newTestQueue(t, Options{Now: stopped}, nil)
	cfg := sdk(t, q.sim)
	identity := func(cfg aws.Config) string {
		return *must[*sts.GetCallerIdentityOutput](t)(sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})).Arn
	}
	if got := identity(cfg); got != "arn:aws:iam::123456789012:user/awssim" {
		t.Errorf("without a role the caller is %s", got)
	}
	provider := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), role, func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = "operator" })
	credentials := must[aws.Credentials](t)(provider.Retrieve(t.Context()))
	if want := epoch.Add(15 * time.Minute); !credentials.Expires.Equal(want) {
		t.Errorf("credentials expire at %v, want %v", credentials.Expires, want)
	}
	assumed := cfg.Copy()
	assumed.Credentials = aws.CredentialsProviderFunc(provider.Retrieve)
	if got := identity(assumed); got != "arn:aws:sts::210987654321:assumed-role/queue/operator" {
		t.Errorf("with the role the caller is %s", got)
	}
	q.Client = sqs.NewFromConfig(assumed)
	if err := q.poll(); err != nil {
		t.Fatal(err)
	}
	if calls := q.sim.Calls("sqs", "ReceiveMessage"); len(calls) != 1 || calls[0].Role != role {
		t.Errorf("logged %+v, want one call with the role", calls)
	}
	if calls := q.sim.Calls("sts", "AssumeRole"); len(calls) == 0 || calls[0].Params["RoleArn"] != role {
		t.Errorf("logged %+v, want the role's ARN", calls)
	}
}

func TestSTSErrors(t *testing.T) {
	s := start(t, Options{})
	client := sts.NewFromConfig(sdk(t, s))
	assume := func(arn string, seconds int32) error {
		_, err := client.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &arn, RoleSessionName: aws.String("operator"), DurationSeconds: &seconds})
		return err
	}
	const role = "arn:aws:iam::123456789012:role/queue"
	if err := assume("arn:aws:iam::123456789012:user/queue", 900); errorCode(err) != "ValidationError" {
		t.Errorf("assumed a user: %v", err)
	}
	if err := assume(role, 1); errorCode(err) != "ValidationError" {
		t.Errorf("assumed for a second: %v", err)
	}
	s.mustAddFault(t, Fault{Service: "sts", Action: "AssumeRole", Code: "AccessDenied"})
	if err := assume(role, 900); errorCode(err) != "AccessDenied" {
		t.Errorf("error %v, want AccessDenied", err)
	}
}

// Once roles are known, only these are assumed, and their credentials are held to their token and their end.
func TestSTSRoles(t *testing.T) {
	const role, another = "arn:aws-cn:iam::210987654321:role/drain", "arn:aws-cn:iam::210987654321:role/another"
	s := start(t, Options{Now: stopped})
	cfg := sdk(t, s)
	if err := s.PutRole(Role{ARN: "drain"}); err == nil {
		t.Error("a name was taken for a role's ARN")
	}
	put := func(r Role) {
		t.Helper()
		if err := s.PutRole(r); err != nil {
			t.Fatal(err)
		}
	}
	put(Role{ARN: role, Lifetime: time.Minute})
	assume := func(arn string) (aws.Credentials, error) {
		return stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), arn, func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = "operator" }).Retrieve(t.Context())
	}
	if _, err := assume(another); errorCode(err) != "AccessDenied" {
		t.Errorf("a role that is not there: %v", err)
	}
	found, err := assume(role)
	if err != nil || !found.Expires.Equal(epoch.Add(time.Minute)) {
		t.Fatalf("credentials %+v, error %v, want some that expire after a minute", found, err)
	}
	identify := func(c aws.Credentials) (string, error) {
		assumed := cfg.Copy()
		assumed.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return c, nil })
		out, err := sts.NewFromConfig(assumed).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
		if err != nil {
			return "", err
		}
		return *out.Arn, nil
	}
	if got, err := identify(found); err != nil || got != "arn:aws-cn:sts::210987654321:assumed-role/drain/operator" {
		t.Errorf("the caller is %s, error %v", got, err)
	}
	forged := found
	forged.SessionToken = "another"
	if _, err := identify(forged); errorCode(err) != "InvalidClientTokenId" {
		t.Errorf("with another token: %v", err)
	}
	s.Advance(time.Minute)
	if _, err := identify(found); errorCode(err) != "ExpiredToken" {
		t.Errorf("after their end: %v", err)
	}
	put(Role{ARN: role, Refuses: true})
	if _, err := assume(role); errorCode(err) != "AccessDenied" {
		t.Errorf("a role that refuses: %v", err)
	}
}

// Groups and instances are shown to callers of their own account only.
func TestAccounts(t *testing.T) {
	const role, theirs, ours = "arn:aws:iam::210987654321:role/drain", "i-0abc1234def567890", "i-0abc1234def567891"
	s := start(t, Options{Now: stopped})
	for _, instance := range []Instance{{ID: theirs, Account: "210987654321"}, {ID: ours}} {
		if err := s.PutInstance(instance); err != nil {
			t.Fatal(err)
		}
	}
	for _, hook := range []LifecycleHook{{Group: "theirs", Name: "drain", Account: "210987654321"}, {Group: "ours", Name: "drain"}} {
		if err := s.PutLifecycleHook(hook); err != nil {
			t.Fatal(err)
		}
	}
	cfg := sdk(t, s)
	assumed := cfg.Copy()
	assumed.Credentials = stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), role)
	for name, test := range map[string]struct {
		cfg             aws.Config
		instance, group string
		hidden          string
	}{
		"the simulator's": {cfg, ours, "ours", "theirs"},
		"a role's":        {assumed, theirs, "theirs", "ours"},
	} {
		t.Run(name, func(t *testing.T) {
			out := must[*ec2.DescribeInstancesOutput](t)(ec2.NewFromConfig(test.cfg).DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{}))
			if len(out.Reservations) != 1 || *out.Reservations[0].Instances[0].InstanceId != test.instance {
				t.Errorf("instances %+v, want %s", out.Reservations, test.instance)
			}
			asg := autoscaling.NewFromConfig(test.cfg)
			if _, err := asg.DescribeLifecycleHooks(t.Context(), &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: &test.group}); err != nil {
				t.Error(err)
			}
			_, err := asg.DescribeLifecycleHooks(t.Context(), &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: &test.hidden})
			if errorCode(err) != "ValidationError" {
				t.Errorf("another account's group: %v", err)
			}
		})
	}
}
