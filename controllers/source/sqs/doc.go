// SPDX-License-Identifier: Apache-2.0

// Package sqs reads the queues that policies name and stores what they say as
// NodeTerminations.
//
// One consumer per queue, shared by the policies that name it. A message is
// deleted once everything in it is stored, and not before, so nothing is lost
// when the process dies; storing the same fact again changes nothing, so
// nothing is lost by hearing it twice either.
//
// From the outside in: Consumers keeps a consumer per queue; its receivers
// (consumer.go), as many as crew.go says, take batches from the queue; handle.go
// carries out what judge.go says becomes of each message, with source/store. What
// goes wrong with a queue, and what to do about it, is its Health.
//
// +kubebuilder:rbac:groups=nodetermination.dev,resources=nodeterminationpolicies,verbs=list;watch
package sqs
