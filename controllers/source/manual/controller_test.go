// SPDX-License-Identifier: Apache-2.0

package manual

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientapply "k8s.io/client-go/applyconfigurations"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	crevent "sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/api/v1alpha1/applyconfiguration"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

func newClient(t *testing.T, objects ...client.Object) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return fake.NewClientBuilder().WithScheme(scheme).
		WithTypeConverters(clientapply.NewTypeConverter(scheme), applyconfiguration.NewTypeConverter(scheme)).
		WithIndex(&corev1.Node{}, ec2node.InstanceIDIndex, ec2node.IndexByInstanceID).
		WithObjects(objects...).Build()
}

// reconcileOnce reconciles node a and returns what was logged.
func reconcileOnce(t *testing.T, cache, live client.Client) []string {
	t.Helper()
	var lines []string
	log := funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{})
	r := &Reconciler{Cache: cache, Live: live, Client: live, Clock: clocktesting.NewFakePassiveClock(t0)}
	request := ctrl.Request{NamespacedName: types.NamespacedName{Name: "a"}}
	if _, err := r.Reconcile(ctrl.LoggerInto(t.Context(), log), request); err != nil {
		t.Fatal(err)
	}
	return lines
}

// stored returns the events of the instance's NodeTermination, "-" before those cancelled.
func stored(t *testing.T, c client.Client) []string {
	t.Helper()
	nt := &v1alpha1.NodeTermination{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: instance}, nt); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	var events []string
	for _, e := range nt.Spec.Events {
		if ptr.Deref(e.Cancelled, false) {
			e.ID = "-" + e.ID
		}
		events = append(events, e.ID)
	}
	return events
}

// The cache may lag behind: whether the annotation was removed, or is stored already, is looked up before anything is written.
func TestAPIServerIsAskedBeforeWriting(t *testing.T) {
	again := node("update")
	again.UID = before
	for name, test := range map[string]struct {
		cache, live []client.Object
		want        []string
	}{
		"both know":              {cache: []client.Object{node("update")}, live: []client.Object{node("update")}, want: []string{idOf(uid, 1)}},
		"taken away since":       {cache: []client.Object{node("update")}, live: []client.Object{node()}},
		"node gone since":        {cache: []client.Object{node("update")}},
		"node registered again":  {cache: []client.Object{again}, live: []client.Object{node("update")}},
		"stored since":           {cache: []client.Object{node("update")}, live: []client.Object{node("update"), termination(request(uid, 1, "update"))}, want: []string{idOf(uid, 1)}},
		"deleted since":          {cache: []client.Object{node(), termination(request(uid, 1, ""))}, live: []client.Object{node()}},
		"cancelled":              {cache: []client.Object{node(), termination(request(uid, 1, ""))}, live: []client.Object{node(), termination(request(uid, 1, ""))}, want: []string{"-" + idOf(uid, 1)}},
		"not known to the cache": {live: []client.Object{node("update")}},
	} {
		t.Run(name, func(t *testing.T) {
			live := newClient(t, test.live...)
			reconcileOnce(t, newClient(t, test.cache...), live)
			if got := stored(t, live); !slices.Equal(got, test.want) {
				t.Errorf("stored %q, want %q", got, test.want)
			}
		})
	}
}

// A node that cannot be drained is one line in the log, and only if it has the annotation.
func TestNoInstanceOfOurs(t *testing.T) {
	autoMode, fargate, old, unannotated := node("update"), node("update"), node("update"), node()
	autoMode.Labels = map[string]string{ec2node.ComputeTypeLabel: "auto"}
	fargate.Spec.ProviderID = "aws:///us-east-1a/8d3c1a9a5b-fargate-ip-10-0-3-7.ec2.internal"
	unannotated.Spec.ProviderID = "kind://docker/kind/a"
	again := node()
	again.Name, again.UID, again.CreationTimestamp = "b", before, metav1.NewTime(t0.Add(time.Minute))
	for name, test := range map[string]struct {
		nodes []client.Object
		want  string
	}{
		"Auto Mode":     {[]client.Object{autoMode}, "names no EC2 instance"},
		"Fargate":       {[]client.Object{fargate}, "names no EC2 instance"},
		"left behind":   {[]client.Object{old, again}, "registered again under another name"},
		"no annotation": {[]client.Object{unannotated}, ""},
		"EC2 node":      {[]client.Object{node("update")}, "event stored"},
		"nothing to do": {[]client.Object{node()}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, test.nodes...)
			lines := reconcileOnce(t, c, c)
			if test.want == "" && len(lines) > 0 || test.want != "" && (len(lines) != 1 || !strings.Contains(lines[0], test.want)) {
				t.Errorf("logged %q, want %q", lines, test.want)
			}
		})
	}
}

func TestNodeChanges(t *testing.T) {
	heartbeat, cordoned, registered, known := node("x"), node("x"), node("x"), node("x")
	heartbeat.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady}}
	cordoned.Spec.Unschedulable = true
	registered.UID = before
	known.Spec.ProviderID = ""
	for name, test := range map[string]struct {
		old, changed *corev1.Node
		want         bool
	}{
		"heartbeat":        {node("x"), heartbeat, false},
		"cordon":           {node("x"), cordoned, false},
		"annotated":        {node(), node(""), true},
		"removed":          {node(""), node(), true},
		"another reason":   {node("x"), node("y"), true},
		"registered again": {node("x"), registered, true},
		"instance known":   {known, node("x"), true},
		"nothing happened": {node("x"), node("x"), false},
	} {
		if got := nodeChanges.Update(crevent.TypedUpdateEvent[*corev1.Node]{ObjectOld: test.old, ObjectNew: test.changed}); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
