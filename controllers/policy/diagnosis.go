// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const (
	// startsWithin is how long a watcher may take to be ready with nothing to be said about it.
	startsWithin = time.Minute
	// maxPodMessage is how much of a pod's message is shown; a source's message has 1024 letters.
	maxPodMessage = 700
	// metadataService is in the termination message of a watcher that cannot reach the metadata service.
	metadataService = "instance metadata service"
)

// cause is why watchers are not ready.
type cause struct {
	// reason is WatchersNotReady or MetadataUnavailable. Empty: nothing is wrong,
	// watchers are starting, or nodes are being removed.
	reason  string
	message string
	at      time.Time
}

// diagnosis collects what is wrong with the pods of a policy's watchers.
type diagnosis struct {
	now time.Time
	// nodesDown are the nodes that are not ready: that their pods are not ready either
	// says nothing about watchers.
	nodesDown map[string]bool
	pods      int32
	// nodes counts the nodes whose watchers have the same problem, first names one of them.
	nodes map[podProblem]int
	first map[podProblem]string
}

// podProblem is what is wrong with a pod.
type podProblem struct {
	metadata bool // the metadata service cannot be reached
	message  string
}

func newDiagnosis(now time.Time, nodesDown map[string]bool) *diagnosis {
	return &diagnosis{now: now, nodesDown: nodesDown, nodes: map[podProblem]int{}, first: map[podProblem]string{}}
}

// add notes what is wrong with a pod.
func (d *diagnosis) add(pod *corev1.Pod) {
	d.pods++
	if pod.DeletionTimestamp != nil || d.nodesDown[pod.Spec.NodeName] || podReady(pod) {
		return
	}
	p := problemOf(pod, d.now)
	if p == (podProblem{}) {
		return
	}
	d.nodes[p]++
	if first, found := d.first[p]; !found || pod.Spec.NodeName < first {
		d.first[p] = pod.Spec.NodeName
	}
}

// cause returns the problem that most nodes have.
func (d *diagnosis) cause(counts watcherCounts, daemonSet types.NamespacedName) cause {
	why := cause{at: d.now}
	notReady := fmt.Sprintf("%d of %d watchers are not ready", counts.desired-counts.ready, counts.desired)
	var most podProblem
	for p, n := range d.nodes {
		if n > d.nodes[most] || n == d.nodes[most] && p.message < most.message {
			most = p
		}
	}
	switch n := d.nodes[most]; {
	case n > 0:
		why.reason = v1alpha1.ReasonWatchersNotReady
		if most.metadata {
			why.reason = v1alpha1.ReasonMetadataUnavailable
		}
		where := "on node " + cmp.Or(d.first[most], "none yet")
		if n > 1 {
			where = fmt.Sprintf("on %d nodes, such as %s", n, cmp.Or(d.first[most], "none yet"))
		}
		why.message = fmt.Sprintf("%s; %s: %s", notReady, where, most.message)
	case counts.scheduled < counts.desired && d.pods < counts.desired:
		why.reason = v1alpha1.ReasonWatchersNotReady
		why.message = fmt.Sprintf("%s; %d have no pod: \"kubectl -n %s describe daemonset %s\" says why",
			notReady, counts.desired-counts.scheduled, daemonSet.Namespace, daemonSet.Name)
	}
	return why
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// problemOf returns what is wrong with a pod that is not ready; nothing if it is starting.
func problemOf(pod *corev1.Pod, now time.Time) podProblem {
	for i := range pod.Status.ContainerStatuses {
		status := &pod.Status.ContainerStatuses[i]
		ended := cmp.Or(status.State.Terminated, status.LastTerminationState.Terminated)
		// One restart is no problem: nodes reboot.
		if ended != nil && (status.State.Running == nil || status.RestartCount > 1) {
			message := terminationMessage(ended)
			return podProblem{strings.Contains(message, metadataService), message}
		}
		// Without a message a container is waiting in the order of things, such as ContainerCreating.
		if waiting := status.State.Waiting; waiting != nil && waiting.Message != "" {
			return podProblem{message: short(waiting.Reason + ": " + waiting.Message)}
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return podProblem{message: short(c.Reason + ": " + c.Message)}
		}
	}
	if now.Sub(pod.CreationTimestamp.Time) > startsWithin {
		return podProblem{message: fmt.Sprintf("not ready %.0f seconds after it was created; its log says more", startsWithin.Seconds())}
	}
	return podProblem{}
}

// terminationMessage returns what a watcher has left in its termination log.
func terminationMessage(ended *corev1.ContainerStateTerminated) string {
	if ended.Reason == "OOMKilled" {
		return "OOMKilled: it needs more memory than podTemplate.resources allow"
	}
	return cmp.Or(short(ended.Message), fmt.Sprintf("%s with exit code %d", cmp.Or(ended.Reason, "ended"), ended.ExitCode))
}

// short returns a message in one line of bounded length.
func short(message string) string {
	return v1alpha1.TruncateMessage(strings.Join(strings.Fields(message), " "), maxPodMessage)
}
