// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"k8s.io/cli-runtime/pkg/printers"
)

// print prints the forecast for people: the nodes, the pods that do not simply leave or stay, or with
// wide all of them, and the summary.
func (f *Forecast) print(out io.Writer, wide bool) error {
	nodes := [][]string{{"NODE", "POLICY", "PODS", "IN TIME", "CUT SHORT", "BLOCKED", "ONLY REPLICA", "NOWHERE"}}
	pods := [][]string{{"NODE", "NAMESPACE", "POD", "OUTCOME", "WHY"}}
	if wide {
		nodes[0] = append(nodes[0], "INSTANCE", "NOTE")
		pods[0] = []string{"NODE", "NAMESPACE", "POD", "OUTCOME", "EVICTED", "GONE", "GRACE", "WHY"}
	}
	var notes []string
	for i := range f.Nodes {
		n := &f.Nodes[i]
		nodes = append(nodes, n.row(wide))
		for j := range n.Pods {
			if wide || n.Pods[j].isNotable() {
				pods = append(pods, n.Pods[j].row(n.Name, wide))
			}
		}
		if n.Reason != "" && !wide {
			notes = append(notes, n.Reason)
		}
	}
	var text strings.Builder
	table(&text, nodes)
	if len(pods) > 1 {
		text.WriteByte('\n')
		table(&text, pods)
	}
	text.WriteByte('\n')
	for _, note := range frequent(notes) {
		text.WriteString(note + "\n")
	}
	for _, line := range f.lines() {
		text.WriteString(line + "\n")
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// frequent returns each note once, in the order of the first, with how many nodes it is about.
func frequent(notes []string) []string {
	times := map[string]int{}
	var each []string
	for _, note := range notes {
		if times[note]++; times[note] == 1 {
			each = append(each, note)
		}
	}
	for i, note := range each {
		each[i] = plural(times[note], "node") + ": " + note
	}
	const most = 5
	if len(each) > most {
		return append(each[:most], "and more: see -o wide")
	}
	return each
}

// table prints rows with their columns under each other.
func table(out io.Writer, rows [][]string) {
	w := printers.GetNewTabWriter(out)
	for _, row := range rows {
		_, _ = fmt.Fprintln(w, strings.Join(row, "\t")) // a strings.Builder does not fail
	}
	_ = w.Flush()
}

// row returns the line of a node.
func (n *NodeForecast) row(wide bool) []string {
	s := &n.Summary
	row := []string{n.Name, cmp.Or(n.Policy, "<none>")}
	for _, number := range []int{s.Pods, s.LeaveInTime, s.CutShort + s.NotDrained, s.Blocked + s.ByAnnotation, s.OnlyReplicas, s.NowhereToGo} {
		row = append(row, strconv.Itoa(number))
	}
	if wide {
		row = append(row, cmp.Or(n.InstanceID, "<none>"), n.Reason)
	}
	return row
}

// isNotable reports whether there is more to say of a pod than that it leaves or stays.
func (p *PodForecast) isNotable() bool {
	return len(p.Concerns) > 0 || p.Outcome != LeavesInTime && p.Outcome != Stays
}

// row returns the line of a pod.
func (p *PodForecast) row(node string, wide bool) []string {
	row := []string{node, p.Namespace, p.Name, string(p.Outcome)}
	if wide {
		grace := strconv.FormatInt(p.OwnGracePeriodSeconds, 10) + "s"
		if given := p.GracePeriodSeconds; given != nil && *given != p.OwnGracePeriodSeconds {
			grace = fmt.Sprintf("%ds of %s", *given, grace)
		}
		row = append(row, after(p.EvictedAfterSeconds), after(p.GoneAfterSeconds), grace)
	}
	why := []string{p.Reason}
	for _, concern := range p.Concerns {
		if !strings.Contains(p.Reason, concern.Message) {
			why = append(why, concern.Message)
		}
	}
	return append(row, strings.Join(nonEmpty(why), "; "))
}

// after returns how long after the notice something happens.
func after(n *int64) string {
	if n == nil {
		return ""
	}
	return "+" + seconds(*n)
}

// seconds returns a duration without parts that are zero.
func seconds(n int64) string {
	text := (time.Duration(n) * time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
