// SPDX-License-Identifier: Apache-2.0

package fit

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Resources are amounts: CPU in thousandths, memory in bytes, and how many pods. Others are by their name.
type Resources struct {
	MilliCPU, Memory, Pods int64
	Others                 map[corev1.ResourceName]int64
}

// newResources returns the amounts in a list.
func newResources(list corev1.ResourceList) Resources {
	var r Resources
	for name, quantity := range list {
		r.set(name, &quantity)
	}
	return r
}

func (r *Resources) set(name corev1.ResourceName, quantity *resource.Quantity) {
	switch name {
	case corev1.ResourceCPU:
		r.MilliCPU = quantity.MilliValue()
	case corev1.ResourceMemory:
		r.Memory = quantity.Value()
	case corev1.ResourcePods:
		r.Pods = quantity.Value()
	default:
		if r.Others == nil {
			r.Others = map[corev1.ResourceName]int64{}
		}
		r.Others[name] = quantity.Value()
	}
}

// Requests returns what the scheduler reserves for a pod: what its containers request together, or its
// init containers in turn if one of them requests more, or the pod itself, and its overhead.
// https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers
func Requests(pod *corev1.Pod) Resources {
	total, sidecars, start := Resources{}, Resources{}, Resources{}
	for i := range pod.Spec.Containers {
		total.Add(newResources(pod.Spec.Containers[i].Resources.Requests))
	}
	for i := range pod.Spec.InitContainers {
		container := &pod.Spec.InitContainers[i]
		requests := newResources(container.Resources.Requests)
		if policy := container.RestartPolicy; policy != nil && *policy == corev1.ContainerRestartPolicyAlways {
			sidecars.Add(requests)
			start.raise(sidecars)
			continue
		}
		requests.Add(sidecars)
		start.raise(requests)
	}
	total.Add(sidecars)
	total.raise(start)
	if pod.Spec.Resources != nil {
		for name, quantity := range pod.Spec.Resources.Requests {
			total.set(name, &quantity)
		}
	}
	total.Add(newResources(pod.Spec.Overhead))
	total.Pods = 1
	return total
}

// Add adds amounts.
func (r *Resources) Add(other Resources) {
	r.MilliCPU, r.Memory, r.Pods = r.MilliCPU+other.MilliCPU, r.Memory+other.Memory, r.Pods+other.Pods
	for name, amount := range other.Others {
		r.other(name, r.Others[name]+amount)
	}
}

// Subtract takes amounts away.
func (r *Resources) Subtract(other Resources) {
	r.MilliCPU, r.Memory, r.Pods = r.MilliCPU-other.MilliCPU, r.Memory-other.Memory, r.Pods-other.Pods
	for name, amount := range other.Others {
		r.other(name, r.Others[name]-amount)
	}
}

// raise raises each amount to that of the other where that is more.
func (r *Resources) raise(other Resources) {
	r.MilliCPU, r.Memory, r.Pods = max(r.MilliCPU, other.MilliCPU), max(r.Memory, other.Memory), max(r.Pods, other.Pods)
	for name, amount := range other.Others {
		r.other(name, max(r.Others[name], amount))
	}
}

func (r *Resources) other(name corev1.ResourceName, amount int64) {
	if r.Others == nil {
		r.Others = map[corev1.ResourceName]int64{}
	}
	r.Others[name] = amount
}

// lacks returns the first resource of which there is not enough; empty if there is.
func (r *Resources) lacks(wanted *Resources) string {
	switch {
	case wanted.Pods > r.Pods:
		return "room: as many pods as it takes are there"
	case wanted.MilliCPU > 0 && wanted.MilliCPU > r.MilliCPU:
		return string(corev1.ResourceCPU)
	case wanted.Memory > 0 && wanted.Memory > r.Memory:
		return string(corev1.ResourceMemory)
	}
	if len(wanted.Others) == 0 {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(wanted.Others)) {
		if amount := wanted.Others[name]; amount > 0 && amount > r.Others[name] {
			return string(name)
		}
	}
	return ""
}
