// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

func TestRegionAndEndpoint(t *testing.T) {
	for _, test := range []struct {
		url, region, endpoint string
	}{
		{"https://sqs.us-east-1.amazonaws.com/123456789012/q", "us-east-1", ""},
		{"https://SQS.EU-Central-1.amazonaws.com/123456789012/q", "eu-central-1", ""},
		{"https://sqs.us-gov-west-1.amazonaws.com/123456789012/q", "us-gov-west-1", ""},
		{"https://sqs-fips.us-east-2.amazonaws.com/123456789012/q", "us-east-2", ""},
		{"https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q", "cn-north-1", ""},
		{"https://us-west-2.queue.amazonaws.com/123456789012/q", "us-west-2", ""},
		{"https://cn-northwest-1.queue.amazonaws.com.cn/123456789012/q", "cn-northwest-1", ""},
		{"https://queue.amazonaws.com/123456789012/q", "us-east-1", ""},
		{
			"https://vpce-0abc-1def.sqs.eu-west-1.vpce.amazonaws.com/123456789012/q", "eu-west-1",
			"https://vpce-0abc-1def.sqs.eu-west-1.vpce.amazonaws.com",
		},
		{
			"https://vpce-0abc-1def-eu-west-1a.sqs.eu-west-1.vpce.amazonaws.com/123456789012/q", "eu-west-1",
			"https://vpce-0abc-1def-eu-west-1a.sqs.eu-west-1.vpce.amazonaws.com",
		},
		{"https://sqs.ap-south-1.api.aws/123456789012/q", "ap-south-1", "https://sqs.ap-south-1.api.aws"},
		{"https://sqs.us-iso-east-1.c2s.ic.gov/123456789012/q", "us-iso-east-1", "https://sqs.us-iso-east-1.c2s.ic.gov"},
		{
			"http://sqs.us-east-1.localhost.localstack.cloud:4566/000000000000/q", "us-east-1",
			"http://sqs.us-east-1.localhost.localstack.cloud:4566",
		},
		{"http://127.0.0.1:9324/123456789012/q", "", "http://127.0.0.1:9324"},
		{"http://[::1]:9324/123456789012/q", "", "http://[::1]:9324"},
		{"https://queue.example.com/123456789012/q", "", "https://queue.example.com"},
		{"https://sqs.example.com/us-east-1/q", "", "https://sqs.example.com"},
		{"https://sqs/q", "", "https://sqs"},
		{"https://sqs.us-east-1.amazonaws.com.example.com/1/q", "us-east-1", "https://sqs.us-east-1.amazonaws.com.example.com"},
		{"://", "", ""},
		{"", "", ""},
	} {
		if got := RegionOf(test.url); got != test.region {
			t.Errorf("region of %q: %q, want %q", test.url, got, test.region)
		}
		if got := endpointOf(test.url); got != test.endpoint {
			t.Errorf("endpoint of %q: %q, want %q", test.url, got, test.endpoint)
		}
	}
}

func TestQueueOf(t *testing.T) {
	const url = "https://sqs.us-east-1.amazonaws.com/123456789012/q"
	if got, want := QueueOf(&v1alpha1.SQSSource{QueueURL: url}), (Queue{URL: url, Region: "us-east-1"}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	const role = "arn:aws:iam::123456789012:role/queue"
	if got, want := QueueOf(&v1alpha1.SQSSource{QueueURL: url, RoleARN: role}), (Queue{URL: url, Region: "us-east-1", RoleARN: role}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := QueueOf(&v1alpha1.SQSSource{QueueURL: url, Region: "eu-west-1"}), (Queue{URL: url, Region: "eu-west-1"}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSameQueue(t *testing.T) {
	public := Queue{URL: "https://sqs.us-east-1.amazonaws.com/123456789012/q", Region: "us-east-1"}
	simulated := Queue{URL: "http://127.0.0.1:1/123456789012/q", Region: ""}
	for _, test := range []struct {
		name string
		a, b Queue
		want bool
	}{
		{"itself", public, public, true},
		{"through a VPC endpoint", public, Queue{URL: "https://vpce-0a.sqs.us-east-1.vpce.amazonaws.com/123456789012/q", Region: "us-east-1"}, true},
		{"by the old host", public, Queue{URL: "https://queue.amazonaws.com/123456789012/q", Region: "us-east-1"}, true},
		{"with a region written out", simulated, Queue{URL: simulated.URL, Region: "us-east-1"}, true},
		{"in another region", public, Queue{URL: "https://sqs.us-east-2.amazonaws.com/123456789012/q", Region: "us-east-2"}, false},
		{"in another account", public, Queue{URL: "https://sqs.us-east-1.amazonaws.com/210987654321/q", Region: "us-east-1"}, false},
		{"another queue", public, Queue{URL: "https://sqs.us-east-1.amazonaws.com/123456789012/p", Region: "us-east-1"}, false},
		{"at another host, no region known", simulated, Queue{URL: "http://127.0.0.1:2/123456789012/q", Region: ""}, false},
		{"with another role", public, Queue{URL: public.URL, Region: "us-east-1", RoleARN: "arn:aws:iam::123456789012:role/queue"}, true},
		{"not a URL", public, Queue{URL: "://", Region: "us-east-1"}, false},
	} {
		if got := test.a.Same(test.b); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
		if got := test.b.Same(test.a); got != test.want {
			t.Errorf("%s, the other way round: %v", test.name, got)
		}
	}
}

func TestAudience(t *testing.T) {
	const url, other = "https://sqs.us-east-1.amazonaws.com/123456789012/q", "https://sqs.us-east-1.amazonaws.com/123456789012/p"
	source := func(url string, unknown v1alpha1.UnknownInstances) v1alpha1.NodeTerminationPolicy {
		return v1alpha1.NodeTerminationPolicy{Spec: v1alpha1.NodeTerminationPolicySpec{
			Sources: []v1alpha1.Source{{Name: "q", SQS: &v1alpha1.SQSSource{QueueURL: url, UnknownInstances: unknown}}},
		}}
	}
	deleted := source(url, v1alpha1.UnknownDiscard)
	deleted.DeletionTimestamp = &metav1.Time{}
	role := source(url, v1alpha1.UnknownDiscard)
	role.Spec.Sources[0].SQS.RoleARN = "arn:aws:iam::123456789012:role/queue"
	both := source(url, v1alpha1.UnknownDiscard)
	both.Spec.Sources = append(both.Spec.Sources, source(url, v1alpha1.UnknownRetain).Spec.Sources...)
	for _, test := range []struct {
		name     string
		policies []v1alpha1.NodeTerminationPolicy
		choice   v1alpha1.UnknownInstances
		names    int
	}{
		{"nobody", nil, "", 0},
		{"nobody names it", []v1alpha1.NodeTerminationPolicy{source(other, v1alpha1.UnknownDiscard)}, "", 0},
		{"unset", []v1alpha1.NodeTerminationPolicy{source(url, "")}, v1alpha1.UnknownRetain, 1},
		{"unset and Retain", []v1alpha1.NodeTerminationPolicy{source(url, ""), source(url, v1alpha1.UnknownRetain)}, v1alpha1.UnknownRetain, 2},
		{"Discard", []v1alpha1.NodeTerminationPolicy{source(url, v1alpha1.UnknownDiscard), source(other, "")}, v1alpha1.UnknownDiscard, 1},
		{"they differ", []v1alpha1.NodeTerminationPolicy{source(url, v1alpha1.UnknownDiscard), source(url, "")}, v1alpha1.UnknownRetain, 2},
		{"two against one", []v1alpha1.NodeTerminationPolicy{source(url, ""), source(url, v1alpha1.UnknownDiscard), source(url, v1alpha1.UnknownDiscard)}, v1alpha1.UnknownRetain, 3},
		{"one policy differs from itself", []v1alpha1.NodeTerminationPolicy{both}, v1alpha1.UnknownRetain, 1},
		{"one reads it with a role", []v1alpha1.NodeTerminationPolicy{source(url, ""), role}, v1alpha1.UnknownRetain, 2},
		{"one on its way out", []v1alpha1.NodeTerminationPolicy{source(url, ""), deleted}, v1alpha1.UnknownRetain, 1},
	} {
		a := subscribersOf(test.policies, Queue{URL: url, Region: "us-east-1"})
		if a.unknown != test.choice || len(a.policies) != test.names {
			t.Errorf("%s: %q of %d policies, want %q of %d", test.name, a.unknown, len(a.policies), test.choice, test.names)
		}
	}
}
