// SPDX-License-Identifier: Apache-2.0

package manual

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

const (
	instance = "i-0abc1234def567890"
	uid      = types.UID("1e5527d7-bb36-4607-3370-4164db56a40e")
	before   = types.UID("00000000-bb36-4607-3370-4164db56a40e")
)

var t0 = time.Date(2026, 11, 22, 5, 8, 0, 0, time.UTC)

// node returns a Node with the annotation, or without it if there is no value.
func node(value ...string) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "a", UID: uid, CreationTimestamp: metav1.NewTime(t0)},
		Spec:       corev1.NodeSpec{ProviderID: "aws:///us-east-1a/" + instance},
	}
	if len(value) > 0 {
		metav1.SetMetaDataAnnotation(&n.ObjectMeta, v1alpha1.AnnotationDrain, strings.Join(value, ""))
	}
	return n
}

// request returns an event as it was stored in the first minute.
func request(node types.UID, n int, description string) v1alpha1.Event {
	return v1alpha1.Event{
		ID: idOf(node, n), Kind: v1alpha1.Manual, Source: v1alpha1.SourceManual, Time: metav1.NewTime(t0), Description: description, Cancelled: ptr.To(false),
	}
}

// cancelled returns what cancels an event, which is also the event after that.
func cancelled(e v1alpha1.Event) v1alpha1.Event {
	e.Cancelled = ptr.To(true)
	return e
}

func at(e v1alpha1.Event, when time.Time) v1alpha1.Event {
	e.Time = metav1.NewTime(when)
	return e
}

func termination(events ...v1alpha1.Event) *v1alpha1.NodeTermination {
	nt := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instance}}
	nt.Spec = v1alpha1.NodeTerminationSpec{InstanceID: instance, NodeName: "a", Events: events}
	return nt
}

func TestMissing(t *testing.T) {
	now := t0.Add(time.Hour)
	byHand := v1alpha1.Event{ID: "manual-1", Kind: v1alpha1.Manual, Source: v1alpha1.SourceManual, Time: metav1.NewTime(t0)}
	spot := v1alpha1.Event{ID: "1e5527d7-bb36-4607-3370-4164db56a40e", Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceSQS}
	named := func(nodeName string, nt *v1alpha1.NodeTermination) *v1alpha1.NodeTermination {
		nt.Spec.NodeName = nodeName // it has not moved yet
		return nt
	}
	old := request(uid, 1, "update") // as the version before wrote it
	old.Cancelled = nil
	long := strings.Repeat("é", 1025)
	type events = []v1alpha1.Event
	for name, test := range map[string]struct {
		node *corev1.Node
		nt   *v1alpha1.NodeTermination
		want events
	}{
		"no annotation, no events":                    {node: node()},
		"no annotation, other events":                 {node: node(), nt: termination(spot, byHand)},
		"annotated":                                   {node: node("update"), want: events{at(request(uid, 1, "update"), now)}},
		"annotated without a reason":                  {node: node(""), want: events{at(request(uid, 1, ""), now)}},
		"annotated at too great length":               {node: node(long), want: events{at(request(uid, 1, long[:2*1024]), now)}},
		"annotated, with other events":                {node: node("update"), nt: termination(spot, byHand), want: events{at(request(uid, 1, "update"), now)}},
		"annotated and stored":                        {node: node("update"), nt: termination(spot, request(uid, 1, "update"))},
		"annotated without a reason and stored":       {node: node(""), nt: termination(request(uid, 1, ""))},
		"annotated at too great length and stored":    {node: node(long), nt: termination(request(uid, 1, long[:2*1024]))},
		"another reason":                              {node: node("other"), nt: termination(request(uid, 1, "update")), want: events{request(uid, 1, "other")}},
		"no reason any more":                          {node: node(""), nt: termination(request(uid, 1, "update")), want: events{request(uid, 1, "")}},
		"removed":                                     {node: node(), nt: termination(spot, request(uid, 1, "update")), want: events{cancelled(request(uid, 1, "update"))}},
		"removed and cancelled":                       {node: node(), nt: termination(cancelled(request(uid, 1, "")))},
		"annotated again":                             {node: node("again"), nt: termination(cancelled(request(uid, 1, ""))), want: events{at(request(uid, 2, "again"), now)}},
		"annotated again and stored":                  {node: node("again"), nt: termination(cancelled(request(uid, 1, "")), request(uid, 2, "again"))},
		"annotated again, and the first was pruned":   {node: node("again"), nt: termination(request(uid, 2, "again"))},
		"annotated once more, and others were pruned": {node: node("once more"), nt: termination(cancelled(request(uid, 10, "")), cancelled(request(uid, 9, ""))), want: events{at(request(uid, 11, "once more"), now)}},
		"removed twice at once":                       {node: node(), nt: termination(request(uid, 1, ""), request(uid, 2, "")), want: events{cancelled(request(uid, 1, "")), cancelled(request(uid, 2, ""))}},
		"registered again":                            {node: node(), nt: termination(request(before, 3, "update")), want: events{cancelled(request(before, 3, "update"))}},
		"registered again, with the annotation":       {node: node("update"), nt: termination(request(before, 3, "update")), want: events{cancelled(request(before, 3, "update")), at(request(uid, 1, "update"), now)}},
		"registered again under another name":         {node: node("update"), nt: named("b", termination(request(before, 1, "update"))), want: events{cancelled(request(before, 1, "update")), at(request(uid, 1, "update"), now)}},
		"another name, and no annotation":             {node: node(), nt: named("b", termination(request(before, 1, "update"))), want: events{cancelled(request(before, 1, "update"))}},
		"stored by the version before":                {node: node("update"), nt: termination(old)},
		"annotated between two that were stored":      {node: node("x"), nt: termination(request(uid, 1, "x"), request(uid, 2, "x")), want: events{cancelled(request(uid, 1, "x"))}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, missing(test.node, test.nt, now)); diff != "" {
				t.Error(diff)
			}
			// What was stored is not missing any more, and a restart makes nothing of it.
			stored := test.nt
			if stored == nil {
				stored = termination()
			}
			apply(stored, missing(test.node, test.nt, now))
			if again := missing(test.node, stored, now.Add(time.Minute)); len(again) > 0 {
				t.Errorf("still missing once stored: %+v", again)
			}
		})
	}
}

// apply stores events as the API server does.
func apply(nt *v1alpha1.NodeTermination, events []v1alpha1.Event) {
next:
	for _, e := range events {
		for i := range nt.Spec.Events {
			known := &nt.Spec.Events[i]
			if known.ID == e.ID {
				*known = e
				continue next
			}
		}
		nt.Spec.Events = append(nt.Spec.Events, e)
	}
}

func TestParseID(t *testing.T) {
	if id := idOf(uid, 999_999_999); len(id) > 64 {
		t.Errorf("%s has %d characters", id, len(id))
	}
	for id, want := range map[string]int{
		idOf(uid, 1): 1, idOf(uid, 120): 120,
		"manual-1": 0, "manual-test-1": 0, string(uid): 0, idOf(uid, 0): 0, idOf(uid, 1) + "0000000000": 0, "x" + idOf(uid, 1): 0, "": 0,
	} {
		node, n, ok := parseID(id)
		if ok != (want > 0) || n != want || ok && node != uid {
			t.Errorf("%s: %s, %d, %v", id, node, n, ok)
		}
	}
}
