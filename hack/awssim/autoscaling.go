// SPDX-License-Identifier: Apache-2.0

package awssim

const autoScalingVersion = "2011-01-01"

type autoScaling struct{ service }

func newAutoScaling(*Server) *autoScaling {
	return &autoScaling{service{name: "autoscaling", encode: queryEncoder{}}}
}
