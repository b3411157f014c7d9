// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

const (
	theirs    = "210987654321"
	theirRole = "arn:aws:iam::" + theirs + ":role/teams/drain"
)

var theirAccount = Account{Region: region, RoleARN: theirRole}

// newAccountFixture has a group and an instance of another account, and a role of it. Its time is
// the present, by which the SDK tells whether credentials have expired.
func newAccountFixture(t *testing.T, role awssim.Role) *fixture {
	t.Helper()
	f := newFixture(t)
	f.clock.SetTime(time.Now())
	role.ARN = theirRole
	if err := f.sim.PutRole(role); err != nil {
		t.Fatal(err)
	}
	f.put(awssim.Instance{ID: instance, Account: theirs})
	if err := f.sim.PutLifecycleHook(awssim.LifecycleHook{Group: group, Name: "drain", Account: theirs, HeartbeatTimeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	return f
}

// assumed is how often a role was asked for.
func (f *fixture) assumed() int { return len(f.sim.Calls("sts", "AssumeRole")) }

// A role is assumed once for all calls to a region, to EC2 and to Auto Scaling.
func TestRoleIsAssumedOnce(t *testing.T) {
	f := newAccountFixture(t, awssim.Role{})
	f.start()
	f.sim.PutGroupInstance(group, instance)
	action := f.begin("drain")
	if _, known, err := f.Instance(theirAccount, instance, time.Minute); known || err != nil {
		t.Fatalf("known: %v, error: %v", known, err)
	}
	f.gathered(1)
	if in, known, err := f.Instance(theirAccount, instance, time.Minute); !known || !in.Found || err != nil {
		t.Errorf("instance %+v, known: %v, error: %v", in, known, err)
	}
	var calls sync.WaitGroup
	for range maxCalls {
		calls.Go(func() {
			if in, err := f.GroupInstance(t.Context(), theirAccount, instance); err != nil || !in.WaitsToTerminate() {
				t.Errorf("instance %+v, error %v", in, err)
			}
		})
	}
	calls.Wait()
	err := errors.Join(
		f.AssumeRole(t.Context(), theirAccount),
		f.Heartbeat(t.Context(), Action{Account: theirAccount, Group: group, Hook: "drain", Token: action.Token}),
		f.Complete(t.Context(), Action{Account: theirAccount, Group: group, Hook: "drain", Token: action.Token}, Continue),
	)
	if err != nil {
		t.Error(err)
	}
	if n := f.assumed(); n != 1 {
		t.Errorf("assumed %d times, want once", n)
	}
	for _, call := range append(f.sim.Calls("autoscaling", ""), f.sim.Calls("ec2", "")...) {
		if call.Role != theirRole {
			t.Errorf("%s was signed by %q", call.Action, call.Role)
		}
	}
	if _, err := f.DescribeHooks(t.Context(), Account{Region: "eu-west-1", RoleARN: theirRole}, group); err != nil || f.assumed() != 2 {
		t.Errorf("in another region: %v, assumed %d times, want twice", err, f.assumed())
	}
	want := "the manager's AWS account has no such Auto Scaling group in us-east-1: if it is another account's, set lifecycleHook.roleARN to a role of that account"
	if _, err := f.DescribeHooks(t.Context(), account, group); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("without the role: %v, want %s", err, want)
	}
}

// Credentials are renewed before they expire, and last until then if they cannot be renewed.
func TestRoleIsRenewed(t *testing.T) {
	for name, test := range map[string]struct {
		lifetime time.Duration
		// assumed is how often the role is by two calls, and by a third with refused that STS refuses.
		assumed, refused int
		fails            bool
	}{
		"an hour":            {time.Hour, 1, 1, false},
		"less than a minute": {50 * time.Second, 2, 3, false},
		"over at once":       {-time.Second, 2, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newAccountFixture(t, awssim.Role{Lifetime: test.lifetime})
			for range 2 {
				// Auto Scaling refuses credentials that are over.
				if err := f.AssumeRole(t.Context(), theirAccount); err != nil {
					t.Fatal(err)
				}
			}
			if n := f.assumed(); n != test.assumed {
				t.Errorf("assumed %d times by two calls, want %d", n, test.assumed)
			}
			if err := f.sim.PutRole(awssim.Role{ARN: theirRole, Refuses: true}); err != nil {
				t.Fatal(err)
			}
			if err := f.AssumeRole(t.Context(), theirAccount); (err != nil) != test.fails {
				t.Errorf("while STS refuses: %v", err)
			}
			if n := f.assumed(); n != test.refused {
				t.Errorf("assumed %d times by three calls, want %d", n, test.refused)
			}
		})
	}
}

// Credentials that AWS does not accept any more are no reason to wait until they expire.
func TestRoleIsAssumedAnewIfItsCredentialsAreRefused(t *testing.T) {
	f := newAccountFixture(t, awssim.Role{})
	f.fault(awssim.Fault{Service: "autoscaling", Code: "InvalidClientTokenId", Times: 1})
	_, err := f.DescribeHooks(t.Context(), theirAccount, group)
	want := "AWS does not accept the credentials of role " + theirRole + " any more; it is assumed anew: InvalidClientTokenId"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	if _, err := f.DescribeHooks(t.Context(), theirAccount, group); err != nil || f.assumed() != 2 {
		t.Errorf("%v, assumed %d times, want twice", err, f.assumed())
	}
}

// What a role is the reason for says so, and what to do.
func TestErrorsOfRoles(t *testing.T) {
	for name, test := range map[string]struct {
		role    awssim.Role
		fault   awssim.Fault
		account Account
		cause   Cause
		reason  string
		says    string
	}{
		"refused": {
			awssim.Role{Refuses: true}, awssim.Fault{}, theirAccount, AccessDenied, v1alpha1.ReasonAccessDenied,
			"cannot assume role " + theirRole + ": allow sts:AssumeRole on it in the manager's IAM policy, and trust the manager's AWS identity in the role's trust policy: AccessDenied: User: arn:aws:iam::123456789012:user/awssim is not authorized",
		},
		"not there": {
			awssim.Role{}, awssim.Fault{}, Account{region, theirRole + "x"}, AccessDenied, v1alpha1.ReasonAccessDenied,
			"cannot assume role " + theirRole + "x: allow sts:AssumeRole on it",
		},
		"may not": {
			awssim.Role{}, awssim.Fault{Service: "autoscaling", Code: "AccessDenied", Message: "no"}, theirAccount, AccessDenied, v1alpha1.ReasonAccessDenied,
			"allow autoscaling:DescribeLifecycleHooks to role " + theirRole + ": AccessDenied: no",
		},
		"throttled": {
			awssim.Role{}, awssim.Fault{Service: "sts", Code: awssim.Throttle}, theirAccount, Throttled, v1alpha1.ReasonThrottled,
			"STS asks to slow down",
		},
		"of another account": {
			awssim.Role{}, awssim.Fault{}, Account{region, "arn:aws:iam::999999999999:role/drain"}, GroupNotFound, v1alpha1.ReasonSourceError,
			"the account of role arn:aws:iam::999999999999:role/drain has no such Auto Scaling group in us-east-1: correct lifecycleHook.roleARN",
		},
		"of another partition": {
			awssim.Role{}, awssim.Fault{}, Account{"cn-north-1", theirRole}, OtherPartition, v1alpha1.ReasonSourceError,
			"role " + theirRole + " is not of the partition aws-cn, to which the region cn-north-1 belongs: write the ARN of a role of that partition",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newAccountFixture(t, test.role)
			if err := f.sim.PutRole(awssim.Role{ARN: "arn:aws:iam::999999999999:role/drain"}); err != nil {
				t.Fatal(err)
			}
			if test.fault != (awssim.Fault{}) {
				f.fault(test.fault)
			}
			_, err := f.DescribeHooks(t.Context(), test.account, group)
			explained, ok := errors.AsType[*Error](err)
			if !ok || explained.Cause != test.cause || explained.Reason() != test.reason || !strings.HasPrefix(err.Error(), test.says) {
				t.Errorf("%v\nwant cause %d, reason %s, %s", err, test.cause, test.reason, test.says)
			}
		})
	}
}

// hosts answers for STS and refuses everything else, and notes which hosts are called.
type hosts struct{ called []string }

func (h *hosts) Do(r *http.Request) (*http.Response, error) {
	h.called = append(h.called, r.URL.Host)
	status, body := http.StatusBadRequest, "<ErrorResponse><Error><Code>ValidationError</Code><Message>no</Message></Error></ErrorResponse>"
	if strings.HasPrefix(r.URL.Host, "sts.") {
		status, body = http.StatusOK, fmt.Sprintf(`<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey>`+
			`<SessionToken>t</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"text/xml"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// Every service is called where the region's partition has it.
func TestPartitions(t *testing.T) {
	for zone, test := range map[string]struct{ partition, domain string }{
		"us-east-1a":         {"aws", "us-east-1.amazonaws.com"},
		"us-west-2-lax-1a":   {"aws", "us-west-2.amazonaws.com"},
		"cn-north-1a":        {"aws-cn", "cn-north-1.amazonaws.com.cn"},
		"cn-northwest-1b":    {"aws-cn", "cn-northwest-1.amazonaws.com.cn"},
		"us-gov-west-1a":     {"aws-us-gov", "us-gov-west-1.amazonaws.com"},
		"us-gov-east-1c":     {"aws-us-gov", "us-gov-east-1.amazonaws.com"},
		"us-isob-east-1a":    {"aws-iso-b", "us-isob-east-1.sc2s.sgov.gov"},
		"eusc-de-east-1a":    {"aws-eusc", "eusc-de-east-1.amazonaws.eu"},
		"eu-central-1-ham-1": {"aws", "eu-central-1.amazonaws.com"},
	} {
		t.Run(zone, func(t *testing.T) {
			at := Account{Region: RegionOf(zone), RoleARN: "arn:" + test.partition + ":iam::210987654321:role/drain"}
			called := &hosts{}
			c := New(Options{LoadAWSConfig: func(ctx context.Context, options ...func(*config.LoadOptions) error) (aws.Config, error) {
				cfg, err := config.LoadDefaultConfig(ctx, append(options,
					config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("AKIATEST", "secret", "")))...)
				cfg.HTTPClient = called
				return cfg, err
			}})
			_, _ = c.GroupInstance(t.Context(), at, instance)
			_ = c.call(t.Context(), at, describeInstances, func(ctx context.Context, to *connection) error {
				return describeAll(ctx, to.ec2, []string{instance}, map[string]Instance{})
			})
			want := []string{"sts." + test.domain, "autoscaling." + test.domain, "ec2." + test.domain}
			if diff := cmp.Diff(want, called.called); diff != "" {
				t.Errorf("hosts (-want +got):\n%s", diff)
			}
			other := Account{Region: at.Region, RoleARN: "arn:aws-other:iam::210987654321:role/drain"}
			if err := c.AssumeRole(t.Context(), other); err == nil || !strings.Contains(err.Error(), "is not of the partition "+test.partition) || len(called.called) != 3 {
				t.Errorf("with a role of another partition: %v, hosts %v", err, called.called)
			}
		})
	}
}
