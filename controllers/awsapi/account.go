// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// expiryWindow is how long before they expire a role's credentials are renewed.
const expiryWindow = time.Minute

// Account is an AWS account in a region, as calls reach it. The zero value is the manager's
// own, in the region of the SDK's own chain.
type Account struct {
	// Region of the calls. Empty: the SDK's own chain, such as AWS_REGION.
	Region string
	// RoleARN is the role that the calls are made with, and so says which account it is.
	// Empty: the manager's own identity.
	RoleARN string
}

// AssumeRole assumes the account's role, unless there are credentials of it already. Its error
// is ErrBusy or says what to do. Without a role it looks for the manager's own credentials.
func (c *Client) AssumeRole(ctx context.Context, at Account) error {
	return c.call(ctx, at, AssumeRole, func(ctx context.Context, to *connection) error {
		_, err := to.credentials.Retrieve(ctx)
		return err
	})
}

// forgetRole has the role assumed anew at the next call, as AWS does not accept its credentials
// any more: somebody has revoked its sessions.
func (c *connection) forgetRole() {
	if cache, ok := c.credentials.(*aws.CredentialsCache); ok {
		cache.Invalidate()
	}
}

// assumeRole returns the credentials of a role, kept until shortly before they expire.
func assumeRole(cfg aws.Config, roleARN string) aws.CredentialsProvider {
	provider := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), roleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = appID
	})
	return aws.NewCredentialsCache(roleCredentials{provider}, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = expiryWindow })
}

// roleCredentials are those of a role. Every error is a roleError.
type roleCredentials struct{ provider aws.CredentialsProvider }

// Retrieve assumes the role.
func (c roleCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	found, err := c.provider.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, &roleError{err}
	}
	return found, nil
}

// HandleFailToRefresh returns the credentials that could not be renewed as long as they are
// valid: they are renewed a minute before they expire.
func (c roleCredentials) HandleFailToRefresh(_ context.Context, known aws.Credentials, err error) (aws.Credentials, error) {
	known.Expires = known.Expires.Add(expiryWindow) // which the cache has taken off, and takes off again
	if !known.HasKeys() || known.Expired() {
		return aws.Credentials{}, err
	}
	return known, nil
}

// roleError is why a role cannot be assumed.
type roleError struct{ err error }

func (e *roleError) Error() string { return "the role cannot be assumed: " + e.err.Error() }
func (e *roleError) Unwrap() error { return e.err }

// partitionError is that a role is of another partition than the region that is called: no
// identity of one partition can assume a role of another.
type partitionError struct{ arn, region string }

func (e *partitionError) Error() string {
	return fmt.Sprintf("role %s is not of the partition %s, to which the region %s belongs", e.arn, partitionOf(e.region), e.region)
}

// checkPartition returns an error if a role cannot be one for calls to a region. Empty is none.
func checkPartition(roleARN, region string) error {
	if roleARN == "" || strings.HasPrefix(roleARN, "arn:"+partitionOf(region)+":") {
		return nil
	}
	return &partitionError{roleARN, region}
}
