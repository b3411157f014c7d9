// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// operation is a permission of IAM that the consumer needs. Batches need no other.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html
type operation string

const (
	receiving operation = "sqs:ReceiveMessage"
	removing  operation = "sqs:DeleteMessage"
	hiding    operation = "sqs:ChangeMessageVisibility"
	assuming  operation = "sts:AssumeRole"
	// completing is made with the manager's own credentials, by cloud.Client.
	completing operation = "autoscaling:CompleteLifecycleAction"
)

// service is whose operation it is.
func (op operation) service() string {
	service, _, _ := strings.Cut(string(op), ":")
	return strings.ToUpper(service)
}

// problem is what keeps an operation from working: one of v1alpha1's reasons,
// and a message that says what to do. The same cause always reads the same, so
// that a status is not written for every attempt.
type problem struct {
	reason, message string
}

const (
	// maxMessage and maxCause cut messages and what others say in them, in bytes:
	// a status takes 1024 characters.
	maxMessage, maxCause = 1000, 400

	ownIdentity   = "the manager's AWS identity"
	haveIdentity  = "Give the manager's service account an AWS identity (EKS Pod Identity or an IAM role for service accounts)"
	renewIdentity = "renew them, or correct the role that the manager's service account has"
)

// notAccepted are the codes with which AWS refuses credentials themselves.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
var notAccepted = map[string]bool{
	"ExpiredToken": true, "ExpiredTokenException": true, "RequestExpired": true,
	"IncompleteSignature": true, "InvalidSignatureException": true, "SignatureDoesNotMatch": true,
	"InvalidClientTokenId": true, "UnrecognizedClientException": true, "InvalidAccessKeyId": true,
	"MissingAuthenticationToken": true, "MissingAuthenticationTokenException": true,
}

// problemOf tells errors apart by what a person has to do about them.
func problemOf(op operation, queue Queue, err error) problem {
	p := explained(op, queue, err)
	if op == completing { // the error itself says what to do
		p.message = fmt.Sprintf("An adopted lifecycle hook is not completed: %s.", cut(err.Error(), maxCause))
	}
	return p
}

func explained(op operation, queue Queue, err error) problem {
	var missing *aws.MissingRegionError
	if errors.Is(err, errNoRegion) || errors.As(err, &missing) {
		return problem{v1alpha1.ReasonNoRegion, "The queue's URL names no region: set the source's region, or AWS_REGION in the manager's environment."}
	}
	if lookup, ok := errors.AsType[*net.DNSError](err); ok {
		return problem{v1alpha1.ReasonUnreachable, fmt.Sprintf("Cannot find the address of %s: correct the region or the queue's URL, or mend the cluster's DNS.", lookup.Name)}
	}
	if _, ok := errors.AsType[*credentialsError](err); ok {
		return problem{v1alpha1.ReasonNoCredentials, fmt.Sprintf("%s: %s.", haveIdentity, cause(err))}
	}
	if _, ok := errors.AsType[*roleError](err); ok {
		op = assuming // whichever call needed the role
	}
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		return answered(op, queue, answer)
	}
	if unreachable(err) {
		return problem{v1alpha1.ReasonUnreachable, fmt.Sprintf("No connection to %s (%s): check network policies, the way to AWS (NAT gateway or VPC endpoint) and the proxy.", op.service(), cause(err))}
	}
	return problem{v1alpha1.ReasonSourceError, fmt.Sprintf("%s does not work and is tried again: %s.", op, cause(err))}
}

// answered is about what AWS itself said.
func answered(op operation, queue Queue, answer smithy.APIError) problem {
	code := answer.ErrorCode()
	if _, ok := answer.(*types.QueueDoesNotExist); ok {
		where := ""
		if queue.Region != "" {
			where = " in region " + queue.Region
		}
		return problem{v1alpha1.ReasonQueueNotFound, fmt.Sprintf("There is no queue %s%s: create it, or correct queueURL or region.", queue.URL, where)}
	}
	if _, ok := answer.(*types.KmsAccessDenied); ok {
		return problem{v1alpha1.ReasonAccessDenied, fmt.Sprintf("Allow kms:Decrypt on the queue's key to %s: %s.", queue.caller(), cause(answer))}
	}
	if _, ok := retry.DefaultThrottleErrorCodes[code]; ok {
		return problem{v1alpha1.ReasonThrottled, fmt.Sprintf("AWS asks to slow down (%s); this is done, and nothing is lost by it. If it lasts, see what else uses the queue or its key.", code)}
	}
	switch {
	case notAccepted[code] && queue.RoleARN != "" && op != assuming:
		return problem{v1alpha1.ReasonNoCredentials, fmt.Sprintf("AWS does not accept the credentials of %s; others are asked for within 15 minutes: %s.", queue.caller(), cause(answer))}
	case notAccepted[code]:
		return problem{v1alpha1.ReasonNoCredentials, fmt.Sprintf("AWS does not accept the manager's credentials: %s: %s.", renewIdentity, cause(answer))}
	case strings.HasPrefix(code, "AccessDenied") && op == assuming:
		return problem{v1alpha1.ReasonAccessDenied, fmt.Sprintf(
			"Cannot assume the source's roleARN: allow sts:AssumeRole on %s to %s, and trust that identity in the role's trust policy: %s.", queue.RoleARN, ownIdentity, cause(answer))}
	case strings.HasPrefix(code, "AccessDenied"):
		return problem{v1alpha1.ReasonAccessDenied, fmt.Sprintf("Allow %s on the queue to %s: %s.", op, queue.caller(), cause(answer))}
	}
	return problem{v1alpha1.ReasonSourceError, fmt.Sprintf("%s refuses %s, which is tried again: %s.", op.service(), op, cause(answer))}
}

// caller is who makes the queue's calls.
func (q Queue) caller() string {
	if q.RoleARN != "" {
		return "role " + q.RoleARN
	}
	return ownIdentity
}

// unreachable is whether there was no answer at all.
func unreachable(err error) bool {
	_, unsent := errors.AsType[*smithyhttp.RequestSendError](err)
	return unsent || errors.Is(err, context.DeadlineExceeded)
}

// cause is what went wrong without what differs from one attempt to the next,
// such as request IDs and port numbers.
func cause(err error) string {
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		text := strings.TrimRight(strings.TrimSpace(answer.ErrorMessage()), ".")
		if text == "" {
			return answer.ErrorCode()
		}
		return cut(answer.ErrorCode()+": "+text, maxCause)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	if failure, ok := errors.AsType[*net.OpError](err); ok && failure.Addr != nil {
		if number, ok := errors.AsType[syscall.Errno](failure); ok {
			return failure.Op + " " + failure.Addr.String() + ": " + number.Error()
		}
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return cut(strings.TrimRight(err.Error(), "."), maxCause)
}

// cut keeps the beginning of a long text.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
