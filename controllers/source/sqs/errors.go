// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
)

// Calls that the consumer makes, as permissions of IAM. Batches need no other.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html
const (
	receiving awsapi.Operation = "sqs:ReceiveMessage"
	removing  awsapi.Operation = "sqs:DeleteMessage"
	hiding    awsapi.Operation = "sqs:ChangeMessageVisibility"
	// describing and completing are made by awsapi.Client, in the account of the instances.
	describing awsapi.Operation = "ec2:DescribeInstances"
	completing awsapi.Operation = "autoscaling:CompleteLifecycleAction"
)

const (
	// maxMessage and maxDetail bound messages and what others say in them, in bytes:
	// a status takes 1024 characters.
	maxMessage, maxDetail = 1000, 400

	ownIdentity = "the manager's AWS identity"
)

// explanation is what keeps an operation from working: one of v1alpha1's reasons, and a
// message that says what to do. The same cause always reads the same, so that a status
// is not written for every attempt.
type explanation struct {
	reason, message string
}

// explain explains the error of a call about the queue.
func explain(op awsapi.Operation, queue Queue, err error) explanation {
	e := awsapi.Explain(op, awsapi.Account{Region: queue.Region, RoleARN: queue.RoleARN}, err)
	if op == completing {
		return explanation{e.Reason(), fmt.Sprintf("An adopted lifecycle hook is not completed: %s.", v1alpha1.TruncateMessage(err.Error(), maxDetail))}
	}
	if op == describing {
		return explanation{e.Reason(), fmt.Sprintf("EC2 does not say which cluster instances belong to, and messages about unknown ones stay in the queue: %s.", v1alpha1.TruncateMessage(err.Error(), maxDetail))}
	}
	if _, ok := errors.AsType[*types.QueueDoesNotExist](err); ok {
		where := ""
		if queue.Region != "" {
			where = " in region " + queue.Region
		}
		return explanation{v1alpha1.ReasonQueueNotFound, fmt.Sprintf("There is no queue %s%s: create it, or correct queueURL or region.", queue.URL, where)}
	}
	if _, ok := errors.AsType[*types.KmsAccessDenied](err); ok {
		return explanation{v1alpha1.ReasonAccessDenied, fmt.Sprintf("Allow kms:Decrypt on the queue's key to %s: %s.", queue.caller(), e.Detail)}
	}
	return explanation{e.Reason(), queue.sentence(e)}
}

// sentence returns what to do about an error, in the terms of a policy's source.
func (q Queue) sentence(e *awsapi.Error) string {
	assuming := e.Operation == awsapi.AssumeRole
	switch {
	case e.Cause == awsapi.NoRegion:
		return "The queue's URL names no region: set the source's region, or AWS_REGION in the manager's environment."
	case e.Cause == awsapi.HostNotFound:
		return fmt.Sprintf("Cannot find the address of %s: correct the region or the queue's URL, or mend the cluster's DNS.", e.Detail)
	case e.Cause == awsapi.Throttled:
		return fmt.Sprintf("AWS asks to slow down (%s); this is done, and nothing is lost by it. If it lasts, see what else uses the queue or its key.", e.Detail)
	case e.Cause == awsapi.CredentialsNotAccepted && q.RoleARN != "" && !assuming:
		return fmt.Sprintf("AWS does not accept the credentials of %s; others are asked for within 15 minutes: %s.", q.caller(), e.Detail)
	case e.Cause == awsapi.AccessDenied && assuming:
		return fmt.Sprintf("Cannot assume the source's roleARN: allow sts:AssumeRole on %s to %s, and trust that identity in the role's trust policy: %s.",
			q.RoleARN, ownIdentity, e.Detail)
	case e.Cause == awsapi.AccessDenied:
		return fmt.Sprintf("Allow %s on the queue to %s: %s.", e.Operation, q.caller(), e.Detail)
	}
	text := e.Error()
	if !strings.HasPrefix(text, string(e.Operation)) { // which is written as IAM does
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	return text + "."
}

// caller returns who makes the queue's calls.
func (q Queue) caller() string {
	if q.RoleARN != "" {
		return "role " + q.RoleARN
	}
	return ownIdentity
}
