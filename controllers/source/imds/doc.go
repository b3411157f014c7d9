// SPDX-License-Identifier: Apache-2.0

// Package imds is the watcher that runs on every node: it reads the metadata of the node's
// own instance from the instance metadata service, and stores what it announces as events
// of a NodeTermination.
//
// It has the fewest rights there can be: it creates and patches NodeTerminations,
// and reads, lists and watches nothing. While the metadata announces nothing, it
// sends nothing to the API server but one request at its start: what is stored about
// earlier boots may be over.
//
// From the outside in: Watcher (watcher.go) polls the documents (document.go),
// each of which keeps its own failures, through the SDK's client (metadata.go),
// and stores what they announce (store.go) by the rules of package event. Errors say
// what is wrong and what to do about it (errors.go). heartbeat.go is for the kubelet's
// probe, and metrics.go serves metrics where they are asked for.
//
// Reading and storing is one goroutine: while the API server is unavailable there is nothing
// to be gained by reading more, as the metadata keeps what it announces.
package imds
