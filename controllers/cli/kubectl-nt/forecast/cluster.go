// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// readCluster adds what a forecast needs of a cluster. It only lists, page by page.
func (s *snapshot) readCluster(ctx context.Context, config *rest.Config, policies client.Reader) error {
	compact := rest.CopyConfig(config)
	compact.ContentType = runtime.ContentTypeProtobuf
	compact.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	clientset, err := kubernetes.NewForConfig(compact)
	if err != nil {
		return fmt.Errorf("cannot make a client: %w", err)
	}
	core := clientset.CoreV1()
	for _, kind := range []struct {
		name     string
		required bool
		list     pager.ListPageFunc
	}{
		{"nodes", true, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return core.Nodes().List(ctx, o)
		}},
		{"pods", true, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return core.Pods("").List(ctx, o)
		}},
		{"poddisruptionbudgets", true, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return clientset.PolicyV1().PodDisruptionBudgets("").List(ctx, o)
		}},
		{"persistentvolumes", false, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return core.PersistentVolumes().List(ctx, o)
		}},
		{"persistentvolumeclaims", false, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return core.PersistentVolumeClaims("").List(ctx, o)
		}},
	} {
		err := pager.New(kind.list).EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
			if object, ok := object.(client.Object); ok {
				s.add(object)
			}
			return nil
		})
		switch {
		case apierrors.IsForbidden(err) && !kind.required:
			s.gaps = append(s.gaps, "you may not list "+kind.name+": that volumes are bound to a zone is not known")
		case err != nil:
			return fmt.Errorf("cannot list %s: %w", kind.name, err)
		}
	}
	return s.readPolicies(ctx, policies)
}

// readPolicies adds the policies of a cluster, where the operator is installed.
func (s *snapshot) readPolicies(ctx context.Context, reader client.Reader) error {
	var list v1alpha1.NodeTerminationPolicyList
	err := reader.List(ctx, &list)
	switch {
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		s.assumeDefaults("NodeTerminationPolicies are not installed in this cluster")
		return nil
	case err != nil:
		return fmt.Errorf("cannot list nodeterminationpolicies: %w", err)
	}
	for i := range list.Items {
		s.addPolicy(&list.Items[i])
	}
	return nil
}

// assumeDefaults has every node governed by a policy with every default, as there is none.
func (s *snapshot) assumeDefaults(why string) {
	s.defaults = &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: "(defaults)"}}
	s.gaps = append(s.gaps, why+": as if a policy with every default governed every node")
}
