// SPDX-License-Identifier: Apache-2.0

// Package model holds property tests: random histories of instances and nodes, played
// against the real parsers, store and termination controller over an API server in
// memory, with a clock that is stepped. A small model of AWS, which shares no code with
// the controllers, knows what was announced and delivered; invariants say what has to be
// true of the node then.
//
//	histories_test.go   the test: how many histories, seeds, and how one is shrunk
//	operations_test.go  what can happen: what AWS announces and does,
//	nodes_test.go       what becomes of nodes, pods and the NodeTermination,
//	policies_test.go    and of policies, the manager and the watcher,
//	others_test.go      and what works against a termination: people, controllers, webhooks
//	world_test.go       one history: the clock, the manager, what comes due
//	machine_test.go     an instance with its node
//	pods_test.go        the pods, with who evicts and watches them
//	aws_test.go         what AWS announces: maintenance, hooks, metadata
//	documents_test.go   in its own words
//	queue_test.go       the queue and its consumer
//	watcher_test.go     the node's watcher
//	api_test.go         the API server, with the CRD's rules in rules_test.go
//	server_test.go      a real API server, that it is held against
//	delivered_test.go   what was delivered, and what it means
//	invariants_test.go  what has to be true
//	waits_test.go       of cordons, grace periods, budgets, suspensions and pods that come back
package model
