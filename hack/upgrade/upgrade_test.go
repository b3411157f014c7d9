// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/operator"
)

// recordings returns the folders of testdata with a recording.
func recordings(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*", recordingFile))
	if err != nil || len(files) == 0 {
		t.Fatalf("found recordings %q, %v", files, err)
	}
	for i := range files {
		files[i] = filepath.Dir(files[i])
	}
	return files
}

// manager returns the manager of this version, built once.
func manager(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(programs, "manager")
	if err := operator.Build(t.Context(), binary); err != nil {
		t.Fatal(err)
	}
	return binary
}

// upgraded returns a cluster with an earlier version and what that left in the middle of drains.
func upgraded(t *testing.T, dir string) *cluster {
	t.Helper()
	c := newCluster(t)
	c.install("-f", filepath.Join(dir, installFile))
	c.restore(dir)
	return c
}

// TestUpgrade installs this version over an earlier one in the middle of drains: its manager takes over, the drains go on
// where they were, and nothing is lost.
func TestUpgrade(t *testing.T) {
	for _, dir := range recordings(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			c := upgraded(t, dir)
			before := c.snapshot()
			c.install("-k", "../operator")
			if diff := cmp.Diff(before, c.snapshot()); diff != "" {
				t.Errorf("the new CRDs change objects (- before, + after):\n%s", diff)
			}
			m := c.start(manager(t))
			c.checkWatchersUpdated()
			for _, s := range scenes {
				if s.state != v1alpha1.StateCompleting { // EC2 Auto Scaling answers again
					c.until(s.node, s.state)
				}
			}
			c.checkNodes()
			c.finish(before)
			checkLog(t, m)
		})
	}
}

// TestImageOnly gives an earlier version's Deployment the image of this one and nothing else, and that Deployment does not
// say yet where watchers run: drains go on, watchers stay as they are, and the policy says what is missing.
func TestImageOnly(t *testing.T) {
	for _, dir := range recordings(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			c := upgraded(t, dir)
			watchers := c.watchers()
			m := c.start(manager(t), "WATCHER_NAMESPACE=")
			c.eventually(func(ctx context.Context) error {
				policy := &v1alpha1.NodeTerminationPolicy{}
				if err := c.admin.Get(ctx, client.ObjectKey{Name: "workers"}, policy); err != nil {
					return err
				}
				condition := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.ConditionSourcesReady)
				for _, want := range []string{"WATCHER_NAMESPACE", "not its image alone"} {
					if condition == nil || !strings.Contains(condition.Message, want) {
						return fmt.Errorf("policy %s says %+v, want %q", policy.Name, condition, want)
					}
				}
				return nil
			})
			c.untilCompleted(c.allow("draining"))
			if now := c.watchers(); now.UID != watchers.UID || now.Generation != watchers.Generation {
				t.Errorf("the watchers are %s, generation %d, want them as they were: %s, generation %d", now.UID, now.Generation, watchers.UID, watchers.Generation)
			}
			checkLog(t, m)
		})
	}
}

// snapshot returns what may not change when CRDs are replaced, by name.
func (c *cluster) snapshot() map[string]any {
	c.t.Helper()
	objects := map[string]any{}
	for _, kind := range []string{"NodeTerminationPolicy", "NodeTermination"} {
		for _, object := range c.list("nodetermination.dev/v1alpha1", kind) {
			objects[kind+" "+object.GetName()] = []any{string(object.GetUID()), object.GetGeneration(), object.Object["spec"], object.Object["status"]}
		}
	}
	return objects
}

// watchers returns the DaemonSet of the policy workers.
func (c *cluster) watchers() *appsv1.DaemonSet {
	c.t.Helper()
	return get[appsv1.DaemonSet](c, operator.WatcherNamespace, "imds-watcher-workers")
}

// checkWatchersUpdated checks that the manager has taken over the watchers, by an update.
func (c *cluster) checkWatchersUpdated() {
	c.t.Helper()
	before := c.watchers()
	c.eventually(func(ctx context.Context) error {
		policy := &v1alpha1.NodeTerminationPolicy{}
		if err := c.admin.Get(ctx, client.ObjectKey{Name: "workers"}, policy); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(policy.Status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("policy %s is not ready: %+v", policy.Name, policy.Status.Conditions)
		}
		return nil
	})
	if now := c.watchers(); now.UID != before.UID || now.DeletionTimestamp != nil {
		c.t.Errorf("the watchers were deleted and created again")
	}
}

// checkNodes checks that nodes are as the earlier version left them.
func (c *cluster) checkNodes() {
	c.t.Helper()
	for _, s := range scenes {
		node := get[corev1.Node](c, "", s.node)
		_, applied := node.Annotations[v1alpha1.AnnotationApplied]
		tainted := slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return strings.HasPrefix(taint.Key, v1alpha1.KeyPrefix) })
		if node.Annotations[kwokNode] == "" {
			c.t.Errorf("node %s has lost the annotation of another", node.Name)
		}
		switch s.state {
		case v1alpha1.StateCancelled, v1alpha1.StateIgnored, v1alpha1.StateNoPolicy, v1alpha1.StateDryRun, v1alpha1.StateRefused:
			if node.Spec.Unschedulable || applied || tainted {
				c.t.Errorf("node %s is not as it was before: %+v, %v", node.Name, node.Spec, node.Annotations)
			}
		case v1alpha1.StateWaiting: // only its taint
			if node.Spec.Unschedulable || !applied || !tainted {
				c.t.Errorf("node %s does not wait: %+v, %v", node.Name, node.Spec, node.Annotations)
			}
		default:
			if !node.Spec.Unschedulable || !applied || s.policy == "workers" && !tainted {
				c.t.Errorf("node %s is not cordoned: %+v, %v", node.Name, node.Spec, node.Annotations)
			}
		}
	}
}

// finish takes away what each termination waits for, and checks that it comes to its end as the same one.
func (c *cluster) finish(before map[string]any) {
	c.t.Helper()
	slow := get[corev1.Pod](c, namespace, slowPod+"-draining")
	if slow.DeletionTimestamp == nil {
		c.t.Error("the pod that was stopping does not stop any more")
	}
	completed := []*v1alpha1.NodeTermination{c.untilCompleted(c.until("completing", v1alpha1.StateCompleted))}
	if actions := c.aws.LifecycleActions(); len(actions) != 1 || actions[0].Result != "CONTINUE" {
		c.t.Errorf("the lifecycle actions are %+v, want one that was completed", actions)
	}
	if _, same := before["NodeTermination "+completed[0].Name]; !same {
		c.t.Errorf("NodeTermination %s is a new one", completed[0].Name)
	}
	c.untilCompleted(c.allow("draining"))
	c.untilCompleted(c.allow("first"))
	c.untilCompleted(c.until("waiting", v1alpha1.StateCompleted)) // its turn has come

	c.kubectl("patch", "nt", c.until("suspended", v1alpha1.StateSuspended).Name, "--type=merge", "--patch", `{"spec":{"suspend":false}}`)
	c.untilCompleted(c.allow("suspended"))
	c.applyPolicies() // with the one that was deleted
	c.untilCompleted(c.allow("policygone"))

	cordoned := c.until("cordoned", v1alpha1.StateCordoned)
	c.kubectl("delete", "nt", cordoned.Name)
	c.eventually(func(ctx context.Context) error {
		node := &corev1.Node{}
		if err := c.admin.Get(ctx, client.ObjectKey{Name: "cordoned"}, node); err != nil {
			return err
		}
		if _, applied := node.Annotations[v1alpha1.AnnotationApplied]; node.Spec.Unschedulable || applied || len(node.Spec.Taints) > 0 || node.Annotations[kwokNode] == "" {
			return fmt.Errorf("node %s is not restored: %+v, %v", node.Name, node.Spec, node.Annotations)
		}
		return nil
	})
	for _, node := range []string{"completed", "failed", "scheduled"} {
		c.until(node, scenes[slices.IndexFunc(scenes, func(s scene) bool { return s.node == node })].state)
	}
}

// allow has the stuck pod of a node go, and the slow one, and returns the NodeTermination as it is before that.
func (c *cluster) allow(node string) *v1alpha1.NodeTermination {
	c.t.Helper()
	var list v1alpha1.NodeTerminationList
	if err := c.admin.List(c.t.Context(), &list); err != nil {
		c.t.Fatal(err)
	}
	i := slices.IndexFunc(list.Items, func(nt v1alpha1.NodeTermination) bool { return nt.Spec.NodeName == node })
	for _, kind := range []string{stuckPod, slowPod} {
		pod := &corev1.Pod{}
		err := c.admin.Get(c.t.Context(), client.ObjectKey{Namespace: namespace, Name: kind + "-" + node}, pod)
		if apierrors.IsNotFound(err) {
			continue
		}
		if kind == stuckPod { // the budget no longer selects it
			c.kubectl("-n", namespace, "label", "pod", pod.Name, kind+"-")
		} else {
			err = errors.Join(err, c.admin.Delete(c.t.Context(), pod, client.GracePeriodSeconds(0)))
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
	return &list.Items[i]
}

// untilCompleted waits until a termination is completed, and checks that it is the one that was begun.
func (c *cluster) untilCompleted(before *v1alpha1.NodeTermination) *v1alpha1.NodeTermination {
	c.t.Helper()
	after := c.until(before.Spec.NodeName, v1alpha1.StateCompleted)
	ready := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady)
	draining := ready.Reason == v1alpha1.StateDraining // what was suspended, or without a policy, takes its time anew
	if after.UID != before.UID || !after.Status.StartTime.Equal(before.Status.StartTime) ||
		draining && !after.Status.DrainStartTime.Equal(before.Status.DrainStartTime) {
		c.t.Errorf("the termination of node %s began anew: %+v, was %+v", before.Spec.NodeName, after.Status, before.Status)
	}
	if was := before.Status.Pods; was != nil && (after.Status.Pods == nil || ptr.Deref(after.Status.Pods.Total, 0) < ptr.Deref(was.Total, 0)) {
		c.t.Errorf("the termination of node %s counts the pods %+v, and counted %+v before", before.Spec.NodeName, after.Status.Pods, was)
	}
	return after
}

// never is what the log of a manager that takes over may not have in it.
var never = regexp.MustCompile(`(?i)\bforbidden\b|panic|conflict|not declared in schema|unknown field|"Reconciler error"`)

func checkLog(t *testing.T, m *operator.Process) {
	t.Helper()
	for line := range strings.Lines(m.LogTail(10_000)) {
		if never.MatchString(line) {
			t.Errorf("the manager's log says: %s", line)
		}
	}
	if content, err := os.ReadFile(m.Log()); err != nil || len(content) == 0 {
		t.Errorf("the manager has no log: %v", err)
	}
}
