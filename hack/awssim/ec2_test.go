// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func newTestInstances(t *testing.T, instances ...Instance) (*ec2.Client, *Server) {
	t.Helper()
	s := start(t, Options{Now: stopped})
	for _, instance := range instances {
		if err := s.PutInstance(instance); err != nil {
			t.Fatal(err)
		}
	}
	return ec2.NewFromConfig(sdk(t, s)), s
}

func instanceIDs(out *ec2.DescribeInstancesOutput) string {
	var ids []string
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			ids = append(ids, *i.InstanceId)
		}
	}
	return strings.Join(ids, " ")
}

func TestEC2Instance(t *testing.T) {
	launched := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	client, sim := newTestInstances(t, Instance{
		ID: testInstance, State: "shutting-down", Tags: map[string]string{"b": "2", "a": "<1>"}, PrivateIP: "10.0.3.7",
		Zone: "us-east-1c", Type: "c7g.large", Spot: true, LaunchTime: launched,
	})
	describe := func() types.Instance {
		out := must[*ec2.DescribeInstancesOutput](t)(client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{testInstance}}))
		return out.Reservations[0].Instances[0]
	}
	i := describe()
	if *i.InstanceId != testInstance || i.State.Name != types.InstanceStateNameShuttingDown || *i.State.Code != 32 ||
		*i.PrivateDnsName != "ip-10-0-3-7.ec2.internal" || *i.PrivateIpAddress != "10.0.3.7" || *i.Placement.AvailabilityZone != "us-east-1c" ||
		i.InstanceType != types.InstanceTypeC7gLarge || i.InstanceLifecycle != types.InstanceLifecycleTypeSpot || !i.LaunchTime.Equal(launched) {
		t.Errorf("described as %+v", i)
	}
	if len(i.Tags) != 2 || *i.Tags[0].Key != "a" || *i.Tags[0].Value != "<1>" {
		t.Errorf("tags %+v", i.Tags)
	}
	if err := sim.PutInstance(Instance{ID: testInstance}); err != nil {
		t.Fatal(err)
	}
	if i := describe(); i.State.Name != types.InstanceStateNameRunning || i.InstanceLifecycle != "" || !i.LaunchTime.Equal(epoch) {
		t.Errorf("replaced by the defaults, described as %+v", i)
	}
}

func TestEC2Filters(t *testing.T) {
	client, _ := newTestInstances(t,
		Instance{ID: "i-11111111", Tags: map[string]string{"aws-node-termination-handler/managed": "", "team": "a.b"}, Spot: true, PrivateIP: "10.0.3.7"},
		Instance{ID: "i-22222222", Tags: map[string]string{"team": "axb"}, State: "stopped", Zone: "us-east-1b"},
		Instance{ID: "i-33333333", PrivateDNSName: "node.internal", IPv6: "2600:1f13::7", Tags: map[string]string{"team": "a*", "path": `\\x`}},
		Instance{ID: "i-44444444", State: "terminated", PrivateIP: "10.0.3.9"},
	)
	for _, test := range []struct {
		filters string // several with semicolons, values with commas
		want    string
	}{
		{"tag-key=aws-node-termination-handler/managed", "i-11111111"},
		{"tag-key=aws-*", "i-11111111"},
		{"tag-key=team", "i-11111111 i-22222222 i-33333333"},
		{"tag:team=a.b", "i-11111111"},
		{"tag:team=a?b", "i-11111111 i-22222222"},
		{"tag:none=*", ""},
		{"instance-id=i-33333333,i-11111111", "i-11111111 i-33333333"},
		{"instance-state-name=running", "i-11111111 i-33333333"},
		{"instance-state-name=running;tag-key=team", "i-11111111 i-33333333"},
		{"instance-lifecycle=spot", "i-11111111"},
		{"private-dns-name=node.internal", "i-33333333"},
		{"private-dns-name=node.*", "i-33333333"},
		{"private-dns-name=ip-10-0-3-7.ec2.internal", "i-11111111"},
		{"private-ip-address=10.0.3.7", "i-11111111"},
		{"network-interface.addresses.private-ip-address=10.0.3.7,10.0.3.9", "i-11111111"},
		{"network-interface.ipv6-addresses.ipv6-address=2600:1f13::7", "i-33333333"},
		{"network-interface.ipv6-addresses.ipv6-address=*", "i-33333333"},
		{`tag:team=a\*`, "i-33333333"},
		{`tag:team=a\?b`, ""},
		{`tag:path=\\\\x`, "i-33333333"},
		{"availability-zone=us-east-1b", "i-22222222"},
	} {
		in := &ec2.DescribeInstancesInput{}
		for part := range strings.SplitSeq(test.filters, ";") {
			name, values, _ := strings.Cut(part, "=")
			in.Filters = append(in.Filters, types.Filter{Name: &name, Values: strings.Split(values, ",")})
		}
		out := must[*ec2.DescribeInstancesOutput](t)(client.DescribeInstances(t.Context(), in))
		if got := instanceIDs(out); got != test.want {
			t.Errorf("%s: found %q, want %q", test.filters, got, test.want)
		}
	}
}

func TestEC2Errors(t *testing.T) {
	client, sim := newTestInstances(t, Instance{ID: "i-11111111"}, Instance{ID: "i-44444444"})
	sim.RemoveInstance("i-44444444")
	for _, test := range []struct {
		in      ec2.DescribeInstancesInput
		code    string
		message string
	}{
		{ec2.DescribeInstancesInput{InstanceIds: []string{"i-11111111", "i-22222222"}}, "InvalidInstanceID.NotFound", "The instance ID 'i-22222222' does not exist"},
		{ec2.DescribeInstancesInput{InstanceIds: []string{"i-22222222", "i-44444444"}}, "InvalidInstanceID.NotFound", "The instance IDs 'i-22222222, i-44444444' do not exist"},
		{ec2.DescribeInstancesInput{InstanceIds: []string{"node"}}, "InvalidInstanceID.Malformed", "node"},
		{ec2.DescribeInstancesInput{InstanceIds: []string{"i-11111111"}, MaxResults: aws.Int32(5)}, "InvalidParameterCombination", "maxResults"},
		{ec2.DescribeInstancesInput{MaxResults: aws.Int32(1001)}, "InvalidParameterValue", "1000"},
		{ec2.DescribeInstancesInput{NextToken: aws.String("x")}, "InvalidNextToken", "x"},
		{ec2.DescribeInstancesInput{Filters: []types.Filter{{Name: aws.String("colour"), Values: []string{"red"}}}}, "InvalidParameterValue", "colour"},
	} {
		_, err := client.DescribeInstances(t.Context(), &test.in)
		if errorCode(err) != test.code || !strings.Contains(err.Error(), test.message) {
			t.Errorf("error %v, want %s with %q", err, test.code, test.message)
		}
	}
	for code, fault := range map[string]Fault{"RequestLimitExceeded": {Code: Throttle}, "UnauthorizedOperation": {Code: "UnauthorizedOperation"}, "InternalError": {Code: ServerError}} {
		fault.Times = 1
		sim.mustAddFault(t, fault)
		if _, err := client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{}); errorCode(err) != code {
			t.Errorf("error %v, want %s", err, code)
		}
	}
	for _, instance := range []Instance{{ID: "node"}, {ID: "i-11111111", State: "gone"}} {
		if err := sim.PutInstance(instance); err == nil {
			t.Errorf("instance %+v was accepted", instance)
		}
	}
}

// TestEC2TerminatedHasNoName: private names and addresses are used again.
func TestEC2TerminatedHasNoName(t *testing.T) {
	client, sim := newTestInstances(t, Instance{ID: testInstance, PrivateIP: "10.0.3.7", IPv6: "2600:1f13::7"})
	for state, want := range map[string]string{"running": "10.0.3.7", "stopped": "10.0.3.7", "terminated": ""} {
		if err := sim.PutInstance(Instance{ID: testInstance, State: state, PrivateIP: "10.0.3.7", IPv6: "2600:1f13::7"}); err != nil {
			t.Fatal(err)
		}
		out := must[*ec2.DescribeInstancesOutput](t)(client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{}))
		i := out.Reservations[0].Instances[0]
		if aws.ToString(i.PrivateIpAddress) != want || (aws.ToString(i.PrivateDnsName) != "") != (want != "") || (len(i.NetworkInterfaces) == 1) != (want != "") {
			t.Errorf("%s: %s %s %+v", state, aws.ToString(i.PrivateIpAddress), aws.ToString(i.PrivateDnsName), i.NetworkInterfaces)
		}
		if want != "" && (aws.ToString(i.Ipv6Address) != "2600:1f13::7" || aws.ToString(i.NetworkInterfaces[0].Ipv6Addresses[0].Ipv6Address) != "2600:1f13::7") {
			t.Errorf("%s: IPv6 %+v", state, i.NetworkInterfaces)
		}
	}
}

func TestEC2FilterLimit(t *testing.T) {
	client, _ := newTestInstances(t)
	describe := func(n int) error {
		_, err := client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{Filters: []types.Filter{
			{Name: aws.String("private-ip-address"), Values: slices.Repeat([]string{"10.0.3.7"}, n)},
		}})
		return err
	}
	if err := describe(200); err != nil {
		t.Errorf("200 values: %v", err)
	}
	if err := describe(201); errorCode(err) != "FilterLimitExceeded" {
		t.Errorf("201 values: %v", err)
	}
}

func TestEC2Pages(t *testing.T) {
	all, want := make([]Instance, 0, 12), make([]string, 0, 12)
	for i := range cap(all) {
		all = append(all, Instance{ID: fmt.Sprintf("i-%08x", i)})
		want = append(want, all[i].ID)
	}
	client, _ := newTestInstances(t, all...)
	pages := ec2.NewDescribeInstancesPaginator(client, &ec2.DescribeInstancesInput{MaxResults: aws.Int32(5)})
	var got []string
	n := 0
	for ; pages.HasMorePages(); n++ {
		got = append(got, instanceIDs(must[*ec2.DescribeInstancesOutput](t)(pages.NextPage(t.Context()))))
	}
	if n != 3 || strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%d pages of %v", n, got)
	}
}

func TestEC2Tags(t *testing.T) {
	client, _ := newTestInstances(t,
		Instance{ID: "i-11111111", Tags: map[string]string{"a": "1", "b": "2"}},
		Instance{ID: "i-22222222", Tags: map[string]string{"a": "3"}},
	)
	describe := func(name, value string) (found []string, err error) {
		out, err := client.DescribeTags(t.Context(), &ec2.DescribeTagsInput{Filters: []types.Filter{{Name: &name, Values: []string{value}}}})
		if err != nil {
			return nil, err
		}
		for _, tag := range out.Tags {
			found = append(found, fmt.Sprintf("%s %s %s=%s", tag.ResourceType, *tag.ResourceId, *tag.Key, *tag.Value))
		}
		return found, nil
	}
	for filter, want := range map[string][]string{
		"resource-id=i-11111111": {"instance i-11111111 a=1", "instance i-11111111 b=2"},
		"key=a":                  {"instance i-11111111 a=1", "instance i-22222222 a=3"},
		"value=3":                {"instance i-22222222 a=3"},
		"resource-type=volume":   nil,
	} {
		name, value, _ := strings.Cut(filter, "=")
		if got := must[[]string](t)(describe(name, value)); !slices.Equal(got, want) {
			t.Errorf("%s: found %q, want %q", filter, got, want)
		}
	}
	if _, err := describe("colour", "red"); errorCode(err) != "InvalidParameterValue" {
		t.Errorf("an unknown filter: %v", err)
	}
}
