// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// queueOperations are the calls about a queue, as controllers/source/sqs makes them.
func (f *fixture) queueOperations(roleARN string) map[Operation]func(context.Context) error {
	queue := aws.String(f.sim.URL() + "/" + awssim.Account + "/q")
	do := func(op Operation, call func(context.Context, *sqs.Client) error) func(context.Context) error {
		return func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, f.timeout)
			defer cancel()
			cfg, err := LoadConfig(ctx, ConfigOptions{Load: f.opts.LoadAWSConfig, Region: region, RoleARN: roleARN, MaxAttempts: 1, MaxBackoff: 1})
			if err == nil {
				err = call(ctx, sqs.NewFromConfig(cfg))
			}
			if err == nil {
				return nil
			}
			return Explain(op, Account{region, roleARN}, err)
		}
	}
	return map[Operation]func(context.Context) error{
		"sqs:ReceiveMessage": do("sqs:ReceiveMessage", func(ctx context.Context, c *sqs.Client) error {
			_, err := c.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: queue})
			return err
		}),
		"sqs:DeleteMessage": do("sqs:DeleteMessage", func(ctx context.Context, c *sqs.Client) error {
			_, err := c.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: queue, Entries: []sqstypes.DeleteMessageBatchRequestEntry{{Id: aws.String("0"), ReceiptHandle: aws.String("a")}}})
			return err
		}),
		"sqs:ChangeMessageVisibility": do("sqs:ChangeMessageVisibility", func(ctx context.Context, c *sqs.Client) error {
			_, err := c.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: queue, Entries: []sqstypes.ChangeMessageVisibilityBatchRequestEntry{{Id: aws.String("0"), ReceiptHandle: aws.String("a")}}})
			return err
		}),
		"sqs:GetQueueAttributes": do("sqs:GetQueueAttributes", func(ctx context.Context, c *sqs.Client) error {
			_, err := c.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: queue})
			return err
		}),
	}
}

// closedPort returns an address of this machine at which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// answering returns the address of a server that answers whatever it is asked with an error.
func answering(t *testing.T, status int, code, message string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<ErrorResponse><Error><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>", code, message)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// silent returns the address of a server that accepts connections and says nothing, as behind a
// firewall that drops what it does not let through.
func silent(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

// serviceAccount gives the manager an IAM role for service accounts, and STS an address.
func serviceAccount(t *testing.T, sts string) {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("a.b.c"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", token)
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/manager")
	t.Setenv("AWS_ENDPOINT_URL_STS", "http://"+sts)
}

// ownIdentityAt loads what the SDK finds in the environment, and calls an endpoint with it.
func ownIdentityAt(endpoint string) LoadFunc {
	return func(ctx context.Context, options ...func(*config.LoadOptions) error) (aws.Config, error) {
		cfg, err := config.LoadDefaultConfig(ctx, append(options, config.WithRetryMaxAttempts(1))...)
		cfg.BaseEndpoint = &endpoint
		return cfg, err
	}
}

// TestEveryErrorOfEveryCall walks through what the SDK can return for each call: one cause, one
// reason of a source's status, and a sentence that says what to do.
func TestEveryErrorOfEveryCall(t *testing.T) {
	const (
		role     = "arn:aws:iam::123456789012:role/queue-reader"
		network  = ": check network policies, the way to AWS (NAT gateway or VPC endpoint) and the proxy"
		identity = "give the manager's service account an AWS identity"
	)
	fault := func(fault awssim.Fault) func(*testing.T, *fixture) string {
		return func(_ *testing.T, f *fixture) string {
			f.fault(fault)
			return ""
		}
	}
	// The caller's endpoint for credentials, of which the message has the address.
	credentials := func(at func(*testing.T) string) func(*testing.T, *fixture) string {
		return func(t *testing.T, f *fixture) string {
			address := at(t)
			serviceAccount(t, address)
			f.opts.LoadAWSConfig = ownIdentityAt(f.sim.URL())
			return address
		}
	}
	for _, test := range []struct {
		name   string
		given  func(*testing.T, *fixture) (address string)
		role   string // the queue's role; the other calls are made without one
		cause  Cause
		reason string
		says   string // %op is the call, %at the address
	}{
		{"denied", fault(awssim.Fault{Code: "AccessDenied"}), "", AccessDenied, v1alpha1.ReasonAccessDenied, "allow %op in the manager's IAM policy"},
		{"denied, EC2", fault(awssim.Fault{Code: "UnauthorizedOperation", Status: 403}), "", AccessDenied, v1alpha1.ReasonAccessDenied, "allow %op in the manager's IAM policy"},
		{"an expired token", fault(awssim.Fault{Code: "ExpiredToken", Status: 403}), "", CredentialsNotAccepted, v1alpha1.ReasonNoCredentials, "renew them"},
		{"an expired token, JSON", fault(awssim.Fault{Code: "ExpiredTokenException", Status: 400}), "", CredentialsNotAccepted, v1alpha1.ReasonNoCredentials, "renew them"},
		{"an unknown key", fault(awssim.Fault{Code: "InvalidClientTokenId", Status: 403}), "", CredentialsNotAccepted, v1alpha1.ReasonNoCredentials, "renew them"},
		{"throttled", fault(awssim.Fault{Code: awssim.Throttle}), "", Throttled, v1alpha1.ReasonThrottled, "asks to slow down"},
		{"throttled, of another name", fault(awssim.Fault{Code: "RequestLimitExceeded", Status: 503}), "", Throttled, v1alpha1.ReasonThrottled, "asks to slow down"},
		{"another region", fault(awssim.Fault{Code: "SignatureDoesNotMatch", Status: 403, Message: "Credential should be scoped to a valid region."}), "", OtherRegion, v1alpha1.ReasonSourceError, "correct the region of the source, its URL or AWS_REGION"},
		{"a region that is not enabled", fault(awssim.Fault{Code: "OptInRequired", Status: 403}), "", RegionNotEnabled, v1alpha1.ReasonSourceError, "the region us-east-1 is not enabled for this AWS account"},
		{"another account's group", fault(awssim.Fault{Code: "ValidationError", Status: 400, Message: "AutoScalingGroup name not found - null"}), "", GroupNotFound, v1alpha1.ReasonSourceError, "no such Auto Scaling group in us-east-1: if it is another account's"},
		{"not found", fault(awssim.Fault{Code: "InvalidInstanceID.NotFound", Status: 400}), "", Refused, v1alpha1.ReasonSourceError, "refuses %op, which is tried again"},
		{"an error of AWS's", fault(awssim.Fault{Code: awssim.ServerError}), "", ServerError, v1alpha1.ReasonSourceError, "%op fails on the side of AWS"},
		{"a connection that breaks", fault(awssim.Fault{Drop: awssim.DropBefore}), "", Unreachable, v1alpha1.ReasonUnreachable, "(EOF)" + network},
		{"nobody listens", func(t *testing.T, f *fixture) string {
			address := closedPort(t)
			f.opts.LoadAWSConfig = at("http://" + address)
			return address
		}, "", Unreachable, v1alpha1.ReasonUnreachable, "no connection to %at (connection refused)" + network},
		{"no answer", func(t *testing.T, f *fixture) string {
			address := silent(t)
			f.opts.LoadAWSConfig, f.timeout = at("http://"+address), 2*time.Second
			return address
		}, "", Unreachable, v1alpha1.ReasonUnreachable, "(no answer in time)" + network},
		{"http to another machine", func(_ *testing.T, f *fixture) string {
			f.opts.LoadAWSConfig = at("http://aws.example.com")
			return "aws.example.com"
		}, "", PlainHTTP, v1alpha1.ReasonSourceError, "no signed request is sent over http to %at: write https"},
		{"a role that may not be assumed", fault(awssim.Fault{Service: "sts", Code: "AccessDenied"}), role, AccessDenied, v1alpha1.ReasonAccessDenied, "cannot assume role " + role + ": allow sts:AssumeRole on it in the manager's IAM policy, and trust"},
		{"a role that is asked for too often", fault(awssim.Fault{Service: "sts", Code: awssim.Throttle}), role, Throttled, v1alpha1.ReasonThrottled, "STS asks to slow down"},

		{"no identity", func(t *testing.T, f *fixture) string {
			t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			f.opts.LoadAWSConfig = ownIdentityAt(f.sim.URL())
			return ""
		}, "", NoCredentials, v1alpha1.ReasonNoCredentials, identity},
		{"STS is not there", credentials(closedPort), "", Unreachable, v1alpha1.ReasonUnreachable, "no connection to %at (connection refused)" + network},
		{"STS does not answer", func(t *testing.T, f *fixture) string {
			f.timeout = 2 * time.Second
			return credentials(silent)(t, f)
		}, "", Unreachable, v1alpha1.ReasonUnreachable, "no connection to %at (no answer in time)" + network},
		{"STS refuses", credentials(func(t *testing.T) string {
			return answering(t, 403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
		}), "", IdentityRefused, v1alpha1.ReasonNoCredentials, "correct the trust policy of its role"},
		{"STS does not take the token", credentials(func(t *testing.T) string {
			return answering(t, 400, "ExpiredTokenException", "Token expired")
		}), "", IdentityRefused, v1alpha1.ReasonNoCredentials, "correct the trust policy of its role"},
		{"STS asks to slow down", credentials(func(t *testing.T) string {
			return answering(t, 400, "Throttling", "Rate exceeded")
		}), "", Throttled, v1alpha1.ReasonThrottled, "STS asks to slow down (Throttling)"},
		{"the agent of EKS Pod Identity is not there", func(t *testing.T, f *fixture) string {
			address := closedPort(t)
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://"+address+"/v1/credentials")
			t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "a")
			f.opts.LoadAWSConfig = ownIdentityAt(f.sim.URL())
			return address
		}, "", Unreachable, v1alpha1.ReasonUnreachable, "no connection to %at (connection refused)" + network},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, name := range []string{"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
				t.Setenv(name, filepath.Join(t.TempDir(), "none"))
			}
			f := newFixture(t)
			address := test.given(t, f)
			calls := f.queueOperations(test.role)
			if test.role == "" {
				maps.Copy(calls, f.operations())
			}
			var made sync.WaitGroup
			for op, do := range calls {
				made.Go(func() {
					err := do(t.Context())
					explained, ok := errors.AsType[*Error](err)
					if !ok {
						t.Errorf("%s: %v, want an error that is explained", op, err)
						return
					}
					want := strings.NewReplacer("%op", string(op), "%at", address).Replace(test.says)
					if explained.Cause != test.cause || explained.Reason() != test.reason || !strings.Contains(err.Error(), want) {
						t.Errorf("%s: cause %d, reason %s: %v\nwant cause %d, reason %s: %s", op, explained.Cause, explained.Reason(), err, test.cause, test.reason, want)
					}
				})
			}
			made.Wait()
		})
	}
}

// TestPlainHTTPIsForThisMachineAndCluster is about hosts of which nobody else can be the owner.
func TestPlainHTTPIsForThisMachineAndCluster(t *testing.T) {
	for host, own := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "::1": true, "localstack": true, "localstack.testing.svc": true, "localstack.testing.svc.cluster.local": true,
		"sqs.us-east-1.amazonaws.com": false, "example.com": false, "10.0.0.7": false, "169.254.169.254": false, "localhost.example.com": false,
		"svc.example.com": false, "cluster.local": false, "134744072": false, "": false,
	} {
		if isOwn(host) != own {
			t.Errorf("%q is this machine's or cluster's: %t, want %t", host, !own, own)
		}
	}
}
