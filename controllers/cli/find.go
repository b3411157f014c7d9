// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// Target is what people name by a node or by an instance.
type Target struct {
	// Node runs on the instance. Nil: it is gone.
	Node *corev1.Node
	// InstanceID is that of the node's instance. Empty: it is none of EC2's.
	InstanceID string
	// Termination is that of the instance. Nil: there is none.
	Termination *v1alpha1.NodeTermination
}

// String returns how the target is named in messages.
func (t *Target) String() string {
	if t.Node != nil {
		return "node " + t.Node.Name
	}
	return "instance " + t.InstanceID
}

// Find returns what a name stands for: of a node, of an instance or of its NodeTermination. Nil: there is no such thing.
func Find(ctx context.Context, reader client.Reader, name string) (*Target, error) {
	if kind, rest, found := strings.Cut(name, "/"); found && kind != "" {
		name = rest
	}
	node := &corev1.Node{}
	switch err := reader.Get(ctx, client.ObjectKey{Name: name}, node); {
	case err == nil:
		instanceID, _ := ec2node.InstanceID(node)
		nt, err := termination(ctx, reader, instanceID)
		return &Target{Node: node, InstanceID: instanceID, Termination: nt}, err
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("cannot read node %s: %w", name, err)
	case !v1alpha1.IsInstanceID(name):
		return byNodeName(ctx, reader, name)
	}
	nt, err := termination(ctx, reader, name)
	if err != nil || nt == nil {
		return nil, err
	}
	target := &Target{InstanceID: name, Termination: nt}
	switch err := reader.Get(ctx, client.ObjectKey{Name: nt.Spec.NodeName}, node); {
	case err == nil:
		if id, _ := ec2node.InstanceID(node); id == name {
			target.Node = node
		}
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("cannot read node %s: %w", nt.Spec.NodeName, err)
	}
	return target, nil
}

// byNodeName returns the newest termination of a node that is gone; nil: there is none.
func byNodeName(ctx context.Context, reader client.Reader, name string) (*Target, error) {
	all, err := Terminations(ctx, reader)
	if err != nil {
		return nil, err
	}
	var newest *v1alpha1.NodeTermination
	for i := range all {
		if nt := &all[i]; nt.Spec.NodeName == name && (newest == nil || newest.CreationTimestamp.Before(&nt.CreationTimestamp)) {
			newest = nt
		}
	}
	if newest == nil {
		return nil, nil
	}
	return &Target{InstanceID: newest.Name, Termination: newest}, nil
}

// termination returns the NodeTermination of an instance; nil: there is none.
func termination(ctx context.Context, reader client.Reader, instanceID string) (*v1alpha1.NodeTermination, error) {
	if instanceID == "" {
		return nil, nil
	}
	nt := &v1alpha1.NodeTermination{}
	switch err := reader.Get(ctx, client.ObjectKey{Name: instanceID}, nt); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, explain(err, "read NodeTermination "+instanceID)
	}
	return nt, nil
}

// Terminations returns all NodeTerminations.
func Terminations(ctx context.Context, reader client.Reader) ([]v1alpha1.NodeTermination, error) {
	var list v1alpha1.NodeTerminationList
	if err := reader.List(ctx, &list); err != nil {
		return nil, explain(err, "list NodeTerminations")
	}
	return list.Items, nil
}

// Policies returns all NodeTerminationPolicies.
func Policies(ctx context.Context, reader client.Reader) ([]v1alpha1.NodeTerminationPolicy, error) {
	var list v1alpha1.NodeTerminationPolicyList
	if err := reader.List(ctx, &list); err != nil {
		return nil, explain(err, "list NodeTerminationPolicies")
	}
	return list.Items, nil
}

// explain returns an error that says what could not be done, and what to do where the operator is not installed.
func explain(err error, what string) error {
	if meta.IsNoMatchError(err) {
		return fmt.Errorf("cannot %s: the node termination operator is not installed in this cluster: see docs/install.md", what)
	}
	return fmt.Errorf("cannot %s: %w", what, err)
}

// State returns the state of a termination in one word and in a sentence.
func State(nt *v1alpha1.NodeTermination) (state, message string) {
	ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return "Unknown", "the operator has not looked at it yet: is it running?"
	}
	return ready.Reason, ready.Message
}
