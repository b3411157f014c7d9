// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const (
	// maxLabels is how many labels and requirements a policy takes in one place.
	maxLabels       = 32
	exampleAffinity = `{nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: example.com/team, operator: Exists}]}]}}}`
)

// nodeSelectors returns the nodes on which NTH's DaemonSet runs, as selectors of policies: one for each term of
// its node affinity, any of which is enough. It reports whether policies can select exactly these nodes.
func (s *settings) nodeSelectors() (selectors []object, exact bool) {
	labels, labelsKey := map[string]string{}, s.firstSet("linuxNodeSelector", "nodeSelector", "daemonsetNodeSelector")
	if labelsKey != "" {
		labels = s.texts(labelsKey)
		s.checkLabels(labelsKey, labels)
	}
	terms, affinityKey, exact := s.affinityTerms()
	if len(terms) == 0 {
		terms = [][]v1alpha1.LabelSelectorRequirement{nil}
	}
	for _, term := range terms {
		selector := newObject()
		if len(labels) > 0 {
			selector.set("matchLabels", labels, s.says(labelsKey))
		}
		if len(term) > 0 {
			selector.set("matchExpressions", term, s.says(affinityKey))
		}
		selectors = append(selectors, selector)
	}
	return selectors, exact
}

// affinityTerms returns the requirements on nodes in the affinity of NTH's DaemonSet, and the option that has it.
func (s *settings) affinityTerms() (terms [][]v1alpha1.LabelSelectorRequirement, key string, exact bool) {
	var affinity corev1.Affinity
	key = s.firstSet("linuxAffinity", "affinity", "daemonsetAffinity")
	if key == "" || !s.decode(key, &affinity, exampleAffinity) || affinity.NodeAffinity == nil || affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil, key, true
	}
	exact = true
	for _, term := range affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		requirements, ok := s.requirements(key, term)
		exact = exact && ok
		terms = append(terms, requirements)
	}
	if !exact {
		s.notes.add(todo, s.written(key), "a policy selects nodes by labels with In, NotIn, Exists and DoesNotExist, not by fields and not with Gt and Lt: "+
			"give these nodes a label and select that. Until then the policy selects more nodes than NTH's DaemonSet runs on, and is in mode DryRun")
	}
	return terms, key, exact
}

// requirements converts a term of a node affinity, and reports whether it could convert all of it. That a node
// is not Fargate's is left out: those are never changed.
func (s *settings) requirements(key string, term corev1.NodeSelectorTerm) (converted []v1alpha1.LabelSelectorRequirement, exact bool) {
	exact = len(term.MatchFields) == 0
	for _, e := range term.MatchExpressions {
		operator := metav1.LabelSelectorOperator(e.Operator)
		switch operator {
		case metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist:
		default:
			exact = false
			continue
		}
		if e.Key == computeType && operator == metav1.LabelSelectorOpNotIn && slices.Equal(e.Values, []string{"fargate"}) {
			continue
		}
		requirement := v1alpha1.LabelSelectorRequirement{Key: e.Key, Operator: operator, Values: e.Values}
		selector := v1alpha1.LabelSelector{MatchExpressions: []v1alpha1.LabelSelectorRequirement{requirement}}
		if _, err := selector.Selector(); err != nil {
			s.fail(key, "%s: write a requirement on labels, such as {key: example.com/team, operator: In, values: [a]}", oneLine(err.Error()))
		}
		converted = append(converted, requirement)
	}
	if len(converted) > maxLabels {
		s.fail(key, "it has %d requirements on nodes, and a policy takes %d: give the nodes a label and select that", len(converted), maxLabels)
	}
	return converted, exact
}

// checkLabels adds an error for what is no label.
func (s *settings) checkLabels(key string, labels map[string]string) {
	s.checkNames(key, labels)
	for name, value := range labels {
		if len(validation.IsValidLabelValue(value)) > 0 {
			s.fail(key, "%s is no value of a label: write at most 63 letters, digits, hyphens, dots and underscores for %s", quote(value), printable(name))
		}
	}
}

// checkNames adds an error for keys that are none of labels and annotations.
func (s *settings) checkNames(key string, texts map[string]string) {
	for name := range texts {
		if len(validation.IsQualifiedName(name)) > 0 {
			s.fail(key, "%s is no name of a label or annotation: write one such as example.com/team", quote(name))
		}
	}
	if len(texts) > maxLabels {
		s.fail(key, "it has %d entries, and a policy takes %d: leave some out", len(texts), maxLabels)
	}
}

// podTemplate returns what is changed in the watchers' pods.
func (s *settings) podTemplate() object {
	template := newObject()
	var resources corev1.ResourceRequirements
	if s.changed("resources") && s.decode("resources", &resources, "{limits: {memory: 64Mi}}") {
		template.set("resources", s.value("resources"), s.says("resources"))
	}
	s.tolerations(template)
	if s.changed("daemonsetPriorityClassName") {
		name := s.text("daemonsetPriorityClassName")
		if len(validation.IsDNS1123Subdomain(name)) > 0 {
			s.fail("daemonsetPriorityClassName", "%s is no name of a PriorityClass: write one, such as system-node-critical", quote(name))
		}
		template.set("priorityClassName", name, s.says("daemonsetPriorityClassName"))
	}
	if !s.boolean("useHostNetwork") {
		template.set("hostNetwork", false, s.says("useHostNetwork"))
	}
	for _, field := range []struct{ name, all, linux string }{
		{"labels", "podLabels", "linuxPodLabels"}, {"annotations", "podAnnotations", "linuxPodAnnotations"},
	} {
		s.podTexts(template, field.name, field.all, field.linux)
	}
	return template
}

// podTexts adds labels or annotations of the watchers' pods.
func (s *settings) podTexts(template object, field, all, linux string) {
	merged, from := map[string]string{}, []string{}
	for _, key := range []string{all, linux} {
		texts := s.texts(key)
		if len(texts) == 0 {
			continue
		}
		if field == "labels" {
			s.checkLabels(key, texts)
		} else {
			s.checkNames(key, texts)
		}
		from = append(from, s.says(key))
		maps.Copy(merged, texts)
	}
	if len(merged) > 0 {
		template.set(field, merged, strings.Join(from, ", "))
	}
}

// tolerations adds the tolerations of the watchers' pods, where they do not tolerate everything.
func (s *settings) tolerations(template object) {
	const example = "[{key: example.com/dedicated, operator: Exists}]"
	key := s.firstSet("linuxTolerations", "tolerations", "daemonsetTolerations")
	if key == "" {
		s.notes.add(differs, s.written("daemonsetTolerations"), "NTH's DaemonSet tolerates no taints; watchers tolerate all of them, so that they run on every selected node: list tolerations in imds.podTemplate to change that")
		return
	}
	var tolerations []corev1.Toleration
	if !s.decode(key, &tolerations, example) {
		return
	}
	for _, t := range tolerations {
		switch {
		case t == corev1.Toleration{Operator: corev1.TolerationOpExists}:
			return // the default here
		case t.Operator != "" && t.Operator != corev1.TolerationOpExists && t.Operator != corev1.TolerationOpEqual:
			s.fail(key, "operator %s: write Exists or Equal", quote(t.Operator))
		case t.Key == "" && t.Operator != corev1.TolerationOpExists, t.Operator == corev1.TolerationOpExists && t.Value != "":
			s.fail(key, "a toleration without a key has operator Exists, which takes no value: write %s", example)
		case t.Key != "" && len(validation.IsQualifiedName(t.Key)) > 0, len(validation.IsValidLabelValue(t.Value)) > 0:
			s.fail(key, "%s is not of a taint: write a toleration like %s", quote(t.Key+"="+t.Value), example)
		case t.Effect != "" && t.Effect != corev1.TaintEffectNoSchedule && t.Effect != corev1.TaintEffectPreferNoSchedule && t.Effect != corev1.TaintEffectNoExecute:
			s.fail(key, "effect %s: write NoSchedule, PreferNoSchedule or NoExecute", quote(t.Effect))
		case t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute:
			s.fail(key, "tolerationSeconds is for effect NoExecute: write that effect, or leave tolerationSeconds out")
		}
	}
	if len(tolerations) > maxLabels {
		s.fail(key, "it has %d tolerations, and a policy takes %d: leave some out, or write [{operator: Exists}]", len(tolerations), maxLabels)
	}
	template.set("tolerations", tolerations, s.says(key))
}
