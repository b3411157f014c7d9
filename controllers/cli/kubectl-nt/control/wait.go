// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/cli"
)

// lookInterval is how often --wait looks.
const lookInterval = time.Second

// wait shows the progress of a drain until it has ended.
func (d *drainer) wait(ctx context.Context, target *cli.Target, timeout time.Duration) error {
	var expired <-chan time.Time
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		expired = timer.C
	}
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	shown := ""
	for {
		nt := &v1alpha1.NodeTermination{}
		err := d.client.Get(ctx, client.ObjectKey{Name: target.InstanceID}, nt)
		if client.IgnoreNotFound(err) != nil && ctx.Err() == nil && !isTransient(err) {
			return fmt.Errorf("cannot read NodeTermination %s: %w", target.InstanceID, err)
		}
		if err == nil {
			p := progressOf(nt)
			if p.line != shown {
				shown = p.line
				_, _ = fmt.Fprintf(d.Out, "%s  %s\n", time.Now().Format(time.TimeOnly), p.line)
			}
			if p.ended {
				return p.err
			}
		}
		select {
		case <-ctx.Done():
			return errors.New("interrupted: the drain goes on; kubectl nt cancel " + target.Node.Name + " takes it back")
		case <-expired:
			return &cli.ExitCodeError{Code: cli.ExitTimeout, Err: fmt.Errorf("--timeout %s passed: the drain goes on; kubectl nt cancel %s takes it back", timeout, target.Node.Name)}
		case <-ticker.C:
		}
	}
}

// isTransient reports whether an error of the API server may be gone the next time.
func isTransient(err error) bool {
	return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err) || apierrors.ReasonForError(err) == ""
}

// progress is how far a drain is.
type progress struct {
	line  string
	ended bool
	err   error
}

// progressOf returns how far the drain is that the annotation has requested.
func progressOf(nt *v1alpha1.NodeTermination) progress {
	state, message := cli.State(nt)
	if nt.Status.ObservedGeneration != nt.Generation || !nt.HasActive(v1alpha1.Manual) {
		if state != v1alpha1.StateCancelled || !allCancelled(nt) {
			return progress{line: "waiting for the operator"}
		}
	}
	p := progress{line: state + ": " + message}
	if pods := nt.Status.Pods; pods != nil && state == v1alpha1.StateDraining {
		p.line = fmt.Sprintf("%s: %s pods gone, %d shutting down, %d blocked", state, pods.Summary, ptr.Deref(pods.Terminating, 0), ptr.Deref(pods.Blocked, 0))
		var reasons []string
		for i := range nt.Status.Blocked {
			blocked := &nt.Status.Blocked[i]
			reasons = append(reasons, fmt.Sprintf("%s/%s: %s", blocked.Namespace, blocked.Name, blocked.Reason))
		}
		if len(reasons) > 0 {
			p.line += " (" + strings.Join(reasons, "; ") + ")"
		}
		if deadline := nt.Status.Deadline; deadline != nil {
			p.line += ", deadline " + deadline.Local().Format(time.TimeOnly)
		}
	}
	switch state {
	case v1alpha1.StateCompleted:
		p.ended = true
	case v1alpha1.StateFailed, v1alpha1.StateCancelled, v1alpha1.StateIgnored, v1alpha1.StateNoPolicy, v1alpha1.StateDryRun,
		v1alpha1.StateCordoned, v1alpha1.StatePolicyGone, v1alpha1.StateRefused:
		p.ended, p.err = true, &cli.ExitCodeError{Code: cli.ExitFailed, Err: fmt.Errorf("the drain has not completed: %s: %s", state, message)}
	}
	return p
}

// allCancelled reports whether every event was cancelled.
func allCancelled(nt *v1alpha1.NodeTermination) bool {
	for i := range nt.Spec.Events {
		if !ptr.Deref(nt.Spec.Events[i].Cancelled, false) {
			return false
		}
	}
	return true
}
