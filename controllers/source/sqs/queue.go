// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"cmp"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// Queue is what two policies must agree on to share a consumer. Two that differ
// in the role alone name the same queue, which then has two consumers.
type Queue struct {
	// URL is the queue's address as the policy gives it.
	URL string
	// Region is the queue's AWS region. Empty: whatever the SDK's own chain says.
	Region string
	// RoleARN is the role that the queue's calls are made with. Empty: the manager's own identity.
	RoleARN string
}

// QueueOf returns the queue that a source names. Its region is the source's, else the one in the URL.
func QueueOf(source *v1alpha1.SQSSource) Queue {
	return Queue{
		URL:     source.QueueURL,
		Region:  cmp.Or(source.Region, RegionOf(source.QueueURL)),
		RoleARN: source.RoleARN,
	}
}

// regionCode is the form of every AWS region's code, such as us-gov-west-1.
var regionCode = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)

// legacyRegion is that of the one queue host that does not name its region.
const legacyHost, legacyRegion = "queue.amazonaws.com", "us-east-1"

// RegionOf returns the AWS region in a queue's URL, empty if it names none: the label
// after sqs, also with a VPC endpoint's name before it, or before queue in hosts
// of the old form. It also finds the region in hosts that are not AWS's but
// formed like them, such as LocalStack's.
// https://docs.aws.amazon.com/general/latest/gr/sqs-service.html
func RegionOf(queueURL string) string {
	u, err := url.Parse(queueURL)
	if err != nil {
		return ""
	}
	host := strings.ToLower(u.Hostname())
	if host == legacyHost {
		return legacyRegion
	}
	labels := strings.Split(host, ".")
	for i, label := range labels {
		region := ""
		switch {
		case (label == "sqs" || label == "sqs-fips") && i+1 < len(labels):
			region = labels[i+1]
		case label == "queue" && i > 0:
			region = labels[i-1]
		}
		if regionCode.MatchString(region) {
			return region
		}
	}
	return ""
}

// publicHost is a host that the SDK finds by the region, by itself: there its
// own settings count, such as AWS_ENDPOINT_URL or FIPS endpoints.
var publicHost = regexp.MustCompile(`^(sqs(-fips)?\.[a-z0-9-]+|([a-z0-9-]+\.)?queue)\.amazonaws\.com(\.cn)?$`)

// endpointOf returns where to send the calls about a queue whose host the SDK would
// not find by the region: a VPC endpoint, a simulator. Empty: the SDK knows.
// The SDK sends to its own endpoint whatever the host in the queue's URL.
func endpointOf(queueURL string) string {
	u, err := url.Parse(queueURL)
	if err != nil || u.Host == "" || publicHost.MatchString(strings.ToLower(u.Hostname())) {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// Same reports whether two ways of naming a queue mean the same one: the same
// account and name, at the same host or, by whatever host, in the same region.
// The role is none of it: whoever reads the queue gets every policy's messages.
func (q Queue) Same(other Queue) bool {
	a, err := url.Parse(q.URL)
	if err != nil {
		return q.URL == other.URL && q.Region == other.Region
	}
	b, err := url.Parse(other.URL)
	if err != nil || a.Path != b.Path {
		return false
	}
	return strings.EqualFold(a.Host, b.Host) || q.Region != "" && q.Region == other.Region
}

// subscribers are the policies that name one queue, and what they want done about
// unknown instances: Retain where they differ.
type subscribers struct {
	policies []*v1alpha1.NodeTerminationPolicy
	unknown  v1alpha1.UnknownInstances
	// clusters are the names of this cluster in instances' tags; none if these do not count.
	clusters []string
	// roles are those by which the policies reach the accounts of their instances. Empty is the
	// manager's own identity.
	roles []string
	// all are those that do not name the queue, too: one of them may govern a node.
	all []v1alpha1.NodeTerminationPolicy
}

// subscribersOf returns those that name the queue, in whichever way. Policies that
// are being deleted do not count.
func subscribersOf(policies []v1alpha1.NodeTerminationPolicy, queue Queue) subscribers {
	s := subscribers{all: policies}
	for i := range policies {
		policy := &policies[i]
		if policy.DeletionTimestamp != nil {
			continue
		}
		names := false
		for _, source := range policy.Spec.Sources {
			if source.SQS == nil || !QueueOf(source.SQS).Same(queue) {
				continue
			}
			names = true
			if name := source.SQS.ClusterName; name != "" {
				s.clusters = append(s.clusters, name)
			}
			choice := cmp.Or(source.SQS.UnknownInstances, v1alpha1.UnknownRetain)
			if s.unknown != "" && s.unknown != choice {
				choice = v1alpha1.UnknownRetain
			}
			s.unknown = choice
		}
		if names {
			s.policies = append(s.policies, policy)
			if role := policy.Spec.LifecycleHook.Role(); !slices.Contains(s.roles, role) {
				s.roles = append(s.roles, role)
			}
		}
	}
	return s
}
