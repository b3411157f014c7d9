// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"context"
	"fmt"
	"net"
	"regexp"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// plainHTTPError is that a request is not signed, as it would go over http to another machine:
// whoever listens could send it again.
type plainHTTPError struct{ host string }

func (e *plainHTTPError) Error() string {
	return fmt.Sprintf("no signed request is sent over http to %s", e.host)
}

// ownNames are this machine's and those of services of this cluster, which only the cluster's DNS knows.
var ownNames = regexp.MustCompile(`^([a-z]([-a-z0-9]*[a-z0-9])?|[a-z0-9]([-.a-z0-9]*[a-z0-9])?\.svc(\.cluster\.local)?)$`)

// isOwn reports whether a host is this machine or a service of this cluster.
func isOwn(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	return ownNames.MatchString(host)
}

// refusePlainHTTP adds to an operation that it signs nothing that goes over http to another
// machine, whatever says so: a queue's URL or AWS_ENDPOINT_URL. What the SDK asks for credentials
// without a signature, such as the metadata service, stays as it is.
func refusePlainHTTP(stack *middleware.Stack) error {
	const signing = "Signing"
	if _, signs := stack.Finalize.Get(signing); !signs {
		return nil
	}
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("RefusePlainHTTP",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			request, ok := in.Request.(*smithyhttp.Request)
			if ok && request.URL.Scheme == "http" && !isOwn(request.URL.Hostname()) {
				return middleware.FinalizeOutput{}, middleware.Metadata{}, &plainHTTPError{request.URL.Host}
			}
			return next.HandleFinalize(ctx, in)
		}), signing, middleware.Before)
}
