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
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// backoffReset is how long no attempt may fail for the next failure to count as the first.
const backoffReset = 30 * time.Second

// watchBackoff is the time between attempts to list or watch: short, as two
// minutes leave no room for client-go's usual thirty seconds.
var watchBackoff = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 6, Cap: 5 * time.Second}

// mostGone is how many pods are kept that are gone: some times as many as a node has. Where more
// are, they come back as they are evicted, for days perhaps.
const mostGone = 1000

// podStore lists and watches the pods of one node. It is the reflector's store,
// and keeps of the pods only what a drain has to know.
type podStore struct {
	node   string
	client corev1client.CoreV1Interface
	// onSync is called when the pods are first known, onChange when they change, or
	// that they can or cannot be known.
	onSync, onChange func()
	cancel           context.CancelFunc // set once it runs

	mu          sync.Mutex
	pods        map[string]Pod // by namespace/name
	gone        []Pod
	synced      bool
	sawDeletion bool
	err         error
}

// run lists and watches until ctx is done.
func (s *podStore) run(ctx context.Context) {
	backoff := watchBackoff
	reflector := cache.NewReflectorWithOptions(s.listWatch(), &corev1.Pod{}, s, cache.ReflectorOptions{
		Name: "pods of node " + s.node, Backoff: &backoff,
	})
	delay := backoff.DelayWithReset(clock.RealClock{}, backoffReset)
	_ = delay.Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		_ = reflector.ListAndWatchWithContext(ctx) // noted by listWatch
		return false, nil
	})
}

// plainListWatch makes a reflector list and then watch. Its usual way, to have the
// list streamed by the watch, costs the API server a walk over every pod of the cluster.
type plainListWatch struct{ *cache.ListWatch }

// IsWatchListSemanticsUnSupported returns true, for the reflector.
func (plainListWatch) IsWatchListSemanticsUnSupported() bool { return true }

// listWatch returns how the reflector lists and watches. A reflector's first list may be as old
// as the API server likes, unless it is asked for the latest: older than the cordon, it
// would lack pods that were bound just before.
func (s *podStore) listWatch() cache.ListerWatcher {
	return plainListWatch{&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			if options.ResourceVersion == "0" {
				options.ResourceVersion = ""
			}
			list, err := listPods(ctx, s.client.RESTClient(), s.node, options)
			s.noteError(ctx, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			changes, err := watchPods(ctx, s.client, s.node, options)
			s.noteError(ctx, err)
			return changes, err
		},
	}}
}

// noteError keeps the error of a list or watch, and notifies the owner if it is a new one.
func (s *podStore) noteError(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // stopped
	}
	s.mu.Lock()
	changed, synced := (s.err == nil) != (err == nil) || (err != nil && s.err.Error() != err.Error()), s.synced
	s.err = err
	s.mu.Unlock()
	if !changed {
		return
	}
	if err != nil && synced { // else the owner cannot get on, and says why
		log.FromContext(ctx).Info("The pods of a node cannot be watched, trying again", "node", s.node, "error", err.Error())
	}
	s.onChange()
}

// list returns all pods; false: they are not known yet.
func (s *podStore) list() ([]Pod, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.AppendSeq(make([]Pod, 0, len(s.pods)), maps.Values(s.pods)), s.synced
}

// Replace implements cache.ReflectorStore.
func (s *podStore) Replace(objects []any, _ string) error {
	pods := make(map[string]Pod, len(objects))
	for _, object := range objects {
		if pod, ok := object.(*corev1.Pod); ok {
			small := NewPod(pod)
			pods[small.String()] = small
		}
	}
	s.mu.Lock()
	for name, known := range s.pods {
		s.noteIfGone(&known, pods[name])
	}
	first := !s.synced
	changed := first || !reflect.DeepEqual(s.pods, pods)
	s.pods, s.synced = pods, true
	s.mu.Unlock()
	switch {
	case first:
		s.onSync()
	case changed:
		s.onChange()
	}
	return nil
}

// Add implements cache.ReflectorStore.
func (s *podStore) Add(object any) error {
	return s.Update(object)
}

// Update implements cache.ReflectorStore. Most of a pod's changes are of no
// interest to a drain, and its owner is not notified.
func (s *podStore) Update(object any) error {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("not a pod: %T", object)
	}
	small := NewPod(pod)
	s.mu.Lock()
	known, ok := s.pods[small.String()]
	s.noteIfGone(&known, small)
	s.pods[small.String()] = small
	s.mu.Unlock()
	if !ok || !reflect.DeepEqual(known, small) {
		s.onChange()
	}
	return nil
}

// Delete implements cache.ReflectorStore.
func (s *podStore) Delete(object any) error {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("not a pod: %T", object)
	}
	name := pod.Namespace + "/" + pod.Name
	s.mu.Lock()
	known := s.pods[name]
	s.noteIfGone(&known, Pod{})
	delete(s.pods, name)
	s.sawDeletion = true
	s.mu.Unlock()
	s.onChange()
	return nil
}

// noteIfGone keeps a pod that was running as it was known, if what is there of its name now is
// another one, or it has finished. s is locked.
func (s *podStore) noteIfGone(known *Pod, now Pod) {
	if len(s.gone) < mostGone && known.UID != "" && !known.Finished && !known.Mirror && !known.DaemonSet && (now.UID != known.UID || now.Finished) {
		s.gone = append(s.gone, *known)
	}
}

// Resync implements cache.ReflectorStore: there is nothing to do.
func (s *podStore) Resync() error {
	return nil
}
