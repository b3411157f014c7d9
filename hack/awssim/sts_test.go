// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
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
