// SPDX-License-Identifier: Apache-2.0

// Package imds is the watcher that runs on every node: it reads what the
// instance metadata service says of the node's own instance, and stores what it
// announces as events of a NodeTermination.
//
// It has the fewest rights there can be: it creates and patches NodeTerminations,
// and reads, lists and watches nothing. While the metadata announces nothing, it
// sends nothing to the API server.
//
// From the outside in: Watcher (watcher.go) polls the documents (document.go),
// each of which keeps its own failures, through the SDK's client (metadata.go),
// and stores what they say (store.go). What is wrong, and what to do about it, is
// a problem (problem.go). heartbeat.go tells the kubelet's probe that all is well,
// and metrics.go serves metrics where they are asked for.
//
// Reading and storing is one goroutine: while the API server is away there is nothing to be
// gained by hearing more, as what was heard stays where it is.
package imds
