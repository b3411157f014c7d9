// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// The filters by which EC2 finds an instance by its private names and addresses.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
const (
	byPrivateName = "private-dns-name"
	byIPv4        = "network-interface.addresses.private-ip-address"
	byIPv6        = "network-interface.ipv6-addresses.ipv6-address"
)

// Names are private DNS names and IP addresses of instances. A DNS name that ends with .* stands for
// one with that first label.
type Names struct{ DNS, IPv4, IPv6 []string }

// RunningInstance is an instance that runs, and by what it is known.
type RunningInstance struct {
	Instance
	// ID is such as i-0abc1234def567890.
	ID string
	// Zone is its Availability Zone.
	Zone string
	// PrivateDNSName is such as ip-10-0-3-7.ec2.internal or, where the subnet names instances by their
	// ID, i-0abc1234def567890.ec2.internal.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/hostname-types.html
	PrivateDNSName string
	// Addresses are the private IPv4 addresses and the IPv6 addresses of its network interfaces.
	Addresses []string
	// LaunchTime is when it was launched, or last started.
	LaunchTime time.Time
}

// RunningInstances returns the instances that run and have one of the names or addresses, sorted by ID.
// It asks EC2 about a hundred at a time. Private names and addresses are used again, so instances that do
// not run do not count.
func (c *Client) RunningInstances(ctx context.Context, region string, names Names) ([]RunningInstance, error) {
	found := map[string]RunningInstance{}
	for _, by := range []struct {
		filter string
		values []string
	}{{byPrivateName, names.DNS}, {byIPv4, names.IPv4}, {byIPv6, names.IPv6}} {
		for values := range slices.Chunk(by.values, batchSize) {
			if err := c.findRunning(ctx, region, by.filter, values, found); err != nil {
				return nil, err
			}
		}
	}
	running := slices.Collect(maps.Values(found))
	slices.SortFunc(running, func(a, b RunningInstance) int { return cmp.Compare(a.ID, b.ID) })
	return running, nil
}

// findRunning fills found with the running instances of which a filter has one of the values.
func (c *Client) findRunning(ctx context.Context, region, filter string, values []string, found map[string]RunningInstance) error {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.slots }()
	return c.send(ctx, Account{Region: region}, describeInstances, func(ctx context.Context, to *connection) error {
		return eachInstance(ctx, to.ec2, func(instance types.Instance) {
			found[aws.ToString(instance.InstanceId)] = runningInstanceOf(instance)
		}, types.Filter{Name: aws.String(filter), Values: values}, isRunning)
	})
}

// runningInstanceOf returns what EC2 says of an instance, with its private names.
func runningInstanceOf(instance types.Instance) RunningInstance {
	in := RunningInstance{
		Instance: instanceOf(instance), ID: aws.ToString(instance.InstanceId),
		PrivateDNSName: aws.ToString(instance.PrivateDnsName), LaunchTime: aws.ToTime(instance.LaunchTime),
	}
	if instance.Placement != nil {
		in.Zone = aws.ToString(instance.Placement.AvailabilityZone)
	}
	addresses := []string{aws.ToString(instance.PrivateIpAddress), aws.ToString(instance.Ipv6Address)}
	for _, card := range instance.NetworkInterfaces {
		addresses = append(addresses, aws.ToString(card.PrivateIpAddress))
		for _, address := range card.PrivateIpAddresses {
			addresses = append(addresses, aws.ToString(address.PrivateIpAddress))
		}
		for _, address := range card.Ipv6Addresses {
			addresses = append(addresses, aws.ToString(address.Ipv6Address))
		}
	}
	slices.Sort(addresses)
	in.Addresses = slices.DeleteFunc(slices.Compact(addresses), func(address string) bool { return address == "" })
	return in
}
