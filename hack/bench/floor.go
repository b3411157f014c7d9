// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// refusedWait is when an eviction is tried again that a budget refused.
const refusedWait = 200 * time.Millisecond

// floor is what the API server can do: the same cordons and evictions straight from a client.
type floor struct {
	drainTimes
	// Width is how many evictions are in flight at a time.
	Width int `json:"width"`
	// Requests it took for each pod evicted, without those for cordons.
	PerPod float64 `json:"requestsPerPod"`
}

// measureFloor cordons a fleet's nodes, all at once, and then evicts the pods, so many at a time.
func measureFloor(ctx context.Context, l *lab, of fleetOptions, width int) (floor, error) {
	f, err := l.prepare(ctx, of)
	if err != nil {
		return floor{}, err
	}
	profiled, err := l.profileFloor(of, width)
	if err != nil {
		return floor{}, err
	}
	start := time.Now()
	if err := each(ctx, len(f.nodes), len(f.nodes), f.cordon); err != nil {
		return floor{}, err
	}
	var requests atomic.Int64
	err = each(ctx, len(f.pods), width, func(ctx context.Context, i int) error { return f.evict(ctx, i, &requests) })
	if err != nil {
		return floor{}, err
	}
	result := floor{Width: width, PerPod: round(float64(requests.Load())/float64(len(f.pods)), 2)}
	if result.drainTimes, err = f.untilDrained(ctx, start); err != nil {
		return floor{}, err
	}
	return result, errors.Join(profiled(), f.remove(ctx))
}

func (f *fleet) cordon(ctx context.Context, i int) error {
	patch := []byte(`{"spec":{"unschedulable":true}}`)
	_, err := f.lab.floor.Nodes().Patch(ctx, f.nodes[i].name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// evict evicts a pod, again and again while a budget refuses it.
func (f *fleet) evict(ctx context.Context, i int, requests *atomic.Int64) error {
	pod := &f.pods[i]
	eviction := &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: f.name, Name: pod.name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(pod.uid)}},
	}
	for {
		requests.Add(1)
		err := f.lab.floor.RESTClient().Post().Namespace(f.name).Resource("pods").Name(pod.name).SubResource("eviction").
			Body(eviction).MaxRetries(0).Do(ctx).Error()
		if err == nil {
			return nil
		}
		if !apierrors.IsTooManyRequests(err) {
			return fmt.Errorf("evicting pod %s: %w", pod.name, err)
		}
		if err := wait(ctx, refusedWait); err != nil {
			return err
		}
	}
}
