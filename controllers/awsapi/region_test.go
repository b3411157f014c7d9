// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"strings"
	"testing"
)

func TestRegionOf(t *testing.T) {
	for name, want := range map[string]string{
		"us-east-1a":                 "us-east-1",
		"ap-southeast-2c":            "ap-southeast-2",
		"us-gov-west-1b":             "us-gov-west-1",
		"us-isob-east-1a":            "us-isob-east-1",
		"eusc-de-east-1a":            "eusc-de-east-1",
		"us-west-2-lax-1a":           "us-west-2",
		"us-east-1-dfw-2a":           "us-east-1",
		"us-east-1-wl1-bos-wlz-1":    "us-east-1",
		"eu-west-2-wl2-man-wlz1":     "eu-west-2",
		"":                           "",
		"us-east-1":                  "",
		"us-east-1ab":                "",
		"us-east-1-":                 "",
		"US-EAST-1A":                 "",
		"use1-az1":                   "",
		"europe-west1-b":             "",
		"eastus-1":                   "",
		"us-east-1a\n":               "",
		"https://us-east-1a":         "",
		"us-east-1.example.com/x-1a": "",
	} {
		if got := RegionOf(name); got != want {
			t.Errorf("RegionOf(%q) is %q, want %q", name, got, want)
		}
	}
}

func FuzzRegionOf(f *testing.F) {
	f.Add("us-west-2-lax-1a")
	f.Add("us-east-1a")
	f.Add("us-east-1-2-3a")
	f.Fuzz(func(t *testing.T, name string) {
		region := RegionOf(name)
		if !strings.HasPrefix(name, region) || region != "" && region == name {
			t.Errorf("RegionOf(%q) is %q", name, region)
		}
		if region != "" && RegionOf(region+"a") != region {
			t.Errorf("%q, the region of %q, is none", region, name)
		}
	})
}
