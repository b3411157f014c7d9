// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// maxCause is the length to which others' error messages are cut, in bytes.
const maxCause = 300

// explainedError is what is wrong with the metadata service and what to do about it.
// The same cause always has the same text, so that it is logged once.
type explainedError string

// Error implements error.
func (e explainedError) Error() string { return string(e) }

// errMetadataDisabled is the error on instances whose metadata service is disabled.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
const errMetadataDisabled explainedError = "The instance metadata service is disabled (403 Forbidden): set HttpEndpoint to enabled in the instance's metadata options and in its launch template."

// explain returns the error of a read that has failed with err after its last exchange.
func explain(last exchange, err error) explainedError {
	answer := fmt.Sprintf("%d %s", last.status, http.StatusText(last.status))
	switch {
	case last.status == http.StatusForbidden:
		return errMetadataDisabled
	case last.status == http.StatusUnauthorized:
		return "The instance metadata service does not take the token that it has given (401 Unauthorized)."
	case last.status == http.StatusOK:
		return explainedError(fmt.Sprintf("An answer of the instance metadata service cannot be read: %s.", cause(err)))
	case last.status != 0 && last.token:
		return explainedError(fmt.Sprintf("The instance metadata service gives no tokens (%s): it has to be version 2.", answer))
	case last.status != 0:
		return explainedError(fmt.Sprintf("The instance metadata service answers %s.", answer))
	}
	failure, ok := errors.AsType[*net.OpError](last.err)
	switch {
	case ok && failure.Op == "dial":
		return explainedError(fmt.Sprintf("No connection to the instance metadata service (%s): let the watcher's pods use the host's network, and look for firewall rules and network policies against it.", cause(last.err)))
	case timedOut(last.err) && last.token:
		return "The instance metadata service does not answer requests for a token, as with a hop limit of 1: let the watcher's pods use the host's network, or set HttpPutResponseHopLimit to 2 in the instance's metadata options and in its launch template."
	case timedOut(last.err):
		return "The instance metadata service does not answer in time."
	}
	return explainedError(fmt.Sprintf("The instance metadata service cannot be read: %s.", cause(err)))
}

func timedOut(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded)
}

// cause returns what went wrong without what differs from one attempt to the next,
// such as port numbers.
func cause(err error) string {
	if failure, ok := errors.AsType[*net.OpError](err); ok && failure.Addr != nil {
		if number, ok := errors.AsType[syscall.Errno](failure); ok {
			return failure.Op + " " + failure.Addr.String() + ": " + number.Error()
		}
		if failure.Timeout() {
			return failure.Op + " " + failure.Addr.String() + ": no answer in time"
		}
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return v1alpha1.TruncateMessage(strings.TrimRight(err.Error(), "."), maxCause)
}
