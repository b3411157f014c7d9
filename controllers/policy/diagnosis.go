// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const (
	// startsWithin is how long a watcher may take to be ready with nothing to be said about it.
	startsWithin = time.Minute
	// maxWords is how much of a pod's message is told; a source's message has 1024 letters.
	maxWords = 700
	// metadataWords are in the last words of a watcher that cannot reach the metadata service.
	metadataWords = "instance metadata service"
)

// diagnosis is why watchers are not ready.
type diagnosis struct {
	// reason is WatchersNotReady or MetadataUnavailable. Empty: nothing is wrong,
	// watchers are starting, or nodes are on their way out.
	reason  string
	message string
	at      time.Time
}

// round visits a policy's pods, to conclude what is wrong with them.
type round struct {
	now time.Time
	// nodesDown are the nodes that are not ready: that their pods are neither is
	// nothing about watchers.
	nodesDown map[string]bool
	pods      int32
	// nodes are those whose watchers have the same complaint: how many, and one of them.
	nodes map[complaint]int
	first map[complaint]string
}

// complaint is what is wrong with a pod.
type complaint struct {
	metadata bool // the metadata service is what is wrong
	words    string
}

func newRound(now time.Time, nodesDown map[string]bool) *round {
	return &round{now: now, nodesDown: nodesDown, nodes: map[complaint]int{}, first: map[complaint]string{}}
}

func (r *round) visit(pod *corev1.Pod) {
	r.pods++
	if pod.DeletionTimestamp != nil || r.nodesDown[pod.Spec.NodeName] || podReady(pod) {
		return
	}
	c := complaintOf(pod, r.now)
	if c == (complaint{}) {
		return
	}
	r.nodes[c]++
	if first, found := r.first[c]; !found || pod.Spec.NodeName < first {
		r.first[c] = pod.Spec.NodeName
	}
}

// conclude tells of the complaint that most nodes have.
func (r *round) conclude(counts watcherCounts, daemonSet string) diagnosis {
	d := diagnosis{at: r.now}
	notReady := fmt.Sprintf("%d of %d watchers are not ready", counts.desired-counts.ready, counts.desired)
	var most complaint
	for c, n := range r.nodes {
		if n > r.nodes[most] || n == r.nodes[most] && c.words < most.words {
			most = c
		}
	}
	switch n := r.nodes[most]; {
	case n > 0:
		d.reason = v1alpha1.ReasonWatchersNotReady
		if most.metadata {
			d.reason = v1alpha1.ReasonMetadataUnavailable
		}
		where := "on node " + cmp.Or(r.first[most], "none yet")
		if n > 1 {
			where = fmt.Sprintf("on %d nodes, such as %s", n, cmp.Or(r.first[most], "none yet"))
		}
		d.message = fmt.Sprintf("%s; %s: %s", notReady, where, most.words)
	case counts.scheduled < counts.desired && r.pods < counts.desired:
		d.reason = v1alpha1.ReasonWatchersNotReady
		d.message = fmt.Sprintf("%s; %d have no pod: \"kubectl -n %s describe daemonset %s\" says why",
			notReady, counts.desired-counts.scheduled, WatcherNamespace, daemonSet)
	}
	return d
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// complaintOf is what is wrong with a pod that is not ready; nothing if it is starting.
func complaintOf(pod *corev1.Pod, now time.Time) complaint {
	for i := range pod.Status.ContainerStatuses {
		status := &pod.Status.ContainerStatuses[i]
		ended := cmp.Or(status.State.Terminated, status.LastTerminationState.Terminated)
		// To be started once again is nothing to complain of: nodes reboot.
		if ended != nil && (status.State.Running == nil || status.RestartCount > 1) {
			words := lastWords(ended)
			return complaint{strings.Contains(words, metadataWords), words}
		}
		// Without a message a container is waiting in the order of things, such as ContainerCreating.
		if waiting := status.State.Waiting; waiting != nil && waiting.Message != "" {
			return complaint{words: short(waiting.Reason + ": " + waiting.Message)}
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return complaint{words: short(c.Reason + ": " + c.Message)}
		}
	}
	if now.Sub(pod.CreationTimestamp.Time) > startsWithin {
		return complaint{words: fmt.Sprintf("not ready %.0f seconds after it was created; its log says more", startsWithin.Seconds())}
	}
	return complaint{}
}

// lastWords are what a watcher has left in its termination log.
func lastWords(ended *corev1.ContainerStateTerminated) string {
	if ended.Reason == "OOMKilled" {
		return "OOMKilled: it needs more memory than podTemplate.resources allow"
	}
	return cmp.Or(short(ended.Message), fmt.Sprintf("%s with exit code %d", cmp.Or(ended.Reason, "ended"), ended.ExitCode))
}

// short returns a message in one line of bounded length.
func short(message string) string {
	return v1alpha1.TruncateMessage(strings.Join(strings.Fields(message), " "), maxWords)
}
