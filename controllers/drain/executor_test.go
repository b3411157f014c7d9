// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
)

const patience = 30 * time.Second

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// run starts an executor until the end of the test, and checks that it stops.
func run(t *testing.T, options ExecutorOptions) *Executor {
	t.Helper()
	e := NewExecutor(options)
	runUntilDone(t, e.Start)
	return e
}

func runUntilDone(t *testing.T, start func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("it does not stop")
		}
	})
	t.Cleanup(stop)
	return stop
}

func success() (*http.Response, error) { return answer(metav1.Status{Code: 201}), nil }

// podOf is the pod that a request is about.
func podOf(request *http.Request) string {
	return strings.Split(request.URL.Path, "/")[6]
}

func TestExecutorRequests(t *testing.T) {
	seen := make(chan string, 10)
	client := fakeClient(t, func(request *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return nil, err
		}
		object, err := runtime.Decode(scheme.Codecs.UniversalDeserializer(), body)
		if err != nil {
			return nil, err
		}
		options, ok := object.(*metav1.DeleteOptions)
		if eviction, isEviction := object.(*policyv1.Eviction); isEviction {
			options, ok = eviction.DeleteOptions, eviction.Name == podOf(request) && eviction.Namespace == "default"
		}
		if !ok {
			return nil, fmt.Errorf("a body of %#v", object)
		}
		seen <- fmt.Sprintf("%s %s %s %d", request.Method, request.URL.Path, *options.Preconditions.UID, ptr.Deref(options.GracePeriodSeconds, -1))
		return success()
	})
	clock := clocktesting.NewFakeClock(start)
	e := run(t, ExecutorOptions{Client: client, Clock: clock, StillExists: func(p Pod) bool { return p.Name != "gone" }})
	for _, test := range []struct {
		action Action
		want   string
	}{
		{Action{Pod: newPod("a"), Method: Evict}, "POST /api/v1/namespaces/default/pods/a/eviction uid-a -1"},
		{Action{Pod: newPod("b"), Method: Evict, Grace: ptr.To[int64](7)}, "POST /api/v1/namespaces/default/pods/b/eviction uid-b 7"},
		{Action{Pod: newPod("c"), Method: Evict, Deadline: after(20)}, "POST /api/v1/namespaces/default/pods/c/eviction uid-c 18"},
		{Action{Pod: newPod("d"), Method: Delete, Deadline: after(-20)}, "DELETE /api/v1/namespaces/default/pods/d uid-d -1"},
	} {
		e.Set("owner", []Action{{Pod: newPod("gone"), Method: Evict}, test.action})
		if diff := cmp.Diff(test.want, <-seen); diff != "" {
			t.Error(diff)
		}
	}
	e.Set("owner", nil)
	if len(seen) > 0 {
		t.Errorf("a request too many: %s", <-seen)
	}
}

// Grace is clipped to the time left when the request goes out, not when it was planned; nothing is left to
// clip it to once the deadline has passed.
func TestExecutorClipsWhenSending(t *testing.T) {
	clock := clocktesting.NewFakeClock(start)
	seen := make(chan int64, 10)
	client := fakeClient(t, func(request *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return nil, err
		}
		object, err := runtime.Decode(scheme.Codecs.UniversalDeserializer(), body)
		if err != nil {
			return nil, err
		}
		if eviction, ok := object.(*policyv1.Eviction); ok {
			seen <- ptr.Deref(eviction.DeleteOptions.GracePeriodSeconds, -1)
		}
		return flowControl(), nil
	})
	e := NewExecutor(ExecutorOptions{Client: client, Clock: clock})
	runUntilDone(t, e.Start)
	e.Set("owner", by(after(60), evict(newPod("a"))))
	for _, want := range []int64{-1, -1, 18, -1} {
		if got := <-seen; got != want {
			t.Errorf("grace %d, want %d", got, want)
		}
		// One waiter is the ticker of changes, the other the executor's timer.
		eventually(t, "the executor has the answer and waits", func() bool {
			e.mu.Lock()
			defer e.mu.Unlock()
			return e.queue.inFlight == 0 && clock.Waiters() == 2
		})
		clock.Step(20 * time.Second)
	}
}

func TestExecutorBounds(t *testing.T) {
	var mu sync.Mutex
	inFlight, most := map[string]int{}, map[string]int{}
	evicted := map[string]int{}
	client := fakeClient(t, func(request *http.Request) (*http.Response, error) {
		pod := podOf(request)
		app, _, _ := strings.Cut(pod, "-")
		mu.Lock()
		for _, key := range []string{app, "all"} {
			inFlight[key]++
			most[key] = max(most[key], inFlight[key])
		}
		evicted[pod]++
		mu.Unlock()
		time.Sleep(time.Millisecond) // for others to come meanwhile; nothing depends on it
		mu.Lock()
		inFlight[app]--
		inFlight["all"]--
		mu.Unlock()
		return success()
	})
	e := run(t, ExecutorOptions{Client: client, MaxInFlight: 10})
	apps := []string{"web", "db", "free"}
	e.budgetChanged(newBudget("web", 1000))
	e.budgetChanged(newBudget("db", 1000))
	for node := range 10 {
		var pods []Pod
		for _, app := range apps {
			pods = append(pods, manyPods(fmt.Sprintf("%s-%d", app, node), 10, labelled("app", app))...)
		}
		e.Set(fmt.Sprintf("node-%d", node), evict(pods...))
	}
	eventually(t, "all pods are evicted", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(evicted) == 300
	})
	mu.Lock()
	defer mu.Unlock()
	for pod, n := range evicted {
		if n != 1 {
			t.Errorf("%s was evicted %d times", pod, n)
		}
	}
	if most["all"] > 10 || most["web"] > perBudget || most["db"] > perBudget || most["free"] <= perBudget {
		t.Errorf("most in flight: %v", most)
	}
}

func TestExecutorNotifies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		notified := make(chan string, 100)
		var requests atomic.Int64
		client := fakeClient(t, func(*http.Request) (*http.Response, error) {
			requests.Add(1)
			return answer(metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden, Message: "no permission"}), nil
		})
		e := run(t, ExecutorOptions{Client: client, Notify: func(owner string) { notified <- owner }})
		e.Set("owner", evict(manyPods("pod", 20)...))
		synctest.Wait()
		if n := len(e.Blockers("owner")); n != 20 || len(notified) > 0 {
			t.Errorf("%d are refused, %d notifications before all are", n, len(notified))
		}
		time.Sleep(blockersDelay)
		if owner := <-notified; owner != "owner" {
			t.Errorf("notified %q", owner)
		}
		for requests.Load() < 60 { // they are tried again
			time.Sleep(time.Second)
		}
		if len(notified) > 0 {
			t.Error("notified although nothing is new")
		}
		want := Blocker{Kind: BlockedByServer, Reason: "no permission"}
		for uid, blocker := range e.Blockers("owner") {
			if blocker != want {
				t.Errorf("%s: %+v", uid, blocker)
			}
		}
	})
}

// Requests without an answer do not keep the executor from stopping.
func TestExecutorStops(t *testing.T) {
	begun := make(chan struct{}, 5)
	client := fakeClient(t, func(request *http.Request) (*http.Response, error) {
		begun <- struct{}{}
		<-request.Context().Done()
		return nil, request.Context().Err()
	})
	e := NewExecutor(ExecutorOptions{Client: client})
	e.Set("owner", evict(manyPods("pod", 5)...)) // before it starts
	stop := runUntilDone(t, e.Start)
	for range 5 {
		<-begun
	}
	stop()
}

func TestChangesJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		notified := make(chan string, 100)
		changes := newChanges(clock.RealClock{})
		runUntilDone(t, func(ctx context.Context) error {
			notifyOf(ctx, changes, func(owner string) { notified <- owner })
			return nil
		})
		for range 3 {
			for range 10 {
				changes.AddAfter("owner", time.Second)
				time.Sleep(time.Second / 20)
			}
			synctest.Wait()
			if len(notified) > 0 {
				t.Error("notified before the delay is over")
			}
			time.Sleep(time.Second / 2)
			if owner := <-notified; owner != "owner" {
				t.Errorf("notified %q", owner)
			}
			if time.Sleep(10 * time.Second); len(notified) > 0 {
				t.Errorf("notified %d times more", len(notified))
			}
		}
	})
}

// A pod that is deleted past a refusal has the condition DisruptionTarget first, if that is possible within a second.
func TestExecutorMarksWhatItDeletes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var requests []string
		client := fakeClient(t, func(request *http.Request) (*http.Response, error) {
			mu.Lock()
			requests = append(requests, request.Method+" "+strings.TrimPrefix(request.URL.Path, "/api/v1/namespaces/default/pods/"))
			mu.Unlock()
			switch {
			case request.Method == http.MethodPatch && podOf(request) == "slow":
				<-request.Context().Done()
				return nil, request.Context().Err()
			case request.Method == http.MethodPatch && podOf(request) == "denied":
				return answer(metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden, Message: "no permission"}), nil
			case request.Method == http.MethodPatch:
				body, err := io.ReadAll(request.Body)
				if err != nil {
					return nil, err
				}
				for _, want := range []string{`"uid":"uid-`, `"type":"DisruptionTarget"`, `"status":"True"`, "says no"} {
					if !strings.Contains(string(body), want) {
						t.Errorf("%s is not in %s", want, body)
					}
				}
			case request.Method == http.MethodDelete && podOf(request) == "refused":
				return answer(metav1.Status{Code: 403, Reason: metav1.StatusReasonForbidden, Message: "no permission"}), nil
			}
			return success()
		})
		e := run(t, ExecutorOptions{Client: client})
		for _, step := range []struct {
			pod       string
			overrides BlockerKind
			within    time.Duration
			want      []string
		}{
			{"web", BlockedByBudget, 0, []string{"PATCH web/status", "DELETE web"}},
			{"denied", BlockedByServer, 0, []string{"PATCH denied/status", "DELETE denied"}},
			{"slow", BlockedByTimeout, time.Second, []string{"PATCH slow/status", "DELETE slow"}},
			{"refused", BlockedByBudget, 2 * time.Second, []string{"PATCH refused/status", "DELETE refused", "DELETE refused"}},
			{"ending", "", 0, []string{"DELETE ending"}},
		} {
			action := Action{Pod: newPod(step.pod), Method: Delete}
			if step.overrides != "" {
				action.Overrides = Blocker{Kind: step.overrides, Reason: "says no"}
			}
			e.Set("owner", []Action{action})
			time.Sleep(step.within)
			synctest.Wait()
			mu.Lock()
			if diff := cmp.Diff(step.want, requests); diff != "" {
				t.Errorf("%s (-want +got):\n%s", step.pod, diff)
			}
			requests = nil
			mu.Unlock()
		}
	})
}
