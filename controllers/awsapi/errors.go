// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

var (
	// ErrNoAction is that the group does not wait at the hook: the action was completed
	// or timed out, or there is no such hook or group any more.
	ErrNoAction = errors.New("the Auto Scaling group does not wait at the hook")
	// ErrBusy is that too many calls to AWS are under way. Nothing was sent; try again soon.
	ErrBusy = errors.New("too many calls to AWS are under way; this one is tried again soon")

	errNoRegion = errors.New("no AWS region is known: set AWS_REGION in the manager's environment")
)

// operation is a permission of IAM, which has the name of the call that needs it.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2autoscaling.html
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
type operation string

const (
	describingHooks     operation = "autoscaling:DescribeLifecycleHooks"
	describingMembers   operation = "autoscaling:DescribeAutoScalingInstances"
	sendingHeartbeat    operation = "autoscaling:RecordLifecycleActionHeartbeat"
	completing          operation = "autoscaling:CompleteLifecycleAction"
	describingInstances operation = "ec2:DescribeInstances"
)

// service is how people call the service that the operation is of.
func (op operation) service() string {
	if op == describingInstances {
		return "EC2"
	}
	return "Auto Scaling"
}

// maxCause cuts what others say, in bytes: a status takes 1024 characters.
const maxCause = 400

// credentialsError is why there are no credentials to call with.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return "no AWS credentials: " + e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// configError is why the SDK cannot be configured.
type configError struct{ err error }

func (e *configError) Error() string { return "AWS configuration: " + e.err.Error() }
func (e *configError) Unwrap() error { return e.err }

// problem is an error in words that say what to do. The same cause always reads
// the same, so that a status is not written for every attempt.
type problem struct {
	text string
	err  error
}

func (p *problem) Error() string { return p.text }
func (p *problem) Unwrap() error { return p.err }

// notAccepted are the codes with which AWS refuses credentials themselves.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/CommonErrors.html
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
var notAccepted = map[string]bool{
	"ExpiredToken": true, "ExpiredTokenException": true, "RequestExpired": true,
	"IncompleteSignature": true, "InvalidSignatureException": true, "SignatureDoesNotMatch": true,
	"InvalidClientTokenId": true, "UnrecognizedClientException": true, "InvalidAccessKeyId": true,
	"MissingAuthenticationToken": true, "MissingAuthenticationTokenException": true, "AuthFailure": true,
}

// noAction is how Auto Scaling says ErrNoAction, under the code of every invalid parameter.
var noAction = regexp.MustCompile(`(?i)no active lifecycle action|no lifecycle hook found|autoscalinggroup name not found`)

// explain tells errors apart by what a person has to do about them.
func explain(op operation, region string, err error) error {
	if answer, ok := errors.AsType[smithy.APIError](err); ok && answer.ErrorCode() == "ValidationError" && noAction.MatchString(answer.ErrorMessage()) {
		return fmt.Errorf("%w any more: %s", ErrNoAction, cause(err))
	}
	return &problem{text: textOf(op, region, err), err: err}
}

func textOf(op operation, region string, err error) string {
	var missing *aws.MissingRegionError
	if errors.Is(err, errNoRegion) || errors.As(err, &missing) {
		return errNoRegion.Error()
	}
	if errors.Is(err, context.Canceled) {
		return fmt.Sprintf("%s was given up", op)
	}
	if lookup, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("cannot find the address of %s: mend the cluster's DNS, or correct the region", lookup.Name)
	}
	if _, ok := errors.AsType[*configError](err); ok {
		return "correct the AWS configuration in the manager's environment: " + cause(err)
	}
	if _, ok := errors.AsType[*credentialsError](err); ok {
		return "give the manager's service account an AWS identity (EKS Pod Identity or an IAM role for service accounts): " + cause(err)
	}
	if answer, ok := errors.AsType[smithy.APIError](err); ok && !failed(err) {
		return answered(op, region, answer)
	}
	if failed(err) {
		return fmt.Sprintf("%s fails on the side of AWS and is tried again: %s", op, cause(err))
	}
	if unreachable(err) {
		return fmt.Sprintf("no connection to %s (%s): check network policies, the way to AWS (NAT gateway or VPC endpoint) and the proxy", hostOf(op, err), cause(err))
	}
	return fmt.Sprintf("%s does not work and is tried again: %s", op, cause(err))
}

// answered is about what AWS itself refused.
func answered(op operation, region string, answer smithy.APIError) string {
	code := answer.ErrorCode()
	switch {
	case throttled(code):
		return fmt.Sprintf("%s asks to slow down (%s), and %s is tried again more slowly; if it lasts, see what else calls it in this account", op.service(), code, op)
	case notAccepted[code]:
		return "AWS does not accept the manager's credentials: renew them, or correct the role that the manager's service account has: " + cause(answer)
	case strings.HasPrefix(code, "AccessDenied"), code == "UnauthorizedOperation":
		return fmt.Sprintf("allow %s in the manager's IAM policy (config/aws/iam-policy.json): %s", op, cause(answer))
	case code == "OptInRequired":
		return fmt.Sprintf("the region %s is not enabled for this AWS account, or the credentials are another account's: %s", region, cause(answer))
	}
	return fmt.Sprintf("%s refuses %s, which is tried again: %s", op.service(), op, cause(answer))
}

func throttled(code string) bool {
	_, ok := retry.DefaultThrottleErrorCodes[code]
	return ok
}

// failed is whether AWS, or a proxy before it, answered that it cannot.
func failed(err error) bool {
	if answer, ok := errors.AsType[smithy.APIError](err); ok && throttled(answer.ErrorCode()) {
		return false
	}
	return statusOf(err) >= 500
}

// statusOf is the HTTP status of the answer, zero if there was none.
func statusOf(err error) int {
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		return response.HTTPStatusCode()
	}
	return 0
}

// unreachable is whether there was no answer at all.
func unreachable(err error) bool {
	_, unsent := errors.AsType[*smithyhttp.RequestSendError](err)
	return unsent || errors.Is(err, context.DeadlineExceeded)
}

// hostOf is the host that was called, or the service if that is not known.
func hostOf(op operation, err error) string {
	if failure, ok := errors.AsType[*url.Error](err); ok {
		if target, err := url.Parse(failure.URL); err == nil && target.Host != "" {
			return target.Host
		}
	}
	return op.service()
}

// What differs from one call to the next though the cause is the same.
var (
	// encoded follows EC2's UnauthorizedOperation.
	encoded = regexp.MustCompile(`\s*Encoded authorization failure message:.*`)
	// session is the name that the SDK gives to the session of a role.
	session = regexp.MustCompile(`(:assumed-role/[^/\s]+)/[^\s:]+`)
)

// cause is what went wrong without what differs from one attempt to the next,
// such as request IDs, addresses and port numbers.
func cause(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		text := encoded.ReplaceAllString(answer.ErrorMessage(), "")
		text = session.ReplaceAllString(text, "$1")
		return short(answer.ErrorCode() + ": " + strings.TrimSpace(text))
	}
	if status := statusOf(err); status > 0 {
		return fmt.Sprintf("HTTP %d", status)
	}
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return number.Error()
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return short(err.Error())
}

// short is one line without its full stop, cut if it is long.
func short(text string) string {
	text = strings.TrimRight(strings.Join(strings.Fields(text), " "), ".: ")
	if len(text) <= maxCause {
		return text
	}
	return strings.ToValidUTF8(text[:maxCause], "") + "…"
}
