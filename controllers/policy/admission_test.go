// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/operator"
)

// watcherClient returns a client with a watcher's pod's token, or one with a token of the service
// account that is bound to no pod.
func watcherClient(t *testing.T, pod *corev1.Pod) client.Client {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: operator.WatcherNamespace, Name: watcher}}
	request := &authenticationv1.TokenRequest{}
	if pod != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	}
	if err := admin(t).SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(cluster.Get(t).Config())
	config.BearerToken = request.Status.Token
	c, err := client.New(config, client.Options{Scheme: admin(t).Scheme(), Mapper: admin(t).RESTMapper()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// applied is an object for server-side apply.
type applied map[string]any

// factOf returns what a source applies for one event of an instance of a node.
func factOf(node *corev1.Node, event applied) applied {
	id, _ := ec2node.InstanceID(node)
	return applied{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "NodeTermination",
		"metadata": applied{"name": id},
		"spec":     applied{"instanceID": id, "nodeName": node.Name, "events": []applied{event}},
	}
}

// with returns the object with more in its spec or metadata.
func (a applied) with(part string, more applied) applied {
	changed, inner := maps.Clone(a), applied{}
	if existing, ok := a[part].(applied); ok {
		inner = maps.Clone(existing)
	}
	maps.Copy(inner, more)
	changed[part] = inner
	return changed
}

func entry(id, source string, more applied) applied {
	e := applied{"id": id, "kind": "ScheduledMaintenance", "source": source, "time": "2026-11-22T05:08:00Z"}
	maps.Copy(e, more)
	return e
}

// hookOfPolicy is what the queue's consumer knows besides, and a watcher does not.
var hookOfPolicy = applied{"lifecycleHook": hook["lifecycleHook"], "policyName": "workers"}

var hook = applied{"lifecycleHook": applied{"autoScalingGroupName": "workers", "name": "drain"}}

// apply applies as the owner of one event, as all sources do.
func apply(ctx context.Context, c client.Client, object applied, owner string) (*v1alpha1.NodeTermination, error) {
	return patch(ctx, c, object, types.ApplyYAMLPatchType, object, client.FieldOwner(v1alpha1.EventFieldManager(owner)), client.ForceOwnership)
}

// merge sends a JSON merge patch to an object of the same name.
func merge(ctx context.Context, c client.Client, object, change applied) (*v1alpha1.NodeTermination, error) {
	return patch(ctx, c, object, types.MergePatchType, change)
}

func patch(
	ctx context.Context, c client.Client, object applied, kind types.PatchType, body applied, opts ...client.PatchOption,
) (*v1alpha1.NodeTermination, error) {
	content, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	nt := &v1alpha1.NodeTermination{}
	nt.Name, _ = object["metadata"].(applied)["name"].(string)
	return nt, c.Patch(ctx, nt, client.RawPatch(kind, content), opts...)
}

// watching is a watcher's pod on a node of its own, and the node of somebody else.
type watching struct {
	own, other *corev1.Node
	watcher    client.Client
}

func newWatching(t *testing.T) watching {
	t.Helper()
	nodes := newNodes(t, 2)
	for _, node := range nodes {
		id, _ := ec2node.InstanceID(node)
		t.Cleanup(func() {
			_ = admin(t).Delete(context.Background(), &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: id}})
		})
	}
	pod := cluster.Get(t).CreatePods(t, operator.WatcherNamespace, nodes[0].Name, 1, asWatcher)[0]
	w := watching{own: nodes[0], other: nodes[1], watcher: watcherClient(t, pod)}
	eventually(t, func() error { // the API server takes a moment to know of a policy
		object := factOf(w.other, entry("probe", "IMDS", nil))
		_, err := patch(t.Context(), w.watcher, object, types.ApplyYAMLPatchType, object, client.FieldOwner("probe"), client.DryRunAll)
		if !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) {
			return fmt.Errorf("the admission policy is not in force: %w", err)
		}
		return nil
	})
	return w
}

// TestWatcherWritesAboutItsNode uses its pod's token, whatever else there is about the instance.
func TestWatcherWritesAboutItsNode(t *testing.T) {
	t.Parallel()
	w := newWatching(t)
	ctx := t.Context()
	must := func(nt *v1alpha1.NodeTermination, err error) *v1alpha1.NodeTermination {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return nt
	}
	first := factOf(w.own, entry("first", "IMDS", applied{"notBefore": "2026-12-01T00:00:00Z"})).
		with("spec", applied{"instance": applied{"type": "m6i.large", "lifeCycle": "on-demand"}})
	created := must(apply(ctx, w.watcher, first, "first"))
	if created.Generation != 1 || created.Spec.Instance == nil || created.Spec.Instance.Type != "m6i.large" {
		t.Errorf("created %+v", created.Spec)
	}
	if again := must(apply(ctx, w.watcher, first, "first")); again.ResourceVersion != created.ResourceVersion {
		t.Error("the same once more has changed something")
	}

	// The queue's consumer, an administrator and the manager write too.
	must(apply(ctx, admin(t), factOf(w.own, entry("queue", "SQS", hookOfPolicy)), "queue"))
	must(merge(ctx, admin(t), first, applied{
		"metadata": applied{"labels": applied{"a": "b"}, "annotations": applied{"c": "d"}, "finalizers": []string{"example.com/wait"}},
		"spec":     applied{"suspend": true},
	}))
	t.Cleanup(func() {
		_, _ = merge(context.Background(), admin(t), first, applied{"metadata": applied{"finalizers": nil}})
	})
	must(apply(ctx, w.watcher, factOf(w.own, entry("second", "IMDS", nil)), "second"))
	must(apply(ctx, w.watcher, factOf(w.own, entry("first", "IMDS", applied{"notBefore": "2026-12-02T00:00:00Z"})).
		with("spec", applied{"instance": applied{"type": "m6i.xlarge"}}), "first"))
	// Later statements cancel the event, plan it again, and cancel it.
	for second, cancelled := range []bool{false, true, false, true} {
		later := applied{"time": fmt.Sprintf("2026-11-22T05:09:0%dZ", second), "bootID": "boot-1", "cancelled": cancelled}
		must(apply(ctx, w.watcher, factOf(w.own, entry("first", "IMDS", later)), "first"))
	}
	// Boots after that read the same list.
	must(apply(ctx, w.watcher, factOf(w.own, entry("second", "IMDS", applied{"bootID": "boot-2", "cancelled": false})), "second"))
	nt := must(merge(ctx, w.watcher, first, applied{})) // its way to read
	got := map[string]string{}
	for _, e := range nt.Spec.Events {
		got[e.ID] = fmt.Sprintf("%s, hook %t, cancelled %t", e.Source, e.LifecycleHook != nil, ptr.Deref(e.Cancelled, false))
	}
	want := map[string]string{
		"first":  "IMDS, hook false, cancelled true",
		"queue":  "SQS, hook true, cancelled false",
		"second": "IMDS, hook false, cancelled false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if !ptr.Deref(nt.Spec.Suspend, false) || nt.Labels["a"] != "b" || nt.Annotations["c"] != "d" || len(nt.Finalizers) != 1 {
		t.Errorf("what others have set is lost: %+v", nt)
	}
}

// TestWatcherWritesNothingElse: with what a watcher may write, its token is of no
// use to whoever takes over its node.
func TestWatcherWritesNothingElse(t *testing.T) {
	t.Parallel()
	w := newWatching(t)
	// The own node has a NodeTermination with an event of each source; the other has none.
	mine := factOf(w.own, entry("mine", "IMDS", nil))
	for owner, object := range map[string]applied{"queue": factOf(w.own, entry("queue", "SQS", hook)), "mine": mine} {
		if _, err := apply(t.Context(), admin(t), object, owner); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := merge(t.Context(), admin(t), mine, applied{"spec": applied{"suspend": true}, "metadata": applied{"labels": applied{"a": "b"}}}); err != nil {
		t.Fatal(err)
	}
	before := &v1alpha1.NodeTermination{}
	id, _ := ec2node.InstanceID(w.own)
	if err := admin(t).Get(t.Context(), client.ObjectKey{Name: id}, before); err != nil {
		t.Fatal(err)
	}
	// fresh is about an instance of which there is no NodeTermination, on the own node: what CEL cannot see.
	otherID, _ := ec2node.InstanceID(w.other)
	fresh := func(event applied) applied {
		return factOf(w.own, event).with("metadata", applied{"name": otherID}).with("spec", applied{"instanceID": otherID})
	}
	unbound := watcherClient(t, nil)
	more := entry("more", "IMDS", nil)
	ownerReference := applied{"apiVersion": "v1", "kind": "Node", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000"}

	for name, test := range map[string]struct {
		as     client.Client
		object applied
		merge  applied // if set, instead of applying the object
		says   string
	}{
		"a token without a node":              {unbound, mine, nil, "the token names no node"},
		"another node":                        {nil, factOf(w.other, more), nil, "spec.nodeName is " + w.other.Name + " and has to be " + w.own.Name},
		"its instance on another node":        {nil, mine.with("spec", applied{"nodeName": w.other.Name}), nil, "nodeName"},
		"a new object with an event from SQS": {nil, fresh(entry("more", "SQS", nil)), nil, "of source IMDS only"},
		"a new object with a hook":            {nil, fresh(entry("more", "IMDS", hook)), nil, "no lifecycleHook"},
		"a new object that is suspended":      {nil, fresh(more).with("spec", applied{"suspend": true}), nil, "does not suspend"},
		"a new object that says it is not":    {nil, fresh(more).with("spec", applied{"suspend": false}), nil, "does not suspend"},
		"a new object with labels":            {nil, fresh(more).with("metadata", applied{"labels": applied{"a": "b"}}), nil, "no labels"},
		"a new object with annotations":       {nil, fresh(more).with("metadata", applied{"annotations": applied{"a": "b"}}), nil, "annotations"},
		"a new object with a finalizer":       {nil, fresh(more).with("metadata", applied{"finalizers": []string{"example.com/wait"}}), nil, "finalizers"},
		"a new object with an owner":          {nil, fresh(more).with("metadata", applied{"ownerReferences": []applied{ownerReference}}), nil, "ownerReferences"},
		"one more event from SQS":             {nil, factOf(w.own, entry("more", "SQS", nil)), nil, "of source IMDS only"},
		"another deadline for SQS's":          {nil, factOf(w.own, entry("queue", "SQS", applied{"deadline": "2026-11-22T05:10:00Z"})), nil, "of source IMDS only"},
		"SQS's event cancelled":               {nil, factOf(w.own, entry("queue", "SQS", applied{"cancelled": true})), nil, "of source IMDS only"},
		"SQS's event made its own":            {nil, factOf(w.own, entry("queue", "IMDS", nil)), nil, "no lifecycleHook"},
		"SQS's event replaced":                {nil, mine, applied{"spec": applied{"events": []applied{entry("queue", "IMDS", nil), entry("mine", "IMDS", nil)}}}, "of another source"},
		"two events at once":                  {nil, mine.with("spec", applied{"events": []applied{more, entry("evenMore", "IMDS", nil)}}), nil, "one event at a time"},
		"two events in a new object":          {nil, fresh(more).with("spec", applied{"events": []applied{more, entry("evenMore", "IMDS", nil)}}), nil, "one event at a time"},
		"a policy's name":                     {nil, factOf(w.own, entry("more", "IMDS", applied{"policyName": "workers"})), nil, "no policyName"},
		"a policy's name for its event":       {nil, factOf(w.own, entry("mine", "IMDS", applied{"policyName": "workers"})), nil, "no policyName"},
		"a new object with a policy's name":   {nil, fresh(entry("more", "IMDS", applied{"policyName": "workers"})), nil, "no policyName"},
		"its event made SQS's":                {nil, factOf(w.own, entry("mine", "SQS", nil)), nil, "of source IMDS only"},
		"a hook for its event":                {nil, factOf(w.own, entry("mine", "IMDS", hook)), nil, "no lifecycleHook"},
		"SQS's event removed":                 {nil, mine, applied{"spec": applied{"events": []applied{more}}}, "removes no events"},
		"its event removed":                   {nil, mine, applied{"spec": applied{"events": []applied{entry("queue", "SQS", hook)}}}, "removes no events"},
		"resumed":                             {nil, mine, applied{"spec": applied{"suspend": nil}}, "does not suspend or resume"},
		"resumed by false":                    {nil, mine.with("spec", applied{"suspend": false}), nil, "does not suspend or resume"},
		"a label removed":                     {nil, mine, applied{"metadata": applied{"labels": nil}}, "no labels"},
		"a label changed":                     {nil, mine.with("metadata", applied{"labels": applied{"a": "c"}}), nil, "no labels"},
		"an annotation added":                 {nil, mine.with("metadata", applied{"annotations": applied{"c": "d"}}), nil, "annotations"},
		"a finalizer added":                   {nil, mine, applied{"metadata": applied{"finalizers": []string{"example.com/wait"}}}, "finalizers"},
		"an owner added":                      {nil, mine, applied{"metadata": applied{"ownerReferences": []applied{ownerReference}}}, "ownerReferences"},
		"one good and one bad event":          {nil, mine, applied{"spec": applied{"events": []applied{entry("queue", "SQS", hook), entry("mine", "IMDS", nil), more, entry("bad", "SQS", nil)}}}, "of source IMDS only"},
		"SQS's hook removed":                  {nil, mine, applied{"spec": applied{"events": []applied{entry("queue", "SQS", nil), entry("mine", "IMDS", nil)}}}, "of source IMDS only"},
	} {
		t.Run(name, func(t *testing.T) {
			as := test.as
			if as == nil {
				as = w.watcher
			}
			var err error
			if test.merge == nil {
				_, err = apply(t.Context(), as, test.object, "more")
			} else {
				_, err = merge(t.Context(), as, test.object, test.merge)
			}
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want it refused with %q", err, test.says)
			}
		})
	}

	after := &v1alpha1.NodeTermination{}
	if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(before), after); err != nil || after.ResourceVersion != before.ResourceVersion {
		t.Errorf("the NodeTermination was changed (%v):\n%s", err, cmp.Diff(before, after))
	}
	if err := admin(t).Get(t.Context(), client.ObjectKey{Name: otherID}, &v1alpha1.NodeTermination{}); !apierrors.IsNotFound(err) {
		t.Errorf("a NodeTermination of the other instance was created: %v", err)
	}
}

// TestWatcherRenamesNoNode: an instance that registers again under another name has its
// NodeTermination moved by the manager, and until then the watcher is refused.
func TestWatcherRenamesNoNode(t *testing.T) {
	t.Parallel()
	w := newWatching(t)
	ctx := t.Context()
	const before = "the-name-before"
	object := factOf(w.own, entry("mine", "IMDS", nil))
	if _, err := apply(ctx, admin(t), object.with("spec", applied{"nodeName": before}), "mine"); err != nil {
		t.Fatal(err)
	}
	refused := "spec.nodeName is " + before + " and has to be " + w.own.Name
	for what, do := range map[string]func() (*v1alpha1.NodeTermination, error){
		"applying its own event": func() (*v1alpha1.NodeTermination, error) { return apply(ctx, w.watcher, object, "mine") },
		"changing the name": func() (*v1alpha1.NodeTermination, error) {
			return merge(ctx, w.watcher, object, applied{"spec": object["spec"]})
		},
		"reading": func() (*v1alpha1.NodeTermination, error) { return merge(ctx, w.watcher, object, applied{}) },
	} {
		if _, err := do(); err == nil || !strings.Contains(err.Error(), refused) {
			t.Errorf("%s: %v, want it refused with %q", what, err, refused)
		}
	}
	if _, err := merge(ctx, admin(t), object, applied{"spec": applied{"nodeName": w.own.Name}}); err != nil {
		t.Fatal(err)
	}
	if _, err := apply(ctx, w.watcher, object, "mine"); err != nil {
		t.Errorf("after the manager has changed it: %v", err)
	}
}

// TestWatchersOfOtherNames: the admission policy holds in any namespace, and with a prefix or a suffix to the name.
func TestWatchersOfOtherNames(t *testing.T) {
	t.Parallel()
	w := newWatching(t)
	id, _ := ec2node.InstanceID(w.other)
	for _, user := range []string{
		"system:serviceaccount:elsewhere:imds-watcher", "system:serviceaccount:node-termination-watchers:prod-imds-watcher-2",
	} {
		role := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "node-termination-watcher"},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		}
		create(t, role)
		config := cluster.Get(t).Config()
		config.Impersonate = rest.ImpersonationConfig{
			UserName: user, Groups: []string{"system:serviceaccounts", "system:authenticated"},
			Extra: map[string][]string{"authentication.kubernetes.io/node-name": {w.own.Name}},
		}
		c, err := client.New(config, client.Options{Scheme: admin(t).Scheme(), Mapper: admin(t).RESTMapper()})
		if err != nil {
			t.Fatal(err)
		}
		own, others := factOf(w.own, entry("mine", "IMDS", nil)), factOf(w.other, entry("mine", "IMDS", nil))
		eventually(t, func() error { // the API server takes a moment to know of a role
			_, err := apply(t.Context(), c, own, "mine")
			return err
		})
		if _, err := apply(t.Context(), c, others, "mine"); err == nil || !strings.Contains(err.Error(), "has to be "+w.own.Name) {
			t.Errorf("%s writes about instance %s of another node: %v", user, id, err)
		}
	}
}

// TestWatcherHasNoOtherRights allows to create and patch NodeTerminations, and nothing else.
func TestWatcherHasNoOtherRights(t *testing.T) {
	t.Parallel()
	w := newWatching(t)
	c, ctx := w.watcher, t.Context()
	nt, err := apply(ctx, c, factOf(w.own, entry("mine", "IMDS", nil)), "mine")
	if err != nil {
		t.Fatal(err)
	}
	namespace := cluster.Get(t).CreateNamespace(t)
	pod := cluster.Get(t).CreatePods(t, namespace, w.own.Name, 1)[0]
	empty := client.RawPatch(types.MergePatchType, []byte("{}"))
	for name, do := range map[string]func() error{
		"read a NodeTermination":    func() error { return c.Get(ctx, client.ObjectKeyFromObject(nt), nt.DeepCopy()) },
		"list NodeTerminations":     func() error { return c.List(ctx, &v1alpha1.NodeTerminationList{}) },
		"update a NodeTermination":  func() error { return c.Update(ctx, nt.DeepCopy()) },
		"delete a NodeTermination":  func() error { return c.Delete(ctx, nt.DeepCopy()) },
		"delete all":                func() error { return c.DeleteAllOf(ctx, &v1alpha1.NodeTermination{}) },
		"patch its status":          func() error { return c.Status().Patch(ctx, nt.DeepCopy(), empty) },
		"list policies":             func() error { return c.List(ctx, &v1alpha1.NodeTerminationPolicyList{}) },
		"read a node":               func() error { return c.Get(ctx, client.ObjectKeyFromObject(w.own), &corev1.Node{}) },
		"patch a node":              func() error { return c.Patch(ctx, w.own.DeepCopy(), empty) },
		"list nodes":                func() error { return c.List(ctx, &corev1.NodeList{}) },
		"read a pod":                func() error { return c.Get(ctx, client.ObjectKeyFromObject(pod), &corev1.Pod{}) },
		"list its namespace's pods": func() error { return c.List(ctx, &corev1.PodList{}, client.InNamespace(operator.WatcherNamespace)) },
		"delete a pod":              func() error { return c.Delete(ctx, pod.DeepCopy()) },
		"evict a pod":               func() error { return c.SubResource("eviction").Create(ctx, pod.DeepCopy(), &policyv1.Eviction{}) },
		"list its secrets":          func() error { return c.List(ctx, &corev1.SecretList{}, client.InNamespace(operator.WatcherNamespace)) },
		"list its DaemonSets": func() error {
			return c.List(ctx, &appsv1.DaemonSetList{}, client.InNamespace(operator.WatcherNamespace))
		},
		"a token that names no node": func() error {
			account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: operator.WatcherNamespace, Name: watcher}}
			return c.SubResource("token").Create(ctx, account, &authenticationv1.TokenRequest{})
		},
	} {
		if err := do(); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v, want it forbidden", name, err)
		}
	}
}

// TestAdmissionPolicyFitsTheKind: its expressions are of fields that there are, and
// it says something of each field of the spec.
func TestAdmissionPolicyFitsTheKind(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"node-termination-watcher", "node-termination-watcher-pods"} {
		eventually(t, func() error {
			var policy admissionv1.ValidatingAdmissionPolicy
			if err := admin(t).Get(t.Context(), client.ObjectKey{Name: name}, &policy); err != nil {
				return err
			}
			if policy.Status.ObservedGeneration != policy.Generation || policy.Status.TypeChecking == nil {
				return fmt.Errorf("the expressions of %s were not checked yet", name)
			}
			for _, warning := range policy.Status.TypeChecking.ExpressionWarnings {
				t.Errorf("%s, %s: %s", name, warning.FieldRef, warning.Warning)
			}
			return nil
		})
	}
	var fields []string
	for field := range reflect.TypeFor[v1alpha1.NodeTerminationSpec]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		fields = append(fields, name)
	}
	slices.Sort(fields)
	if known := []string{"events", "instance", "instanceID", "nodeName", "suspend"}; !slices.Equal(fields, known) {
		t.Errorf("the spec has the fields %v, and config/admission/admission_policy.yaml says something of %v", fields, known)
	}
}
