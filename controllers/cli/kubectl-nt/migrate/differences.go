// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"strings"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// noteOptions notes what becomes of options without a counterpart that somebody has set.
func (s *settings) noteOptions() {
	reads := imds
	if s.hasQueue() {
		reads = queue
	}
	for i := range options {
		o := &options[i]
		if !s.changed(o.key) || strings.HasPrefix(s.set[o.key].from, "spec.") && o.reads != both {
			continue
		}
		switch {
		case o.reads != both && o.reads != reads:
			s.notes.add(same, s.written(o.key), "NTH does not read it "+map[mode]string{imds: "in IMDS mode", queue: "with a queue"}[reads])
		case o.same:
			s.notes.add(same, s.written(o.key), o.advice)
		case o.advice != "":
			s.notes.add(dropped, s.written(o.key), o.advice)
		}
	}
	if s.hasQueue() {
		s.noteIfChanged("resources", "the manager needs less than NTH: its own resources stay; set resources to change them")
		s.noteIfChanged("prometheusServerPort", "the manager serves metrics on port 8443, with TLS; --metrics-bind-address among its args changes that")
	}
	if s.text("webhookURL")+s.text("webhookURLSecretName") == "" {
		for _, key := range []string{"webhookHeaders", "webhookProxy", "webhookTemplate", "webhookTemplateConfigMapName", "webhookTemplateConfigMapKey", "WEBHOOK_TEMPLATE_FILE"} {
			s.noteUnused(key, "webhookURL is not set, so nothing is sent")
		}
	} else if (s.text("webhookTemplateConfigMapName") == "") != (s.text("webhookTemplateConfigMapKey") == "") {
		for _, key := range []string{"webhookTemplateConfigMapName", "webhookTemplateConfigMapKey"} {
			s.noteUnused(key, "NTH reads a template from a ConfigMap only if both its name and its key are set")
		}
	}
	if !s.boolean("taintNode") {
		s.noteUnused("TAINT_EFFECT", "taintNode is not set, so there is no taint")
	}
	if !s.boolean("emitKubernetesEvents") {
		s.noteUnused("kubernetesEventsExtraAnnotations", "emitKubernetesEvents is not set, so there are no events")
	}
	if !s.boolean("enablePrometheusServer") && !s.hasQueue() {
		s.noteUnused("prometheusServerPort", "enablePrometheusServer is not set, so watchers serve no metrics")
	}
	if s.hasQueue() && !s.boolean("checkTagBeforeDraining") {
		s.noteUnused("checkTagBeforeDraining", "there is no instanceTag: every instance counts, as by default here")
		s.noteUnused("managedTag", "checkTagBeforeDraining is false, so no tag is looked for")
	}
}

func (s *settings) noteIfChanged(key, text string) {
	if s.changed(key) {
		s.notes.add(dropped, s.written(key), text)
	}
}

func (s *settings) noteUnused(key, text string) {
	if s.changed(key) {
		s.notes.add(same, s.written(key), text)
	}
}

// noteDifferences notes what is different here although no option is, as far as it concerns these settings.
func (s *settings) noteDifferences() {
	if s.hasQueue() {
		s.noteQueue()
	} else {
		s.notes.add(differs, "lifecycle hooks", "NTH completes none in IMDS mode; the manager does, if its AWS identity may: leave those that others complete to them, with lifecycleHook.names or .ignore. Without AWS permissions no hook is completed, and the state stays Completing: with action Ignore for AutoScalingTermination nothing is tried")
	}
	if s.boolean("taintNode") {
		s.notes.add(differs, s.says("taintNode"), "keys and values of the taint are NTH's, so that tolerations and alerts go on working; without node.taint.key they are this operator's")
	}
	if s.boolean("enableOutOfServiceTaint") {
		s.notes.add(differs, s.says("enableOutOfServiceTaint"), "the taint is set when EC2 says that the instance has stopped, not after each drain. The manager needs ec2:DescribeInstances")
	}
	if s.boolean("enablePrometheusServer") {
		s.notes.add(differs, s.says("enablePrometheusServer"), "the names and labels of metrics are others: docs/metrics.md has them, config/prometheus the alerts and a dashboard. Instead of NTH's actions count node_termination_ended_total, instead of its events_error alert on node_termination_drains_overdue and node_termination_source_up")
	}
	if s.boolean("emitKubernetesEvents") {
		s.notes.add(differs, s.says("emitKubernetesEvents"), "reasons are others: docs/kubernetes-events.md names the one of NTH beside each")
	}
	if s.boolean("cordonOnly") {
		s.notes.add(differs, s.says("cordonOnly"), "lifecycle hooks are completed only after a drain, so those of cordoned nodes are left to their timeout. The annotation nodetermination.dev/drain only cordons too")
	} else {
		s.notes.add(differs, "disruption budgets", "pods that one still blocks shortly before a hard deadline are deleted, so that they get SIGTERM; NTH leaves them to the end of the instance: so does drain.blockedPods: {action: Wait}")
		s.notes.add(differs, "scheduled maintenance", "the node is cordoned as soon as it is announced, and drained startBeforeSeconds before; with a queue NTH drains at once. Leave startBeforeSeconds out to drain a day before")
	}
	if action, _ := s.rebalance(); action == v1alpha1.ActionCordon {
		s.notes.add(differs, "rebalance recommendations", "the cordon is lifted after an hour if nothing followed; NTH leaves it. uncordonAfterSeconds changes that")
	}
}

// noteQueue notes what is different with a queue.
func (s *settings) noteQueue() {
	s.notes.add(todo, "the queue", "never have NTH and this operator read one queue: each would miss what the other receives. For a dry run beside NTH make a second queue with rules of its own (config/aws)")
	s.notes.add(todo, "AWS permissions", "give the manager those of config/aws/iam-policy.json: sqs:ChangeMessageVisibility, sqs:GetQueueAttributes, autoscaling:RecordLifecycleActionHeartbeat and autoscaling:DescribeLifecycleHooks are not among NTH's")
	s.notes.add(differs, "launch hooks", "NTH completes the hook of every instance whose launch it receives; here name those in lifecycleHook.adopt")
	s.notes.add(differs, "lifecycle hooks", "those that EKS completes itself, Launch-LC-Hook and Terminate-LC-Hook, are left to it: lifecycleHook.ignore")
	if s.boolean("checkTagBeforeDraining") {
		s.notes.add(differs, s.says("checkTagBeforeDraining"), "the manager asks EC2 for the tag (ec2:DescribeInstances), and does nothing about an instance until EC2 has answered. Leave instanceTag out if only instances of this cluster are in the queue: then EC2 is not asked, which is the default here")
	}
	if !s.boolean("useProviderId") {
		s.notes.add(differs, s.says("useProviderId"), "nodes are found by the instance ID in their providerID, not by their names: nodes without a providerID need nodeIdentity: PrivateDNSName")
	}
	if s.boolean("cordonOnly") {
		return
	}
	s.notes.add(differs, "rebalance recommendations", "with a queue NTH always drains for them, so the policy does; the default here is Cordon, and to uncordon after an hour")
}
