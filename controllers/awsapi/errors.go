// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"cmp"
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

	"github.com/nodetermination/operator/api/v1alpha1"
)

// Operation is a permission of IAM, which has the name of the call that needs it.
// https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
type Operation string

// AssumeRole is the call that ConfigOptions.RoleARN needs.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecuritytokenservice.html
const AssumeRole Operation = "sts:AssumeRole"

// ownIdentity is the call that the manager's own credentials need.
const ownIdentity Operation = "sts:AssumeRoleWithWebIdentity"

// service returns how people call the service that the operation is of.
func (op Operation) service() string {
	prefix, _, _ := strings.Cut(string(op), ":")
	if prefix == "autoscaling" {
		return "Auto Scaling"
	}
	return strings.ToUpper(prefix)
}

// Cause is what went wrong with a call, by what a person has to do about it.
type Cause int

// Causes of errors.
const (
	// Unknown: none of the others.
	Unknown Cause = iota
	// Canceled: the caller no longer wants the answer.
	Canceled
	// NoRegion: nothing says which region to call.
	NoRegion
	// Misconfigured: the SDK does not take the configuration.
	Misconfigured
	// NoCredentials: there are no credentials to call with.
	NoCredentials
	// IdentityRefused: AWS gives no credentials for the identity that there is.
	IdentityRefused
	// CredentialsNotAccepted: AWS does not accept the credentials.
	CredentialsNotAccepted
	// AccessDenied: the credentials do not allow the call.
	AccessDenied
	// RegionNotEnabled: the region is not enabled for the account.
	RegionNotEnabled
	// OtherRegion: the call went to another region than it was signed for.
	OtherRegion
	// GroupNotFound: the account has no such Auto Scaling group in the region.
	GroupNotFound
	// OtherPartition: the role is of another partition than the region.
	OtherPartition
	// PlainHTTP: the call would go over http to another machine.
	PlainHTTP
	// Throttled: AWS asks to slow down.
	Throttled
	// Refused: AWS refuses the call for another reason.
	Refused
	// ServerError: AWS, or a proxy before it, answered that it cannot.
	ServerError
	// HostNotFound: DNS does not know the service's host.
	HostNotFound
	// Unreachable: there was no answer at all.
	Unreachable
)

// reasons are the reasons of sources' statuses. All other causes are a SourceError.
var reasons = map[Cause]string{
	NoRegion:               v1alpha1.ReasonNoRegion,
	NoCredentials:          v1alpha1.ReasonNoCredentials,
	IdentityRefused:        v1alpha1.ReasonNoCredentials,
	CredentialsNotAccepted: v1alpha1.ReasonNoCredentials,
	AccessDenied:           v1alpha1.ReasonAccessDenied,
	Throttled:              v1alpha1.ReasonThrottled,
	HostNotFound:           v1alpha1.ReasonUnreachable,
	Unreachable:            v1alpha1.ReasonUnreachable,
}

// Error is an error of AWS in words that say what to do. The same cause always reads
// the same, so that a status is not written for every attempt.
type Error struct {
	// Operation is the call that failed. AssumeRole, whichever call needed the role,
	// if that cannot be assumed.
	Operation Operation
	// Cause is what went wrong.
	Cause Cause
	// Detail is what AWS, the SDK or the network said, without what differs from one
	// attempt to the next, at most some 400 bytes. Of HostNotFound it is the host, of Throttled the code.
	Detail string

	message string
	err     error
}

// Error returns what to do, without a capital letter at the beginning or a full stop.
func (e *Error) Error() string { return e.message }

// Unwrap returns the error that is explained.
func (e *Error) Unwrap() error { return e.err }

// Reason returns the reason of a source's status, one of v1alpha1's.
func (e *Error) Reason() string {
	if reason, ok := reasons[e.Cause]; ok {
		return reason
	}
	return v1alpha1.ReasonSourceError
}

// Explain explains the error of a call that was made with the manager's identity, or with
// the account's role, which this identity assumes. What is an Error already is returned as it is.
func Explain(op Operation, at Account, err error) *Error {
	if explained, ok := errors.AsType[*Error](err); ok {
		return explained
	}
	if _, ok := errors.AsType[*roleError](err); ok {
		op = AssumeRole
	}
	if _, ok := errors.AsType[*credentialsError](err); ok && answers(err) {
		op = ownIdentity
	}
	e := &Error{Operation: op, Cause: causeOf(err), err: err}
	e.Detail = detailOf(e.Cause, err)
	e.message = e.explanation(at)
	return e
}

var errNoRegion = errors.New("no AWS region is known")

// configError is why the SDK cannot be configured.
type configError struct{ err error }

func (e *configError) Error() string { return "AWS configuration: " + e.err.Error() }
func (e *configError) Unwrap() error { return e.err }

// credentialsError is why there are no credentials to call with. host was asked for them; it is
// empty if that is not known.
type credentialsError struct {
	err  error
	host string
}

func (e *credentialsError) Error() string { return "no AWS credentials: " + e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// causeOf tells errors apart. What comes first wins: the SDK wraps one in another.
func causeOf(err error) Cause {
	if _, ok := errors.AsType[*aws.MissingRegionError](err); ok || errors.Is(err, errNoRegion) {
		return NoRegion
	}
	if errors.Is(err, context.Canceled) {
		return Canceled
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return HostNotFound
	}
	if _, ok := errors.AsType[*configError](err); ok {
		return Misconfigured
	}
	if _, ok := errors.AsType[*plainHTTPError](err); ok {
		return PlainHTTP
	}
	if _, ok := errors.AsType[*partitionError](err); ok {
		return OtherPartition
	}
	credentials, _ := errors.AsType[*credentialsError](err)
	answer, answered := errors.AsType[smithy.APIError](err)
	_, unsent := errors.AsType[*smithyhttp.RequestSendError](err)
	switch {
	case answered && throttles(answer):
		return Throttled
	case httpStatus(err) >= 500:
		return ServerError
	case answered && credentials != nil:
		return IdentityRefused
	case answered && otherRegion.MatchString(answer.ErrorMessage()):
		return OtherRegion
	case answered && noGroup.MatchString(answer.ErrorMessage()):
		return GroupNotFound
	case answered:
		return causeOfCode(answer.ErrorCode())
	case (unsent || errors.Is(err, context.DeadlineExceeded)) && (credentials == nil || credentials.reachable()):
		return Unreachable
	case credentials != nil:
		return NoCredentials
	}
	return Unknown
}

// answers reports whether AWS has answered.
func answers(err error) bool {
	_, answered := errors.AsType[smithy.APIError](err)
	return answered
}

// reachable reports whether something that gives credentials should be there: the metadata
// service does not count, which is what the SDK asks when nothing else is set.
func (e *credentialsError) reachable() bool {
	return e.host != ""
}

// What AWS says under codes that mean anything.
var (
	// otherRegion follows SignatureDoesNotMatch, InvalidSignatureException or AuthFailure.
	otherRegion = regexp.MustCompile(`(?i)credential should be scoped to a valid region`)
	// noGroup follows ValidationError.
	noGroup = regexp.MustCompile(`(?i)autoscalinggroup name not found`)
)

// causeOfCode returns why AWS refuses a call.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/CommonErrors.html
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
func causeOfCode(code string) Cause {
	switch code {
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired",
		"IncompleteSignature", "InvalidSignatureException", "SignatureDoesNotMatch",
		"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException", "AuthFailure":
		return CredentialsNotAccepted
	case "UnauthorizedOperation":
		return AccessDenied
	case "OptInRequired":
		return RegionNotEnabled
	}
	if strings.HasPrefix(code, "AccessDenied") {
		return AccessDenied
	}
	return Refused
}

func throttles(answer smithy.APIError) bool {
	_, ok := retry.DefaultThrottleErrorCodes[answer.ErrorCode()]
	return ok
}

// httpStatus returns the HTTP status of the answer, zero if there was none.
func httpStatus(err error) int {
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		return response.HTTPStatusCode()
	}
	return 0
}

// explanation returns what went wrong and what to do about it, in a call to an account.
func (e *Error) explanation(at Account) string {
	region := at.Region
	if explained := e.roleExplanation(at); explained != "" {
		return explained
	}
	switch e.Cause {
	case Canceled:
		return fmt.Sprintf("%s was canceled", e.Operation)
	case NoRegion:
		return errNoRegion.Error() + ": set AWS_REGION in the manager's environment"
	case Misconfigured:
		return "correct the AWS configuration in the manager's environment: " + e.Detail
	case NoCredentials:
		return "give the manager's service account an AWS identity (EKS Pod Identity or an IAM role for service accounts): " + e.Detail
	case CredentialsNotAccepted:
		return "AWS does not accept the manager's credentials: renew them, or correct the role that the manager's service account has: " + e.Detail
	case IdentityRefused:
		return "AWS gives the manager's service account no credentials: correct the trust policy of its role and the cluster's IAM OIDC provider, or its EKS Pod Identity association: " + e.Detail
	case OtherRegion:
		return fmt.Sprintf("%s is called in another region than %s, for which the call is signed: correct the region of the source, its URL or AWS_REGION: %s", e.Operation.service(), cmp.Or(region, "the one in AWS_REGION"), e.Detail)
	case GroupNotFound:
		return fmt.Sprintf("the manager's AWS account has no such Auto Scaling group in %s: if it is another account's, set lifecycleHook.roleARN to a role of that account: %s", cmp.Or(region, "the region in AWS_REGION"), e.Detail)
	case PlainHTTP:
		return e.Detail + ": write https in queueURL and AWS_ENDPOINT_URL, or the name of this machine or of a service of this cluster, such as localhost or localstack.testing.svc"
	case AccessDenied:
		return fmt.Sprintf("allow %s in the manager's IAM policy (config/aws/iam-policy.json): %s", e.Operation, e.Detail)
	case RegionNotEnabled:
		return fmt.Sprintf("%s is not enabled for this AWS account, or the credentials are another account's: %s", strings.TrimSpace("the region "+region), e.Detail)
	case Throttled:
		return fmt.Sprintf("%s asks to slow down (%s), and %s is tried again more slowly; if it lasts, see what else calls it in this account", e.Operation.service(), e.Detail, e.Operation)
	case Refused:
		return fmt.Sprintf("%s refuses %s, which is tried again: %s", e.Operation.service(), e.Operation, e.Detail)
	case ServerError:
		return fmt.Sprintf("%s fails on the side of AWS and is tried again: %s", e.Operation, e.Detail)
	case HostNotFound:
		return fmt.Sprintf("cannot find the address of %s: mend the cluster's DNS, or correct the region", e.Detail)
	case Unreachable:
		return fmt.Sprintf("no connection to %s (%s): check network policies, the way to AWS (NAT gateway or VPC endpoint) and the proxy", e.host(), e.Detail)
	}
	return fmt.Sprintf("%s does not work and is tried again: %s", e.Operation, e.Detail)
}

// roleExplanation returns what to do about an error that a role is the reason for; empty if none is.
func (e *Error) roleExplanation(at Account) string {
	switch assuming := e.Operation == AssumeRole; {
	case e.Cause == OtherPartition:
		return e.Detail + ": write the ARN of a role of that partition, in which the manager has to have its AWS identity as well"
	case at.RoleARN == "":
		return ""
	case e.Cause == AccessDenied && assuming:
		return fmt.Sprintf("cannot assume role %s: allow sts:AssumeRole on it in the manager's IAM policy, and trust the manager's AWS identity in the role's trust policy: %s", at.RoleARN, e.Detail)
	case e.Cause == AccessDenied:
		return fmt.Sprintf("allow %s to role %s: %s", e.Operation, at.RoleARN, e.Detail)
	case e.Cause == CredentialsNotAccepted && !assuming:
		return fmt.Sprintf("AWS does not accept the credentials of role %s any more; it is assumed anew: %s", at.RoleARN, e.Detail)
	case e.Cause == GroupNotFound:
		return fmt.Sprintf("the account of role %s has no such Auto Scaling group in %s: correct lifecycleHook.roleARN, which has to be a role of the group's account: %s",
			at.RoleARN, cmp.Or(at.Region, "the region in AWS_REGION"), e.Detail)
	}
	return ""
}

// host returns the host that was called, or the service if that is not known.
func (e *Error) host() string {
	if failure, ok := errors.AsType[*url.Error](e.err); ok {
		if target, err := url.Parse(failure.URL); err == nil && target.Host != "" {
			return target.Host
		}
	}
	if credentials, ok := errors.AsType[*credentialsError](e.err); ok {
		return credentials.host
	}
	return e.Operation.service()
}

// maxDetail bounds what others say, in bytes: a status takes 1024 characters.
const maxDetail = 400

// What differs from one call to the next though the cause is the same.
var (
	// encoded follows EC2's UnauthorizedOperation.
	encoded = regexp.MustCompile(`\s*Encoded authorization failure message:.*`)
	// session is the name that the SDK gives to the session of a role.
	session = regexp.MustCompile(`(:assumed-role/[^/\s]+)/[^\s:]+`)
)

// detailOf returns what went wrong without what differs from one attempt to the next,
// such as request IDs, addresses and port numbers.
func detailOf(cause Cause, err error) string {
	if lookup, ok := errors.AsType[*net.DNSError](err); ok && cause == HostNotFound {
		return lookup.Name
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		if cause == Throttled {
			return answer.ErrorCode()
		}
		text := encoded.ReplaceAllString(answer.ErrorMessage(), "")
		text = session.ReplaceAllString(text, "$1")
		return oneLine(answer.ErrorCode() + ": " + text)
	}
	if status := httpStatus(err); status > 0 {
		return fmt.Sprintf("HTTP %d", status)
	}
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return number.Error()
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return oneLine(err.Error())
}

// oneLine returns a text as one line without its full stop, cut if it is long.
func oneLine(text string) string {
	return v1alpha1.TruncateMessage(strings.TrimRight(strings.Join(strings.Fields(text), " "), ".: "), maxDetail)
}
