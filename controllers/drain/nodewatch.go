// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// backoffReset is how long all has to go well for the next failure to count as the first.
const backoffReset = 30 * time.Second

// watchBackoff is the time between attempts to list or watch: short, as two
// minutes leave no room for client-go's usual thirty seconds.
var watchBackoff = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 6, Cap: 5 * time.Second}

// nodeWatch lists and watches the pods of one node. It is the reflector's store,
// and keeps of the pods only what a drain has to know.
type nodeWatch struct {
	name    string
	watches *PodWatcher
	cancel  context.CancelFunc // set once it runs

	mu     sync.Mutex
	pods   map[string]Pod // by namespace/name
	synced bool
	left   bool // a pod was seen to leave
	err    error
}

// run lists and watches until ctx is done.
func (n *nodeWatch) run(ctx context.Context) {
	backoff := watchBackoff
	reflector := cache.NewReflectorWithOptions(n.listWatch(), &corev1.Pod{}, n, cache.ReflectorOptions{
		Name: "pods of node " + n.name, Clock: n.watches.clock, Backoff: &backoff,
	})
	again := backoff.DelayWithReset(n.watches.clock, backoffReset)
	_ = again.Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		_ = reflector.ListAndWatchWithContext(ctx) // noted by listWatch
		return false, nil
	})
}

// plainListWatch makes a reflector list and then watch. Its usual way, to have the
// list streamed by the watch, costs the API server a walk over every pod of the cluster.
type plainListWatch struct{ *cache.ListWatch }

// IsWatchListSemanticsUnSupported is what the reflector asks for.
func (plainListWatch) IsWatchListSemanticsUnSupported() bool { return true }

func (n *nodeWatch) listWatch() cache.ListerWatcher {
	client := n.watches.client
	return plainListWatch{&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list, err := listPods(ctx, client.RESTClient(), n.name, options)
			n.note(ctx, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			changes, err := watchPods(ctx, client, n.name, options)
			n.note(ctx, err)
			return changes, err
		},
	}}
}

// note keeps the error of a list or watch, and wakes the owner if it is news.
func (n *nodeWatch) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // stopped
	}
	n.mu.Lock()
	news, synced := (n.err == nil) != (err == nil) || (err != nil && n.err.Error() != err.Error()), n.synced
	n.err = err
	n.mu.Unlock()
	if !news {
		return
	}
	if err != nil && synced { // else the owner cannot get on, and says why
		log.FromContext(ctx).Info("The pods of a node cannot be followed, trying again", "node", n.name, "error", err.Error())
	}
	n.watches.wakeups.add(n.name)
}

// list returns all pods; false if they are not known yet.
func (n *nodeWatch) list() ([]Pod, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.pods)), n.synced
}

// Replace implements cache.ReflectorStore.
func (n *nodeWatch) Replace(objects []any, _ string) error {
	pods := make(map[string]Pod, len(objects))
	for _, object := range objects {
		if pod, ok := object.(*corev1.Pod); ok {
			small := NewPod(pod)
			pods[small.String()] = small
		}
	}
	n.mu.Lock()
	first := !n.synced
	news := first || !reflect.DeepEqual(n.pods, pods)
	n.pods, n.synced = pods, true
	n.mu.Unlock()
	switch {
	case first:
		n.watches.notify(n.name)
	case news:
		n.watches.wakeups.add(n.name)
	}
	return nil
}

// Add implements cache.ReflectorStore.
func (n *nodeWatch) Add(object any) error {
	return n.Update(object)
}

// Update implements cache.ReflectorStore. Most of a pod's changes are of no
// interest to a drain and wake nobody.
func (n *nodeWatch) Update(object any) error {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("not a pod: %T", object)
	}
	small := NewPod(pod)
	n.mu.Lock()
	known, ok := n.pods[small.String()]
	n.pods[small.String()] = small
	n.mu.Unlock()
	if !ok || !reflect.DeepEqual(known, small) {
		n.watches.wakeups.add(n.name)
	}
	return nil
}

// Delete implements cache.ReflectorStore.
func (n *nodeWatch) Delete(object any) error {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("not a pod: %T", object)
	}
	n.mu.Lock()
	delete(n.pods, pod.Namespace+"/"+pod.Name)
	n.left = true
	n.mu.Unlock()
	n.watches.wakeups.add(n.name)
	return nil
}

// Resync implements cache.ReflectorStore: there is nothing to do.
func (n *nodeWatch) Resync() error {
	return nil
}
