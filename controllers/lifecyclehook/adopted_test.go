// SPDX-License-Identifier: Apache-2.0

package lifecyclehook

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	"github.com/nodetermination/operator/controllers/source/event"
)

// adopting returns a policy of that name that adopts hook join of group g, changed as given.
func adopting(name string, change ...func(*v1alpha1.NodeTerminationPolicy)) *v1alpha1.NodeTerminationPolicy {
	p := policy(&v1alpha1.LifecycleHookSpec{Adopt: []v1alpha1.AdoptedHook{{AutoScalingGroupName: "g", Name: "join"}}})
	p.Name = name
	for _, c := range change {
		c(p)
	}
	return p
}

func dryRun(p *v1alpha1.NodeTerminationPolicy) { p.Spec.Mode = v1alpha1.ModeDryRun }

func ignoring(p *v1alpha1.NodeTerminationPolicy) { p.Spec.LifecycleHook.Ignore = []string{"join"} }

func tagged(tag string) func(*v1alpha1.NodeTerminationPolicy) {
	return func(p *v1alpha1.NodeTerminationPolicy) { p.Spec.InstanceTag = tag }
}

func TestAdopters(t *testing.T) {
	join := v1alpha1.LifecycleHook{AutoScalingGroupName: "g", Name: "join", Token: "a", Destination: "AutoScalingGroup"}
	managed := v1alpha1.LifecycleHook{AutoScalingGroupName: "g", Name: "Launch-LC-Hook"}
	for name, test := range map[string]struct {
		policies []*v1alpha1.NodeTerminationPolicy
		hook     v1alpha1.LifecycleHook
		want     []string
		ignored  string
	}{
		"no policy":     {hook: join},
		"one adopts it": {policies: []*v1alpha1.NodeTerminationPolicy{policy(nil), adopting("a")}, hook: join, want: []string{"a"}},
		"another group": {policies: []*v1alpha1.NodeTerminationPolicy{adopting("a")}, hook: v1alpha1.LifecycleHook{AutoScalingGroupName: "h", Name: "join"}},
		"another hook":  {policies: []*v1alpha1.NodeTerminationPolicy{adopting("a")}, hook: v1alpha1.LifecycleHook{AutoScalingGroupName: "g", Name: "warm-up"}},
		"in mode DryRun": {
			policies: []*v1alpha1.NodeTerminationPolicy{adopting("a", dryRun)}, hook: join,
			ignored: "policy a is in mode DryRun, and would complete it otherwise",
		},
		"ignored as well": {
			policies: []*v1alpha1.NodeTerminationPolicy{adopting("a", ignoring)}, hook: join,
			ignored: "policy a both adopts it and ignores hooks of its name: take it out of ignore",
		},
		"a managed node group's, adopted in error": {
			policies: []*v1alpha1.NodeTerminationPolicy{adopting("a", func(p *v1alpha1.NodeTerminationPolicy) { p.Spec.LifecycleHook.Adopt[0].Name = managed.Name })}, hook: managed,
			ignored: "policy a both adopts it and ignores hooks of its name: take it out of ignore",
		},
		"others adopt it": {
			policies: []*v1alpha1.NodeTerminationPolicy{adopting("a"), adopting("b", dryRun), adopting("c")}, hook: join, want: []string{"a", "c"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			adopting, ignored := Adopters(test.policies, test.hook)
			var names []string
			for _, p := range adopting {
				names = append(names, p.Name)
			}
			if diff := cmp.Diff(test.want, names); diff != "" || ignored != test.ignored {
				t.Errorf("ignored as %q; adopted (-want +got):\n%s", ignored, diff)
			}
		})
	}
}

func TestNextStep(t *testing.T) {
	nodeThatIs := func(status corev1.ConditionStatus) *corev1.Node {
		return &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, LastTransitionTime: after(0)}}}}
	}
	launch, warm, termination := event.AdoptedHook{Launching: true}, event.AdoptedHook{Launching: true}, event.AdoptedHook{}
	launch.Hook.Destination, warm.Hook.Destination = "AutoScalingGroup", "WarmPool"
	one := []*v1alpha1.NodeTerminationPolicy{adopting("a")}
	ours := []*v1alpha1.NodeTerminationPolicy{adopting("a", tagged("ours"))}
	for name, test := range map[string]struct {
		in   adoptedInput
		want adoptedStep
	}{
		"not adopted any more": {adoptedInput{hook: launch, node: nodeThatIs("True")}, giveUp},

		"a launch without a node yet":     {adoptedInput{hook: launch, adopting: one}, waitForNode},
		"a launch whose node is coming":   {adoptedInput{hook: launch, adopting: one, node: nodeThatIs("False")}, waitForNode},
		"a launch whose node is not seen": {adoptedInput{hook: launch, adopting: one, node: &corev1.Node{}}, waitForNode},
		"a launch whose node is Ready":    {adoptedInput{hook: launch, adopting: one, node: nodeThatIs("True")}, complete},
		"a launch into a warm pool":       {adoptedInput{hook: warm, adopting: one}, complete},

		"a termination of what never joined": {adoptedInput{hook: termination, adopting: one}, complete},
		"of what joins after all":            {adoptedInput{hook: termination, adopting: one, node: nodeThatIs("False")}, giveUp},

		"the tag is not known": {adoptedInput{hook: warm, adopting: ours}, askEC2},
		"the tag is missing":   {adoptedInput{hook: warm, adopting: ours, instance: &awsapi.Instance{Found: true, Tags: []string{"theirs"}}}, waitForTag},
		"not known to EC2 yet": {adoptedInput{hook: warm, adopting: ours, instance: &awsapi.Instance{}}, askEC2},
		"the tag is there":     {adoptedInput{hook: warm, adopting: ours, instance: &awsapi.Instance{Found: true, Tags: []string{"theirs", "ours"}}}, complete},
		"tagged, but not yet a node": {
			adoptedInput{hook: launch, adopting: ours, instance: &awsapi.Instance{Found: true, Tags: []string{"ours"}}}, waitForNode,
		},
		"the tag of one of two policies": {
			adoptedInput{hook: warm, adopting: append(ours, adopting("b", tagged("theirs"))), instance: &awsapi.Instance{Found: true, Tags: []string{"theirs"}}}, complete,
		},
		"one policy asks for no tag": {adoptedInput{hook: warm, adopting: append(ours, adopting("b"))}, complete},
	} {
		t.Run(name, func(t *testing.T) {
			if got := nextStep(test.in); got != test.want {
				t.Errorf("step %d, want %d", got, test.want)
			}
		})
	}
}
