// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The shop runs on the first nodes; those that join later have room.
const (
	firstNodes = 2
	allNodes   = 5
)

// deploy creates the nodes and the workloads and waits until all of them are ready.
func (p *playground) deploy(ctx context.Context) error {
	c, err := client.New(p.config, client.Options{})
	if err != nil {
		return err
	}
	for i := range firstNodes {
		if err := c.Create(ctx, newNode(i)); err != nil {
			return err
		}
	}
	if _, err := p.kubectl(ctx, "apply", "-f", workloads); err != nil {
		return err
	}
	for _, workload := range []string{"deployment/web", "statefulset/db"} {
		if err := p.awaitRollout(ctx, workload); err != nil {
			return err
		}
	}
	for i := firstNodes; i < allNodes; i++ {
		if err := c.Create(ctx, newNode(i)); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"node", "--all", "--for=condition=Ready"},
		{"poddisruptionbudget", "--all", "--namespace=" + namespace, "--for=jsonpath={.status.disruptionsAllowed}=1"},
	} {
		if _, err := p.kubectl(ctx, append([]string{"wait", "--timeout=60s"}, args...)...); err != nil {
			return err
		}
	}
	return p.awaitRollout(ctx, "daemonset/agent")
}

func (p *playground) awaitRollout(ctx context.Context, workload string) error {
	_, err := p.kubectl(ctx, "rollout", "status", "--timeout=60s", "--namespace="+namespace, workload)
	return err
}

// newNode returns a spot instance of a managed node group.
func newNode(i int) *corev1.Node {
	zone := fmt.Sprintf("us-east-1%c", 'a'+i%3)
	address := fmt.Sprintf("10.0.%d.%d", i%3+1, i+11)
	name := fmt.Sprintf("ip-10-0-%d-%d.ec2.internal", i%3+1, i+11)
	resources := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("4"),
		corev1.ResourceMemory: resource.MustParse("16Gi"),
		corev1.ResourcePods:   resource.MustParse("58"),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				corev1.LabelHostname:             name,
				corev1.LabelOSStable:             "linux",
				corev1.LabelArchStable:           "amd64",
				corev1.LabelInstanceTypeStable:   "m6i.xlarge",
				corev1.LabelTopologyRegion:       "us-east-1",
				corev1.LabelTopologyZone:         zone,
				"eks.amazonaws.com/capacityType": "SPOT",
			},
			Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"},
		},
		Spec: corev1.NodeSpec{ProviderID: fmt.Sprintf("aws:///%s/i-0abc1234def5678%02d", zone, i+11)},
		Status: corev1.NodeStatus{
			Capacity:    resources,
			Allocatable: resources,
			Addresses:   []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}},
			NodeInfo:    corev1.NodeSystemInfo{BootID: fmt.Sprintf("00000000-0000-4000-8000-%012d", i)},
		},
	}
}
