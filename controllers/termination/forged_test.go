// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/testcluster"
)

func TestClaimOf(t *testing.T) {
	const instance = "i-0abc1234def567890"
	running := func(providerID string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}, Spec: corev1.NodeSpec{ProviderID: providerID}}
	}
	auto := running("aws:///us-east-1a/" + instance)
	auto.Labels = map[string]string{ec2node.ComputeTypeLabel: "auto"}
	for name, test := range map[string]struct {
		named *corev1.Node
		taken bool
		want  claim
	}{
		"it runs on it":                  {named: running("aws:///us-east-1a/" + instance), want: claimTrue},
		"it does, and so does another":   {named: running("aws:///us-east-1a/" + instance), taken: true, want: claimTrue},
		"it runs on another":             {named: running("aws:///us-east-1a/i-00000000000000000"), want: claimFalse},
		"it does not say":                {named: running(""), want: claimOpen},
		"it does not, but another does":  {named: running(""), taken: true, want: claimFalse},
		"it is not on EC2":               {named: running("eks-hybrid:///us-east-1/cluster/mi-0123"), want: claimOpen},
		"it is Auto Mode's":              {named: auto, want: claimOpen},
		"there is none":                  {want: claimOrphaned},
		"there is none, but another one": {taken: true, want: claimFalse},
	} {
		if got := claimOf(instance, test.named, test.taken); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// TestClaimsAreBounded: a node that says nothing, or is gone, has a few that wait.
func TestClaimsAreBounded(t *testing.T) {
	l := &LocalState{}
	for i := range 20 {
		for _, node := range []string{"a", "b"} {
			name := fmt.Sprint(node, i)
			if got, want := l.claim(name, node), i < maxClaims; got != want {
				t.Errorf("claim %d of node %s: %t, want %t", i, node, got, want)
			}
			if i < maxClaims && !l.claim(name, node) {
				t.Errorf("claim %d of node %s does not stand", i, node)
			}
		}
	}
	l.forget("a3")
	if !l.claim("a20", "a") || l.claim("a21", "a") {
		t.Error("the place of one that is gone is for one")
	}
}

// TestForgedGoLast: whoever has a watcher's token names any instance and deadline.
func TestForgedGoLast(t *testing.T) {
	node := nodeReady(0, "1")
	own, _ := ec2node.InstanceID(node)
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	e := notice("spot", time.Minute)
	e.Source = v1alpha1.SourceIMDS
	termination := func(name, node string, source v1alpha1.EventSource) *v1alpha1.NodeTermination {
		e := *e.DeepCopy()
		e.Source = source
		return &v1alpha1.NodeTermination{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       v1alpha1.NodeTerminationSpec{InstanceID: name, NodeName: node, Events: []v1alpha1.Event{e}},
		}
	}
	known := termination("i-00000000000000004", "gone", v1alpha1.SourceIMDS)
	known.Status.Node = &v1alpha1.NodeReference{UID: "uid"}
	cache := fake.NewClientBuilder().WithScheme(scheme).WithIndex(&corev1.Node{}, ec2node.InstanceIDIndex, ec2node.IndexByInstanceID).WithObjects(
		node, termination(own, node.Name, v1alpha1.SourceIMDS), termination("i-00000000000000001", node.Name, v1alpha1.SourceIMDS),
		termination("i-00000000000000002", "none", v1alpha1.SourceIMDS), termination("i-00000000000000003", "none", v1alpha1.SourceSQS), known,
	).Build()
	q := &Queue{cache: cache, local: &LocalState{}, clock: testClock}
	for name, last := range map[string]bool{
		own: false, "i-00000000000000001": true, "i-00000000000000002": true, "i-00000000000000003": false, known.Name: false,
	} {
		if got := q.priorityOf(t.Context(), name); (got == lowestPriority) != last {
			t.Errorf("%s has priority %d, want the lowest: %t", name, got, last)
		}
	}
}

// claimBy writes a NodeTermination as somebody with the token of the i-th node's watcher would.
func (s *setting) claimBy(i int, instance string) *v1alpha1.NodeTermination {
	s.t.Helper()
	e := notice("spot", time.Minute)
	e.Source = v1alpha1.SourceIMDS
	nt := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instance}}
	nt.Spec = v1alpha1.NodeTerminationSpec{InstanceID: instance, NodeName: s.nodes[i].Name, Events: []v1alpha1.Event{e}}
	s.create(nt)
	return nt
}

// untilDeleted waits until a NodeTermination is deleted.
func (s *setting) untilDeleted(nt *v1alpha1.NodeTermination) {
	s.t.Helper()
	testcluster.Eventually(s.t, patience, func() error {
		err := admin(s.t).Get(s.t.Context(), client.ObjectKeyFromObject(nt), &v1alpha1.NodeTermination{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("NodeTermination %s is still there (%w)", nt.Name, err)
		}
		return nil
	})
}

// Whoever takes over a node cannot keep what another node's watcher receives from being stored.
func TestForgedTerminationIsDeleted(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 2, nil)
	s.untilDeleted(s.claimBy(0, instanceOf(s.nodes[1])))
	e := notice("a", time.Minute)
	e.Source = v1alpha1.SourceIMDS
	s.until(s.terminate(1, e), v1alpha1.StateCompleted)
	if err := untouched(s.node(0)); err != nil {
		t.Error(err)
	}
}

// Nor can it fill the memory with instances that there are not.
func TestMadeUpInstanceIsDeleted(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	s.untilDeleted(s.claimBy(0, "i-0fffffffffffffff1"))
	if err := untouched(s.node(0)); err != nil {
		t.Error(err)
	}
}

// withoutProviderID makes a node that does not say yet where it runs, and returns what it is to say.
func (s *setting) withoutProviderID(instance string) (providerID string) {
	s.t.Helper()
	s.deleteNode(0)
	s.nodes[0].Spec.ProviderID = ""
	s.registerAgain(0, s.nodes[0].Name)
	return "aws:///us-east-1a/" + instance
}

// TestNodeThatDoesNotSayItsInstanceYet: the watcher is the first to know it.
func TestNodeThatDoesNotSayItsInstanceYet(t *testing.T) {
	t.Parallel()
	s := newSetting(t, 1, nil)
	instance := instanceOf(s.nodes[0])
	providerID := s.withoutProviderID(instance)
	nt := s.until(s.claimBy(0, instance), v1alpha1.StateRefused)
	if ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(ready.Message, "until it does") {
		t.Errorf("it says %q", ready.Message)
	}
	if err := untouched(s.node(0)); err != nil {
		t.Error(err)
	}
	testcluster.Eventually(t, patience, func() error {
		node := s.node(0)
		node.Spec.ProviderID = providerID
		return admin(t).Update(t.Context(), node)
	})
	s.until(nt, v1alpha1.StateCompleted)
}

// TestNodeThatNeverSaysItsInstance has a few of what its watcher's token writes, for five minutes.
func TestNodeThatNeverSaysItsInstance(t *testing.T) {
	s := newSetting(t, 1, nil)
	s.withoutProviderID("")
	claims := make([]*v1alpha1.NodeTermination, 3*maxClaims)
	for i := range claims {
		claims[i] = s.claimBy(0, fmt.Sprintf("i-0ffffffffffffff%02x", i))
	}
	remaining := func() (there []string, err error) {
		for _, nt := range claims {
			switch err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(nt), &v1alpha1.NodeTermination{}); {
			case err == nil:
				there = append(there, nt.Name)
			case !apierrors.IsNotFound(err):
				return nil, err
			}
		}
		return there, nil
	}
	testcluster.Eventually(t, patience, func() error {
		// Workers that count at the same time let in a few more.
		if there, err := remaining(); err != nil || len(there) > 2*maxClaims {
			return fmt.Errorf("%d wait, %w; want %d", len(there), err, maxClaims)
		}
		return nil
	})
	testClock.shift(t, claimTolerance+time.Second)
	testcluster.Eventually(t, patience, func() error {
		there, err := remaining()
		if err != nil || len(there) == 0 {
			return err
		}
		for _, name := range there { // their time would come by the real clock only
			touch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"test":"%d"}}}`, time.Now().UnixNano()))
			nt := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: name}}
			if err := admin(t).Patch(t.Context(), nt, touch); client.IgnoreNotFound(err) != nil {
				return err
			}
		}
		return fmt.Errorf("%v are still there", there)
	})
}
