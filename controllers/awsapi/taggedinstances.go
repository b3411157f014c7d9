// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// literal has EC2 take a filter's value as it is written, with its asterisks and question marks.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
var literal = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`)

// TaggedInstances returns the IDs of the running instances of a Region that have a tag, as key or as key=value, sorted.
func (c *Client) TaggedInstances(ctx context.Context, region, tag string) ([]string, error) {
	key, value, hasValue := strings.Cut(tag, "=")
	filter := types.Filter{Name: aws.String("tag-key"), Values: []string{literal.Replace(key)}}
	if hasValue {
		filter = types.Filter{Name: aws.String("tag:" + key), Values: []string{literal.Replace(value)}}
	}
	var ids []string
	err := c.call(ctx, Account{Region: region}, describeInstances, func(ctx context.Context, to *connection) error {
		return eachInstance(ctx, to.ec2, func(instance types.Instance) {
			ids = append(ids, aws.ToString(instance.InstanceId))
		}, filter, isRunning)
	})
	slices.Sort(ids)
	return ids, err
}
