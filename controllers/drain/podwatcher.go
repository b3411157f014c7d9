// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"context"
	"slices"
	"sync"
	"time"

	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"
)

// podsDelay is how long changes of a node's pods are collected before its owner is notified.
const podsDelay = 200 * time.Millisecond

// PodWatcher knows the pods of the nodes that are being drained, and of no others:
// each node has a list and a watch of its own.
type PodWatcher struct {
	client  corev1client.CoreV1Interface
	notify  func(node string)
	changes changes // of nodes
	running sync.WaitGroup

	mu     sync.Mutex
	ctx    context.Context // nil: not started
	stores map[string]*podStore
}

// NewPodWatcher returns a PodWatcher of no node, which begins once started. Notify is called
// when something about a node's pods has changed, or that they can or cannot be
// known: at once when they are first known, else once for many changes. It
// should not block.
func NewPodWatcher(client corev1client.CoreV1Interface, notify func(node string)) *PodWatcher {
	return &PodWatcher{
		client:  client,
		notify:  notify,
		changes: newChanges(clock.RealClock{}),
		stores:  map[string]*podStore{},
	}
}

// NeedLeaderElection returns true: one replica drains.
func (w *PodWatcher) NeedLeaderElection() bool {
	return true
}

// Start watches until ctx is done, and returns once all watches have ended.
func (w *PodWatcher) Start(ctx context.Context) error {
	w.mu.Lock()
	w.ctx = ctx
	for _, store := range w.stores {
		w.run(store)
	}
	w.mu.Unlock()

	notifyOf(ctx, w.changes, w.notify)
	w.mu.Lock()
	w.ctx = nil // Watch begins nothing from here on
	w.mu.Unlock()
	w.running.Wait()
	return nil
}

// Watch watches a node's pods from now on, if it does not already.
func (w *PodWatcher) Watch(node string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stores[node] != nil {
		return
	}
	w.stores[node] = &podStore{
		node: node, client: w.client, pods: map[string]Pod{},
		onSync:   func() { w.notify(node) },
		onChange: func() { w.changes.AddAfter(node, podsDelay) },
	}
	if w.ctx != nil {
		w.run(w.stores[node])
	}
}

// Stop ends the watch of a node's pods and forgets them.
func (w *PodWatcher) Stop(node string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if store := w.stores[node]; store != nil && store.cancel != nil {
		store.cancel()
	}
	delete(w.stores, node)
}

// Pods returns the pods of a node as last received, in no order. False: they are not
// known yet, or the node is not watched.
func (w *PodWatcher) Pods(node string) ([]Pod, bool) {
	store := w.get(node)
	if store == nil {
		return nil, false
	}
	return store.list()
}

// Err returns why a node's pods cannot be listed or watched now; nil if they can.
// Attempts go on all the while.
func (w *PodWatcher) Err(node string) error {
	store := w.get(node)
	if store == nil {
		return nil
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	return store.err
}

// Has reports whether this very pod, by its UID, is still on its node as far as is
// known. While the node's pods are not known, it is.
func (w *PodWatcher) Has(pod Pod) bool {
	store := w.get(pod.Node)
	if store == nil {
		return true
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	return !store.synced || store.pods[pod.String()].UID == pod.UID
}

// Gone returns the pods that have left the node, or finished there, since it is watched, each as
// it was before; without those of DaemonSets and mirror pods. They are not to be changed.
func (w *PodWatcher) Gone(node string) []Pod {
	store := w.get(node)
	if store == nil {
		return nil
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	return slices.Clip(store.gone) // pods are only added
}

// SawDeletion reports whether a pod was seen to leave the node since it is watched. Changes
// arrive in order, so Pods then miss none that arrived before that one left.
func (w *PodWatcher) SawDeletion(node string) bool {
	store := w.get(node)
	if store == nil {
		return false
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	return store.sawDeletion
}

// List lists a node's pods anew. Unlike a watch, it misses nothing that was
// created before the call.
func (w *PodWatcher) List(ctx context.Context, node string) ([]Pod, error) {
	return listAllPods(ctx, w.client.RESTClient(), node)
}

func (w *PodWatcher) get(node string) *podStore {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stores[node]
}

// run runs a node's watch. w is locked.
func (w *PodWatcher) run(store *podStore) {
	if w.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancel(w.ctx)
	store.cancel = cancel
	w.running.Go(func() {
		defer cancel()
		store.run(ctx)
	})
}
