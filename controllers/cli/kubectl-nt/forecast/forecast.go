// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nodetermination/operator/controllers/drain"
)

// Outcome is what becomes of a pod when its node goes away.
type Outcome string

// The outcomes of a pod.
const (
	// LeavesInTime: it is evicted, with all of its grace period.
	LeavesInTime Outcome = "LeavesInTime"
	// CutShort: it gets less than its grace period, or is deleted past a disruption budget.
	CutShort Outcome = "CutShort"
	// Blocked: it is still there when the node goes away.
	Blocked Outcome = "Blocked"
	// Stays: it is not evicted, as a pod of a DaemonSet, and ends with the node.
	Stays Outcome = "Stays"
	// NotDrained: nothing evicts the pods of its node, and it ends with the node.
	NotDrained Outcome = "NotDrained"
)

// ConcernType is something about a pod that is worth knowing, whatever its outcome.
type ConcernType string

// What is worth knowing about a pod.
const (
	// BlockedByAnnotation: an annotation keeps it for a while, or until the end.
	BlockedByAnnotation ConcernType = "BlockedByAnnotation"
	// BlockedByBudget: a disruption budget keeps it for a while, or until the end.
	BlockedByBudget ConcernType = "BlockedByBudget"
	// OnlyReadyReplica: without it no pod of its controller is ready, or nobody replaces it.
	OnlyReadyReplica ConcernType = "OnlyReadyReplica"
	// ComesBack: it tolerates the cordon.
	ComesBack ConcernType = "ComesBack"
	// NowhereToGo: it fits on no other node.
	NowhereToGo ConcernType = "NowhereToGo"
)

// Forecast is what would become of nodes and their pods.
type Forecast struct {
	metav1.TypeMeta `json:",inline"`
	// NoticeSeconds is how long before they go away the nodes get their notice.
	NoticeSeconds int64 `json:"noticeSeconds"`
	// Together: all at once. Else each by itself, while the others stay.
	Together bool `json:"together"`
	// ReadyAfterSeconds is how long a pod that replaces another one is assumed to take to be ready.
	ReadyAfterSeconds int64 `json:"readyAfterSeconds"`
	// Nodes are those that go away, by name.
	Nodes []NodeForecast `json:"nodes"`
	// Summary counts pods.
	Summary Summary `json:"summary"`
	// Limits say where the forecast can err.
	Limits []string `json:"limits"`
}

// NodeForecast is what would become of a node.
type NodeForecast struct {
	Name       string `json:"name"`
	InstanceID string `json:"instanceID,omitempty"`
	// Policy governs the node, in this mode. Empty: none does.
	Policy string `json:"policy,omitempty"`
	Mode   string `json:"mode,omitempty"`
	// Reason is why its pods are not evicted, or what else is to be known about the node.
	Reason  string        `json:"reason,omitempty"`
	Summary Summary       `json:"summary"`
	Pods    []PodForecast `json:"pods"`
}

// PodForecast is what would become of a pod.
type PodForecast struct {
	Namespace string  `json:"namespace"`
	Name      string  `json:"name"`
	Outcome   Outcome `json:"outcome"`
	// Reason is why, where the outcome does not say it.
	Reason string `json:"reason,omitempty"`
	// EvictedAfterSeconds and GoneAfterSeconds count from the notice.
	EvictedAfterSeconds *int64 `json:"evictedAfterSeconds,omitempty"`
	GoneAfterSeconds    *int64 `json:"goneAfterSeconds,omitempty"`
	// GracePeriodSeconds is what the pod gets, of the OwnGracePeriodSeconds that it has.
	GracePeriodSeconds    *int64    `json:"gracePeriodSeconds,omitempty"`
	OwnGracePeriodSeconds int64     `json:"ownGracePeriodSeconds"`
	Concerns              []Concern `json:"concerns,omitempty"`
}

// Concern is something about a pod that is worth knowing.
type Concern struct {
	Type    ConcernType `json:"type"`
	Message string      `json:"message"`
}

// DeepCopyObject implements runtime.Object, for printers. They change nothing.
func (f *Forecast) DeepCopyObject() runtime.Object {
	same := *f
	return &same
}

// add notes a concern; a later one of the same type replaces it.
func (p *PodForecast) add(concern ConcernType, message string) {
	for i := range p.Concerns {
		if p.Concerns[i].Type == concern {
			p.Concerns[i].Message = message
			return
		}
	}
	p.Concerns = append(p.Concerns, Concern{concern, message})
}

// evicted notes that the pod is evicted or deleted, how long after the notice, and until when it shuts down.
func (p *PodForecast) evicted(after, gone time.Duration, given int64) {
	if p.Outcome != CutShort {
		p.Outcome = LeavesInTime
	}
	evictedAfter, goneAfter := int64(after/time.Second), int64(gone/time.Second)
	if p.EvictedAfterSeconds == nil {
		p.EvictedAfterSeconds = &evictedAfter
	}
	p.GoneAfterSeconds, p.GracePeriodSeconds = &goneAfter, &given
}

// cutShort notes that an action gives the pod less than it is entitled to.
func (p *PodForecast) cutShort(action *drain.Action, given int64, after time.Duration) {
	p.Outcome, p.Reason = CutShort, ""
	if action.Overrides.Kind != "" {
		p.Reason = fmt.Sprintf("deleted after %s past %s", after.Round(time.Second), action.Overrides.Reason)
	}
	if given < action.Entitled {
		if p.Reason != "" {
			p.Reason += ", "
		}
		p.Reason += fmt.Sprintf("gets %d of its %d seconds", given, action.Entitled)
	}
}

// request is what a forecast is asked for.
type request struct {
	assumptions
	// nodes go away, all together or each by itself.
	nodes    []*node
	together bool
	// governs returns the policy that governs a node.
	governs func(*node) governance
}

// newForecast returns what becomes of the nodes that a request names.
func newForecast(s *snapshot, r *request) *Forecast {
	f := &Forecast{
		TypeMeta:      metav1.TypeMeta{APIVersion: "cli.nodetermination.dev/v1alpha1", Kind: "Forecast"},
		NoticeSeconds: int64(r.notice / time.Second), ReadyAfterSeconds: int64(r.readyAfter / time.Second),
		Together: r.together, Nodes: make([]NodeForecast, len(r.nodes)),
	}
	budgets, places := drain.NewBudgets(s.budgets), newPlaces(s.sortedNodes())
	forecast := func(first, last int) {
		sim := &simulation{assumptions: &r.assumptions, budgets: budgets, places: places, ready: s.ready, changedReady: map[string]int{}}
		places.reset(r.nodes[first:last])
		for i := first; i < last; i++ {
			f.Nodes[i] = sim.begin(r.nodes[i], r.governs(r.nodes[i]))
		}
		sim.run()
	}
	if r.together {
		forecast(0, len(r.nodes))
	} else {
		for i := range r.nodes {
			forecast(i, i+1)
		}
	}
	places.reset(nil)
	for i := range f.Nodes {
		f.Nodes[i].count()
		f.Summary.add(&f.Nodes[i].Summary)
	}
	f.Limits = limits(s, r)
	return f
}

// begin begins the drain of a node, and returns its forecast, whose pods the simulation completes.
func (s *simulation) begin(n *node, g governance) NodeForecast {
	f := NodeForecast{Name: n.Name, InstanceID: g.instanceID, Reason: g.reason, Pods: make([]PodForecast, len(n.pods))}
	if g.policy != nil {
		f.Policy, f.Mode = g.policy.Name, string(g.mode())
	}
	d := &nodeDrain{node: n, fates: map[*pod]*PodForecast{}, starts: s.now, drains: g.drains}
	d.input = drain.Input{Deadline: s.deadline(), Earliest: s.now, Blockers: map[types.UID]drain.Blocker{}, Own: isOwn}
	if g.policy != nil {
		d.input.Drain = g.policy.Spec.Drain
		if lead, found := g.policy.Spec.StartBefore(s.kind); found && lead < s.notice {
			d.starts = s.deadline().Add(-lead)
			d.input.Earliest = d.starts
		}
		d.starts = d.starts.Add(g.policy.Spec.LoadBalancerWait(s.deadline().Sub(d.starts)))
	}
	d.input.Started = d.starts
	for i, original := range n.pods {
		p := *original
		fate := &f.Pods[i]
		*fate = PodForecast{Namespace: p.Namespace, Name: p.Name, OwnGracePeriodSeconds: p.GracePeriodSeconds}
		if why := drain.KeptBecause(&p.Pod, d.input.Drain); why != "" {
			fate.Outcome, fate.Reason = Stays, why
			continue
		}
		d.fates[&p] = fate
		d.left = append(d.left, &p)
		if p.Terminating() {
			fate.Outcome, fate.Reason = LeavesInTime, "is terminating already"
			s.due = append(s.due, dueChange{at: later(p.DeletionTimestamp, s.now), drain: d, pod: &p})
		}
	}
	s.drains = append(s.drains, d)
	return f
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
