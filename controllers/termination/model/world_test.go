// SPDX-License-Identifier: Apache-2.0

package model

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/leader"
	"github.com/nodetermination/operator/controllers/source/manual"
	"github.com/nodetermination/operator/controllers/source/store"
	"github.com/nodetermination/operator/controllers/termination"
	"github.com/nodetermination/operator/controllers/webhook"
)

// epoch is when histories begin.
var epoch = time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)

// world is one history while it is played.
type world struct {
	t     testing.TB
	clock *clocktesting.FakePassiveClock
	now   time.Time
	due   []due
	made  int

	api      *api
	pods     *pods
	machines []*machine
	watchers map[string]*watcher
	// unwatched: there is no watcher.
	unwatched   bool
	maintenance []*maintenance
	// hooks is how many hooks the group has; zero before it is known.
	hooks int

	// The manager, and until when it is down.
	reconciler *termination.Reconciler
	store      *store.Store
	manual     *manual.Reconciler
	downUntil  time.Time
	wake       map[string]time.Time
	// existed are the NodeTerminations that the manager has seen last.
	existed map[string]bool

	// settled is what of the API server and the pods the manager has seen.
	settled [2]int

	delivered []*statement
	running   []runningMessage
	// policiesSince and managerSince are since when those are as they are.
	policiesSince, managerSince time.Time
	// refusedUntil is until when an admission webhook refuses changes of Nodes.
	refusedUntil time.Time

	log     []string
	verbose bool
	failure string
}

// due is what happens at a time.
type due struct {
	at    time.Time
	order int
	what  string
	do    func()
}

// newWorld returns a world of one node, ten days old, and a policy.
func newWorld(t testing.TB) *world {
	w := &world{
		t: t, now: epoch, clock: clocktesting.NewFakePassiveClock(epoch), watchers: map[string]*watcher{}, wake: map[string]time.Time{}, existed: map[string]bool{},
	}
	w.api = newAPI(func() time.Time { return w.now })
	w.api.admitNode = w.admitNode
	w.pods = newPods(w)
	w.setNow(epoch.Add(-10 * 24 * time.Hour))
	w.addMachine(knownInstance, "node-1")
	w.addPolicy("policy-1")
	w.restart()
	w.setNow(epoch)
	return w
}

// The instance of the node, that of another one, and one that never becomes a node.
const (
	knownInstance   = "i-0abc1234def567890"
	anotherInstance = "i-0abc1234def567891"
	unknownInstance = "i-0fffffffffffffff0"
)

// addMachine has an instance run a node.
func (w *world) addMachine(id, node string) *machine {
	m := &machine{w: w, id: id, state: "running", boot: 1, metadata: metadata{target: "InService"}}
	w.machines = append(w.machines, m)
	m.register(node)
	return m
}

func (w *world) machine(id string) *machine {
	for _, m := range w.machines {
		if m.id == id {
			return m
		}
	}
	return nil
}

func (w *world) setNow(now time.Time) {
	w.now = now
	w.clock.SetTime(now)
}

func (w *world) logf(format string, args ...any) {
	if w.verbose {
		w.log = append(w.log, w.now.UTC().Format("Jan 02 15:04:05 ")+fmt.Sprintf(format, args...))
	}
}

// fail notes the first thing that is wrong.
func (w *world) fail(format string, args ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf(format, args...)
		w.logf("FAILED: %s", w.failure)
	}
}

// after has something happen in a while, at something at a time.
func (w *world) after(delay time.Duration, what string, do func()) { w.at(w.now.Add(delay), what, do) }

func (w *world) at(at time.Time, what string, do func()) {
	w.made++
	w.due = append(w.due, due{at, w.made, what, do})
}

// restart starts the manager anew: what it knows and the API server does not is lost.
func (w *world) restart() {
	local := &termination.LocalState{}
	queue := termination.NewQueue(w.api, local, logr.Discard(), w.clock)
	w.pods.evictions = termination.NewEventRecorder(silence{}, w.api, local, w.clock)
	reconciler, err := termination.New(termination.Options{
		Client: w.api, Live: w.api, Queue: queue, Local: local,
		Events:   w.pods.evictions,
		Executor: w.pods, Watcher: w.pods, AWS: autoScaling{w},
		Dispatcher: webhook.NewDispatcher(func(string) {}), Sender: webhook.NewSender(clocktesting.NewFakeClock(w.now)), Webhooks: &webhook.Resolver{},
		Replica: &leader.Replica{}, Log: logr.Discard(), Clock: w.clock,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.reconciler = reconciler
	w.store = newStore(w)
	w.manual = &manual.Reconciler{Cache: w.api, Live: w.api, Client: w.api, Clock: w.clock}
	clear(w.pods.actions)
	clear(w.pods.blocked)
	w.managerSince = w.now
	for _, m := range w.machines {
		w.existed[m.id], w.wake[m.id] = true, w.now
	}
}

func newStore(w *world) *store.Store {
	return &store.Store{Live: w.api, Client: w.api, Log: logr.Discard(), Clock: w.clock, Memory: store.NewMemory()}
}

// silence emits no Kubernetes events.
type silence struct{}

// AnnotatedEventf implements events.AnnotatedEventRecorder.
func (silence) AnnotatedEventf(_, _ runtime.Object, _ map[string]string, _, _, _, _ string, _ ...any) {
}

// Eventf implements events.EventRecorder.
func (silence) Eventf(_, _ runtime.Object, _, _, _, _ string, _ ...any) {}

func (w *world) down() bool { return w.now.Before(w.downUntil) }

const (
	// maxRounds bounds the reconciles at one time.
	maxRounds = 12
	// soon is what a reconciler means by looking again at once.
	soon = 200 * time.Millisecond
	// maxStops bounds how often the clock stops in one step only because a reconcile asks for it.
	maxStops = 25
)

// settle has everything happen that follows at once, and looks at the result.
func (w *world) settle() {
	if w.down() || w.failure != "" {
		return
	}
	for range maxRounds {
		if w.settled == [2]int{w.api.version, w.pods.version} && !w.wakeDue() {
			break
		}
		w.settled = [2]int{w.api.version, w.pods.version}
		for _, m := range w.machines {
			w.reconcileAnnotation(m)
			w.reconcile(m.id)
			w.pods.execute(m.id)
		}
	}
	w.check()
}

// wakeDue reports whether a reconciler has asked to look again by now.
func (w *world) wakeDue() bool {
	for _, at := range w.wake {
		if !at.After(w.now) {
			return true
		}
	}
	return false
}

// reconcileAnnotation has the annotation of a machine's Node stored.
func (w *world) reconcileAnnotation(m *machine) {
	if node := m.node(); node == nil || !m.annotated && node.Annotations[v1alpha1.AnnotationDrain] == "" {
		return
	}
	if _, err := w.manual.Reconcile(context.Background(), request(m.nodeName)); err != nil {
		w.logf("manual: %v", err)
		w.wake[m.id] = w.now.Add(time.Second)
	}
}

func request(name string) ctrl.Request {
	return ctrl.Request{NamespacedName: types.NamespacedName{Name: name}}
}

// reconcile reconciles a termination.
func (w *world) reconcile(id string) {
	if w.api.terminations[id] == nil && !w.existed[id] {
		return
	}
	w.existed[id] = w.api.terminations[id] != nil
	delete(w.wake, id)
	var before string
	if w.verbose {
		before = w.describe(id)
	}
	result, err := w.reconciler.Reconcile(context.Background(), request(id))
	if w.verbose {
		if after := w.describe(id); after != before {
			w.logf("  %s", after)
		}
	}
	if w.existed[id] && w.api.terminations[id] == nil {
		w.expired(id)
	}
	switch {
	case err != nil:
		w.logf("reconcile: %v", err)
		w.wake[id], w.existed[id] = w.now.Add(time.Second), true
	case result.RequeueAfter > 0 && result.RequeueAfter <= soon:
		w.wake[id] = w.now
	case result.RequeueAfter > 0:
		w.wake[id] = w.now.Add(max(result.RequeueAfter.Round(time.Second), time.Second))
	}
}

// describe returns how it stands with a termination, for people.
func (w *world) describe(id string) string {
	nt := w.api.terminations[id]
	if nt == nil {
		return "no NodeTermination"
	}
	var b strings.Builder
	for _, c := range nt.Status.Conditions {
		if c.Type == v1alpha1.ConditionReady {
			fmt.Fprintf(&b, "%s (%s) ", c.Reason, c.Message)
		}
	}
	for _, e := range nt.Status.Events {
		fmt.Fprintf(&b, "%s=%s ", e.ID, e.State)
	}
	for _, h := range nt.Status.LifecycleHooks {
		fmt.Fprintf(&b, "hook %s %s %s ", h.Name, h.State, h.Message)
	}
	if node := w.api.nodes[nt.Spec.NodeName]; node != nil {
		fmt.Fprintf(&b, "unschedulable=%t", node.Spec.Unschedulable)
	}
	return b.String()
}

// advance lets time pass.
func (w *world) advance(d time.Duration) {
	end := w.now.Add(d)
	for stops := 0; w.failure == ""; {
		next := end
		i := w.nextDue()
		if i >= 0 && w.due[i].at.Before(next) {
			next = w.due[i].at
		}
		least := w.now.Add(time.Second)
		if stops > maxStops { // a manager may look late
			least = w.now.Add(max(d/8, time.Second).Truncate(time.Second))
		}
		for _, at := range []time.Time{w.nextWake(), w.pods.nextEnd()} {
			if !at.IsZero() && at.Before(least) {
				at = least
			}
			if !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		stops++
		if next.After(w.now) {
			w.setNow(next)
		}
		w.happen()
		w.settle()
		if !w.now.Before(end) {
			return
		}
	}
}

// happen has everything happen that is due.
func (w *world) happen() {
	w.pods.end()
	for _, m := range w.machines {
		m.expire()
	}
	for i := w.nextDue(); i >= 0 && !w.due[i].at.After(w.now); i = w.nextDue() {
		next := w.due[i]
		w.due = slices.Delete(w.due, i, i+1)
		if !strings.HasPrefix(next.what, "receive") {
			w.logf("%s", next.what)
		}
		next.do()
		w.settle()
	}
}

// nextDue returns the index of what happens next; -1 for nothing.
func (w *world) nextDue() int {
	next := -1
	for i := range w.due {
		if next < 0 || w.due[i].at.Before(w.due[next].at) || w.due[i].at.Equal(w.due[next].at) && w.due[i].order < w.due[next].order {
			next = i
		}
	}
	return next
}

// nextWake returns when a reconcile is due; zero if none is.
func (w *world) nextWake() time.Time {
	if w.down() {
		return w.downUntil
	}
	var next time.Time
	for _, at := range w.wake {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}
