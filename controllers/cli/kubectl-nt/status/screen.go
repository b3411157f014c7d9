// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/cli"
)

// width is how long a line may be.
const width = 80

// screen returns what is shown: policies, then terminations, then what to do.
func screen(policies []v1alpha1.NodeTerminationPolicy, terminations []v1alpha1.NodeTermination, now time.Time) []string {
	lines, todo := policyLines(policies)
	active, more := terminationLines(terminations, now)
	lines = append(append(lines, ""), active...)
	if todo = append(todo, more...); len(todo) > 0 {
		lines = append(lines, "", "To do:")
		for _, what := range todo {
			lines = append(lines, wrap("  ", what)...)
		}
	}
	return lines
}

// policyLines returns a line for each source of each policy, and what to do.
func policyLines(policies []v1alpha1.NodeTerminationPolicy) (lines, todo []string) {
	if len(policies) == 0 {
		return []string{"No policies: nothing is received, and nothing is done."}, []string{"create a NodeTerminationPolicy: see the samples in config/samples"}
	}
	rows := [][]string{{"POLICY", "MODE", "NODES", "ACTIVE", "SOURCE", "STATE", "WATCHERS"}}
	for i := range policies {
		p := &policies[i]
		mode := string(cmp.Or(p.Spec.Mode, v1alpha1.ModeEnforce))
		if p.Spec.Suspended() {
			mode = "Suspended"
			todo = append(todo, fmt.Sprintf("policy %s is suspended: kubectl nt resume --policy %s", p.Name, p.Name))
		}
		first := []string{p.Name, mode, count(p.Status.Nodes), count(p.Status.ActiveTerminations)}
		for j := range p.Spec.Sources {
			source := sourceStatus(p, p.Spec.Sources[j].Name)
			state := cmp.Or(source.Reason, "Unknown")
			watchers := ""
			if source.WatchersDesired != nil {
				watchers = fmt.Sprintf("%d/%d", ptr.Deref(source.WatchersReady, 0), *source.WatchersDesired)
			}
			rows = append(rows, append(first, p.Spec.Sources[j].Name, state, watchers))
			first = []string{"", "", "", ""}
			if !ptr.Deref(source.Ready, false) {
				todo = append(todo, fmt.Sprintf("source %s of policy %s: %s", p.Spec.Sources[j].Name, p.Name, cmp.Or(source.Message, "the operator has not looked at it yet: is it running?")))
			}
		}
		for _, condition := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionTooManyUnhealthy} {
			c := meta.FindStatusCondition(p.Status.Conditions, condition)
			bad := c != nil && (c.Status == metav1.ConditionTrue) == (condition == v1alpha1.ConditionTooManyUnhealthy)
			if bad && !slices.ContainsFunc(todo, func(what string) bool { return strings.HasSuffix(what, c.Message) }) {
				todo = append(todo, fmt.Sprintf("policy %s: %s", p.Name, c.Message))
			}
		}
	}
	return table(rows), todo
}

// sourceStatus returns the status of a source; an empty one if there is none yet.
func sourceStatus(p *v1alpha1.NodeTerminationPolicy, name string) v1alpha1.SourceStatus {
	for _, source := range p.Status.Sources {
		if source.Name == name {
			return source
		}
	}
	return v1alpha1.SourceStatus{}
}

// isOver reports whether nothing more is done about a termination.
func isOver(nt *v1alpha1.NodeTermination) bool {
	state, _ := cli.State(nt)
	return state == v1alpha1.StateCompleted || state == v1alpha1.StateCancelled || state == v1alpha1.StateIgnored
}

// terminationLines returns a line for each termination that is not over, the most urgent first, and what to do.
func terminationLines(all []v1alpha1.NodeTermination, now time.Time) (lines, todo []string) {
	active := slices.DeleteFunc(slices.Clone(all), func(nt v1alpha1.NodeTermination) bool { return isOver(&nt) })
	if len(active) == 0 {
		return []string{fmt.Sprintf("No termination is under way; %d are over.", len(all))}, nil
	}
	slices.SortFunc(active, func(a, b v1alpha1.NodeTermination) int {
		return cmp.Or(urgency(&a).Compare(urgency(&b)), cmp.Compare(a.Name, b.Name))
	})
	rows := [][]string{{"NODE", "EVENT", "STATE", "PODS", "BLOCKED", "LEFT"}}
	for i := range active {
		nt := &active[i]
		state, message := cli.State(nt)
		pods, blocked := "", ""
		if nt.Status.Pods != nil {
			pods, blocked = nt.Status.Pods.Summary, count(nt.Status.Pods.Blocked)
		}
		rows = append(rows, []string{nt.Spec.NodeName, string(nt.Status.Cause), state, pods, blocked, left(nt, now)})
		for j := range nt.Status.Blocked {
			pod := &nt.Status.Blocked[j]
			todo = append(todo, fmt.Sprintf("pod %s/%s on %s: %s", pod.Namespace, pod.Name, nt.Spec.NodeName, pod.Reason))
		}
		switch {
		case state == v1alpha1.StateSuspended:
			todo = append(todo, fmt.Sprintf("%s is suspended: %s: kubectl nt resume %s", nt.Spec.NodeName, message, nt.Name))
		case slices.Contains([]string{v1alpha1.StateFailed, v1alpha1.StateNoPolicy, v1alpha1.StatePolicyGone, v1alpha1.StateRefused, "Unknown"}, state):
			todo = append(todo, fmt.Sprintf("%s: %s", nt.Spec.NodeName, message))
		}
	}
	return table(rows), todo
}

// urgency returns the deadline of a termination; one far away if it has none.
func urgency(nt *v1alpha1.NodeTermination) time.Time {
	if nt.Status.Deadline != nil {
		return nt.Status.Deadline.Time
	}
	return nt.CreationTimestamp.AddDate(100, 0, 0)
}

// left returns how long there is until the deadline.
func left(nt *v1alpha1.NodeTermination, now time.Time) string {
	if nt.Status.Deadline == nil {
		return ""
	}
	if d := nt.Status.Deadline.Sub(now).Round(time.Second); d >= 0 {
		return d.String()
	}
	return "passed"
}

// count returns a number for people; "-" if it is not known.
func count(n *int32) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

// table returns rows with their columns under each other, none wider than the screen.
func table(rows [][]string) []string {
	var text strings.Builder
	w := printers.GetNewTabWriter(&text)
	for _, row := range rows {
		_, _ = fmt.Fprintln(w, strings.Join(row, "\t")) // a strings.Builder does not fail
	}
	_ = w.Flush()
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	for i, line := range lines {
		lines[i] = cut(strings.TrimRight(line, " "))
	}
	return lines
}

// cut returns a line that is not wider than the screen.
func cut(line string) string {
	if characters := []rune(line); len(characters) > width {
		return string(characters[:width-1]) + "…"
	}
	return line
}

// wrap returns a text in lines that are not wider than the screen, each after an indent.
func wrap(indent, text string) []string {
	var lines []string
	line := indent
	for word := range strings.FieldsSeq(text) {
		if len([]rune(line))+1+len([]rune(word)) > width && strings.TrimSpace(line) != "" {
			lines = append(lines, line)
			line = indent + "  "
		} else if strings.TrimSpace(line) != "" {
			line += " "
		}
		line += word
	}
	return append(lines, cut(line))
}
