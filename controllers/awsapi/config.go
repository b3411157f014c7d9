// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
)

// appID is in the user agent of every call, and the name of the sessions of roles.
const appID = "node-termination-operator"

// LoadFunc loads the AWS configuration, as config.LoadDefaultConfig does.
type LoadFunc func(context.Context, ...func(*config.LoadOptions) error) (aws.Config, error)

// ConfigOptions are what LoadConfig adds to the SDK's own chain of settings.
type ConfigOptions struct {
	// Load reads that chain. Default: config.LoadDefaultConfig.
	Load LoadFunc
	// Region of the calls. Empty: the SDK's own chain, such as AWS_REGION.
	Region string
	// RoleARN is the role that the calls are made with. Empty: the manager's own identity.
	RoleARN string
	// MaxAttempts and MaxBackoff bound the SDK's own retries of one call: how often it
	// is tried, and how long the SDK waits in between. Both are required.
	MaxAttempts int
	MaxBackoff  time.Duration
}

// LoadConfig loads the AWS configuration. It makes no call but those with which the
// SDK looks for settings, such as to the metadata service. Explain explains its error,
// as well as those of the calls that are made with the configuration: errors of
// credentials are told from those of the service that is called.
func LoadConfig(ctx context.Context, opts ConfigOptions) (aws.Config, error) {
	if opts.Load == nil {
		opts.Load = config.LoadDefaultConfig
	}
	cfg, err := opts.Load(ctx,
		config.WithAppID(appID),
		config.WithRegion(opts.Region), // empty leaves it to the SDK's chain
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts, o.MaxBackoff = opts.MaxAttempts, opts.MaxBackoff
				o.RateLimiter = ratelimit.None // the callers back off
				o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(retryable)}, o.Retryables...)
			})
		}),
	)
	if err != nil {
		return aws.Config{}, &configError{err}
	}
	if cfg.Region == "" {
		return aws.Config{}, errNoRegion
	}
	if err := checkPartition(opts.RoleARN, cfg.Region); err != nil {
		return aws.Config{}, err
	}
	cfg.APIOptions = append(slices.Clone(cfg.APIOptions), refusePlainHTTP)
	cfg.Credentials = ownCredentials{cfg.Credentials, credentialsHost(cfg.Region)}
	if opts.RoleARN != "" {
		cfg.Credentials = assumeRole(cfg, opts.RoleARN)
	}
	return cfg, nil
}

// retryable reports that a call is not tried again for want of credentials: who
// provides them has tried as often already.
func retryable(err error) aws.Ternary {
	if _, ok := errors.AsType[*credentialsError](err); ok {
		return aws.FalseTernary
	}
	if _, ok := errors.AsType[*roleError](err); ok {
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}

// credentialsHost returns the host that the SDK asks for the manager's own credentials: STS for
// an IAM role for service accounts, the agent of EKS Pod Identity. Empty: the metadata service, or
// none.
// https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
func credentialsHost(region string) string {
	endpoint := os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI")
	if os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE") != "" {
		domain := ".amazonaws.com"
		if strings.HasPrefix(region, "cn-") {
			domain += ".cn"
		}
		endpoint = cmp.Or(os.Getenv("AWS_ENDPOINT_URL_STS"), os.Getenv("AWS_ENDPOINT_URL"), "https://sts."+region+domain)
	}
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	return parsed.Host
}

// ownCredentials are the manager's own. Every error is a credentialsError.
type ownCredentials struct {
	provider aws.CredentialsProvider
	host     string // see credentialsHost
}

// Retrieve returns the credentials, which the SDK caches.
func (c ownCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	found, err := c.provider.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, &credentialsError{err, c.host}
	}
	return found, nil
}
