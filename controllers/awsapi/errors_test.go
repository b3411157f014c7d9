// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/nodetermination/operator/hack/awssim"
)

// operations are all calls, as their callers make them.
func (f *fixture) operations() map[operation]func(context.Context) error {
	action := Action{Region: region, Group: group, Hook: "drain", InstanceID: instance}
	return map[operation]func(context.Context) error{
		describingHooks: func(ctx context.Context) error {
			_, err := f.Hooks(ctx, region, group)
			return err
		},
		describingMembers: func(ctx context.Context) error {
			_, err := f.TerminatingIn(ctx, region, instance)
			return err
		},
		sendingHeartbeat: func(ctx context.Context) error { return f.Heartbeat(ctx, action) },
		completing:       func(ctx context.Context) error { return f.Complete(ctx, action, Continue) },
		describingInstances: func(ctx context.Context) error {
			return f.call(ctx, region, describingInstances, func(ctx context.Context, to *connection) error {
				return describe(ctx, to.ec2, []string{instance}, map[string]Instance{})
			})
		},
	}
}

// says fails unless every operation fails with the text, in which %s is the operation, every time.
func (f *fixture) says(text string) {
	f.t.Helper()
	var calls sync.WaitGroup
	for op, do := range f.operations() {
		want := strings.ReplaceAll(text, "%s", string(op))
		calls.Go(func() {
			for range 2 {
				err := do(f.t.Context())
				if err == nil || err.Error() != want {
					f.t.Errorf("%s says\n%v, want\n%s", op, err, want)
				}
				if errors.Is(err, ErrNoAction) || errors.Is(err, ErrBusy) {
					f.t.Errorf("%s: %v is another error", op, err)
				}
			}
		})
	}
	calls.Wait()
}

func TestProblemsSayWhatToDo(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault awssim.Fault
		says  string
	}{
		{
			"access denied", awssim.Fault{
				Code:    "AccessDenied",
				Message: "User: arn:aws:sts::123456789012:assumed-role/manager/1763790000 is not authorized to perform this.",
			},
			"allow %s in the manager's IAM policy (config/aws/iam-policy.json): " +
				"AccessDenied: User: arn:aws:sts::123456789012:assumed-role/manager is not authorized to perform this",
		},
		{
			"unauthorized", awssim.Fault{
				Code: "UnauthorizedOperation", Status: http.StatusForbidden,
				Message: "You are not authorized to perform this operation. Encoded authorization failure message: kDGs5aV4b2e",
			},
			"allow %s in the manager's IAM policy (config/aws/iam-policy.json): " +
				"UnauthorizedOperation: You are not authorized to perform this operation",
		},
		{
			"expired", awssim.Fault{Code: "ExpiredToken", Status: http.StatusForbidden},
			"AWS does not accept the manager's credentials: renew them, or correct the role that the manager's service account has: " +
				"ExpiredToken: Simulated by awssim",
		},
		{
			"server error", awssim.Fault{Code: "InternalFailure", Message: "We had a\n problem."},
			"%s fails on the side of AWS and is tried again: InternalFailure: We had a problem",
		},
		{
			"refused", awssim.Fault{Code: "InvalidParameterValue", Message: strings.Repeat("x", 2*maxCause)},
			"", // below
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.fault(test.fault)
			if test.says != "" {
				f.says(test.says)
				return
			}
			for op, do := range f.operations() {
				if err := do(t.Context()); err == nil || len(err.Error()) > 1000 || !strings.Contains(err.Error(), "refuses "+string(op)) {
					t.Errorf("%s says %v", op, err)
				}
			}
		})
	}
}

func TestThrottlingSaysWhose(t *testing.T) {
	f := newFixture(t)
	f.fault(awssim.Fault{Code: awssim.Throttle})
	for op, do := range f.operations() {
		want := "Auto Scaling asks to slow down (Throttling)"
		if op == describingInstances {
			want = "EC2 asks to slow down (RequestLimitExceeded)"
		}
		if err := do(t.Context()); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s says %v, want %s", op, err, want)
		}
	}
}

func TestServersThatStall(t *testing.T) {
	f := newFixture(t)
	if _, err := f.TerminatingIn(t.Context(), region, instance); err != nil { // there are credentials now
		t.Fatal(err)
	}
	f.fault(awssim.Fault{Delay: time.Hour})
	f.timeout = 50 * time.Millisecond
	for op, do := range f.operations() {
		for range 2 {
			err := do(t.Context())
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "(no answer in time): check network policies") {
				t.Errorf("%s says %v, want that there was no answer", op, err)
			}
		}
	}
}

func TestConnectionsThatBreak(t *testing.T) {
	f := newFixture(t)
	f.fault(awssim.Fault{Drop: awssim.DropBefore})
	f.says("no connection to " + strings.TrimPrefix(f.sim.URL(), "http://") +
		" (EOF): check network policies, the way to AWS (NAT gateway or VPC endpoint) and the proxy")
}

func TestNobodyListens(t *testing.T) {
	f := newFixture(t)
	if err := f.sim.Close(); err != nil {
		t.Fatal(err)
	}
	f.says("no connection to " + strings.TrimPrefix(f.sim.URL(), "http://") +
		" (connection refused): check network policies, the way to AWS (NAT gateway or VPC endpoint) and the proxy")
}

// A proxy answers in its own words.
func TestAnswersThatAreNotOfAWS(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, fmt.Sprintf("<html>no upstream, request %d", time.Now().UnixNano()), http.StatusBadGateway)
	}))
	defer proxy.Close()
	f := newFixture(t)
	f.opts.LoadAWSConfig = at(proxy.URL)
	f.says("%s fails on the side of AWS and is tried again: HTTP 502")
}

func TestNoCredentials(t *testing.T) {
	f := newFixture(t)
	load := f.opts.LoadAWSConfig
	missing := true
	f.opts.LoadAWSConfig = func(ctx context.Context, options ...func(*config.LoadOptions) error) (aws.Config, error) {
		cfg, err := load(ctx, options...)
		given := cfg.Credentials
		cfg.Credentials = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			if missing {
				return aws.Credentials{}, errors.New("no EC2 IMDS role found")
			}
			return given.Retrieve(ctx)
		})
		return cfg, err
	}
	f.says("give the manager's service account an AWS identity (EKS Pod Identity or an IAM role for service accounts): no EC2 IMDS role found")
	if calls := f.sim.Calls("", ""); len(calls) != 0 {
		t.Errorf("%d calls without credentials", len(calls))
	}
	missing = false
	f.hook("drain")
	if _, err := f.Hooks(t.Context(), region, group); err != nil {
		t.Errorf("with credentials: %v", err)
	}
}

func TestNoRegion(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	f := newFixture(t)
	f.hook("drain")
	if _, err := f.Hooks(t.Context(), "", group); !errors.Is(err, errNoRegion) || err.Error() != errNoRegion.Error() {
		t.Errorf("%v, want %v", err, errNoRegion)
	}
	t.Setenv("AWS_REGION", "eu-west-1")
	if _, err := f.Hooks(t.Context(), "", group); err != nil { // not remembered that there was none
		t.Errorf("with AWS_REGION: %v", err)
	}
}

func TestConfigurationThatIsWrong(t *testing.T) {
	f := newFixture(t)
	f.opts.LoadAWSConfig = func(context.Context, ...func(*config.LoadOptions) error) (aws.Config, error) {
		return aws.Config{}, fmt.Errorf("load: %w", errors.New("failed to get shared config profile, staging"))
	}
	f.says("correct the AWS configuration in the manager's environment: failed to get shared config profile, staging")
}

func TestNoAddress(t *testing.T) {
	err := explain(completing, "us-east-7", fmt.Errorf("dial: %w", &net.DNSError{Name: "autoscaling.us-east-7.amazonaws.com", IsNotFound: true}))
	const want = "cannot find the address of autoscaling.us-east-7.amazonaws.com: mend the cluster's DNS, or correct the region"
	if err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}
