// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// completionTimeout bounds how long a completion waits for the cluster.
const completionTimeout = 3 * time.Second

// The kinds whose names are completed.
var (
	nodeKind        = corev1.SchemeGroupVersion.WithKind("NodeList")
	terminationKind = v1alpha1.GroupVersion.WithKind("NodeTerminationList")
	policyKind      = v1alpha1.GroupVersion.WithKind("NodeTerminationPolicyList")
)

// CompleteNodes completes the names of nodes.
func (p *Plugin) CompleteNodes(_ *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	return p.complete(args, start, nodeKind)
}

// CompleteTerminations completes the names of NodeTerminations and of nodes.
func (p *Plugin) CompleteTerminations(_ *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	return p.complete(args, start, terminationKind, nodeKind)
}

// CompletePolicies completes the names of policies.
func (p *Plugin) CompletePolicies(_ *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
	return p.complete(nil, start, policyKind)
}

// complete returns the names of objects that begin with start and are not among the arguments. No cluster, no names.
func (p *Plugin) complete(args []string, start string, kinds ...schema.GroupVersionKind) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.Background(), completionTimeout)
	defer cancel()
	c, err := p.Client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, kind := range kinds {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind)
		if err := c.List(ctx, list, client.Limit(500)); err != nil {
			continue
		}
		for i := range list.Items {
			if name := list.Items[i].Name; strings.HasPrefix(name, start) && !slices.Contains(args, name) {
				names = append(names, name)
			}
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
