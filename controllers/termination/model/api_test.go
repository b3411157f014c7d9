// SPDX-License-Identifier: Apache-2.0

package model

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ac "github.com/nodetermination/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// api is an API server and the manager's cache of it, as far as the manager uses them.
// Objects that are handed in are believed, and no patches computed: nobody else writes
// between a read and a write here.
type api struct {
	client.Client // nil: what is not here is not called
	now           func() time.Time

	// server is a real API server that NodeTerminations are written to as well. Nil: there is none.
	server *server

	// admitNode is asked before a Node is changed.
	admitNode func(before, after *corev1.Node) error

	version      int
	terminations map[string]*v1alpha1.NodeTermination
	nodes        map[string]*corev1.Node
	policies     []v1alpha1.NodeTerminationPolicy
}

func newAPI(now func() time.Time) *api {
	return &api{now: now, terminations: map[string]*v1alpha1.NodeTermination{}, nodes: map[string]*corev1.Node{}}
}

var (
	terminationResource = schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "nodeterminations"}
	nodeResource        = corev1.Resource("nodes")
)

// write gives an object the next version.
func (a *api) write(o client.Object) {
	a.version++
	o.SetResourceVersion(strconv.Itoa(a.version))
}

// create gives an object what the API server gives a new one.
func (a *api) create(o client.Object) {
	a.write(o)
	o.SetUID(types.UID(fmt.Sprintf("%08x-0000-4000-8000-000000000000", a.version)))
	o.SetGeneration(1)
	o.SetCreationTimestamp(metav1.NewTime(a.now()))
}

// Get implements client.Reader.
func (a *api) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	switch o := o.(type) {
	case *v1alpha1.NodeTermination:
		if stored := a.terminations[key.Name]; stored != nil {
			stored.DeepCopyInto(o)
			return nil
		}
		return apierrors.NewNotFound(terminationResource, key.Name)
	case *corev1.Node:
		if stored := a.nodes[key.Name]; stored != nil {
			stored.DeepCopyInto(o)
			return nil
		}
		return apierrors.NewNotFound(nodeResource, key.Name)
	case *v1alpha1.NodeTerminationPolicy:
		for i := range a.policies {
			if a.policies[i].Name == key.Name {
				a.policies[i].DeepCopyInto(o)
				return nil
			}
		}
		return apierrors.NewNotFound(terminationResource, key.Name)
	}
	panic(fmt.Sprintf("get %T", o))
}

// List implements client.Reader.
func (a *api) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(opts)
	wants := func(field, value string) bool {
		if o.FieldSelector == nil {
			return true
		}
		want, exact := o.FieldSelector.RequiresExactMatch(field)
		return exact && want == value
	}
	switch list := list.(type) {
	case *v1alpha1.NodeTerminationPolicyList:
		list.Items = slices.Clone(a.policies)
	case *corev1.NodeList:
		list.Items = nil
		for _, name := range slices.Sorted(maps.Keys(a.nodes)) {
			if id, _ := ec2node.InstanceID(a.nodes[name]); wants(ec2node.InstanceIDIndex, id) {
				list.Items = append(list.Items, *a.nodes[name].DeepCopy())
			}
		}
	case *v1alpha1.NodeTerminationList:
		list.Items = nil
		for _, name := range slices.Sorted(maps.Keys(a.terminations)) {
			if nt := a.terminations[name]; wants("spec.nodeName", nt.Spec.NodeName) {
				list.Items = append(list.Items, *nt.DeepCopy())
			}
		}
	case *storagev1.VolumeAttachmentList:
		list.Items = nil
	default:
		panic(fmt.Sprintf("list %T", list))
	}
	return nil
}

// Apply implements client.Writer.
func (a *api) Apply(_ context.Context, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	applied, ok := obj.(*ac.NodeTerminationApplyConfiguration)
	var o client.ApplyOptions
	o.ApplyOptions(opts)
	if !ok || len(applied.Spec.Events) != 1 {
		panic(fmt.Sprintf("apply %T", obj))
	}
	var uid types.UID
	if applied.UID != nil {
		uid = *applied.UID
	}
	nodeName := *applied.Spec.NodeName
	if nt := a.terminations[*applied.Name]; nt != nil && nt.Spec.NodeName != nodeName && (o.Force == nil || !*o.Force) {
		return apierrors.NewConflict(terminationResource, nt.Name, fmt.Errorf("others own the nodeName"))
	}
	return a.apply(*applied.Name, uid, nodeName, eventOf(&applied.Spec.Events[0]), o.FieldManager)
}

// apply applies one event, as its owner.
func (a *api) apply(name string, uid types.UID, nodeName string, e v1alpha1.Event, owner string) error {
	err := a.applyInMemory(name, uid, nodeName, e, owner)
	if a.server != nil && !apierrors.IsConflict(err) {
		a.server.apply(name, nodeName, e, owner, err, a.terminations[name])
	}
	return err
}

func (a *api) applyInMemory(name string, uid types.UID, nodeName string, e v1alpha1.Event, owner string) error {
	if owner != "nto-"+e.ID {
		panic(fmt.Sprintf("%s applies event %s", owner, e.ID))
	}
	nt := a.terminations[name]
	switch {
	case nt == nil && uid != "", nt != nil && uid != "" && nt.UID != uid:
		return apierrors.NewConflict(terminationResource, name, fmt.Errorf("the UID is another"))
	case nt == nil:
		nt = &v1alpha1.NodeTermination{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       v1alpha1.NodeTerminationSpec{InstanceID: name, NodeName: nodeName, Events: []v1alpha1.Event{e}},
		}
		a.create(nt)
		a.terminations[name] = nt
		return nil
	}
	spec := *nt.Spec.DeepCopy()
	spec.NodeName = nodeName
	if i := slices.IndexFunc(spec.Events, func(other v1alpha1.Event) bool { return other.ID == e.ID }); i >= 0 {
		spec.Events[i] = e
	} else {
		spec.Events = append(spec.Events, e)
	}
	return a.writeSpec(nt, spec)
}

// writeSpec replaces the spec of a NodeTermination, if the CRD allows that.
func (a *api) writeSpec(nt *v1alpha1.NodeTermination, spec v1alpha1.NodeTerminationSpec) error {
	if err := validate(nt, &spec); err != nil {
		return err
	}
	if equality.Semantic.DeepEqual(nt.Spec, spec) {
		return nil
	}
	nt.Spec = spec
	nt.Generation++
	a.write(nt)
	return nil
}

// Patch implements client.Writer.
func (a *api) Patch(_ context.Context, o client.Object, _ client.Patch, _ ...client.PatchOption) error {
	switch o := o.(type) {
	case *v1alpha1.NodeTermination:
		nt := a.terminations[o.Name]
		if err := sameVersion(terminationResource, o, nt, nt == nil); err != nil {
			return err
		}
		err := a.writeSpec(nt, *o.Spec.DeepCopy())
		if a.server != nil {
			a.server.replace(o.Spec, err, nt)
		}
		if err != nil {
			return err
		}
		nt.DeepCopyInto(o)
	case *corev1.Node:
		node := a.nodes[o.Name]
		if err := sameVersion(nodeResource, o, node, node == nil); err != nil {
			return err
		}
		if err := a.admitNode(node, o); err != nil {
			return err
		}
		status := node.Status
		o.DeepCopyInto(node)
		node.Status = status
		a.write(node)
		o.ResourceVersion = node.ResourceVersion
	default:
		panic(fmt.Sprintf("patch %T", o))
	}
	return nil
}

// Status implements client.Client.
func (a *api) Status() client.SubResourceWriter { return statusWriter{api: a} }

// statusWriter writes the status of NodeTerminations.
type statusWriter struct {
	client.SubResourceWriter // nil
	api                      *api
}

// Patch implements client.SubResourceWriter.
func (w statusWriter) Patch(_ context.Context, o client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	changed, ok := o.(*v1alpha1.NodeTermination)
	if !ok {
		panic(fmt.Sprintf("patch the status of %T", o))
	}
	nt := w.api.terminations[changed.Name]
	if err := sameVersion(terminationResource, changed, nt, nt == nil); err != nil {
		return err
	}
	changed.Status.DeepCopyInto(&nt.Status)
	w.api.write(nt)
	changed.ResourceVersion = nt.ResourceVersion
	return nil
}

// sameVersion reports an error where somebody else has written or deleted an object since it was read.
func sameVersion(resource schema.GroupResource, o, stored client.Object, gone bool) error {
	switch {
	case gone:
		return apierrors.NewNotFound(resource, o.GetName())
	case o.GetResourceVersion() != stored.GetResourceVersion():
		return apierrors.NewConflict(resource, o.GetName(), fmt.Errorf("the version is another"))
	}
	return nil
}

// Delete implements client.Writer.
func (a *api) Delete(_ context.Context, o client.Object, opts ...client.DeleteOption) error {
	var options client.DeleteOptions
	options.ApplyOptions(opts)
	nt := a.terminations[o.GetName()]
	if _, ok := o.(*v1alpha1.NodeTermination); !ok {
		panic(fmt.Sprintf("delete %T", o))
	}
	if nt == nil {
		return apierrors.NewNotFound(terminationResource, o.GetName())
	}
	if p := options.Preconditions; p != nil && (p.UID != nil && *p.UID != nt.UID || p.ResourceVersion != nil && *p.ResourceVersion != nt.ResourceVersion) {
		return apierrors.NewConflict(terminationResource, nt.Name, fmt.Errorf("a precondition fails"))
	}
	a.remove(nt.Name)
	return nil
}

// remove removes a NodeTermination.
func (a *api) remove(name string) {
	delete(a.terminations, name)
	if a.server != nil {
		a.server.delete(name)
	}
}
