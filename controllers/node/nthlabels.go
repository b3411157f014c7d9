// SPDX-License-Identifier: Apache-2.0

package node

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// NTHLabels are what the AWS Node Termination Handler labels a node with, besides when it did.
type NTHLabels struct {
	// Drains: the pods are evicted. Else the node is only cordoned.
	Drains bool
	// EventID is the id of the event, in the form of a label's value: see LabelValue.
	EventID string
}

// action returns the value of the label that says what is done.
func (l *NTHLabels) action() string {
	if l.Drains {
		return "cordon-and-drain"
	}
	return "cordon"
}

// areOn reports whether a node has these labels.
func (l *NTHLabels) areOn(node *corev1.Node) bool {
	_, timed := node.Labels[v1alpha1.LabelNTHActionTime]
	return timed && node.Labels[v1alpha1.LabelNTHAction] == l.action() && node.Labels[v1alpha1.LabelNTHEventID] == l.EventID
}

// setOn sets the labels, in memory. The time stays as long as they do.
func (l *NTHLabels) setOn(node *corev1.Node, now time.Time) {
	if l.areOn(node) {
		return
	}
	metav1.SetMetaDataLabel(&node.ObjectMeta, v1alpha1.LabelNTHAction, l.action())
	metav1.SetMetaDataLabel(&node.ObjectMeta, v1alpha1.LabelNTHActionTime, strconv.FormatInt(now.Unix(), 10))
	metav1.SetMetaDataLabel(&node.ObjectMeta, v1alpha1.LabelNTHEventID, l.EventID)
}

// removeNTHLabels removes the labels of the AWS Node Termination Handler, in memory.
func removeNTHLabels(node *corev1.Node) {
	for _, key := range []string{v1alpha1.LabelNTHAction, v1alpha1.LabelNTHActionTime, v1alpha1.LabelNTHEventID} {
		delete(node.Labels, key)
	}
}

// notInLabels finds what a label's value does not take.
var notInLabels = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// LabelValue returns a text as the value of a label or taint: other characters become hyphens, and it is cut.
func LabelValue(text string) string {
	text = notInLabels.ReplaceAllString(text, "-")
	text = strings.TrimLeft(text, "-_.")
	return strings.TrimRight(text[:min(len(text), validation.LabelValueMaxLength)], "-_.")
}
