// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/drain"
	"github.com/nodetermination/operator/controllers/drain/fit"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// snapshot is what a forecast is made from: of every object what counts, as a cluster may have hundreds
// of thousands of pods.
type snapshot struct {
	nodes    map[string]*node
	pods     map[types.NamespacedName]*pod
	budgets  []policyv1.PodDisruptionBudget
	policies []v1alpha1.NodeTerminationPolicy
	claims   map[types.NamespacedName]string // the names of the volumes that they are bound to
	volumes  map[string]*corev1.NodeSelector // from where they can be used; only those that are bound to some nodes
	shared   map[string]map[string]string    // labels, by what is in them
	shapes   map[string]*fit.Pod             // the same for what decides where pods fit
	seen     map[string]int                  // how many objects of each kind, those that do not count too
	gaps     []string                        // what could not be read
	defaults *v1alpha1.NodeTerminationPolicy // governs every node if there are no policies to look at
	ready    map[string]int                  // ready pods by their owner
}

// node is a node with its pods.
type node struct {
	*corev1.Node
	fit  fit.Node
	pods []*pod
}

// pod is a pod with what a forecast has to know beside the drain.
type pod struct {
	drain.Pod
	// ownerKind is the kind of the controller that replaces it. Empty: nobody does.
	ownerKind string
	fit       *fit.Pod
}

func newSnapshot() *snapshot {
	return &snapshot{
		nodes: map[string]*node{}, pods: map[types.NamespacedName]*pod{},
		claims: map[types.NamespacedName]string{}, volumes: map[string]*corev1.NodeSelector{},
		shared: map[string]map[string]string{}, shapes: map[string]*fit.Pod{}, seen: map[string]int{}, ready: map[string]int{},
	}
}

// addNode adds a node.
func (s *snapshot) addNode(object *corev1.Node) {
	s.seen["Node"]++
	trimmed := &node{fit: fit.NewNode(object)}
	if kept, err := ec2node.Trim(object); err == nil {
		trimmed.Node, _ = kept.(*corev1.Node)
	}
	s.nodes[object.Name] = trimmed
}

// addPod adds a pod that was bound to a node and has not finished. Without a status, as in a manifest
// that somebody wrote, it counts as running.
func (s *snapshot) addPod(object *corev1.Pod) {
	s.seen["Pod"]++
	if object.Status.Phase == "" {
		object.Status.Phase = corev1.PodRunning
		object.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	small := drain.NewPod(object)
	if small.Finished || small.Node == "" {
		return
	}
	if small.UID == "" {
		small.UID = types.UID(small.String())
	}
	small.Labels = s.share(small.Labels)
	p := &pod{Pod: small, fit: s.shape(object)}
	if owner := metav1.GetControllerOfNoCopy(object); owner != nil {
		p.ownerKind = owner.Kind
	}
	s.pods[types.NamespacedName{Namespace: small.Namespace, Name: small.Name}] = p
}

// addBudget adds a disruption budget.
func (s *snapshot) addBudget(object *policyv1.PodDisruptionBudget) {
	s.seen["PodDisruptionBudget"]++
	s.budgets = append(s.budgets, *object)
}

// addPolicy adds a policy.
func (s *snapshot) addPolicy(object *v1alpha1.NodeTerminationPolicy) {
	s.seen["NodeTerminationPolicy"]++
	s.policies = append(s.policies, *object)
}

// addVolume adds a volume, if it can be used from some nodes only.
func (s *snapshot) addVolume(object *corev1.PersistentVolume) {
	s.seen["PersistentVolume"]++
	if affinity := object.Spec.NodeAffinity; affinity != nil && affinity.Required != nil {
		s.volumes[object.Name] = affinity.Required
	}
}

// addClaim adds a claim, if it is bound.
func (s *snapshot) addClaim(object *corev1.PersistentVolumeClaim) {
	s.seen["PersistentVolumeClaim"]++
	if object.Spec.VolumeName != "" {
		s.claims[types.NamespacedName{Namespace: object.Namespace, Name: object.Name}] = object.Spec.VolumeName
	}
}

// share returns the labels, which many pods have in common.
func (s *snapshot) share(labels map[string]string) map[string]string {
	var key strings.Builder
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		key.WriteString(name + "=" + labels[name] + "\n")
	}
	known, found := s.shared[key.String()]
	if !found {
		known = labels
		s.shared[key.String()] = labels
	}
	return known
}

// finish brings together what was added.
func (s *snapshot) finish() {
	for _, p := range s.pods {
		if p.Ready && !p.Terminating() {
			s.ready[p.Owner]++
		}
		s.bindVolumes(p)
		if n := s.nodes[p.Node]; n != nil {
			n.pods = append(n.pods, p)
			n.fit.Free.Subtract(p.fit.Requests)
		}
	}
	for _, n := range s.nodes {
		slices.SortFunc(n.pods, func(a, b *pod) int {
			return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		})
	}
	s.computeBudgets()
}

// bindVolumes notes from where the volumes of a pod can be used.
func (s *snapshot) bindVolumes(p *pod) {
	var bound []*corev1.NodeSelector
	for _, claim := range p.Claims {
		if volume := s.volumes[s.claims[types.NamespacedName{Namespace: p.Namespace, Name: claim}]]; volume != nil {
			bound = append(bound, volume)
		}
	}
	if len(bound) > 0 {
		own := *p.fit
		own.Volumes = bound
		p.fit = &own
	}
}

// sortedNodes returns all nodes by name.
func (s *snapshot) sortedNodes() []*node {
	return slices.SortedFunc(maps.Values(s.nodes), func(a, b *node) int { return cmp.Compare(a.Name, b.Name) })
}

// add adds an object, if it is of a kind that counts.
func (s *snapshot) add(object client.Object) {
	switch object := object.(type) {
	case *corev1.Node:
		s.addNode(object)
	case *corev1.Pod:
		s.addPod(object)
	case *policyv1.PodDisruptionBudget:
		s.addBudget(object)
	case *v1alpha1.NodeTerminationPolicy:
		s.addPolicy(object)
	case *corev1.PersistentVolume:
		s.addVolume(object)
	case *corev1.PersistentVolumeClaim:
		s.addClaim(object)
	}
}
