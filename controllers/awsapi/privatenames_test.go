// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodetermination/operator/hack/awssim"
)

// running asks for instances by their names and returns the IDs.
func (f *fixture) running(names Names) []string {
	f.t.Helper()
	found, err := f.RunningInstances(f.t.Context(), region, names)
	if err != nil {
		f.t.Fatal(err)
	}
	var ids []string
	for _, instance := range found {
		ids = append(ids, instance.ID)
	}
	return ids
}

func TestRunningInstances(t *testing.T) {
	f := newFixture(t)
	f.put(awssim.Instance{ID: "i-11111111", PrivateIP: "10.0.3.7", Zone: "us-east-1c", Tags: map[string]string{"a": "b"}, IPv6: "2600:1f13::7", LaunchTime: epoch})
	f.put(awssim.Instance{ID: "i-22222222", PrivateIP: "10.0.3.8", PrivateDNSName: "i-22222222.ec2.internal"})
	f.put(awssim.Instance{ID: "i-33333333", PrivateIP: "10.0.3.9", State: "stopped"})
	f.put(awssim.Instance{ID: "i-44444444", PrivateIP: "10.0.3.10", State: "shutting-down"})
	f.put(awssim.Instance{ID: "i-55555555", PrivateIP: "10.0.3.7", State: "terminated"})
	for name, test := range map[string]struct {
		names Names
		want  []string
	}{
		"nothing":                  {},
		"by its name":              {Names{DNS: []string{"ip-10-0-3-7.ec2.internal"}}, []string{"i-11111111"}},
		"by its host's name":       {Names{DNS: []string{"ip-10-0-3-7.*"}}, []string{"i-11111111"}},
		"by its resource name":     {Names{DNS: []string{"i-22222222.ec2.internal"}}, []string{"i-22222222"}},
		"by its address":           {Names{IPv4: []string{"10.0.3.8"}}, []string{"i-22222222"}},
		"by its IPv6 address":      {Names{IPv6: []string{"2600:1f13::7"}}, []string{"i-11111111"}},
		"by all of them, once":     {Names{DNS: []string{"ip-10-0-3-7.ec2.internal"}, IPv4: []string{"10.0.3.7"}, IPv6: []string{"2600:1f13::7"}}, []string{"i-11111111"}},
		"not those that stop":      {Names{IPv4: []string{"10.0.3.9", "10.0.3.10"}}, nil},
		"not another one's name":   {Names{DNS: []string{"ip-10-0-3-70.ec2.internal", "ip-10-0-3-70.*"}}, nil},
		"sorted, whoever is asked": {Names{DNS: []string{"i-22222222.*"}, IPv4: []string{"10.0.3.7"}}, []string{"i-11111111", "i-22222222"}},
	} {
		if diff := cmp.Diff(test.want, f.running(test.names)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	found, err := f.RunningInstances(t.Context(), region, Names{IPv4: []string{"10.0.3.7"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []RunningInstance{{
		Instance: Instance{Found: true, State: "running", Tags: []string{"a=b"}}, ID: "i-11111111", Zone: "us-east-1c",
		PrivateDNSName: "ip-10-0-3-7.ec2.internal", Addresses: []string{"10.0.3.7", "2600:1f13::7"}, LaunchTime: epoch,
	}}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestRunningInstancesAreAskedForInBatches: a filter takes 200 values, and an answer comes in pages.
func TestRunningInstancesAreAskedForInBatches(t *testing.T) {
	f := newFixture(t)
	var names Names
	var want []string
	for i := range 2*batchSize + 1 {
		id, address := fmt.Sprintf("i-%017x", i), fmt.Sprintf("10.0.%d.%d", i/200, i%200)
		f.put(awssim.Instance{ID: id, PrivateIP: address})
		names.IPv4 = append(names.IPv4, address)
		want = append(want, id)
	}
	if got := f.running(names); !slices.Equal(got, want) {
		t.Errorf("found %d instances, want %d", len(got), len(want))
	}
	if calls := f.batches(); calls != 3 {
		t.Errorf("%d calls, want 3", calls)
	}
}

func TestRunningInstancesAreNotKnown(t *testing.T) {
	f := newFixture(t)
	if _, err := f.sim.AddFault(awssim.Fault{Code: "UnauthorizedOperation", Action: "DescribeInstances"}); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"by names": func() error {
			_, err := f.RunningInstances(t.Context(), region, Names{IPv4: []string{"10.0.3.7"}})
			return err
		}(),
		"by a tag": func() error { _, err := f.TaggedInstances(t.Context(), region, "key"); return err }(),
	} {
		if err == nil || !strings.Contains(err.Error(), "ec2:DescribeInstances") {
			t.Errorf("%s: %v, want what to permit", what, err)
		}
	}
}

func TestTaggedInstances(t *testing.T) {
	f := newFixture(t)
	f.put(awssim.Instance{ID: "i-22222222", Tags: map[string]string{"kubernetes.io/cluster/prod": "owned"}})
	f.put(awssim.Instance{ID: "i-11111111", Tags: map[string]string{"kubernetes.io/cluster/prod": "shared", "a*": "x?y"}})
	f.put(awssim.Instance{ID: "i-33333333", Tags: map[string]string{"kubernetes.io/cluster/prod": "owned", "ab": "xzy"}, State: "stopped"})
	f.put(awssim.Instance{ID: "i-44444444", Tags: map[string]string{"ab": "", "a*": "xzy"}})
	for tag, want := range map[string][]string{
		"kubernetes.io/cluster/prod":       {"i-11111111", "i-22222222"},
		"kubernetes.io/cluster/prod=owned": {"i-22222222"},
		"a*":                               {"i-11111111", "i-44444444"},
		"a*=x?y":                           {"i-11111111"},
		"ab=":                              {"i-44444444"},
		"none":                             nil,
	} {
		got, err := f.TaggedInstances(t.Context(), region, tag)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", tag, got, err, want)
		}
	}
}
