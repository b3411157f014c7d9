// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/identity"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

func TestIsSameMachine(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{UID: "uid"}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{BootID: "boot", SystemUUID: "system"}}}
	for name, test := range map[string]struct {
		known         *v1alpha1.NodeReference
		machine, boot bool
	}{
		"nothing is known":                  {},
		"the same boot":                     {&v1alpha1.NodeReference{UID: "uid", BootID: "boot", SystemUUID: "system"}, true, true},
		"another boot":                      {&v1alpha1.NodeReference{UID: "uid", BootID: "before", SystemUUID: "system"}, true, false},
		"registered anew":                   {&v1alpha1.NodeReference{UID: "before", BootID: "boot", SystemUUID: "system"}, true, true},
		"another machine":                   {&v1alpha1.NodeReference{UID: "uid", BootID: "before", SystemUUID: "before"}, false, false},
		"another machine, not Ready before": {&v1alpha1.NodeReference{UID: "uid", SystemUUID: "before"}, false, true},
		"no system UUID":                    {&v1alpha1.NodeReference{UID: "uid", BootID: "boot"}, true, true},
		"no system UUID, another boot":      {&v1alpha1.NodeReference{UID: "uid", BootID: "before"}, false, false},
		"no system UUID, registered anew":   {&v1alpha1.NodeReference{UID: "before", BootID: "boot"}, false, true},
	} {
		if got := isSameMachine(test.known, node); got != test.machine {
			t.Errorf("%s: the same machine: %t", name, got)
		}
		if test.known != nil && isSameBoot(test.known, node) != test.boot {
			t.Errorf("%s: the same boot: %t", name, !test.boot)
		}
	}
}

// TestMissByName: what a node without a providerID stands for while it is not known, by what the status says of it.
func TestMissByName(t *testing.T) {
	const instance = "i-0abc1234def567890"
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", UID: "uid"}}
	node.Status.NodeInfo = corev1.NodeSystemInfo{BootID: "boot", SystemUUID: "system"}
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	kube := fake.NewClientBuilder().WithScheme(scheme).WithIndex(&corev1.Node{}, ec2node.InstanceIDIndex, ec2node.IndexByInstanceID).WithObjects(node).Build()
	notAsked := identity.New(identity.Options{}) // which knows nothing yet
	for name, test := range map[string]struct {
		identities *identity.Finder
		known      *v1alpha1.NodeReference
		found      bool
		state      string
		missing    bool
	}{
		"no policy asks":                           {nil, nil, false, v1alpha1.StateRefused, false},
		"EC2 was not asked":                        {notAsked, nil, false, v1alpha1.StateWaiting, false},
		"EC2 was not asked, the same boot":         {notAsked, &v1alpha1.NodeReference{UID: "uid", BootID: "boot", SystemUUID: "system"}, true, "", false},
		"EC2 was not asked, another boot":          {notAsked, &v1alpha1.NodeReference{UID: "uid", BootID: "before", SystemUUID: "system"}, false, v1alpha1.StateWaiting, false},
		"EC2 was not asked, another machine":       {notAsked, &v1alpha1.NodeReference{UID: "uid", BootID: "before", SystemUUID: "before"}, false, v1alpha1.StateWaiting, false},
		"no policy asks any more":                  {nil, &v1alpha1.NodeReference{UID: "uid", BootID: "before", SystemUUID: "system"}, true, "", false},
		"no policy asks any more, another machine": {nil, &v1alpha1.NodeReference{UID: "uid", BootID: "before", SystemUUID: "before"}, false, "", true},
	} {
		r := &Reconciler{Options: Options{Client: kube, Live: kube, Identities: test.identities, Local: &LocalState{}}}
		nt := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instance}, Spec: v1alpha1.NodeTerminationSpec{InstanceID: instance, NodeName: "node"}}
		nt.Spec.Events = []v1alpha1.Event{{ID: "spot", Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceSQS, Time: metav1.Now()}}
		nt.Status.Node = test.known.DeepCopy()
		s := &scope{now: time.Now(), before: nt, nt: nt.DeepCopy()}
		if _, err := r.identify(t.Context(), s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if (s.node != nil) != test.found || s.state != test.state {
			t.Errorf("%s: found %t, state %q: %s; want %t, %q", name, s.node != nil, s.state, s.message, test.found, test.state)
		}
		if missing := s.nt.Status.Node != nil && s.nt.Status.Node.GoneTime != nil; missing != test.missing {
			t.Errorf("%s: missing %t", name, missing)
		}
		if s.state == v1alpha1.StateWaiting && !strings.Contains(s.message, "EC2 is asked") {
			t.Errorf("%s: %s", name, s.message)
		}
	}
}
