// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// operations are all calls, as their callers make them.
func (f *fixture) operations() map[Operation]func(context.Context) error {
	action := Action{Account: account, Group: group, Hook: "drain", InstanceID: instance}
	return map[Operation]func(context.Context) error{
		describeLifecycleHooks: func(ctx context.Context) error {
			_, err := f.DescribeHooks(ctx, account, group)
			return err
		},
		describeAutoScalingInstances: func(ctx context.Context) error {
			_, err := f.GroupInstance(ctx, account, instance)
			return err
		},
		recordLifecycleActionHeartbeat: func(ctx context.Context) error { return f.Heartbeat(ctx, action) },
		completeLifecycleAction:        func(ctx context.Context) error { return f.Complete(ctx, action, Continue) },
		describeInstances: func(ctx context.Context) error {
			return f.call(ctx, account, describeInstances, func(ctx context.Context, to *connection) error {
				return describeAll(ctx, to.ec2, []string{instance}, map[string]Instance{})
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

func TestErrorsSayWhatToDo(t *testing.T) {
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
			"refused", awssim.Fault{Code: "InvalidParameterValue", Message: strings.Repeat("x", 2*maxDetail)},
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
		if op == describeInstances {
			want = "EC2 asks to slow down (RequestLimitExceeded)"
		}
		if err := do(t.Context()); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s says %v, want %s", op, err, want)
		}
	}
}

func TestServersThatStall(t *testing.T) {
	f := newFixture(t)
	if _, err := f.GroupInstance(t.Context(), account, instance); err != nil { // there are credentials now
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
	if _, err := f.DescribeHooks(t.Context(), account, group); err != nil {
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
	const want = "no AWS region is known: set AWS_REGION in the manager's environment"
	if _, err := f.DescribeHooks(t.Context(), Account{}, group); !errors.Is(err, errNoRegion) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	t.Setenv("AWS_REGION", "eu-west-1")
	if _, err := f.DescribeHooks(t.Context(), Account{}, group); err != nil { // not remembered that there was none
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

// One table for all callers: what an error is, and what it says.
func TestExplain(t *testing.T) {
	api := func(code, message string) error {
		return &smithy.OperationError{ServiceID: "X", Err: &smithy.GenericAPIError{Code: code, Message: message}}
	}
	answered := func(status int, err error) error {
		return &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: err}
	}
	sent := func(err error) error {
		return &smithyhttp.RequestSendError{Err: &url.Error{Op: "Post", URL: "https://sqs.us-east-1.amazonaws.com/", Err: err}}
	}
	dns := &net.DNSError{Name: "autoscaling.us-east-7.amazonaws.com", IsNotFound: true}
	const receive, region = Operation("sqs:ReceiveMessage"), "eu-south-2"
	const check = ": check network policies, the way to AWS (NAT gateway or VPC endpoint) and the proxy"
	for name, test := range map[string]struct {
		op      Operation
		err     error
		cause   Cause
		reason  string
		message string
	}{
		"no region":          {receive, errNoRegion, NoRegion, v1alpha1.ReasonNoRegion, "no AWS region is known: set AWS_REGION in the manager's environment"},
		"no region, the SDK": {receive, &aws.MissingRegionError{}, NoRegion, v1alpha1.ReasonNoRegion, "no AWS region is known: set AWS_REGION in the manager's environment"},
		"canceled":           {receive, &aws.RequestCanceledError{Err: context.Canceled}, Canceled, v1alpha1.ReasonSourceError, "sqs:ReceiveMessage was canceled"},
		"no address": {
			completeLifecycleAction, fmt.Errorf("dial: %w", dns), HostNotFound, v1alpha1.ReasonUnreachable,
			"cannot find the address of autoscaling.us-east-7.amazonaws.com: mend the cluster's DNS, or correct the region",
		},
		"no address, while credentials are looked for": {
			receive, &credentialsError{err: dns}, HostNotFound, v1alpha1.ReasonUnreachable,
			"cannot find the address of autoscaling.us-east-7.amazonaws.com: mend the cluster's DNS, or correct the region",
		},
		"configuration": {
			receive, &configError{fmt.Errorf("load: %w", errors.New("no profile, staging"))}, Misconfigured, v1alpha1.ReasonSourceError,
			"correct the AWS configuration in the manager's environment: no profile, staging",
		},
		"no credentials": {
			receive, fmt.Errorf("get identity: %w", &credentialsError{err: errors.New("no EC2 IMDS role found")}), NoCredentials, v1alpha1.ReasonNoCredentials,
			"give the manager's service account an AWS identity (EKS Pod Identity or an IAM role for service accounts): no EC2 IMDS role found",
		},
		"no credentials to assume the role with": {
			receive, &roleError{&credentialsError{err: api("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")}}, IdentityRefused, v1alpha1.ReasonNoCredentials,
			"AWS gives the manager's service account no credentials: correct the trust policy of its role and the cluster's IAM OIDC provider, or its EKS Pod Identity association: AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity",
		},
		"no credentials, throttled": {
			receive, &credentialsError{err: api("Throttling", "Rate exceeded")}, Throttled, v1alpha1.ReasonThrottled,
			"STS asks to slow down (Throttling), and sts:AssumeRoleWithWebIdentity is tried again more slowly; if it lasts, see what else calls it in this account",
		},
		"expired": {
			receive, api("ExpiredToken", "The security token is expired."), CredentialsNotAccepted, v1alpha1.ReasonNoCredentials,
			"AWS does not accept the manager's credentials: renew them, or correct the role that the manager's service account has: ExpiredToken: The security token is expired",
		},
		"EC2's own": {
			describeInstances, api("AuthFailure", ""), CredentialsNotAccepted, v1alpha1.ReasonNoCredentials,
			"AWS does not accept the manager's credentials: renew them, or correct the role that the manager's service account has: AuthFailure",
		},
		"denied": {
			receive, api("AccessDeniedException", "User: arn:aws:sts::123456789012:assumed-role/manager/1763790000 is not authorized."), AccessDenied, v1alpha1.ReasonAccessDenied,
			"allow sqs:ReceiveMessage in the manager's IAM policy (config/aws/iam-policy.json): AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/manager is not authorized",
		},
		"denied, EC2": {
			describeInstances, answered(403, api("UnauthorizedOperation", "Not authorized. Encoded authorization failure message: kDGs5aV4b2e")), AccessDenied, v1alpha1.ReasonAccessDenied,
			"allow ec2:DescribeInstances in the manager's IAM policy (config/aws/iam-policy.json): UnauthorizedOperation: Not authorized",
		},
		"role denied": {
			receive, &roleError{api("AccessDenied", "")}, AccessDenied, v1alpha1.ReasonAccessDenied,
			"allow sts:AssumeRole in the manager's IAM policy (config/aws/iam-policy.json): AccessDenied",
		},
		"region not enabled": {
			describeInstances, api("OptInRequired", "Subscribe first."), RegionNotEnabled, v1alpha1.ReasonSourceError,
			"the region eu-south-2 is not enabled for this AWS account, or the credentials are another account's: OptInRequired: Subscribe first",
		},
		"throttled": {
			completeLifecycleAction, api("Throttling", "Rate exceeded"), Throttled, v1alpha1.ReasonThrottled,
			"Auto Scaling asks to slow down (Throttling), and autoscaling:CompleteLifecycleAction is tried again more slowly; if it lasts, see what else calls it in this account",
		},
		"throttled by 503": {
			describeInstances, answered(503, api("RequestLimitExceeded", "")), Throttled, v1alpha1.ReasonThrottled,
			"EC2 asks to slow down (RequestLimitExceeded), and ec2:DescribeInstances is tried again more slowly; if it lasts, see what else calls it in this account",
		},
		"role throttled": {
			receive, &roleError{api("Throttling", "")}, Throttled, v1alpha1.ReasonThrottled,
			"STS asks to slow down (Throttling), and sts:AssumeRole is tried again more slowly; if it lasts, see what else calls it in this account",
		},
		"refused": {
			receive, answered(400, api("InvalidAddress", "The address is not valid.")), Refused, v1alpha1.ReasonSourceError,
			"SQS refuses sqs:ReceiveMessage, which is tried again: InvalidAddress: The address is not valid",
		},
		"server error": {
			receive, answered(500, api("InternalFailure", "We had a\n problem.")), ServerError, v1alpha1.ReasonSourceError,
			"sqs:ReceiveMessage fails on the side of AWS and is tried again: InternalFailure: We had a problem",
		},
		"a proxy's": {
			receive, answered(502, fmt.Errorf("request %d", 42)), ServerError, v1alpha1.ReasonSourceError,
			"sqs:ReceiveMessage fails on the side of AWS and is tried again: HTTP 502",
		},
		"refused connection": {
			receive, sent(&net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 443}, Err: syscall.ECONNREFUSED}), Unreachable, v1alpha1.ReasonUnreachable,
			"no connection to sqs.us-east-1.amazonaws.com (connection refused)" + check,
		},
		"no answer in time":           {receive, sent(context.DeadlineExceeded), Unreachable, v1alpha1.ReasonUnreachable, "no connection to sqs.us-east-1.amazonaws.com (no answer in time)" + check},
		"no answer from who knows":    {completeLifecycleAction, context.DeadlineExceeded, Unreachable, v1alpha1.ReasonUnreachable, "no connection to Auto Scaling (no answer in time)" + check},
		"no answer about credentials": {receive, &credentialsError{err: context.DeadlineExceeded}, NoCredentials, v1alpha1.ReasonNoCredentials, "give the manager's service account an AWS identity (EKS Pod Identity or an IAM role for service accounts): no answer in time"},
		"no answer of STS about credentials": {
			receive, &credentialsError{context.DeadlineExceeded, "sts.eu-south-2.amazonaws.com"}, Unreachable, v1alpha1.ReasonUnreachable,
			"no connection to sts.eu-south-2.amazonaws.com (no answer in time)" + check,
		},
		"no way to STS for credentials": {
			receive, &credentialsError{sent(syscall.ENETUNREACH), "sts.eu-south-2.amazonaws.com"}, Unreachable, v1alpha1.ReasonUnreachable,
			"no connection to sqs.us-east-1.amazonaws.com (network is unreachable)" + check, // the host of the request
		},
		"credentials, on the side of AWS": {
			receive, &credentialsError{err: answered(503, api("ServiceUnavailable", ""))}, ServerError, v1alpha1.ReasonSourceError,
			"sts:AssumeRoleWithWebIdentity fails on the side of AWS and is tried again: ServiceUnavailable",
		},
		"a token of another cluster": {
			receive, &credentialsError{err: api("InvalidIdentityToken", "No OpenIDConnect provider found in your account.")}, IdentityRefused, v1alpha1.ReasonNoCredentials,
			"AWS gives the manager's service account no credentials: correct the trust policy of its role and the cluster's IAM OIDC provider, or its EKS Pod Identity association: InvalidIdentityToken: No OpenIDConnect provider found in your account",
		},
		"another region": {
			receive, api("SignatureDoesNotMatch", "Credential should be scoped to a valid region."), OtherRegion, v1alpha1.ReasonSourceError,
			"SQS is called in another region than eu-south-2, for which the call is signed: correct the region of the source, its URL or AWS_REGION: SignatureDoesNotMatch: Credential should be scoped to a valid region",
		},
		"a group of another account": {
			completeLifecycleAction, api("ValidationError", "AutoScalingGroup name not found - AutoScalingGroup workers not found"), GroupNotFound, v1alpha1.ReasonSourceError,
			"the manager's AWS account has no such Auto Scaling group in eu-south-2: if it is another account's, set lifecycleHook.roleARN to a role of that account: ValidationError: AutoScalingGroup name not found - AutoScalingGroup workers not found",
		},
		"plain http": {
			receive, fmt.Errorf("finalize: %w", &plainHTTPError{"sqs.example.com"}), PlainHTTP, v1alpha1.ReasonSourceError,
			"no signed request is sent over http to sqs.example.com: write https in queueURL and AWS_ENDPOINT_URL, or the name of this machine or of a service of this cluster, such as localhost or localstack.testing.svc",
		},
		"anything else": {receive, fmt.Errorf("outer: %w", errors.New("inner")), Unknown, v1alpha1.ReasonSourceError, "sqs:ReceiveMessage does not work and is tried again: inner"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Explain(test.op, Account{Region: region}, test.err)
			if got.Cause != test.cause || got.Reason() != test.reason || got.Error() != test.message {
				t.Errorf("cause %d, reason %s, message\n%s\nwant cause %d, reason %s, message\n%s", got.Cause, got.Reason(), got, test.cause, test.reason, test.message)
			}
			if again := Explain(describeInstances, account, fmt.Errorf("wrapped: %w", got)); again != got {
				t.Errorf("explained again: %v", again)
			}
			if !errors.Is(got, test.err) {
				t.Errorf("%v is not in its explanation", test.err)
			}
		})
	}
}

func TestDetail(t *testing.T) {
	reset := &net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{Port: 43210}, Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 443}, Err: errors.New("broken")}
	for _, test := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("outer: %w", errors.New("inner")), "inner"},
		{&url.Error{Op: "Post", URL: "https://x", Err: context.DeadlineExceeded}, "no answer in time"},
		{reset, "broken"},
		{&credentialsError{err: fmt.Errorf("outer: %w", errors.New("no role"))}, "no role"},
		{errors.New(strings.Repeat("ä", 300)), strings.Repeat("ä", maxDetail/2) + "…"},
	} {
		if got := detailOf(Unknown, test.err); got != test.want {
			t.Errorf("%v: %q, want %q", test.err, got, test.want)
		}
	}
}

// Who provides the credentials tries again by itself, so a call is not tried again for want of them.
func TestCredentialsAreAskedForOnce(t *testing.T) {
	f := newFixture(t)
	asked := 0
	load := f.opts.LoadAWSConfig
	f.opts.LoadAWSConfig = func(ctx context.Context, options ...func(*config.LoadOptions) error) (aws.Config, error) {
		cfg, err := load(ctx, options...)
		cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			asked++
			return aws.Credentials{}, &smithy.GenericAPIError{Code: "Throttling", Message: "Rate exceeded"}
		})
		return cfg, err
	}
	if _, err := f.DescribeHooks(t.Context(), account, group); err == nil || !strings.HasPrefix(err.Error(), "STS asks to slow down") {
		t.Errorf("%v, want that STS asks to slow down", err)
	}
	if asked != 1 {
		t.Errorf("asked for credentials %d times, want once", asked)
	}
}
