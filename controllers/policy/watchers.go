// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	appsac "k8s.io/client-go/applyconfigurations/apps/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

const (
	// diagnoseEvery is how often the pods of watchers that are not ready are listed:
	// there is one on every node, and they are not cached.
	diagnoseEvery = 15 * time.Second
	// podsAtOnce is how many of them are in memory at one time.
	podsAtOnce = 100
)

// ensureWatchers keeps the DaemonSets of each policy that asks for watchers, as that
// policy wants them, and no others. It notes the state of each in the snapshot.
func (r *Reconciler) ensureWatchers(ctx context.Context, snap *snapshot) error {
	var errs []error
	desired := map[string]bool{}
	last := r.causes
	r.causes = map[types.UID]cause{}
	for i := range snap.policies {
		policy := &snap.policies[i]
		source := imdsOf(policy)
		if source == nil || policy.DeletionTimestamp != nil {
			continue
		}
		for _, system := range snap.systems(policy) {
			desired[system.daemonSetName(policy.Name)] = true
		}
		status, err := r.ensureWatcher(ctx, snap, policy, source, last[policy.UID])
		if err != nil {
			status.Message = short(err.Error())
		}
		snap.watchers[policy.UID] = status
		errs = append(errs, err)
	}
	for i := range snap.daemonSets {
		if ds := &snap.daemonSets[i]; !desired[ds.Name] && ds.DeletionTimestamp == nil {
			err := r.Client.Delete(ctx, ds, client.Preconditions{UID: &ds.UID})
			if client.IgnoreNotFound(err) != nil {
				errs = append(errs, fmt.Errorf("cannot delete DaemonSet %s, which no policy asks for: %w", ds.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// imdsOf returns the policy's imds source, of which there is at most one; nil if there is none.
func imdsOf(policy *v1alpha1.NodeTerminationPolicy) *v1alpha1.Source {
	for i := range policy.Spec.Sources {
		if policy.Spec.Sources[i].IMDS != nil {
			return &policy.Spec.Sources[i]
		}
	}
	return nil
}

// ensureWatcher applies a policy's DaemonSets, which changes nothing if they are as they
// should be, and returns the state of its watchers. If it fails, the watchers that are
// there go on.
func (r *Reconciler) ensureWatcher(
	ctx context.Context, snap *snapshot, policy *v1alpha1.NodeTerminationPolicy, source *v1alpha1.Source, last cause,
) (v1alpha1.SourceStatus, error) {
	failed := v1alpha1.SourceStatus{Name: source.Name, Ready: ptr.To(false), Reason: v1alpha1.ReasonWatchersNotReady}
	if _, err := ec2node.Selects(policy, &corev1.Node{}); err != nil {
		failed.Message = short(fmt.Sprintf("watchers stay as they are: %v", err))
		return failed, nil
	}
	settings, err := r.watcherSettings(ctx)
	if errors.Is(err, errConfiguration) {
		failed.Message = short(err.Error())
		return failed, nil
	}
	if err != nil {
		return failed, err
	}
	counts, unready, err := r.applyDaemonSets(ctx, snap, policy, source, settings)
	if err != nil {
		return failed, err
	}
	if counts.allReady() {
		return counts.describe(source.Name, cause{}, false), nil
	}
	why := last
	if r.Clock.Since(last.at) >= diagnoseEvery {
		why, err = r.diagnose(ctx, snap, unready)
	}
	r.causes[policy.UID] = why
	return counts.describe(source.Name, why, wasReady(policy, source.Name)), err
}

// applyDaemonSets applies a policy's DaemonSets, one for each operating system. It returns the counts of all of them, and
// those that are not ready.
func (r *Reconciler) applyDaemonSets(
	ctx context.Context, snap *snapshot, policy *v1alpha1.NodeTerminationPolicy, source *v1alpha1.Source, settings watcherSettings,
) (watcherCounts, map[string]watcherCounts, error) {
	all, unready := watcherCounts{seen: true}, map[string]watcherCounts{}
	var errs []error
	for _, system := range snap.systems(policy) {
		ds := system.daemonSet(policy, source, settings)
		if err := r.revertDrift(ctx, snap, ds); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := r.Client.Apply(ctx, ds, client.FieldOwner(v1alpha1.FieldManager), client.ForceOwnership); err != nil {
			errs = append(errs, fmt.Errorf("cannot apply DaemonSet %s: %w", *ds.Name, err))
			continue
		}
		counts := countsOf(ds.Status) // Apply has filled it in
		all = all.plus(counts)
		if !counts.allReady() {
			unready[*ds.Name] = counts
		}
	}
	return all, unready, errors.Join(errs...)
}

// wasReady reports whether the source is ready by the policy's status.
func wasReady(policy *v1alpha1.NodeTerminationPolicy, source string) bool {
	for _, s := range policy.Status.Sources {
		if s.Name == source {
			return ptr.Deref(s.Ready, false)
		}
	}
	return false
}

// diagnose finds out from the pods of the DaemonSets that are not ready why. The first of them, by name, about which there
// is something to say decides.
func (r *Reconciler) diagnose(ctx context.Context, snap *snapshot, unready map[string]watcherCounts) (cause, error) {
	why := cause{at: r.Clock.Now()}
	for _, name := range slices.Sorted(maps.Keys(unready)) {
		d := newDiagnosis(why.at, snap.nodesDown)
		if err := r.addPods(ctx, d, name); err != nil {
			return cause{}, err
		}
		why = d.cause(unready[name], types.NamespacedName{Namespace: r.Watchers.Namespace, Name: name})
		if why.reason != "" {
			break
		}
	}
	return why, nil
}

// addPods adds the pods of a DaemonSet to a diagnosis.
func (r *Reconciler) addPods(ctx context.Context, d *diagnosis, daemonSet string) error {
	pods := &corev1.PodList{}
	for more := true; more; more = pods.Continue != "" {
		err := r.Live.List(ctx, pods, client.InNamespace(r.Watchers.Namespace),
			client.MatchingLabels{componentLabel: watcher, instanceLabel: daemonSet},
			client.Limit(podsAtOnce), client.Continue(pods.Continue))
		if err != nil {
			return fmt.Errorf("cannot list the watchers' pods: %w", err)
		}
		for i := range pods.Items {
			d.add(&pods.Items[i])
		}
	}
	return nil
}

// watcherCounts are of nodes.
type watcherCounts struct {
	seen                      bool // the DaemonSets' controller has seen them
	desired, scheduled, ready int32
}

func countsOf(status *appsac.DaemonSetStatusApplyConfiguration) watcherCounts {
	if status == nil {
		return watcherCounts{}
	}
	return watcherCounts{
		seen:      ptr.Deref(status.ObservedGeneration, 0) > 0,
		desired:   ptr.Deref(status.DesiredNumberScheduled, 0),
		scheduled: ptr.Deref(status.CurrentNumberScheduled, 0),
		ready:     ptr.Deref(status.NumberReady, 0),
	}
}

// plus returns the counts of two DaemonSets.
func (c watcherCounts) plus(other watcherCounts) watcherCounts {
	return watcherCounts{
		seen: c.seen && other.seen, desired: c.desired + other.desired, scheduled: c.scheduled + other.scheduled, ready: c.ready + other.ready,
	}
}

func (c watcherCounts) allReady() bool { return c.seen && c.ready >= c.desired }

// describe returns the state of a source. Nodes come and go, and their watchers take
// seconds to start: that does not make a source unready that was ready before.
func (c watcherCounts) describe(name string, why cause, before bool) v1alpha1.SourceStatus {
	status := v1alpha1.SourceStatus{Name: name, WatchersDesired: ptr.To(c.desired), WatchersReady: ptr.To(c.ready)}
	switch {
	case c.allReady():
		status.Ready, status.Reason = ptr.To(true), v1alpha1.ReasonReady
	case why.reason != "":
		status.Ready, status.Reason, status.Message = ptr.To(false), why.reason, why.message
	case before:
		status.Ready, status.Reason = ptr.To(true), v1alpha1.ReasonReady
		status.Message = fmt.Sprintf("%d of %d watchers are ready, the others are starting or stopping", c.ready, c.desired)
	default:
		status.Ready, status.Reason = ptr.To(false), v1alpha1.ReasonStarting
		status.Message = fmt.Sprintf("%d of %d watchers are ready, the others are starting", c.ready, c.desired)
	}
	return status
}
