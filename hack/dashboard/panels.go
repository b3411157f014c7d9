// SPDX-License-Identifier: Apache-2.0

package main

// row is a row of panels, which share its width.
type row struct {
	title  string
	panels []panel
}

// panel answers one question.
type panel struct {
	title, about, unit string
	queries            []query
	// number: it is one number rather than lines over time. From turns on it is red, or
	// green if what is less is bad.
	number   bool
	turns    float64
	badBelow bool
}

// query is what to ask Prometheus, and what the lines are called.
type query struct{ expr, legend string }

// Only the leader reports gauges. While the leader changes two replicas may report them,
// and the greater number is the safer one.
var rows = []row{
	{"At a glance", []panel{
		{
			title: "Leader", about: "Replicas that are the leader. If this is not 1 for more than ten seconds: kubectl -n node-termination-system get pods",
			unit: "short", number: true, turns: 1, badBelow: true,
			queries: []query{{`sum(node_termination_leader{job="$job"})`, ""}},
		},
		{
			title: "Sources that are down", about: "kubectl describe ntp shows why.",
			unit: "short", number: true, turns: 1,
			queries: []query{{`count(max by (policy, source) (node_termination_source_up{job="$job"}) == 0) or vector(0)`, ""}},
		},
		{
			title: "Drains past their deadline", about: "Instances that AWS may have terminated with pods on them: kubectl get nt",
			unit: "short", number: true, turns: 1,
			queries: []query{{`max(node_termination_drains_overdue{job="$job"})`, ""}},
		},
		{
			title: "Blocked pods", about: "Pods to evict that a disruption budget or an annotation blocks. kubectl get nt names the nodes, kubectl describe nt the pods.",
			unit: "short", number: true, turns: 1,
			queries: []query{{`max(node_termination_blocked_pods{job="$job"})`, ""}},
		},
		{
			title: "Pods cut short", about: "Pods that were evicted or deleted with less than they are entitled to, in the time range shown.",
			unit: "short", number: true, turns: 1,
			queries: []query{{`sum(increase(node_termination_pods_cut_short_total{job="$job"}[$__range]))`, ""}},
		},
		{
			title: "Failing hooks", about: "Lifecycle hooks that wait, and whose last call to Auto Scaling failed. kubectl describe nt shows why.",
			unit: "short", number: true, turns: 1,
			queries: []query{{`max(node_termination_lifecycle_hooks_failing{job="$job"})`, ""}},
		},
	}},
	{"Time left", []panel{
		{
			title: "Margin at drained", about: "Time left before the deadline when the last pod of a node was gone: 95 % of nodes had at least p5, half of them at least p50. Below zero is after the deadline.",
			unit: "s",
			queries: []query{
				{`histogram_quantile(0.05, sum by (le, kind) (increase(node_termination_margin_at_drained_seconds_bucket{job="$job"}[$__rate_interval])))`, "{{kind}} p5"},
				{`histogram_quantile(0.5, sum by (le, kind) (increase(node_termination_margin_at_drained_seconds_bucket{job="$job"}[$__rate_interval])))`, "{{kind}} p50"},
			},
		},
		{
			title: "Time to cordon", about: "From when a NodeTermination was stored to the cordon of its node.",
			unit: "s",
			queries: []query{
				{`histogram_quantile(0.5, sum by (le) (rate(node_termination_time_to_cordon_seconds_bucket{job="$job"}[$__rate_interval])))`, "p50"},
				{`histogram_quantile(0.95, sum by (le) (rate(node_termination_time_to_cordon_seconds_bucket{job="$job"}[$__rate_interval])))`, "p95"},
			},
		},
		{
			title: "Time to drained", about: "From when a drain was due to the end of the node's last pod.",
			unit: "s",
			queries: []query{
				{`histogram_quantile(0.5, sum by (le, kind) (rate(node_termination_time_to_drained_seconds_bucket{job="$job"}[$__rate_interval])))`, "{{kind}} p50"},
				{`histogram_quantile(0.95, sum by (le, kind) (rate(node_termination_time_to_drained_seconds_bucket{job="$job"}[$__rate_interval])))`, "{{kind}} p95"},
			},
		},
	}},
	{"Terminations", []panel{
		{
			title: "Events received", about: "Events about nodes, by kind and source.",
			unit:    "short",
			queries: []query{{`sum by (kind, source) (increase(node_termination_events_total{job="$job"}[$__rate_interval])) > 0`, "{{kind}} {{source}}"}},
		},
		{
			title: "NodeTerminations", about: "By state, as kubectl get nt shows it. Finished ones are kept for a while.",
			unit:    "short",
			queries: []query{{`max by (state) (node_termination_terminations{job="$job"}) > 0`, "{{state}}"}},
		},
		{
			title: "Finished", about: "By final state. Failed: pods remained.",
			unit:    "short",
			queries: []query{{`sum by (state) (increase(node_termination_ended_total{job="$job"}[$__rate_interval])) > 0`, "{{state}}"}},
		},
	}},
	{"Pods", []panel{
		{
			title: "Requests to evict", about: "By result. Many that are blocked can be retries for one pod.",
			unit:    "reqps",
			queries: []query{{`sum by (result) (rate(node_termination_evictions_total{job="$job"}[$__rate_interval])) > 0`, "{{result}}"}},
		},
		{
			title: "Blocked now", about: "Pods that a disruption budget or an annotation blocks.",
			unit:    "short",
			queries: []query{{`max(node_termination_blocked_pods{job="$job"})`, "pods"}},
		},
		{
			title: "Cut short", about: "Why pods had less than they are entitled to: budget (deleted past one), refused, or grace.",
			unit:    "short",
			queries: []query{{`sum by (why) (increase(node_termination_pods_cut_short_total{job="$job"}[$__rate_interval]))`, "{{why}}"}},
		},
	}},
	{"Queues", []panel{
		{
			title: "Queue lag", about: "From when a message was sent to when all its events were stored.",
			unit: "s",
			queries: []query{
				{`histogram_quantile(0.5, sum by (le) (rate(node_termination_queue_lag_seconds_bucket{job="$job"}[$__rate_interval])))`, "p50"},
				{`histogram_quantile(0.95, sum by (le) (rate(node_termination_queue_lag_seconds_bucket{job="$job"}[$__rate_interval])))`, "p95"},
			},
		},
		{
			title: "Messages", about: "By outcome.",
			unit:    "short",
			queries: []query{{`sum by (outcome) (increase(node_termination_queue_messages_total{job="$job"}[$__rate_interval])) > 0`, "{{outcome}}"}},
		},
		{
			title: "Sources", about: "1: up. 0: down, kubectl describe ntp shows why.",
			unit:    "short",
			queries: []query{{`max by (policy, source) (node_termination_source_up{job="$job"})`, "{{policy}} {{source}}"}},
		},
	}},
	{"Lifecycle hooks and webhooks", []panel{
		{
			title: "Lifecycle hooks", about: "Calls to Auto Scaling by call and result.",
			unit:    "short",
			queries: []query{{`sum by (call, result) (increase(node_termination_lifecycle_hook_calls_total{job="$job"}[$__rate_interval])) > 0`, "{{call}} {{result}}"}},
		},
		{
			title: "Webhooks", about: "Attempts to deliver, by result.",
			unit:    "short",
			queries: []query{{`sum by (result) (increase(node_termination_webhook_deliveries_total{job="$job"}[$__rate_interval])) > 0`, "{{result}}"}},
		},
	}},
}
