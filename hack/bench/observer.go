// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	ec2node "github.com/nodetermination/operator/controllers/node"
)

// pollInterval is how often what was seen is checked. It is no part of any measured time.
const pollInterval = 20 * time.Millisecond

// seen is when the first events arrived here that show it, by the node's name or the pod's UID.
type seen struct {
	nodesReady, cordoned     map[string]time.Time
	podsReady, evicted, gone map[types.UID]time.Time
}

// observer watches nodes and pods from a process that neither the operator nor the API server has a
// part in, and notes when the events arrive.
type observer struct {
	stop     context.CancelFunc
	watching sync.WaitGroup

	mu   sync.Mutex
	seen seen
	err  error
}

// observe begins to watch the nodes and pods of a fleet, before there are any.
func (l *lab) observe(ctx context.Context, fleet string) (*observer, error) {
	ctx, stop := context.WithCancel(ctx)
	o := &observer{stop: stop, seen: seen{
		nodesReady: map[string]time.Time{}, cordoned: map[string]time.Time{},
		podsReady: map[types.UID]time.Time{}, evicted: map[types.UID]time.Time{}, gone: map[types.UID]time.Time{},
	}}
	ofFleet := metav1.ListOptions{LabelSelector: fleetLabel + "=" + fleet}
	nodes, err := l.core.Nodes().List(ctx, ofFleet)
	if err != nil {
		stop()
		return nil, err
	}
	pods, err := l.core.Pods(fleet).List(ctx, metav1.ListOptions{})
	if err != nil {
		stop()
		return nil, err
	}
	o.watching.Go(func() { o.follow(ctx, nodes.ResourceVersion, ofFleet, l.core.Nodes().Watch) })
	o.watching.Go(func() { o.follow(ctx, pods.ResourceVersion, metav1.ListOptions{}, l.core.Pods(fleet).Watch) })
	return o, nil
}

// close ends the watches.
func (o *observer) close() {
	o.stop()
	o.watching.Wait()
}

// follow notes all that happens after a version. The API server ends a watch that cannot keep up for a
// moment; the next one goes on where it ended, at once.
func (o *observer) follow(ctx context.Context, version string, options metav1.ListOptions, begin func(context.Context, metav1.ListOptions) (watch.Interface, error)) {
	for ctx.Err() == nil {
		options.ResourceVersion = version
		changes, err := begin(ctx, options)
		if err == nil {
			version, err = o.noteAll(changes, version)
		}
		if err != nil && ctx.Err() == nil {
			o.mu.Lock()
			o.err = fmt.Errorf("a watch ended, so that what it would have seen is not known: %w", err)
			o.mu.Unlock()
			return
		}
	}
}

// noteAll notes changes until there are no more, and returns the version of the last one.
func (o *observer) noteAll(changes watch.Interface, version string) (string, error) {
	defer changes.Stop()
	for change := range changes.ResultChan() {
		now := time.Now()
		object, ok := change.Object.(metav1.Object)
		if !ok {
			return version, apierrors.FromObject(change.Object)
		}
		o.note(now, change)
		version = object.GetResourceVersion()
	}
	return version, nil
}

func (o *observer) note(now time.Time, change watch.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch object := change.Object.(type) {
	case *corev1.Node:
		if nodeReady(object) {
			first(o.seen.nodesReady, object.Name, now)
		}
		if object.Spec.Unschedulable {
			first(o.seen.cordoned, object.Name, now)
		}
	case *corev1.Pod:
		if ec2node.PodReady(object) {
			first(o.seen.podsReady, object.UID, now)
		}
		if object.DeletionTimestamp != nil {
			first(o.seen.evicted, object.UID, now)
		}
		if change.Type == watch.Deleted {
			first(o.seen.gone, object.UID, now)
		}
	}
}

func first[K comparable](times map[K]time.Time, key K, now time.Time) {
	if _, ok := times[key]; !ok {
		times[key] = now
	}
}

// nodeReady reports whether pods can be scheduled to a node.
func nodeReady(node *corev1.Node) bool {
	for _, taint := range node.Spec.Taints {
		if taint.Key == corev1.TaintNodeNotReady {
			return false
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// until waits until enough was seen.
func (o *observer) until(ctx context.Context, enough func(*seen) error) error {
	var broken error
	err := await(ctx, pollInterval, func() error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if broken = o.err; broken != nil {
			return nil
		}
		return enough(&o.seen)
	})
	return errors.Join(err, broken)
}

// atLeast returns an error if there are fewer than wanted.
func atLeast(want, have int, what string) error {
	if have < want {
		return fmt.Errorf("%d of %d %s", have, want, what)
	}
	return nil
}
