// SPDX-License-Identifier: Apache-2.0

// Package sqs reads the queues that policies name and stores what they say as
// NodeTerminations.
//
// One consumer per queue, shared by the policies that name it. A message is
// deleted once everything in it is stored, and not before, so nothing is lost
// when the process dies; storing the same fact again changes nothing, so
// nothing is lost by receiving it twice either.
//
// One thing is not stored: a lifecycle hook that a policy adopts (adopt.go) is completed,
// by an Adopter, when its instance's node is Ready, or at once if it is the termination of
// an instance that never had a node. Its message stays in the queue until then, so that a
// restart loses nothing.
//
// From the outside in: Consumers keeps a consumer per queue; its receivers
// (consumer.go), as many as receiverpool.go says, take batches from the queue; handle.go
// carries out what outcome.go says becomes of each message, with source/store. What
// goes wrong with a queue, and what to do about it, is its Health.
//
// +kubebuilder:rbac:groups=nodetermination.dev,resources=nodeterminationpolicies,verbs=list;watch
package sqs
