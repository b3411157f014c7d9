// SPDX-License-Identifier: Apache-2.0

package manual

import (
	"fmt"
	"regexp"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// maxDescription is how many characters an event's description takes.
const maxDescription = 1024

// eventID matches the ID of the n-th request to drain a node. Events that people write
// into a NodeTermination by hand have other IDs, and are not changed.
var eventID = regexp.MustCompile(`^manual-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-([1-9][0-9]{0,8})$`)

// idOf returns the ID of the n-th request to drain a node.
func idOf(node types.UID, n int) string {
	return fmt.Sprintf("manual-%s-%d", node, n)
}

// parseID returns what idOf has made an ID of; false for the ID of any other event.
func parseID(id string) (node types.UID, n int, ok bool) {
	match := eventID.FindStringSubmatch(id)
	if match == nil {
		return "", 0, false
	}
	n, err := strconv.Atoi(match[2])
	return types.UID(match[1]), n, err == nil
}

// missing returns the events to store, so that the NodeTermination of a node's
// instance, nil if there is none, agrees with the node's annotation.
//
// Of the node's own events the last one stands for the annotation, unless it was
// cancelled: then the annotation was removed since and is another request. All others
// are to be cancelled, also those of a Node object that the instance had before, by
// whatever name.
func missing(node *corev1.Node, nt *v1alpha1.NodeTermination, now time.Time) []v1alpha1.Event {
	reason, annotated := node.Annotations[v1alpha1.AnnotationDrain]
	var last int
	var active []v1alpha1.Event // not cancelled
	if nt != nil {
		for _, e := range nt.Spec.Events {
			uid, n, ours := parseID(e.ID)
			if !ours {
				continue
			}
			if uid == node.UID {
				last = max(last, n)
			}
			if !ptr.Deref(e.Cancelled, false) {
				active = append(active, e)
			}
		}
	}
	request := v1alpha1.Event{
		ID: idOf(node.UID, last+1), Kind: v1alpha1.Manual, Source: v1alpha1.SourceManual,
		Time: metav1.NewTime(now.UTC().Truncate(time.Second)), Description: cut(reason),
		Cancelled: ptr.To(false),
	}
	known := false
	var events []v1alpha1.Event
	for _, e := range active {
		if annotated && e.ID == idOf(node.UID, last) {
			known = e.Description == request.Description
			request.ID, request.Time = e.ID, e.Time
			continue
		}
		e.Cancelled = ptr.To(true)
		events = append(events, e)
	}
	if annotated && !known {
		events = append(events, request)
	}
	return events
}

// cut cuts a text to what a description takes.
func cut(text string) string {
	characters := []rune(text)
	return string(characters[:min(len(characters), maxDescription)])
}
