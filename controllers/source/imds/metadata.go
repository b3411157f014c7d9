// SPDX-License-Identifier: Apache-2.0

package imds

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const (
	// readTimeout bounds the reading of one document with all that belongs to it:
	// a token, and one more attempt. The service is on the instance's own host and
	// answers within milliseconds.
	readTimeout = 3 * time.Second
	// dialTimeout bounds the making of a connection.
	dialTimeout = time.Second
	// attempts is how often the SDK tries: once more, at once, with a new token or
	// on a new connection. All else can wait for the next poll.
	attempts = 2
	// maxDocument is far more than any document has, in bytes.
	maxDocument = 1 << 20
)

// The modes of an endpoint, as the SDK has them.
const ipv4, ipv6 = string(v1alpha1.EndpointIPv4), string(v1alpha1.EndpointIPv6)

// metadataPath is where the paths of documents begin.
const metadataPath = "/latest/meta-data/"

// pathLifeCycle says whether the instance is spot, on-demand, scheduled or a capacity-block.
const pathLifeCycle = "instance-life-cycle"

// metadata reads the instance metadata service, version 2 only.
type metadata struct {
	client    *imds.Client
	transport *transport
}

// newMetadata makes no call. If endpoint and mode are empty, the SDK's environment variables
// count. next is nil but in tests.
func newMetadata(endpoint, mode string, next http.RoundTripper) (*metadata, error) {
	const disabled = "AWS_EC2_METADATA_DISABLED"
	if strings.EqualFold(os.Getenv(disabled), "true") {
		return nil, fmt.Errorf("%s is true, so there is nothing to watch: unset it", disabled)
	}
	if next == nil {
		next = &http.Transport{ // and no proxy, whatever the environment says
			DialContext:        (&net.Dialer{Timeout: dialTimeout}).DialContext,
			MaxIdleConns:       1,
			IdleConnTimeout:    2 * time.Minute, // longer than any poll interval
			DisableCompression: true,
		}
	}
	endpoint, err := resolveEndpoint(endpoint, mode)
	if err != nil {
		return nil, err
	}
	transport := &transport{next: next, sent: map[string]*http.Request{}}
	options := imds.Options{
		Endpoint:       endpoint,
		HTTPClient:     transport,
		EnableFallback: aws.FalseTernary,
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = attempts
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
		}),
		DisableDefaultMaxBackoff: true,
	}
	return &metadata{imds.New(options), transport}, nil
}

// resolveEndpoint returns the URL of the metadata service: this one, or EC2's of the mode. What is said here wins over
// the SDK's environment variables, and a URL over a mode.
func resolveEndpoint(endpoint, mode string) (string, error) {
	const (
		serviceEnv = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
		modeEnv    = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"
	)
	origin := "--endpoint-mode"
	if mode == "" {
		endpoint = cmp.Or(endpoint, os.Getenv(serviceEnv))
		origin, mode = modeEnv, cmp.Or(os.Getenv(modeEnv), ipv4)
	}
	if u, err := url.Parse(endpoint); endpoint != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		return "", fmt.Errorf("the endpoint of the metadata service is %q: write a URL such as http://169.254.169.254 or http://[fd00:ec2::254]", endpoint)
	}
	switch {
	case strings.EqualFold(mode, ipv4):
		return cmp.Or(endpoint, "http://169.254.169.254"), nil
	case strings.EqualFold(mode, ipv6):
		return cmp.Or(endpoint, "http://[fd00:ec2::254]"), nil
	}
	return "", fmt.Errorf("%s is %q: write IPv4 or IPv6", origin, mode)
}

// read returns the document at a path below meta-data/; not found if the service
// answers that there is none. The error is an explainedError.
func (m *metadata) read(ctx context.Context, path string) (body []byte, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if body, found, ok := m.transport.repeat(ctx, metadataPath+path); ok {
		return body, found, nil
	}
	m.transport.last = exchange{}
	out, err := m.client.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
	last := m.transport.last
	if last.plain() && last.status == http.StatusNotFound {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, explain(last, err)
	}
	body, err = io.ReadAll(out.Content) // the SDK has read it already
	return body, true, errors.Join(err, out.Content.Close())
}

// identity is what a NodeTermination needs to know of the instance.
type identity struct {
	instanceID string
	instance   *v1alpha1.Instance // nil if nothing else is known
}

// identify asks which instance this is. The error is an explainedError.
func (m *metadata) identify(ctx context.Context) (identity, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*readTimeout)
	defer cancel()
	m.transport.last = exchange{}
	document, err := m.client.GetInstanceIdentityDocument(ctx, &imds.GetInstanceIdentityDocumentInput{})
	if err != nil {
		return identity{}, explain(m.transport.last, err)
	}
	lifeCycle, _, err := m.read(ctx, pathLifeCycle)
	if err != nil {
		return identity{}, err
	}
	return identityOf(document.InstanceIdentityDocument, strings.TrimSpace(string(lifeCycle)))
}

// identityOf leaves out what the API would not take.
func identityOf(document imds.InstanceIdentityDocument, lifeCycle string) (identity, error) {
	if !v1alpha1.IsInstanceID(document.InstanceID) {
		return identity{}, explainedError(fmt.Sprintf("The instance identity document names the instance %q: this is not EC2.", v1alpha1.TruncateMessage(document.InstanceID, 64)))
	}
	instance := v1alpha1.Instance{
		Type:             unlessLonger(document.InstanceType, 64),
		LifeCycle:        unlessLonger(lifeCycle, 32),
		AvailabilityZone: unlessLonger(document.AvailabilityZone, 64),
		AccountID:        unlessLonger(document.AccountID, 32),
	}
	if v1alpha1.IsRegion(document.Region) {
		instance.Region = unlessLonger(document.Region, 32)
	}
	if instance == (v1alpha1.Instance{}) {
		return identity{instanceID: document.InstanceID}, nil
	}
	return identity{document.InstanceID, &instance}, nil
}

func unlessLonger(text string, most int) string {
	if len(text) > most {
		return ""
	}
	return text
}
