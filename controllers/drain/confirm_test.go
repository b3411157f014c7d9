// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// due checks which pods have to be looked up now, and returns them.
func (q *queueTest) due(names ...string) []acceptance {
	q.Helper()
	byNode, _ := q.unconfirmed(q.now)
	var got []string
	for _, a := range byNode["node"] {
		got = append(got, a.item.sent.Pod.Name)
	}
	if diff := cmp.Diff(names, got); diff != "" {
		q.Errorf("looked up (-want +got):\n%s", diff)
	}
	return byNode["node"]
}

const ignoredReason = "Server: the API server accepted its eviction, but 10s later it was not terminating"

func TestQueueLooksUpWhatWasAccepted(t *testing.T) {
	q := newQueueTest(t)
	pods := []Pod{newPod("again"), newPod("going"), newPod("stays")}
	q.want("a", by(after(60), evict(pods...)))
	three := q.expect("again", "going", "stays")
	q.answer(three[:1], evicted, "")
	q.now = after(1)
	q.answer(three[1:], evicted, "")
	q.due()
	q.now = after(2)
	q.want("a", by(after(8), evict(pods[0], pods[2]))) // going is terminating
	q.answer(q.expect("again", "stays"), evicted, "")
	q.now = after(10)
	q.due()
	if _, next := q.unconfirmed(q.now); !next.Equal(after(12)) {
		t.Errorf("looks up at %s", next)
	}
	q.now = after(12)
	q.due("again", "stays")
	q.due()
	q.now = after(3600)
	q.due()
}

// A pod that was evicted in vain is blocked until it is seen to terminate, and deleted when blocked pods are.
func TestQueueIgnoredEviction(t *testing.T) {
	q := newQueueTest(t)
	pod := newPod("pod")
	q.want("a", evict(pod))
	q.answer(q.expect("pod"), evicted, "")
	q.expectBlockers("a")
	q.now = q.now.Add(confirmAfter)
	q.ignore(q.due("pod")[0].item, q.now)
	q.expectChanged("a")
	q.expectBlockers("a", "pod: "+ignoredReason)
	q.expect()
	if waited := q.passes(); waited != ignoredBackoff {
		t.Errorf("evicted again after %s", waited)
	}
	q.answer(q.expect("pod"), evicted, "")
	q.want("a", evict(pod))
	q.expectBlockers("a", "pod: "+ignoredReason)
	q.expect()
	q.expectChanged()

	q.now = q.now.Add(time.Second)
	q.want("a", []Action{{Pod: pod, Method: Delete}})
	try := q.expect("pod")
	q.expectBlockers("a", "pod: "+ignoredReason)
	q.answer(try, deleted, "")
	q.want("a", []Action{{Pod: pod, Method: Delete}})
	q.expect()
	q.now = q.now.Add(confirmAfter)
	q.due("pod")
	q.want("a", nil)
	q.expectNothingLeft()
}

func TestExecutorLooksUpWhatWasAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{
			{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "ignored", UID: "uid-ignored"}},
			{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "gone", UID: "another"}},
			{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "going", UID: "uid-going", DeletionTimestamp: &metav1.Time{Time: time.Now()}}},
		}}
		body, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		requests := map[string]int{}
		client := fakeClient(t, func(request *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			requests[request.Method]++
			switch {
			case request.Method == http.MethodPost:
				return success()
			case requests[http.MethodGet] == 1:
				return answer(metav1.Status{Code: 500, Message: "not now"}), nil
			}
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body))}, nil
		})
		e := run(t, ExecutorOptions{Client: client})
		e.Set("owner", evict(newPod("ignored"), newPod("gone"), newPod("going")))
		for _, step := range []struct {
			after        time.Duration
			posts, lists int
			blocked      bool
		}{
			{0, 3, 0, false},
			{confirmAfter, 3, 1, false}, // which fails
			{confirmAfter, 3, 2, true},
			{2 * ignoredBackoff, 4, 3, true},
		} {
			time.Sleep(step.after)
			synctest.Wait()
			mu.Lock()
			posts, lists := requests[http.MethodPost], requests[http.MethodGet]
			mu.Unlock()
			blocker, blocked := e.Blockers("owner")["uid-ignored"]
			if posts != step.posts || lists != step.lists || blocked != step.blocked || len(e.Blockers("owner")) > 1 {
				t.Errorf("%+v: %d evictions, %d lists, blockers %v", step, posts, lists, e.Blockers("owner"))
			}
			if blocked && !strings.HasSuffix(ignoredReason, blocker.Reason) {
				t.Error(blocker.Reason)
			}
		}
	})
}
