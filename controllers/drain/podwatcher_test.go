// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/google/go-cmp/cmp"

	"github.com/nodetermination/operator/api/v1alpha1"
)

func TestNewPod(t *testing.T) {
	at := metav1.NewTime(start)
	owned := func(kind string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: kind, Name: "owner", Controller: ptr.To(true)}}
	}
	for name, test := range map[string]struct {
		pod  corev1.Pod
		want Pod
	}{
		"nothing said": {corev1.Pod{}, Pod{GracePeriodSeconds: 30}},
		"all said": {
			corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "uid", Labels: map[string]string{"a": "b"},
					DeletionTimestamp: &at, DeletionGracePeriodSeconds: ptr.To[int64](7), OwnerReferences: owned("ReplicaSet"),
					Annotations: map[string]string{v1alpha1.AnnotationDrain: "last"}},
				Spec: corev1.PodSpec{NodeName: "node", Priority: ptr.To[int32](5), TerminationGracePeriodSeconds: ptr.To[int64](60)},
				Status: corev1.PodStatus{Phase: corev1.PodRunning,
					Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled}, {Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
			},
			Pod{Namespace: "default", Name: "web", UID: "uid", Node: "node", Labels: map[string]string{"a": "b"}, Priority: 5,
				GracePeriodSeconds: 60, DeletionTimestamp: start, DeletionGracePeriodSeconds: 7, Ready: true, Preferences: PreferLast},
		},
		"daemon":    {corev1.Pod{ObjectMeta: metav1.ObjectMeta{OwnerReferences: owned("DaemonSet")}}, Pod{GracePeriodSeconds: 30, DaemonSet: true}},
		"mirror":    {corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"kubernetes.io/config.mirror": "x"}}}, Pod{GracePeriodSeconds: 30, Mirror: true}},
		"pending":   {corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodPending}}, Pod{GracePeriodSeconds: 30, Pending: true}},
		"succeeded": {corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodSucceeded}}, Pod{GracePeriodSeconds: 30, Finished: true}},
		"failed":    {corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed}}, Pod{GracePeriodSeconds: 30, Finished: true}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, NewPod(&test.pod)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// watched runs a PodWatcher and returns what it notifies of.
func watched(t *testing.T, config *rest.Config) (*PodWatcher, chan string) {
	t.Helper()
	client, err := NewClient(config, nil)
	if err != nil {
		t.Fatal(err)
	}
	notified := make(chan string, 1000)
	w := NewPodWatcher(client, func(node string) { notified <- node })
	runUntilDone(t, w.Start)
	return w, notified
}

func names(pods []Pod) []string {
	var names []string
	for _, pod := range pods {
		names = append(names, pod.Name)
	}
	slices.Sort(names)
	return names
}

func namesOf(pods []*corev1.Pod) []string {
	var names []string
	for _, pod := range pods {
		names = append(names, pod.Name)
	}
	slices.Sort(names)
	return names
}

func expectNotified(t *testing.T, notified chan string, node string) {
	t.Helper()
	select {
	case got := <-notified:
		if got != node {
			t.Errorf("notified of %s instead of %s", got, node)
		}
	case <-time.After(patience):
		t.Fatal("not notified")
	}
}

func TestPodWatcher(t *testing.T) {
	nodes := cluster.Get(t).CreateNodes(t, 2)
	namespace := cluster.Get(t).CreateNamespace(t)
	pods := cluster.Get(t).CreatePods(t, namespace, nodes[0].Name, 3)
	cluster.Get(t).CreatePods(t, namespace, nodes[1].Name, 2)
	w, notified := watched(t, cluster.Get(t).Config())
	node := nodes[0].Name

	if _, synced := w.Pods(node); synced {
		t.Error("a node is known that is not watched")
	}
	w.Watch(node)
	w.Watch(node)
	expectNotified(t, notified, node)
	got, synced := w.Pods(node)
	if diff := cmp.Diff(namesOf(pods), names(got)); diff != "" || !synced {
		t.Errorf("synced %t: %s", synced, diff)
	}
	listed, err := w.List(t.Context(), node)
	if diff := cmp.Diff(namesOf(pods), names(listed)); diff != "" || err != nil {
		t.Error("a list:", err, diff)
	}
	if !w.Has(got[0]) {
		t.Error("a pod is not there that is")
	}
	other := got[0]
	other.UID = "another"
	if w.Has(other) {
		t.Error("a pod of the same name is taken for this one")
	}

	// A pod that is evicted, created or gone is notified of.
	if err := cluster.Get(t).Client().Delete(t.Context(), pods[0]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one is gone", func() bool { pods, _ := w.Pods(node); return len(pods) == 2 })
	expectNotified(t, notified, node)
	pods = append(pods[1:], cluster.Get(t).CreatePods(t, namespace, node, 1)...)
	eventually(t, "another came", func() bool { got, _ := w.Pods(node); return cmp.Equal(namesOf(pods), names(got)) })
	if w.Err(node) != nil {
		t.Error(w.Err(node))
	}

	w.Stop(node)
	if _, synced := w.Pods(node); synced || !w.Has(other) || w.Err(node) != nil {
		t.Error("it still knows of the node")
	}
	w.Stop(node)
}

// Changes that a drain has no use for are not notified.
func TestPodStoreNotifies(t *testing.T) {
	synced, changes := 0, 0
	s := &podStore{node: "node", pods: map[string]Pod{}, onSync: func() { synced++ }, onChange: func() { changes++ }}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "uid"}}
	changed := func() bool {
		defer func() { changes = 0 }()
		return changes > 0
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Replace([]any{pod}, ""))
	if changed() || synced != 1 {
		t.Error("the first list is not notified at once")
	}
	must(s.Replace([]any{pod}, ""))
	pod = pod.DeepCopy()
	pod.Status.PodIP, pod.Annotations = "10.0.0.1", map[string]string{"a": "b"}
	must(s.Update(pod))
	if changed() || synced != 1 {
		t.Error("notified of nothing")
	}
	pod = pod.DeepCopy()
	pod.Status.Phase = corev1.PodFailed
	must(s.Update(pod))
	if !changed() {
		t.Error("not notified of a pod that is finished")
	}
	must(s.Delete(pod))
	if !changed() {
		t.Error("not notified of a pod that is gone")
	}
	must(s.Add(pod))
	if !changed() {
		t.Error("not notified of a pod that came")
	}
	must(s.Replace(nil, ""))
	if !changed() {
		t.Error("not notified of a pod that was missed")
	}
	if s.Update("x") == nil || s.Delete("x") == nil {
		t.Error("took a string for a pod")
	}
}

func TestPodWatcherWithoutPermission(t *testing.T) {
	config := cluster.Get(t).Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: "nobody"}
	w, notified := watched(t, config)
	w.Watch("node")
	expectNotified(t, notified, "node")
	err := w.Err("node")
	if err == nil || !strings.Contains(err.Error(), "cannot list the pods of node node: pods is forbidden") {
		t.Errorf("got %v", err)
	}
	if _, synced := w.Pods("node"); synced {
		t.Error("synced all the same")
	}
	if _, err := w.List(t.Context(), "node"); err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("a list: %v", err)
	}
}

func TestPodWatcherSurvivesTheAPIServer(t *testing.T) {
	node := cluster.Get(t).CreateNodes(t, 1)[0].Name
	namespace := cluster.Get(t).CreateNamespace(t)
	pods := cluster.Get(t).CreatePods(t, namespace, node, 2)
	w, notified := watched(t, cluster.Get(t).Config())
	w.Watch(node)
	expectNotified(t, notified, node)
	cluster.Get(t).StopAPIServer(t)
	eventually(t, "an error is shown", func() bool { return w.Err(node) != nil })
	if got, synced := w.Pods(node); !synced || len(got) != 2 {
		t.Errorf("forgot the pods: %t, %v", synced, got)
	}
	cluster.Get(t).StartAPIServer(t)
	eventually(t, "no error is shown", func() bool { return w.Err(node) == nil })
	pods = append(pods, cluster.Get(t).CreatePods(t, namespace, node, 1)...)
	eventually(t, "the new pod is seen", func() bool { got, _ := w.Pods(node); return cmp.Equal(namesOf(pods), names(got)) })
}

// The watches end with their context, also those begun before the start.
func TestPodWatcherStops(t *testing.T) {
	client, err := NewClient(cluster.Get(t).Config(), nil)
	if err != nil {
		t.Fatal(err)
	}
	notified := make(chan string, 100)
	w := NewPodWatcher(client, func(node string) { notified <- node })
	w.Watch("early")
	stop := runUntilDone(t, w.Start)
	expectNotified(t, notified, "early")
	w.Watch("late")
	expectNotified(t, notified, "late")
	stop()
	w.Watch("too late")
	if _, synced := w.Pods("too late"); synced {
		t.Error("watches after its end")
	}
}

// What has left is remembered as it was, so that pods which vanish between two looks are counted.
func TestPodStoreRemembersWhatIsGone(t *testing.T) {
	store := podStore{pods: map[string]Pod{}, onSync: func() {}, onChange: func() {}}
	pod := func(name, uid string, phase corev1.PodPhase) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(uid)}, Status: corev1.PodStatus{Phase: phase}}
	}
	daemon := pod("daemon", "daemon", corev1.PodRunning)
	daemon.OwnerReferences = []metav1.OwnerReference{{Kind: "DaemonSet", Controller: ptr.To(true)}}
	for _, change := range []func() error{
		func() error {
			return store.Replace([]any{pod("a", "1", corev1.PodRunning), pod("b", "2", corev1.PodRunning), pod("c", "3", corev1.PodRunning), daemon}, "")
		},
		func() error { return store.Delete(pod("a", "1", corev1.PodFailed)) },
		func() error { return store.Update(pod("b", "2", corev1.PodRunning)) },
		func() error { return store.Update(pod("b", "2", corev1.PodSucceeded)) },
		func() error { return store.Delete(pod("b", "2", corev1.PodSucceeded)) },
		func() error { return store.Update(pod("c", "4", corev1.PodRunning)) },
		func() error { return store.Add(pod("d", "5", corev1.PodRunning)) },
		func() error { return store.Replace([]any{pod("d", "5", corev1.PodRunning)}, "") },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, pod := range store.gone {
		got = append(got, string(pod.UID))
		if pod.Finished {
			t.Errorf("%s is remembered as finished", pod.Name)
		}
	}
	if diff := cmp.Diff([]string{"1", "2", "3", "4"}, got); diff != "" {
		t.Error(diff)
	}
	for i := range 2 * mostGone { // what comes back as it is evicted
		if err := errors.Join(store.Add(pod("e", fmt.Sprint("e", i), corev1.PodRunning)), store.Delete(pod("e", fmt.Sprint("e", i), corev1.PodRunning))); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(store.gone); n != mostGone {
		t.Errorf("%d pods are remembered, want %d at most", n, mostGone)
	}
}

// The first list is not older than the call that asks for it.
func TestPodWatcherListsTheLatest(t *testing.T) {
	lists := make(chan string, 10)
	client := fakeClient(t, func(request *http.Request) (*http.Response, error) {
		lists <- request.URL.Query().Get("resourceVersion")
		return answer(metav1.Status{Code: 403, Message: "no permission"}), nil
	})
	w := NewPodWatcher(client, func(string) {})
	runUntilDone(t, w.Start)
	w.Watch("node")
	if version := <-lists; version != "" {
		t.Errorf("lists at resource version %q", version)
	}
}
