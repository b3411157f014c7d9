// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// Bounds of a policy's fields.
const (
	maxStartBefore     = 2592000 // seconds: 30 days
	minStartBefore     = 60
	maxTimeout         = 604800
	maxGrace           = 86400
	maxCompletionDelay = 7200
	maxHeartbeats      = 172800 // how long a group waits in total
	minMetricsPort     = 1024
	maxPort            = 65535
)

// policy is a NodeTerminationPolicy.
type policy struct {
	name string
	spec object
}

// manifest returns the whole object.
func (p policy) manifest() object {
	metadata, o := newObject(), newObject()
	metadata.set("name", p.name, "")
	o.set("apiVersion", v1alpha1.GroupVersion.String(), "")
	o.set("kind", "NodeTerminationPolicy", "")
	o.set("metadata", metadata, "")
	o.set("spec", p.spec, "")
	return o
}

// hasQueue reports whether NTH reads a queue.
func (s *settings) hasQueue() bool { return s.boolean("enableSqsTerminationDraining") }

// policies converts the settings. A mode that is given goes before dryRun.
func (s *settings) policies(mode string) []policy {
	selectors, exact := []object{newObject()}, true
	if !s.hasQueue() {
		if !s.runsOnLinux() {
			return nil
		}
		selectors, exact = s.nodeSelectors()
	}
	var policies []policy
	for i, selector := range selectors {
		spec := newObject()
		spec.setUnlessEmpty("nodeSelector", selector)
		s.mode(spec, mode, exact)
		s.whatIsReceived(spec)
		s.whatIsDone(spec)
		name := s.name
		if i > 0 {
			name = fmt.Sprintf("%s-%d", s.name, i+1)
		}
		policies = append(policies, policy{name, spec})
	}
	s.noteOptions()
	s.noteDifferences()
	return policies
}

// runsOnLinux reports whether NTH has a DaemonSet for Linux, and notes what becomes of one for Windows.
func (s *settings) runsOnLinux() bool {
	systems := strings.ToLower(s.text("targetNodeOs"))
	linux, windows := strings.Contains(systems, "linux"), strings.Contains(systems, "windows")
	if windows {
		s.notes.add(todo, s.says("targetNodeOs"), onlyLinux+": docs/imds-or-queue.md")
	}
	if !linux && !windows {
		s.fail("targetNodeOs", "%s names no operating system of nodes: write linux", quote(systems))
	}
	return linux
}

// mode sets the mode.
func (s *settings) mode(spec object, mode string, exact bool) {
	switch {
	case !exact:
		spec.set("mode", v1alpha1.ModeDryRun, "until nodeSelector selects only the nodes that NTH runs on")
	case mode != "":
		spec.set("mode", mode, "--mode")
	case s.boolean("dryRun"):
		spec.set("mode", v1alpha1.ModeDryRun, s.says("dryRun"))
	}
}

// whatIsReceived sets the source and which instances count.
func (s *settings) whatIsReceived(spec object) {
	source := newObject()
	if !s.hasQueue() {
		imds := newObject()
		if port := s.number("prometheusServerPort"); s.boolean("enablePrometheusServer") {
			if port < minMetricsPort || port > maxPort {
				s.fail("prometheusServerPort", "%d is no port that watchers may serve metrics on: write one from %d to %d", port, minMetricsPort, maxPort)
			}
			imds.set("metricsPort", port, s.says("enablePrometheusServer")+", "+s.says("prometheusServerPort"))
		}
		imds.setUnlessEmpty("podTemplate", s.podTemplate())
		source.set("name", "metadata", "")
		source.set("imds", imds, s.says("enableSqsTerminationDraining"))
		spec.set("sources", []object{source}, "")
		return
	}
	if s.boolean("checkTagBeforeDraining") {
		s.instanceTag(spec)
	}
	sqs := newObject()
	sqs.set("queueURL", s.queueURL(), s.written("queueURL"))
	if region := s.text("awsRegion"); region != "" {
		if !regions.MatchString(region) {
			s.fail("awsRegion", "%s is no Region: write its code, such as us-east-1", quote(region))
		}
		sqs.set("region", region, s.says("awsRegion"))
	}
	if s.boolean("deleteSqsMsgIfNodeNotFound") {
		sqs.set("unknownInstances", v1alpha1.UnknownDiscard, s.says("deleteSqsMsgIfNodeNotFound"))
	}
	source.set("name", "queue", "")
	source.set("sqs", sqs, s.says("enableSqsTerminationDraining"))
	spec.set("sources", []object{source}, "")
}

var (
	regions = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)
	// What the API server accepts as a queue: an address without a query, of AWS with account and name, or in clear
	// on this machine and in the cluster.
	queueURLs  = regexp.MustCompile(`^https?://[^/?#@\s]+/[^?#\s]*[^/?#\s]$`)
	ofAWS      = regexp.MustCompile(`^https?://[^/]+[.]amazonaws[.][^/]+/`)
	queueOfAWS = regexp.MustCompile(`^https?://[^/]+/[0-9]{12}/[a-zA-Z0-9_-]{1,80}([.]fifo)?$`)
	inCluster  = regexp.MustCompile(`^http://(\[::1\]|127[.]0[.]0[.]1|[a-z]([-a-z0-9]*[a-z0-9])?|[a-z0-9]([-.a-z0-9]*[a-z0-9])?[.]svc([.]cluster[.]local)?)(:[0-9]+)?/`)
)

// queueURL returns the queue's URL.
func (s *settings) queueURL() string {
	const (
		example = "https://sqs.us-east-1.amazonaws.com/123456789012/node-termination"
		longest = 512
	)
	url := s.text("queueURL")
	switch {
	case url == "":
		s.fail("queueURL", "%s, and there is no queue: write its URL, such as %s", s.says("enableSqsTerminationDraining"), example)
	case strings.HasSuffix(url, ".fifo"):
		s.fail("queueURL", "FIFO queues are not supported, as EventBridge gives no group ID: write the URL of a standard queue")
	case len(url) > longest || !queueURLs.MatchString(url) || !isURL(url) || ofAWS.MatchString(url) && !queueOfAWS.MatchString(url):
		s.fail("queueURL", "%s is no URL of a queue: write the whole address, such as %s", quote(url), example)
	case strings.HasPrefix(url, "http:") && !inCluster.MatchString(url):
		s.fail("queueURL", "%s is not encrypted: write https", quote(url))
	}
	return url
}

// instanceTag sets the tag that instances must have.
func (s *settings) instanceTag(spec object) {
	const longest = 128
	tag := s.text("managedTag")
	if tag == "" {
		tag = managedTag
	}
	switch {
	case strings.Contains(tag, "="):
		s.fail("managedTag", "%s has a = in it, which instanceTag would take for the end of the key: write the key of a tag without one", quote(tag))
	case len(tag) > longest || tag != strings.TrimSpace(tag) || strings.ContainsFunc(tag, isControl):
		s.fail("managedTag", "%s is no key of a tag: write at most %d characters, without spaces at the ends", quote(tag), longest)
	}
	spec.set("instanceTag", tag, s.says("checkTagBeforeDraining")+"; "+s.says("managedTag"))
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// whatIsDone sets everything that is done about an event.
func (s *settings) whatIsDone(spec object) {
	if s.boolean("cordonOnly") {
		spec.set("action", v1alpha1.ActionCordon, s.says("cordonOnly"))
	}
	if rules := s.events(); len(rules) > 0 {
		spec.set("events", rules, "")
	}
	spec.set("node", s.node(), "")
	spec.setUnlessEmpty("drain", s.drain())
	if s.hasQueue() {
		spec.setUnlessEmpty("lifecycleHook", s.lifecycleHook())
	}
	if webhook := s.webhook(); !webhook.empty() {
		spec.set("webhooks", []object{webhook}, "")
	}
	s.kubernetesEvents(spec)
}

// rule returns what is done for a kind of event.
func rule(kind v1alpha1.EventKind, action v1alpha1.EventAction, comment string) object {
	o := newObject()
	o.set("kind", kind, "")
	o.set("action", action, comment)
	return o
}

// events returns the rules for kinds of events for which NTH does something else than this operator by default.
func (s *settings) events() []object {
	var rules []object
	ignored := map[v1alpha1.EventKind]bool{}
	for _, source := range []struct {
		kind v1alpha1.EventKind
		key  string
	}{
		{v1alpha1.SpotInterruption, "enableSpotInterruptionDraining"},
		{v1alpha1.AutoScalingTermination, "enableASGLifecycleDraining"},
		{v1alpha1.ScheduledMaintenance, "enableScheduledEventDraining"},
	} {
		if !s.hasQueue() && !s.boolean(source.key) {
			ignored[source.kind] = true
			rules = append(rules, rule(source.kind, v1alpha1.ActionIgnore, s.says(source.key)))
		}
	}
	if !ignored[v1alpha1.ScheduledMaintenance] && !s.boolean("cordonOnly") {
		rules = append(rules, s.maintenance())
	}
	if action, comment := s.rebalance(); action != "" {
		rules = append(rules, rule(v1alpha1.RebalanceRecommendation, action, comment))
	}
	return rules
}

// maintenance returns when a drain for a scheduled maintenance begins.
func (s *settings) maintenance() object {
	o := rule(v1alpha1.ScheduledMaintenance, v1alpha1.ActionCordonAndDrain, "")
	if s.hasQueue() {
		o.set("startBeforeSeconds", maxStartBefore, "at once: so NTH does with a queue, always")
		return o
	}
	before := min(max(s.number("nodeTerminationGracePeriod"), minStartBefore), maxStartBefore)
	o.set("startBeforeSeconds", before, s.says("nodeTerminationGracePeriod"))
	return o
}

// rebalance returns what is done for a rebalance recommendation; "" if cordonOnly says it already.
func (s *settings) rebalance() (v1alpha1.EventAction, string) {
	drains, cordons := s.boolean("enableRebalanceDraining"), s.boolean("enableRebalanceMonitoring")
	switch cordonOnly := s.boolean("cordonOnly"); {
	case s.hasQueue() && cordonOnly, cordonOnly && (drains || cordons):
		return "", ""
	case s.hasQueue():
		return v1alpha1.ActionCordonAndDrain, "so NTH does with a queue, always"
	case drains:
		return v1alpha1.ActionCordonAndDrain, s.says("enableRebalanceDraining")
	case cordons:
		return v1alpha1.ActionCordon, s.says("enableRebalanceMonitoring")
	}
	return v1alpha1.ActionIgnore, s.says("enableRebalanceMonitoring") + "; " + s.says("enableRebalanceDraining")
}

// node returns what is set on a node.
func (s *settings) node() object {
	o := newObject()
	if s.boolean("taintNode") {
		taint, effect, comment := newObject(), s.text("TAINT_EFFECT"), "NoSchedule, the default of NTH"
		if _, found := s.set["TAINT_EFFECT"]; found {
			comment = s.says("TAINT_EFFECT")
		}
		switch effect {
		case "NoSchedule", "PreferNoSchedule":
		case "NoExecute":
			effect = "NoSchedule"
			s.notes.add(differs, comment, "the taint has the effect NoSchedule: NoExecute deletes pods without respect for disruption budgets. The pods are evicted by the drain")
		default:
			s.fail("TAINT_EFFECT", "%s is no effect of a taint: write NoSchedule or PreferNoSchedule", quote(effect))
		}
		taint.set("key", v1alpha1.TaintKeysNTH, s.says("taintNode"))
		taint.set("effect", effect, comment)
		o.set("taint", taint, "")
	}
	o.set("labels", v1alpha1.LabelsNTH, "NTH sets its labels always; leave this out if nothing reads them")
	if s.boolean("excludeFromLoadBalancers") {
		o.set("loadBalancers", v1alpha1.LoadBalancersExclude, s.says("excludeFromLoadBalancers"))
	}
	if s.boolean("enableOutOfServiceTaint") {
		o.set("outOfServiceTaint", v1alpha1.OutOfServiceWhenStopped, s.says("enableOutOfServiceTaint"))
	}
	return o
}

// drain returns how pods are evicted.
func (s *settings) drain() object {
	o := newObject()
	switch timeout := s.number("nodeTerminationGracePeriod"); {
	case timeout < 0:
		s.fail("nodeTerminationGracePeriod", "%d is no time that a drain may take: write seconds, such as 120", timeout)
	case timeout == 0 || timeout > maxTimeout: // 0 is for ever
		o.set("timeoutSeconds", maxTimeout, s.says("nodeTerminationGracePeriod")+"; a week is the most")
	case s.changed("nodeTerminationGracePeriod"):
		o.set("timeoutSeconds", timeout, s.says("nodeTerminationGracePeriod"))
	}
	switch grace := s.number("podTerminationGracePeriod"); {
	case grace == 0:
		o.set("podGracePeriodSeconds", 1, s.says("podTerminationGracePeriod")+"; a second is the least")
	case grace > maxGrace:
		o.set("podGracePeriodSeconds", maxGrace, s.says("podTerminationGracePeriod")+"; a day is the most")
	case grace > 0:
		o.set("podGracePeriodSeconds", grace, s.says("podTerminationGracePeriod"))
	}
	return o
}

// lifecycleHook returns how hooks are kept waiting. What NTH refuses to start with is refused too.
func (s *settings) lifecycleHook() object {
	o, heartbeat := newObject(), newObject()
	interval, until := s.number("heartbeatInterval"), s.number("heartbeatUntil")
	switch {
	case interval == -1 && until != -1:
		s.fail("heartbeatUntil", "without heartbeatInterval NTH does not start: write both, or neither")
	case interval == -1:
		heartbeat.set("mode", v1alpha1.HeartbeatDisabled, s.says("heartbeatInterval")+". Leave heartbeat out to have the group wait as long as the drain takes")
	case interval < 30 || interval > 3600:
		s.fail("heartbeatInterval", "%d: write seconds from 30 to 3600, or -1 for no heartbeats", interval)
	case until != -1 && (until < 60 || until > maxHeartbeats || until < interval):
		s.fail("heartbeatUntil", "%d: write seconds from 60 to %d, and not less than heartbeatInterval", until, maxHeartbeats)
	default:
		heartbeat.set("mode", v1alpha1.HeartbeatInterval, s.says("heartbeatInterval"))
		heartbeat.set("intervalSeconds", interval, s.says("heartbeatInterval"))
		if until == -1 {
			o.set("maxWaitSeconds", maxHeartbeats, s.says("heartbeatUntil")+", which is 48 hours")
		} else {
			o.set("maxWaitSeconds", until, s.says("heartbeatUntil"))
		}
		s.notes.add(differs, s.written("heartbeatUntil"), "lifecycleHook.maxWaitSeconds is the deadline of the drain too: pods that a disruption budget still blocks are deleted shortly before it, and grace periods end with it")
	}
	o.setUnlessEmpty("heartbeat", heartbeat)
	if delay := s.number("completeLifecycleActionDelaySeconds"); delay > 0 {
		comment := s.says("completeLifecycleActionDelaySeconds")
		if delay > maxCompletionDelay {
			delay, comment = maxCompletionDelay, comment+"; two hours are the most"
		}
		o.set("completionDelaySeconds", delay, comment)
	}
	return o
}

// kubernetesEvents sets whether Kubernetes events are emitted.
func (s *settings) kubernetesEvents(spec object) {
	const most = 16
	events := newObject()
	if !s.boolean("emitKubernetesEvents") {
		events.set("mode", v1alpha1.KubernetesEventsDisabled, s.says("emitKubernetesEvents")+". Leave kubernetesEvents out to have them")
		spec.set("kubernetesEvents", events, "")
		return
	}
	annotations := map[string]string{}
	for pair := range strings.SplitSeq(s.text("kubernetesEventsExtraAnnotations"), ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		key, value, found := strings.Cut(pair, "=")
		if !found {
			s.fail("kubernetesEventsExtraAnnotations", "%s is no annotation: write example.com/team=platform, and a comma between two", quote(pair))
		}
		annotations[key] = value
	}
	s.checkNames("kubernetesEventsExtraAnnotations", annotations)
	if len(annotations) > most {
		s.fail("kubernetesEventsExtraAnnotations", "it has %d annotations, and a policy takes %d: leave some out", len(annotations), most)
	}
	events.set("mode", v1alpha1.KubernetesEventsEmit, s.says("emitKubernetesEvents"))
	if len(annotations) > 0 {
		events.set("annotations", annotations, s.written("kubernetesEventsExtraAnnotations"))
	}
	spec.set("kubernetesEvents", events, "")
}
