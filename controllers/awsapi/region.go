// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"regexp"
	"strings"
)

// zone is a region's code, and a letter or the parts of a local or wavelength zone's name.
// https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-availability-zones.html
// https://docs.aws.amazon.com/local-zones/latest/ug/available-local-zones.html
// https://docs.aws.amazon.com/wavelength/latest/developerguide/available-wavelength-zones.html
var zone = regexp.MustCompile(`^([a-z]{2,}(?:-[a-z]+)+-[0-9]+)(?:[a-z]|(?:-[a-z0-9]+)+)$`)

// RegionOf returns the region of a zone, as in a node's provider ID: us-east-1 of
// us-east-1a, us-west-2 of the local zone us-west-2-lax-1a, us-east-1 of the wavelength
// zone us-east-1-wl1-bos-wlz-1. Empty if it is no zone of AWS.
func RegionOf(name string) string {
	parts := zone.FindStringSubmatch(name)
	if parts == nil {
		return ""
	}
	return parts[1]
}

// partitions are those besides aws, by what their regions' codes begin with.
// https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
var partitions = map[string]string{
	"cn-": "aws-cn", "us-gov-": "aws-us-gov", "eusc-": "aws-eusc",
	"us-iso-": "aws-iso", "us-isob-": "aws-iso-b", "eu-isoe-": "aws-iso-e", "us-isof-": "aws-iso-f",
}

// partitionOf returns the partition of a region, as ARNs have it.
func partitionOf(region string) string {
	for prefix, partition := range partitions {
		if strings.HasPrefix(region, prefix) {
			return partition
		}
	}
	return "aws"
}
