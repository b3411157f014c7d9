// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// nodeYAML returns a node with room for as many CPUs.
func nodeYAML(name string, cpu int) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Node
metadata: {name: %[1]s, labels: {name: %[1]s}}
spec: {providerID: "aws:///us-east-1a/i-0abc123400000000%[1]s"}
status: {allocatable: {cpu: "%[2]d", memory: 8Gi, pods: "110"}}
`, name, cpu)
}

// podYAML returns a ready pod on a node, with these fields of its metadata and spec.
func podYAML(name, node, metadata, spec string) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: shop, labels: {app: %s}, %s}
spec: {nodeName: %s, %s, containers: [{name: main, image: x, resources: {requests: {cpu: "1"}}}]}
status: {phase: Running, conditions: [{type: Ready, status: "True"}]}
`, name, strings.TrimRight(name, "-0123456789"), metadata, node, spec)
}

// ownedBy returns the metadata of a pod with a controller.
func ownedBy(kind, name string) string {
	return fmt.Sprintf("ownerReferences: [{apiVersion: apps/v1, kind: %s, name: %s, uid: uid-%s, controller: true}]", kind, name, name)
}

// grace returns the spec of a pod with a grace period.
func grace(seconds int) string { return fmt.Sprintf("terminationGracePeriodSeconds: %d", seconds) }

// budgetYAML returns a disruption budget for an app.
func budgetYAML(app, rule string) string {
	return fmt.Sprintf(`---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: %[1]s, namespace: shop}
spec: {%[2]s, selector: {matchLabels: {app: %[1]s}}}
`, app, rule)
}

// policyYAML returns a policy with these fields of its spec.
func policyYAML(name, spec string) string {
	return fmt.Sprintf(`---
apiVersion: nodetermination.dev/v1alpha1
kind: NodeTerminationPolicy
metadata: {name: %s}
spec: {sources: [{name: metadata, imds: {}}], %s}
`, name, spec)
}

// read reads a snapshot.
func read(t *testing.T, yaml string) *snapshot {
	t.Helper()
	s := newSnapshot()
	if err := s.read(strings.NewReader(yaml), "test.yaml"); err != nil {
		t.Fatal(err)
	}
	if err := s.checkFiles(); err != nil {
		t.Fatal(err)
	}
	s.finish()
	return s
}

// forecastOf forecasts for nodes of a snapshot.
func forecastOf(t *testing.T, s *snapshot, together bool, names ...string) *Forecast {
	t.Helper()
	o := options{notice: 2 * time.Minute, readyAfter: 20 * time.Second, together: together}
	r, err := o.request(s, names)
	if err != nil {
		t.Fatal(err)
	}
	return newForecast(s, r)
}

// fates returns what becomes of each pod: its outcome and what is of concern.
func fates(f *Forecast) map[string]string {
	all := map[string]string{}
	for i := range f.Nodes {
		for j := range f.Nodes[i].Pods {
			pod := &f.Nodes[i].Pods[j]
			fate := string(pod.Outcome)
			for _, concern := range pod.Concerns {
				fate += " " + string(concern.Type)
			}
			all[pod.Name] = fate
		}
	}
	return all
}

func TestForecast(t *testing.T) {
	web := ownedBy("ReplicaSet", "web")
	for name, test := range map[string]struct {
		objects  string
		together bool
		want     map[string]string
	}{
		"leaves in time": {
			objects: podYAML("web-1", "a", web, grace(30)) + podYAML("web-2", "b", web, grace(30)),
			want:    map[string]string{"web-1": "LeavesInTime"},
		},
		"more grace than there is": {
			objects: podYAML("web-1", "a", web, grace(300)) + podYAML("web-2", "b", web, grace(30)),
			want:    map[string]string{"web-1": "CutShort"},
		},
		"only replica": {
			objects: podYAML("web-1", "a", web, grace(30)),
			want:    map[string]string{"web-1": "LeavesInTime OnlyReadyReplica"},
		},
		"all replicas on one node": {
			objects: podYAML("web-1", "a", web, grace(30)) + podYAML("web-2", "a", web, grace(30)),
			want:    map[string]string{"web-1": "LeavesInTime", "web-2": "LeavesInTime OnlyReadyReplica"},
		},
		"a job's pod serves nobody": {
			objects: podYAML("job-1", "a", ownedBy("Job", "job"), grace(30)),
			want:    map[string]string{"job-1": "LeavesInTime"},
		},
		"no controller": {
			objects: podYAML("bare", "a", "", grace(30)),
			want:    map[string]string{"bare": "LeavesInTime OnlyReadyReplica"},
		},
		"a budget waits for the replacement": {
			objects: podYAML("web-1", "a", web, grace(30)) + podYAML("web-2", "a", web, grace(30)) + budgetYAML("web", "maxUnavailable: 1"),
			want:    map[string]string{"web-1": "LeavesInTime", "web-2": "LeavesInTime BlockedByBudget"},
		},
		"a budget without room for the replacement": {
			objects: podYAML("web-1", "a", web+", annotations: {a: b}", grace(30)+", nodeSelector: {name: a}") +
				podYAML("web-2", "a", web, grace(30)+", nodeSelector: {name: a}") + budgetYAML("web", "maxUnavailable: 1"),
			want: map[string]string{"web-1": "LeavesInTime NowhereToGo", "web-2": "CutShort BlockedByBudget OnlyReadyReplica NowhereToGo"},
		},
		"a budget that allows nothing": {
			objects: podYAML("db-0", "a", ownedBy("StatefulSet", "db"), grace(10)) + podYAML("db-1", "b", ownedBy("StatefulSet", "db"), grace(10)) + budgetYAML("db", "maxUnavailable: 0"),
			want:    map[string]string{"db-0": "CutShort BlockedByBudget"},
		},
		"blocked pods wait": {
			objects: podYAML("db-0", "a", ownedBy("StatefulSet", "db"), grace(10)) + podYAML("db-1", "b", ownedBy("StatefulSet", "db"), grace(10)) +
				budgetYAML("db", "maxUnavailable: 0") + policyYAML("all", "drain: {blockedPods: {action: Wait}}"),
			want: map[string]string{"db-0": "Blocked BlockedByBudget"},
		},
		"kept by an annotation": {
			objects: podYAML("job-1", "a", ownedBy("Job", "job")+`, annotations: {karpenter.sh/do-not-disrupt: "true"}`, grace(5)),
			want:    map[string]string{"job-1": "LeavesInTime BlockedByAnnotation"},
		},
		"annotations ignored": {
			objects: podYAML("job-1", "a", ownedBy("Job", "job")+`, annotations: {karpenter.sh/do-not-disrupt: "true"}`, grace(5)) + policyYAML("all", "drain: {podAnnotations: Ignore}"),
			want:    map[string]string{"job-1": "LeavesInTime"},
		},
		"stay": {
			objects: podYAML("ds-1", "a", ownedBy("DaemonSet", "ds"), grace(30)) + podYAML("mirror", "a", `annotations: {kubernetes.io/config.mirror: x}`, grace(30)) +
				podYAML("skipped", "a", `annotations: {nodetermination.dev/drain: skip}`, grace(30)) + podYAML("agent", "a", "", grace(30)) +
				policyYAML("all", "drain: {skip: [{podSelector: {matchLabels: {app: agent}}}]}"),
			want: map[string]string{"ds-1": "Stays", "mirror": "Stays", "skipped": "Stays", "agent": "Stays"},
		},
		"comes back": {
			objects: podYAML("web-1", "a", web, grace(30)+", tolerations: [{operator: Exists}]") + podYAML("web-2", "b", web, grace(30)),
			want:    map[string]string{"web-1": "LeavesInTime ComesBack"},
		},
		"finished and pending": {
			objects: strings.Replace(podYAML("web-1", "a", web, grace(30)), "Running", "Succeeded", 1) + podYAML("web-2", "b", web, grace(30)),
			want:    map[string]string{},
		},
		"no policy selects it": {
			objects: podYAML("web-1", "a", web, grace(30)) + podYAML("web-2", "b", web, grace(30)) + policyYAML("some", "nodeSelector: {matchLabels: {name: b}}"),
			want:    map[string]string{"web-1": "NotDrained"},
		},
		"ignored": {
			objects: podYAML("web-1", "a", web, grace(30)) + podYAML("web-2", "b", web, grace(30)) + policyYAML("all", "events: [{kind: SpotInterruption, action: Ignore}]"),
			want:    map[string]string{"web-1": "NotDrained"},
		},
		"a dry run is shown as if it were none": {
			objects: podYAML("web-1", "a", web, grace(30)) + podYAML("web-2", "b", web, grace(30)) + policyYAML("all", "mode: DryRun"),
			want:    map[string]string{"web-1": "LeavesInTime"},
		},
		"system pods are last": {
			objects: podYAML("web-1", "a", web, grace(100)) + podYAML("web-2", "b", web, grace(30)) + podYAML("dns-1", "a", ownedBy("ReplicaSet", "dns"), grace(60)+", priority: 2000000000") +
				podYAML("dns-2", "b", ownedBy("ReplicaSet", "dns"), grace(60)),
			want: map[string]string{"web-1": "LeavesInTime", "dns-1": "CutShort"},
		},
		"both nodes at once": {
			objects:  podYAML("web-1", "a", web, grace(30)) + podYAML("web-2", "b", web, grace(30)),
			together: true,
			want:     map[string]string{"web-1": "LeavesInTime NowhereToGo", "web-2": "LeavesInTime OnlyReadyReplica NowhereToGo"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := read(t, nodeYAML("a", 16)+nodeYAML("b", 16)+test.objects)
			names := []string{"a"}
			if test.together {
				names = []string{"a", "b"}
			}
			for range 2 { // the first leaves nothing behind
				if diff := cmp.Diff(test.want, fates(forecastOf(t, s, test.together, names...))); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// Where there is room for one of two pods, the second has nowhere to go.
func TestRoomIsTakenOnce(t *testing.T) {
	s := read(t, nodeYAML("a", 16)+nodeYAML("b", 1)+podYAML("web-1", "a", ownedBy("ReplicaSet", "web"), grace(30))+podYAML("db-1", "a", ownedBy("ReplicaSet", "db"), grace(30)))
	f := forecastOf(t, s, false, "a")
	if f.Summary.NowhereToGo != 1 {
		t.Errorf("%d pods have nowhere to go, want 1: %+v", f.Summary.NowhereToGo, f.Nodes)
	}
	if each := forecastOf(t, s, false); each.Summary.NowhereToGo != 1 || len(each.Nodes) != 2 {
		t.Errorf("each by itself: %+v", each.Summary)
	}
}

func TestVolumeOfAZone(t *testing.T) {
	volume := `---
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv}
spec: {nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: name, operator: In, values: [a]}]}]}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: shop}
spec: {volumeName: pv}
`
	s := read(t, nodeYAML("a", 16)+nodeYAML("b", 16)+volume+
		podYAML("db-0", "a", ownedBy("StatefulSet", "db"), grace(30)+", volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]"))
	if fate := fates(forecastOf(t, s, false, "a"))["db-0"]; !strings.Contains(fate, "NowhereToGo") {
		t.Error(fate)
	}
}

func TestFailOn(t *testing.T) {
	sum := Summary{CutShort: 1, NotDrained: 2, ByAnnotation: 1}
	got := strings.Join(sum.failures([]string{failOnCutShort, failOnBlocked, failOnDowntime}), ", ")
	if want := "cut-short: 3 pods, blocked: 1 pod"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSummaryHasTenLines(t *testing.T) {
	f := Forecast{Summary: Summary{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, Limits: make([]string, 9)}
	if lines := f.lines(); len(lines) > 10 {
		t.Errorf("%d lines: %q", len(lines), lines)
	}
}

// A drain that the policy has begin late leaves its pods less time.
func TestStartBefore(t *testing.T) {
	rule := "events: [{kind: SpotInterruption, action: CordonAndDrain, startBeforeSeconds: 60}]"
	s := read(t, nodeYAML("a", 1)+podYAML("web-1", "a", "", grace(90))+policyYAML("late", rule))
	f := newForecast(s, &request{
		assumptions: assumptions{kind: v1alpha1.SpotInterruption, notice: 2 * time.Minute, readyAfter: time.Second, now: time.Unix(0, 0)},
		nodes:       s.sortedNodes(), governs: func(n *node) governance { return governanceOf(s, n, nil) },
	})
	pod := f.Nodes[0].Pods[0]
	if pod.Outcome != CutShort || *pod.EvictedAfterSeconds != 60 {
		t.Errorf("%+v, want it evicted after 60 s and cut short", pod)
	}
}

func TestGovernance(t *testing.T) {
	s := read(t, nodeYAML("a", 1)+podYAML("web-1", "a", "", grace(1))+policyYAML("all", "instanceTag: managed")+policyYAML("other", "priority: -1, suspend: true"))
	if g := governanceOf(s, s.nodes["a"], nil); !g.drains || !strings.Contains(g.reason, "tag managed") {
		t.Errorf("%+v", g)
	}
	if g := governanceOf(s, s.nodes["a"], &s.policies[1]); g.drains || !strings.Contains(g.reason, "suspended") {
		t.Errorf("%+v", g)
	}
	s.policies[0].Spec.NodeIdentity, s.nodes["a"].Spec.ProviderID = v1alpha1.NodeIdentityPrivateDNSName, ""
	if g := governanceOf(s, s.nodes["a"], nil); !g.drains || !strings.Contains(g.reason, "nodeIdentity") {
		t.Errorf("without a providerID: %+v", g)
	}
	s.nodes["a"].Spec.ProviderID = "kind://docker/kind/a"
	if g := governanceOf(s, s.nodes["a"], nil); g.drains || !strings.Contains(g.reason, "providerID") {
		t.Errorf("%+v", g)
	}
}
