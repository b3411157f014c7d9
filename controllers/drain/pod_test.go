// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// TestOwner: what replaces a pod is its controller, but a CronJob makes a new Job every time.
func TestOwner(t *testing.T) {
	created := time.Date(2026, 11, 29, 9, 0, 20, 0, time.UTC) // 29932380 minutes since 1970
	for name, test := range map[string]struct{ kind, controller, want string }{
		"of a ReplicaSet":                     {"ReplicaSet", "web-29932380", "uid"},
		"of a Job":                            {"Job", "migrate", "uid"},
		"of a CronJob":                        {"Job", "backup-29932380", "CronJob shop/backup"},
		"of a CronJob whose Job is a day old": {"Job", "nightly-backup-29930940", "CronJob shop/nightly-backup"},
		"of a Job with a date in its name":    {"Job", "migrate-20261129", "uid"},
		"of a Job with a number for its name": {"Job", "-29932380", "uid"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "pod", CreationTimestamp: metav1.Time{Time: created}}}
			pod.OwnerReferences = []metav1.OwnerReference{{Kind: test.kind, Name: test.controller, UID: "uid", Controller: ptr.To(true)}}
			if got := NewPod(pod).Owner; got != test.want {
				t.Errorf("owner %q, want %q", got, test.want)
			}
		})
	}
	if got := NewPod(&corev1.Pod{}).Owner; got != "" {
		t.Errorf("a pod without a controller has owner %q", got)
	}
}

func TestToleratesCordon(t *testing.T) {
	for name, test := range map[string]struct {
		toleration corev1.Toleration
		want       bool
	}{
		"everything":   {corev1.Toleration{Operator: corev1.TolerationOpExists}, true},
		"the cordon":   {corev1.Toleration{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists}, true},
		"only NoExec.": {corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}, false},
		"another":      {corev1.Toleration{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists}, false},
	} {
		if got := NewPod(&corev1.Pod{Spec: corev1.PodSpec{Tolerations: []corev1.Toleration{test.toleration}}}).ToleratesCordon; got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}
