// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// idleRun is what a manager that has just been started uses with so many pods in the cluster.
type idleRun struct {
	Pods int `json:"pods"`
	atRest
}

// idleNodes are governed all the while.
const idleNodes = 10

// measureIdle leaves its pods behind: the control plane ends before they would be deleted.
func measureIdle(ctx context.Context, l *lab, o *options, r *results) error {
	if err := l.start(ctx); err != nil {
		return err
	}
	r.Idle = nil
	for _, pods := range []int{0, o.idlePods} {
		f, err := l.newFleet(ctx, l.name(), idleNodes, 0, nil)
		if err != nil {
			return err
		}
		l.progress("idle: %d pods", pods)
		if err := f.createPending(ctx, pods); err != nil {
			return err
		}
		run := idleRun{Pods: pods}
		if run.atRest, err = idle(ctx, f, o); err != nil {
			return err
		}
		r.Idle = append(r.Idle, run)
		if err := f.remove(ctx); err != nil {
			return err
		}
	}
	return nil
}

// idle measures a new manager that has a policy and a queue and nothing to do.
func idle(ctx context.Context, f *fleet, o *options) (used atRest, err error) {
	m, err := f.lab.startManager(ctx, leads)
	if err != nil {
		return used, err
	}
	p, err := f.lab.newPolicy(ctx, f, nil)
	if err == nil {
		used, err = m.rest(ctx, f.lab, o.length)
	}
	if err != nil {
		return used, errors.Join(err, m.Stop())
	}
	return used, errors.Join(m.Stop(), p.remove(ctx, f))
}

// createPending creates pods on a node that nobody plays the kubelet of. They stay Pending.
func (f *fleet) createPending(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	silent := node{name: f.lab.name(), instance: "i-0123456789abcdef0"}
	if _, err := f.lab.core.Nodes().Create(ctx, newNode(silent), metav1.CreateOptions{}); err != nil {
		return err
	}
	return each(ctx, n, creators, func(ctx context.Context, i int) error {
		object := newPod(fmt.Sprintf("pending-%d", i), silent.name)
		// Nothing takes them off a node that does not answer.
		object.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		_, err := f.lab.core.Pods(f.name).Create(ctx, object, metav1.CreateOptions{})
		return err
	})
}

func idleTables(r *results) []table {
	if len(r.Idle) == 0 {
		return nil
	}
	t := restTable("The manager with nothing to do, a minute", ", at most 0")
	for i := range r.Idle {
		t = t.with(fmt.Sprintf("%d pods", r.Idle[i].Pods), &r.Idle[i].atRest)
	}
	return []table{t}
}
