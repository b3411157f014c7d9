// SPDX-License-Identifier: Apache-2.0

package event

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// statusChecks are the metrics of EC2's status checks. Their value is 1 while a check fails.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/viewing_metrics_with_cloudwatch.html
var statusChecks = []string{
	"StatusCheckFailed", "StatusCheckFailed_System", "StatusCheckFailed_Instance", "StatusCheckFailed_AttachedEBS",
}

// The states of an alarm that say something of the instance. The third one is INSUFFICIENT_DATA.
const (
	stateAlarm = "ALARM"
	stateOK    = "OK"
)

// alarmDetail is what CloudWatch says when an alarm changes, in its state or otherwise.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
type alarmDetail struct {
	// Operation is create, update or delete; empty for a change of the state.
	Operation string `json:"operation"`
	State     struct {
		Value     string `json:"value"`
		Reason    string `json:"reason"`
		Timestamp string `json:"timestamp"`
	} `json:"state"`
	Configuration struct {
		// Metrics is empty for a composite alarm, and has several elements for metric math.
		Metrics []alarmMetric `json:"metrics"`
	} `json:"configuration"`
}

type alarmMetric struct {
	// MetricStat is nil for an expression.
	MetricStat *struct {
		Metric struct {
			Namespace  string            `json:"namespace"`
			Name       string            `json:"name"`
			Dimensions map[string]string `json:"dimensions"`
		} `json:"metric"`
	} `json:"metricStat"`
}

// parseAlarmState reads that a status check of an instance fails, or no longer does, from
// the state of an alarm. Each alarm is a thing of its own: another one may go on.
func parseAlarmState(b eventBridgeEvent) (Document, error) {
	var d alarmDetail
	if err := decode(b.detail, "detail.", &d); err != nil {
		return Document{}, err
	}
	if err := required("detail.state.value", d.State.Value, "OK, ALARM or INSUFFICIENT_DATA"); err != nil {
		return Document{}, err
	}
	if d.State.Value != stateAlarm && d.State.Value != stateOK {
		return Document{Passed: "alarm state " + quote(d.State.Value) + " says nothing of the instance"}, nil
	}
	at := b.time
	if stated, err := parseTime("detail.state.timestamp", d.State.Timestamp); err == nil { // optional
		at = stated
	}
	return d.statusCheck(b, at, d.State.Value == stateOK)
}

// parseAlarmConfiguration reads that an alarm was deleted, after which nobody says OK.
func parseAlarmConfiguration(b eventBridgeEvent) (Document, error) {
	var d alarmDetail
	if err := decode(b.detail, "detail.", &d); err != nil {
		return Document{}, err
	}
	if d.Operation != "delete" {
		return Document{Passed: "operation " + quote(d.Operation) + " of an alarm ends nothing"}, nil
	}
	return d.statusCheck(b, b.time, true)
}

// statusCheck returns the fact of an alarm on a status check of one instance.
func (d alarmDetail) statusCheck(b eventBridgeEvent, at time.Time, cancelled bool) (Document, error) {
	check, instanceID, passed := d.metric()
	if passed != "" {
		return Document{Passed: passed}, nil
	}
	if err := checkInstanceID("detail.configuration.metrics.metricStat.metric.dimensions.InstanceId", instanceID); err != nil {
		return Document{}, err
	}
	arn, err := b.resource("the ARN of the alarm")
	if err != nil {
		return Document{}, err
	}
	e := b.event(v1alpha1.InstanceStatusCheckFailed)
	e.ID = hashID(arn)
	e.Time = metav1.Time{Time: at}
	e.Description = cut(d.State.Reason, maxDescription)
	e.InstanceAction = check
	if cancelled {
		e.Cancelled = &cancelled
	}
	return Document{Facts: []Fact{{InstanceID: instanceID, Event: e}}}, nil
}

// metric returns the status check and the instance that the alarm watches, or why it
// watches none.
func (d alarmDetail) metric() (check, instanceID, passed string) {
	metrics := d.Configuration.Metrics
	if len(metrics) == 0 {
		return "", "", "a composite alarm is about no metric of an instance"
	}
	if len(metrics) > 1 || metrics[0].MetricStat == nil {
		return "", "", "an alarm on an expression is about no metric of one instance"
	}
	metric := metrics[0].MetricStat.Metric
	if metric.Namespace != "AWS/EC2" || !slices.Contains(statusChecks, metric.Name) {
		return "", "", "metric " + quote(metric.Name) + " of " + quote(metric.Namespace) + " is no status check of an instance"
	}
	instanceID, ok := metric.Dimensions["InstanceId"]
	if !ok || len(metric.Dimensions) > 1 {
		return "", "", "metric " + quote(metric.Name) + " is not that of one instance"
	}
	return metric.Name, instanceID, ""
}

// resource returns the first of the event's resources; what is expected of it.
func (b eventBridgeEvent) resource(expected string) (string, error) {
	var envelope struct {
		Resources []string `json:"resources"`
	}
	if err := decode(b.body, "", &envelope); err != nil {
		return "", err
	}
	if len(envelope.Resources) == 0 {
		return "", required("resources", "", expected)
	}
	return envelope.Resources[0], required("resources", envelope.Resources[0], expected)
}
