// SPDX-License-Identifier: Apache-2.0

package lifecyclehook

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	"github.com/nodetermination/operator/controllers/source/event"
)

// world is a queue, AWS and the nodes, as an Adopter sees them.
type world struct {
	policies    []*v1alpha1.NodeTerminationPolicy
	policiesErr error
	answers     []error // to completions; nil afterwards
	tags        []string
	known       bool // the tags are
	node        *corev1.Node

	actions        []awsapi.Action
	released, done []string
	completed      []error
}

func (w *world) Region() string { return "eu-west-1" }

func (w *world) Policies(context.Context) ([]*v1alpha1.NodeTerminationPolicy, error) {
	return w.policies, w.policiesErr
}

func (w *world) Release(_ context.Context, receipts []string) {
	w.released = append(w.released, receipts...)
}

func (w *world) Done(_ context.Context, receipt string) { w.done = append(w.done, receipt) }

func (w *world) Completed(err error) { w.completed = append(w.completed, err) }

func (w *world) Instance(awsapi.Account, string, time.Duration) (awsapi.Instance, bool, error) {
	return awsapi.Instance{Found: true, Tags: w.tags}, w.known, nil
}

func (w *world) Complete(_ context.Context, action awsapi.Action, result awsapi.Result) error {
	if result != awsapi.Continue {
		return errors.New("adopted hooks are continued")
	}
	w.actions = append(w.actions, action)
	if len(w.answers) == 0 {
		return nil
	}
	err := w.answers[0]
	w.answers = w.answers[1:]
	return err
}

// nodes lists the node.
type nodes struct {
	client.Reader
	w *world
}

func (n nodes) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	if found, ok := list.(*corev1.NodeList); ok && n.w.node != nil {
		found.Items = []corev1.Node{*n.w.node}
	}
	return nil
}

// tried is an Adopter of the world with one hook, and what comes of trying it now.
type tried struct {
	*Adopter
	clock *clocktesting.FakeClock
}

func (w *world) adopter(hook event.AdoptedHook) tried {
	clock := clocktesting.NewFakeClock(start)
	a := NewAdopter(AdopterOptions{Queue: w, AWS: w, Cache: nodes{w: w}, Log: logr.Discard(), Clock: clock})
	a.Add(hook)
	return tried{a, clock}
}

// tryDue tries the hook if it is due and returns after how long it is tried again: zero
// if that is not a matter of time.
func (t tried) tryDue(ctx context.Context) (again time.Duration) {
	due, _ := t.hooks.take(t.clock.Now(), maxCompletions)
	for _, hook := range due {
		t.try(ctx, hook)
	}
	if _, next := t.hooks.take(t.clock.Now(), 0); !next.IsZero() {
		again = next.Sub(t.clock.Now())
	}
	return again
}

func aLaunch() event.AdoptedHook {
	return event.AdoptedHook{
		InstanceID: "i-1", Launching: true, Sent: start, Receipt: "r",
		Hook: v1alpha1.LifecycleHook{AutoScalingGroupName: "g", Name: "join", Token: "a", Destination: event.WarmPool},
	}
}

func TestAdoptedHookIsCompleted(t *testing.T) {
	denied := errors.New("denied")
	for name, test := range map[string]struct {
		change         func(*world)
		calls          int
		again          time.Duration
		done, released []string
		completed      []error
	}{
		"completed":               {calls: 1, done: []string{"r"}, completed: []error{nil}},
		"nobody waits":            {change: func(w *world) { w.answers = []error{errNoAction} }, calls: 1, again: noActionRetry},
		"not sent":                {change: func(w *world) { w.answers = []error{errBusy} }, calls: 1, again: busyDelay},
		"no policy adopts it now": {change: func(w *world) { w.policies = nil }, released: []string{"r"}},
		"the tag is not known":    {change: func(w *world) { w.policies[0].Spec.InstanceTag = "ours" }, again: ec2Retry},
		"the tag is missing":      {change: func(w *world) { w.policies[0].Spec.InstanceTag, w.known = "ours", true }},
		"the tag is there":        {change: func(w *world) { w.policies[0].Spec.InstanceTag, w.known, w.tags = "ours", true, []string{"ours"} }, calls: 1, done: []string{"r"}, completed: []error{nil}},
		"failed":                  {change: func(w *world) { w.answers = []error{denied} }, calls: 1, again: time.Second, completed: []error{denied}},
		"policies are not read":   {change: func(w *world) { w.policiesErr = denied }, again: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{policies: []*v1alpha1.NodeTerminationPolicy{adopting("a")}}
			if test.change != nil {
				test.change(w)
			}
			a := w.adopter(aLaunch())
			again := a.tryDue(t.Context())
			want := awsapi.Action{Account: awsapi.Account{Region: "eu-west-1"}, Group: "g", Hook: "join", Token: "a", InstanceID: "i-1"}
			if len(w.actions) != test.calls || slices.ContainsFunc(w.actions, func(got awsapi.Action) bool { return got != want }) {
				t.Errorf("actions %+v, want %d of %+v", w.actions, test.calls, want)
			}
			if test.again == time.Second { // the latter half is random
				again = again.Round(time.Second)
			}
			if again != test.again {
				t.Errorf("tried again after %s, want %s", again, test.again)
			}
			if diff := cmp.Diff([][]string{test.done, test.released}, [][]string{w.done, w.released}); diff != "" {
				t.Errorf("done and released (-want +got):\n%s", diff)
			}
			if !slices.Equal(w.completed, test.completed) {
				t.Errorf("reported %v, want %v", w.completed, test.completed)
			}
			if left := len(a.hooks.receipts()); (left == 0) != (test.done != nil || test.released != nil) {
				t.Errorf("%d hooks are remembered", left)
			}
		})
	}
}

// The group may have begun to wait this moment, so that it is asked once more.
func TestAdoptedHookAtWhichNobodyWaits(t *testing.T) {
	w := &world{policies: []*v1alpha1.NodeTerminationPolicy{adopting("a")}, answers: []error{errNoAction, errNoAction}}
	a := w.adopter(aLaunch())
	a.tryDue(t.Context())
	a.clock.Step(noActionRetry)
	if again := a.tryDue(t.Context()); again != 0 || len(w.actions) != 2 || !slices.Equal(w.done, []string{"r"}) || !slices.Equal(w.completed, []error{nil}) {
		t.Errorf("tried %d times, and again after %s; done %v, reported %v", len(w.actions), again, w.done, w.completed)
	}
}

// A failure after the process was told to stop is no problem of AWS.
func TestFailureAtTheEndIsNotReported(t *testing.T) {
	w := &world{policies: []*v1alpha1.NodeTerminationPolicy{adopting("a")}, answers: []error{context.Canceled}}
	a := w.adopter(aLaunch())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.tryDue(ctx)
	if len(w.completed) != 0 {
		t.Errorf("reported %v", w.completed)
	}
	if a.ReleaseAll(t.Context()); !slices.Equal(w.released, []string{"r"}) {
		t.Errorf("released %v, want the message to be given back", w.released)
	}
}

// Failures in a row are tried again after 1, 2, 4, 8, 10, 10 seconds, or up to half of that earlier.
func TestAdoptedHookIsTriedAgain(t *testing.T) {
	w := &world{policies: []*v1alpha1.NodeTerminationPolicy{adopting("a")}}
	a := w.adopter(aLaunch())
	for _, want := range []time.Duration{1, 2, 4, 8, 10, 10, 10} {
		want *= time.Second
		w.answers = []error{errDenied}
		again := a.tryDue(t.Context())
		if again < want/2 || again > want {
			t.Errorf("tried again after %s, want %s to %s", again, want/2, want)
		}
		if a.NodeReady("i-1"); a.tryDue(t.Context()) != again {
			t.Error("tried before its time")
		}
		a.clock.Step(again)
	}
	if a.tryDue(t.Context()); len(w.actions) != 8 || len(w.done) != 1 {
		t.Errorf("%d tries, done %v", len(w.actions), w.done)
	}
}

// A launch hook is looked at when its message comes back and when the node is Ready.
func TestAdoptedLaunchWaitsForItsNode(t *testing.T) {
	w := &world{policies: []*v1alpha1.NodeTerminationPolicy{adopting("a")}}
	launch := aLaunch()
	launch.Hook.Destination = "AutoScalingGroup"
	a := w.adopter(launch)
	again := launch
	again.Receipt = "second"
	for _, look := range []func(){func() {}, func() { a.Add(again) }, func() { a.NodeReady("i-2") }, func() { a.NodeReady("i-1") }} {
		look()
		if after := a.tryDue(t.Context()); after != 0 || len(w.actions) != 0 {
			t.Fatalf("completed %+v, tried again after %s, want that it waits for its node", w.actions, after)
		}
	}
	w.node = &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: after(0)}}}}
	if a.tryDue(t.Context()); len(w.actions) != 0 {
		t.Error("completed although nothing was said of its node")
	}
	a.NodeReady("i-1")
	if a.tryDue(t.Context()); !slices.Equal(w.done, []string{"second"}) {
		t.Errorf("done %v, want the latest receipt", w.done)
	}
}
