// SPDX-License-Identifier: Apache-2.0

package fit

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// list returns amounts of CPU and memory.
func list(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

func TestRefuses(t *testing.T) {
	allocatable := list("4", "8Gi")
	allocatable[corev1.ResourcePods] = resource.MustParse("10")
	allocatable["nvidia.com/gpu"] = resource.MustParse("1")
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"disk": "ssd", "topology.kubernetes.io/zone": "us-east-1a"}},
		Status:     corev1.NodeStatus{Allocatable: allocatable},
	}
	zone := func(zones ...string) []*corev1.NodeSelector {
		return []*corev1.NodeSelector{{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: "topology.kubernetes.io/zone", Operator: corev1.NodeSelectorOpIn, Values: zones},
		}}}}}
	}
	taint := corev1.Taint{Key: "dedicated", Value: "db", Effect: corev1.TaintEffectNoSchedule}
	for name, test := range map[string]struct {
		node func(*corev1.Node)
		pod  func(*Pod)
		want string
	}{
		"fits":                 {},
		"as much as there is":  {pod: func(p *Pod) { p.Requests = newResources(list("4", "8Gi")) }},
		"CPU":                  {pod: func(p *Pod) { p.Requests.MilliCPU = 4001 }, want: "too little cpu"},
		"memory":               {pod: func(p *Pod) { p.Requests.Memory = 9 << 30 }, want: "too little memory"},
		"a resource of others": {pod: func(p *Pod) { p.Requests.Others = map[corev1.ResourceName]int64{"nvidia.com/gpu": 2} }, want: "too little nvidia.com/gpu"},
		"too many pods":        {pod: func(p *Pod) { p.Requests.Pods = 11 }, want: "too little room"},
		"no allocatable":       {node: func(n *corev1.Node) { n.Status.Allocatable = nil }, pod: func(p *Pod) { p.Requests.MilliCPU = 64000 }},
		"selector":             {pod: func(p *Pod) { p.NodeSelector = map[string]string{"disk": "ssd"} }},
		"another selector":     {pod: func(p *Pod) { p.NodeSelector = map[string]string{"disk": "hdd"} }, want: "no label disk=hdd"},
		"empty selector value": {pod: func(p *Pod) { p.NodeSelector = map[string]string{"gpu": ""} }, want: "no label gpu="},
		"cordoned":             {node: func(n *corev1.Node) { n.Spec.Unschedulable = true }, want: "cordoned"},
		"taint":                {node: func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{taint} }, want: "taint dedicated=db:NoSchedule"},
		"prefers others": {node: func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "x", Effect: corev1.TaintEffectPreferNoSchedule}}
		}},
		"tolerated": {
			node: func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{taint} },
			pod: func(p *Pod) {
				p.Tolerations = []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}}
			},
		},
		"cordon tolerated": {
			node: func(n *corev1.Node) { n.Spec.Unschedulable = true },
			pod:  func(p *Pod) { p.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} },
		},
		"volume of the zone":    {pod: func(p *Pod) { p.Volumes = zone("us-east-1b", "us-east-1a") }},
		"volume of another one": {pod: func(p *Pod) { p.Volumes = zone("us-east-1b") }, want: "volume"},
	} {
		t.Run(name, func(t *testing.T) {
			changed, pod := node.DeepCopy(), Pod{Requests: Resources{Pods: 1}}
			if test.node != nil {
				test.node(changed)
			}
			if test.pod != nil {
				test.pod(&pod)
			}
			n := NewNode(changed)
			if got := n.Refuses(&pod); (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	container := func(cpu, memory string, change ...func(*corev1.Container)) corev1.Container {
		c := corev1.Container{Resources: corev1.ResourceRequirements{Requests: list(cpu, memory)}}
		for _, f := range change {
			f(&c)
		}
		return c
	}
	sidecar := func(c *corev1.Container) { c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways) }
	for name, test := range map[string]struct {
		spec        corev1.PodSpec
		cpu, memory int64
	}{
		"none":     {spec: corev1.PodSpec{Containers: []corev1.Container{{}}}},
		"sum":      {spec: corev1.PodSpec{Containers: []corev1.Container{container("1", "1Ki"), container("500m", "2Ki")}}, cpu: 1500, memory: 3 << 10},
		"init":     {spec: corev1.PodSpec{Containers: []corev1.Container{container("1", "1Ki")}, InitContainers: []corev1.Container{container("2", "0"), container("100m", "4Ki")}}, cpu: 2000, memory: 4 << 10},
		"sidecar":  {spec: corev1.PodSpec{Containers: []corev1.Container{container("1", "1Ki")}, InitContainers: []corev1.Container{container("1", "1Ki", sidecar), container("2", "0")}}, cpu: 3000, memory: 2 << 10},
		"overhead": {spec: corev1.PodSpec{Containers: []corev1.Container{container("1", "1Ki")}, Overhead: list("250m", "1Ki")}, cpu: 1250, memory: 2 << 10},
		"of the pod": {spec: corev1.PodSpec{
			Containers: []corev1.Container{container("1", "1Ki")}, Resources: &corev1.ResourceRequirements{Requests: list("3", "8Ki")},
		}, cpu: 3000, memory: 8 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			want := Resources{MilliCPU: test.cpu, Memory: test.memory, Pods: 1}
			if diff := cmp.Diff(want, Requests(&corev1.Pod{Spec: test.spec})); diff != "" {
				t.Error(diff)
			}
		})
	}
}
