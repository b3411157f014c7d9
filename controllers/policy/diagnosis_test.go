// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodetermination/operator/api/v1alpha1"
)

var testNow = time.Date(2026, 11, 22, 5, 8, 0, 0, time.UTC)

func unreadyPod(node string, age time.Duration, change func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.Time{Time: testNow.Add(-age)}},
		Spec:       corev1.PodSpec{NodeName: node},
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: watcher}}
	if change != nil {
		change(pod)
	}
	return pod
}

func waiting(reason, message string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Status.ContainerStatuses[0].State.Waiting = &corev1.ContainerStateWaiting{Reason: reason, Message: message}
	}
}

// crashed gives a pod a container that has ended before and runs again after so many restarts, or waits if there are none.
func crashed(restarts int32, ended corev1.ContainerStateTerminated) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		status := &pod.Status.ContainerStatuses[0]
		status.LastTerminationState.Terminated = &ended
		status.RestartCount = restarts
		if restarts > 0 {
			status.State.Running = &corev1.ContainerStateRunning{}
		} else {
			status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 5m0s restarting"}
		}
	}
}

func TestDiagnosis(t *testing.T) {
	t.Parallel()
	const moment, long = 5 * time.Second, 5 * time.Minute
	hopLimit := corev1.ContainerStateTerminated{ExitCode: 1, Message: "The instance metadata service answers\nfrom one hop away only"}
	for name, test := range map[string]struct {
		pods   []*corev1.Pod
		reason string
		says   []string
	}{
		"starting": {pods: []*corev1.Pod{
			unreadyPod("a", moment, nil), unreadyPod("b", moment, waiting("ContainerCreating", "")), unreadyPod("c", moment, nil),
		}},
		"starting for a long time": {
			[]*corev1.Pod{unreadyPod("a", long, nil)}, v1alpha1.ReasonWatchersNotReady, []string{"not ready 60 seconds after it was created"},
		},
		"being deleted": {pods: []*corev1.Pod{
			unreadyPod("a", long, func(pod *corev1.Pod) { pod.DeletionTimestamp = &metav1.Time{Time: testNow} }),
			unreadyPod("b", moment, nil), unreadyPod("c", moment, nil),
		}},
		"its node is not ready": {pods: []*corev1.Pod{
			unreadyPod("down", long, waiting("ImagePullBackOff", "no route")), unreadyPod("b", moment, nil), unreadyPod("c", moment, nil),
		}},
		"ready": {pods: []*corev1.Pod{
			unreadyPod("a", long, func(pod *corev1.Pod) {
				pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			}), unreadyPod("b", moment, nil), unreadyPod("c", moment, nil),
		}},
		"no image": {
			[]*corev1.Pod{unreadyPod("a", moment, waiting("ErrImagePull", "not found"))},
			v1alpha1.ReasonWatchersNotReady, []string{"3 of 5 watchers are not ready; on node a: ErrImagePull: not found"},
		},
		"no metadata": {
			[]*corev1.Pod{unreadyPod("a", moment, crashed(0, hopLimit))},
			v1alpha1.ReasonMetadataUnavailable, []string{"on node a: The instance metadata service answers from one hop away only"},
		},
		"no metadata, trying again": {
			[]*corev1.Pod{unreadyPod("a", moment, crashed(2, hopLimit))}, v1alpha1.ReasonMetadataUnavailable, []string{"from one hop away"},
		},
		"restarted once": {pods: []*corev1.Pod{
			unreadyPod("a", moment, crashed(1, hopLimit)), unreadyPod("b", moment, nil), unreadyPod("c", moment, nil),
		}},
		"the most common problem": {
			[]*corev1.Pod{
				unreadyPod("a", moment, waiting("ErrImagePull", "not found")),
				unreadyPod("c", moment, crashed(0, hopLimit)), unreadyPod("b", moment, crashed(0, hopLimit)),
			}, v1alpha1.ReasonMetadataUnavailable, []string{"on 2 nodes, such as b: The instance metadata service"},
		},
		"out of memory": {
			[]*corev1.Pod{unreadyPod("a", moment, crashed(0, corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137}))},
			v1alpha1.ReasonWatchersNotReady, []string{"OOMKilled", "podTemplate.resources"},
		},
		"no termination message": {
			[]*corev1.Pod{unreadyPod("a", moment, crashed(0, corev1.ContainerStateTerminated{Reason: "Error", ExitCode: 2}))},
			v1alpha1.ReasonWatchersNotReady, []string{"Error with exit code 2"},
		},
		"no room": {
			[]*corev1.Pod{unreadyPod("", moment, func(pod *corev1.Pod) {
				pod.Status.Conditions = []corev1.PodCondition{{
					Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "Insufficient memory",
				}}
			})}, v1alpha1.ReasonWatchersNotReady, []string{"Unschedulable: Insufficient memory"},
		},
		"no pods": {nil, v1alpha1.ReasonWatchersNotReady, []string{"2 have no pod", "-n watchers describe daemonset imds-watcher-spot"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDiagnosis(testNow, map[string]bool{"down": true})
			for _, pod := range test.pods {
				d.add(pod)
			}
			d.pods += 2 // ready ones
			got := d.cause(watcherCounts{seen: true, desired: 5, scheduled: 3, ready: 2}, types.NamespacedName{Namespace: "watchers", Name: "imds-watcher-spot"})
			if got.reason != test.reason {
				t.Fatalf("reason %q, want %q: %s", got.reason, test.reason, got.message)
			}
			for _, text := range test.says {
				if !strings.Contains(got.message, text) {
					t.Errorf("the message lacks %q: %s", text, got.message)
				}
			}
			if (got.message == "") != (test.reason == "") {
				t.Errorf("reason %q with message %q", got.reason, got.message)
			}
		})
	}
}

// TestMessagesFit checks that messages fit in the status, whatever a container says.
func TestMessagesFit(t *testing.T) {
	t.Parallel()
	d := newDiagnosis(testNow, nil)
	for i := range 1000 {
		d.add(unreadyPod(fmt.Sprintf("%0253d", i), 0, waiting("ErrImagePull", strings.Repeat("ä\n", 4096))))
	}
	why := d.cause(watcherCounts{seen: true, desired: 1000, scheduled: 1000}, types.NamespacedName{Namespace: strings.Repeat("w", 63), Name: linux.daemonSetName(strings.Repeat("a", 253))})
	if n := utf8.RuneCountInString(why.message); n > 1024 || n < 500 || !utf8.ValidString(why.message) {
		t.Errorf("a message of %d letters: %s", n, why.message)
	}
}

func TestWatchersStartWithoutAlarm(t *testing.T) {
	t.Parallel()
	wrong := cause{reason: v1alpha1.ReasonWatchersNotReady, message: "no image"}
	for name, test := range map[string]struct {
		counts watcherCounts
		why    cause
		before bool
		ready  bool
		reason string
		says   string
	}{
		"not seen yet":            {watcherCounts{}, cause{}, false, false, v1alpha1.ReasonStarting, "0 of 0"},
		"no node":                 {watcherCounts{seen: true}, cause{}, false, true, v1alpha1.ReasonReady, ""},
		"all":                     {watcherCounts{true, 3, 3, 3}, cause{}, false, true, v1alpha1.ReasonReady, ""},
		"the first are starting":  {watcherCounts{true, 3, 3, 1}, cause{}, false, false, v1alpha1.ReasonStarting, "1 of 3"},
		"one more is starting":    {watcherCounts{true, 3, 3, 2}, cause{}, true, true, v1alpha1.ReasonReady, "2 of 3"},
		"one is wrong":            {watcherCounts{true, 3, 3, 2}, wrong, true, false, v1alpha1.ReasonWatchersNotReady, "no image"},
		"all, though one was not": {watcherCounts{true, 3, 3, 3}, wrong, false, true, v1alpha1.ReasonReady, ""},
	} {
		got := test.counts.describe("metadata", test.why, test.before)
		if *got.Ready != test.ready || got.Reason != test.reason || !strings.Contains(got.Message, test.says) || (test.says == "") != (got.Message == "") {
			t.Errorf("%s: ready %t, %s: %s", name, *got.Ready, got.Reason, got.Message)
		}
		if *got.WatchersDesired != test.counts.desired || *got.WatchersReady != test.counts.ready {
			t.Errorf("%s: %d of %d", name, *got.WatchersReady, *got.WatchersDesired)
		}
	}
}
