// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// readTimeout bounds a read of the cache, which answers at once unless it has not synced.
const readTimeout = 10 * time.Second

// InstanceIDIndex is the field by which the manager's cache finds a Node of an instance.
const InstanceIDIndex = "nodetermination.dev/instance-id"

// IndexByInstanceID returns the values of InstanceIDIndex: none for what is no Node of
// an EC2 instance.
func IndexByInstanceID(object client.Object) []string {
	node, ok := object.(*corev1.Node)
	if !ok {
		return nil
	}
	if id, ok := InstanceID(node); ok {
		return []string{id}
	}
	return nil
}

// ByInstance returns the Node of an instance as a cache has it, nil if there is none: of several the
// newest, as a machine that registers anew under another name leaves the old Node behind. The cache
// has Nodes indexed by InstanceIDIndex. A read is given up after ten seconds.
func ByInstance(ctx context.Context, cache client.Reader, instanceID string) (*corev1.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var nodes corev1.NodeList
	if err := cache.List(ctx, &nodes, client.MatchingFields{InstanceIDIndex: instanceID}); err != nil {
		return nil, fmt.Errorf("cannot find the node of instance %s: %w", instanceID, err)
	}
	var newest *corev1.Node
	for i := range nodes.Items {
		if node := &nodes.Items[i]; newest == nil || IsNewer(node, newest) {
			newest = node
		}
	}
	return newest, nil
}

// IsNewer reports whether a Node was created after another one: in the same second the
// names decide, so that everybody comes to the same.
func IsNewer(node, other *corev1.Node) bool {
	return cmp.Or(node.CreationTimestamp.Compare(other.CreationTimestamp.Time), cmp.Compare(node.Name, other.Name)) > 0
}
