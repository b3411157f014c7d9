// SPDX-License-Identifier: Apache-2.0

package awssim

const ec2Version = "2016-11-15"

type ec2Service struct{ service }

func newEC2(*Server) *ec2Service { return &ec2Service{service{name: "ec2", encode: ec2Encoder{}}} }
