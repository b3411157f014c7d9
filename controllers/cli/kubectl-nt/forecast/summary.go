// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"fmt"
	"strings"
)

// Summary counts pods by what would become of them. A pod has one outcome, and any number of concerns.
type Summary struct {
	Pods         int `json:"pods"`
	LeaveInTime  int `json:"leaveInTime"`
	CutShort     int `json:"cutShort"`
	Blocked      int `json:"blocked"`
	Stay         int `json:"stay"`
	NotDrained   int `json:"notDrained"`
	ByAnnotation int `json:"blockedByAnnotation"`
	ByBudget     int `json:"blockedByBudget"`
	OnlyReplicas int `json:"onlyReadyReplicas"`
	ComeBack     int `json:"comeBack"`
	NowhereToGo  int `json:"nowhereToGo"`
}

// count counts the pods of a node.
func (n *NodeForecast) count() {
	sum := &n.Summary
	sum.Pods = len(n.Pods)
	outcomes := map[Outcome]*int{
		LeavesInTime: &sum.LeaveInTime, CutShort: &sum.CutShort, Blocked: &sum.Blocked, Stays: &sum.Stay, NotDrained: &sum.NotDrained,
	}
	concerns := map[ConcernType]*int{
		BlockedByAnnotation: &sum.ByAnnotation, BlockedByBudget: &sum.ByBudget,
		OnlyReadyReplica: &sum.OnlyReplicas, ComesBack: &sum.ComeBack, NowhereToGo: &sum.NowhereToGo,
	}
	for i := range n.Pods {
		*outcomes[n.Pods[i].Outcome]++
		for _, concern := range n.Pods[i].Concerns {
			*concerns[concern.Type]++
		}
	}
}

// add adds the pods of a node.
func (s *Summary) add(other *Summary) {
	s.Pods += other.Pods
	s.LeaveInTime += other.LeaveInTime
	s.CutShort += other.CutShort
	s.Blocked += other.Blocked
	s.Stay += other.Stay
	s.NotDrained += other.NotDrained
	s.ByAnnotation += other.ByAnnotation
	s.ByBudget += other.ByBudget
	s.OnlyReplicas += other.OnlyReplicas
	s.ComeBack += other.ComeBack
	s.NowhereToGo += other.NowhereToGo
}

// The conditions of --fail-on.
const (
	failOnCutShort = "cut-short"
	failOnBlocked  = "blocked"
	failOnDowntime = "downtime"
)

// failures returns which of the conditions hold, and for how many pods.
func (s *Summary) failures(conditions []string) []string {
	var failed []string
	for _, condition := range conditions {
		n := 0
		switch condition {
		case failOnCutShort:
			n = s.CutShort + s.NotDrained
		case failOnBlocked:
			n = s.Blocked + s.ByAnnotation
		case failOnDowntime:
			n = s.OnlyReplicas
		}
		if n > 0 {
			failed = append(failed, fmt.Sprintf("%s: %s", condition, plural(n, "pod")))
		}
	}
	return failed
}

// lines returns the summary for people: ten lines at most.
func (f *Forecast) lines() []string {
	how := "each by itself, while the others stay"
	if f.Together {
		how = "all at once"
	}
	s := &f.Summary
	lines := []string{fmt.Sprintf("%s with a notice of %s, %s: %s", plural(len(f.Nodes), "node"), seconds(f.NoticeSeconds), how, plural(s.Pods, "pod"))}
	parts := func(words ...string) {
		if text := strings.Join(nonEmpty(words), ", "); text != "" {
			lines = append(lines, "  "+text)
		}
	}
	parts(count(s.LeaveInTime, "leave in time"), count(s.Stay, "stay and end with the node"))
	parts(count(s.CutShort, "cut short"), count(s.Blocked, "still there when the node goes"), count(s.NotDrained, "not evicted, as nothing drains the node"))
	parts(count(s.ByAnnotation, "blocked by an annotation"), count(s.ByBudget, "blocked by a disruption budget at first"))
	parts(count(s.OnlyReplicas, "the only ready replica"), count(s.NowhereToGo, "with nowhere to go"), count(s.ComeBack, "may come back"))
	if len(f.Limits) > 0 {
		lines = append(lines, "Where this can err:")
	}
	const most = 10
	for i, limit := range f.Limits {
		if len(lines) == most-1 && i < len(f.Limits)-1 {
			return append(lines, fmt.Sprintf("  and %d more: see -o yaml", len(f.Limits)-i))
		}
		lines = append(lines, "  "+limit)
	}
	return lines
}

// count returns a number and what it is of; empty for none.
func count(n int, what string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d %s", n, what)
}

// nonEmpty returns the words that are not empty.
func nonEmpty(words []string) []string {
	var some []string
	for _, word := range words {
		if word != "" {
			some = append(some, word)
		}
	}
	return some
}

// plural returns a number with a noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
