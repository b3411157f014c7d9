// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// fleetLabel is on the nodes of a fleet, with its name.
const fleetLabel = "bench"

// fleet is nodes and the pods on them, seen by an observer from the beginning.
type fleet struct {
	*observer
	lab   *lab
	name  string // also of the pods' namespace
	nodes []node
	pods  []pod
}

type node struct{ name, instance string }

type pod struct {
	name string
	uid  types.UID
}

// newFleet creates nodes, and so many pods on each, and waits until all are ready.
func (l *lab) newFleet(ctx context.Context, name string, nodes, podsPerNode int, change func(i int, pod *corev1.Pod)) (*fleet, error) {
	f := &fleet{lab: l, name: name, nodes: make([]node, nodes), pods: make([]pod, nodes*podsPerNode)}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: f.name}}
	if _, err := l.core.Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	err := await(ctx, pollInterval, func() error {
		_, err := l.core.ServiceAccounts(f.name).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	if f.observer, err = l.observe(ctx, f.name); err != nil {
		return nil, err
	}
	err = each(ctx, nodes, creators, f.createNode)
	if err == nil {
		err = f.until(ctx, func(s *seen) error { return atLeast(nodes, len(s.nodesReady), "nodes are ready") })
	}
	if err == nil {
		err = each(ctx, len(f.pods), creators, func(ctx context.Context, i int) error {
			return f.createPod(ctx, i, f.nodes[i/podsPerNode].name, change)
		})
	}
	if err == nil {
		err = f.until(ctx, func(s *seen) error { return atLeast(len(f.pods), len(s.podsReady), "pods are ready") })
	}
	if err != nil {
		return nil, errors.Join(err, f.remove(ctx))
	}
	return f, nil
}

// settle lets the control plane come to rest after the fleet was created in it.
func (f *fleet) settle(ctx context.Context) error {
	return wait(ctx, min(time.Duration(len(f.pods))*settlePerPod, maxSettle))
}

// has reports whether a node is one of the fleet.
func (f *fleet) has(name string) bool {
	return slices.ContainsFunc(f.nodes, func(n node) bool { return n.name == name })
}

// remove deletes the fleet. Pods that remain are deleted with their namespace, for which it does not wait.
func (f *fleet) remove(ctx context.Context) error {
	f.close()
	all := metav1.ListOptions{LabelSelector: fleetLabel + "=" + f.name}
	return errors.Join(
		f.lab.core.Namespaces().Delete(ctx, f.name, metav1.DeleteOptions{}),
		f.lab.core.Nodes().DeleteCollection(ctx, metav1.DeleteOptions{}, all),
	)
}

// createNode creates the i-th node, like that of an EC2 instance. kwok plays its kubelet.
func (f *fleet) createNode(ctx context.Context, i int) error {
	n := f.lab.names.Add(1)
	f.nodes[i] = node{
		name:     fmt.Sprintf("ip-10-%d-%d-%d.ec2.internal", n>>16&0xff, n>>8&0xff, n&0xff),
		instance: fmt.Sprintf("i-0abc%013x", n),
	}
	object := newNode(f.nodes[i])
	object.Labels[fleetLabel] = f.name
	object.Annotations = map[string]string{"kwok.x-k8s.io/node": "fake"}
	_, err := f.lab.core.Nodes().Create(ctx, object, metav1.CreateOptions{})
	return err
}

func newNode(n node) *corev1.Node {
	resources := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("8"),
		corev1.ResourceMemory: resource.MustParse("32Gi"),
		corev1.ResourcePods:   resource.MustParse("110"),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: map[string]string{
			corev1.LabelHostname:           n.name,
			corev1.LabelOSStable:           "linux",
			corev1.LabelArchStable:         "amd64",
			corev1.LabelInstanceTypeStable: "m6i.2xlarge",
			corev1.LabelTopologyRegion:     "us-east-1",
			corev1.LabelTopologyZone:       "us-east-1a",
		}},
		Spec:   corev1.NodeSpec{ProviderID: "aws:///us-east-1a/" + n.instance},
		Status: corev1.NodeStatus{Capacity: resources, Allocatable: resources},
	}
}

// createPod creates the i-th pod.
func (f *fleet) createPod(ctx context.Context, i int, nodeName string, change func(int, *corev1.Pod)) error {
	object := newPod(fmt.Sprintf("pod-%d", i), nodeName)
	if change != nil {
		change(i, object)
	}
	created, err := f.lab.core.Pods(f.name).Create(ctx, object, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	f.pods[i] = pod{created.Name, created.UID}
	return nil
}

// newPod returns a pod with what makes pods as large as they usually are. It has no controller, so nothing replaces it.
func newPod(name, nodeName string) *corev1.Pod {
	probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
		HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http")},
	}}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Labels:      map[string]string{"app.kubernetes.io/name": "shop", "app.kubernetes.io/instance": "shop-1", "pod-template-hash": "5d89d7c9f8"},
			Annotations: map[string]string{"prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
		},
		Spec: corev1.PodSpec{
			NodeName: nodeName,
			Containers: []corev1.Container{{
				Name:  "main",
				Image: "example.com/shop:1.2.3",
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
				Env: []corev1.EnvVar{
					{Name: "LOG_LEVEL", Value: "info"},
					{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
				},
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
					Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
				},
				LivenessProbe:  probe,
				ReadinessProbe: probe,
			}},
		},
	}
}

// budgetLabel is on pods that a budget selects, with the budget's name.
const budgetLabel = "budget"

// inBudgets returns a change of pods by which every so many of them share a budget.
func inBudgets(perBudget int) func(int, *corev1.Pod) {
	if perBudget == 0 {
		return nil
	}
	return func(i int, pod *corev1.Pod) { pod.Labels[budgetLabel] = "budget-" + strconv.Itoa(i/perBudget) }
}
