// SPDX-License-Identifier: Apache-2.0

package model

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ac "github.com/nodetermination/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/nodetermination/operator/hack/testcluster"
)

var cluster = testcluster.Shared{SetUp: func(c *testcluster.Cluster) error {
	if err := v1alpha1.AddToScheme(c.Client().Scheme()); err != nil {
		return err
	}
	return c.InstallCRDs(filepath.Join("..", "..", "..", "config", "crd", "bases"))
}}

// TestHistoriesOnControlPlane plays histories in which every NodeTermination is written to a real API server
// as well, which has to refuse what the one in memory refuses, and to hold what it holds.
func TestHistoriesOnControlPlane(t *testing.T) {
	const played = 200
	apiServer := cluster.Get(t).Client()
	for i := range uint64(played) {
		seed := *firstSeed + i
		w := newWorld(t)
		w.api.server = &server{client: apiServer, fail: w.fail}
		w.verbose = true
		if w.play(history(seed)); w.failure != "" {
			t.Errorf("history of seed %d: %s\n%s", seed, w.failure, strings.Join(w.log, "\n"))
		}
		for _, m := range w.machines {
			w.api.server.delete(m.id)
		}
		if t.Failed() {
			return
		}
	}
}

// server is a real API server that the one in memory is held against.
type server struct {
	client client.Client
	fail   func(format string, args ...any)
}

// apply applies one event; err is what the API server in memory made of it, and want what it holds.
func (s *server) apply(name, nodeName string, e v1alpha1.Event, owner string, err error, want *v1alpha1.NodeTermination) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	applied := ac.NodeTermination(name).WithSpec(ac.NodeTerminationSpec().WithInstanceID(name).WithNodeName(nodeName).WithEvents(applyConfigurationOf(e)))
	got := s.client.Apply(ctx, applied, client.FieldOwner(owner), client.ForceOwnership)
	s.check(fmt.Sprintf("applying %+v", e), got, err, want)
}

// replace replaces the spec, as the manager does.
func (s *server) replace(spec v1alpha1.NodeTerminationSpec, err error, want *v1alpha1.NodeTermination) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nt := &v1alpha1.NodeTermination{}
	got := s.client.Get(ctx, client.ObjectKey{Name: spec.InstanceID}, nt)
	if got == nil {
		nt.Spec = spec
		got = s.client.Update(ctx, nt, client.FieldOwner(v1alpha1.FieldManager))
	}
	s.check("replacing the spec", got, err, want)
}

// delete deletes a NodeTermination, if there is one.
func (s *server) delete(name string) {
	nt := &v1alpha1.NodeTermination{}
	nt.Name = name
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.client.Delete(ctx, nt); client.IgnoreNotFound(err) != nil {
		s.fail("deleting %s on the API server: %v", name, err)
	}
}

// check holds the API server against the one in memory.
func (s *server) check(what string, got, err error, want *v1alpha1.NodeTermination) {
	if apierrors.IsInvalid(got) != apierrors.IsInvalid(err) || (got == nil) != (err == nil) {
		s.fail("%s: the API server says %v, the one in memory %v", what, got, err)
		return
	}
	if err != nil || want == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stored := &v1alpha1.NodeTermination{}
	if err := s.client.Get(ctx, client.ObjectKey{Name: want.Name}, stored); err != nil {
		s.fail("%s: %v", what, err)
		return
	}
	byID := cmpopts.SortSlices(func(a, b v1alpha1.Event) bool { return a.ID < b.ID })
	if diff := cmp.Diff(normal(want.Spec), normal(stored.Spec), byID); diff != "" {
		s.fail("%s: the API server holds (-in memory +real)\n%s", what, diff)
	}
}

// normal returns a spec in which what is unset and what is false are the same, without what
// people write, which histories write in memory only.
func normal(spec v1alpha1.NodeTerminationSpec) v1alpha1.NodeTerminationSpec {
	spec = *spec.DeepCopy()
	spec.Instance, spec.Suspend = nil, nil
	for i := range spec.Events {
		e := &spec.Events[i]
		e.Cancelled = ptr.To(ptr.Deref(e.Cancelled, false))
	}
	return spec
}

// applyConfigurationOf returns an event with the fields that are set, as its owner applies it. It
// is a copy, as Apply writes the server's answer into its argument.
func applyConfigurationOf(e v1alpha1.Event) *ac.EventApplyConfiguration {
	e = *e.DeepCopy()
	applied := ac.Event().WithID(e.ID).WithKind(e.Kind).WithSource(e.Source).WithTime(e.Time)
	applied.Deadline, applied.NotBefore, applied.NotAfter, applied.Cancelled = e.Deadline, e.NotBefore, e.NotAfter, e.Cancelled
	for _, text := range []struct {
		from string
		to   **string
	}{{e.Description, &applied.Description}, {e.InstanceAction, &applied.InstanceAction}, {e.BootID, &applied.BootID}, {e.PolicyName, &applied.PolicyName}} {
		if text.from != "" {
			*text.to = &text.from
		}
	}
	if hook := e.LifecycleHook; hook != nil {
		applied.WithLifecycleHook(ac.LifecycleHook().WithAutoScalingGroupName(hook.AutoScalingGroupName).WithName(hook.Name))
		if hook.Token != "" {
			applied.LifecycleHook.WithToken(hook.Token)
		}
		if hook.Destination != "" {
			applied.LifecycleHook.WithDestination(hook.Destination)
		}
	}
	return applied
}
