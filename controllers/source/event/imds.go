// SPDX-License-Identifier: Apache-2.0

package event

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// The paths, below /latest/meta-data/, of the instance metadata service's
// documents that announce something. A path that does not exist (404)
// announces nothing.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html
const (
	PathSpotInstanceAction   = "spot/instance-action"
	PathRebalance            = "events/recommendations/rebalance"
	PathTargetLifecycleState = "autoscaling/target-lifecycle-state"
	PathMaintenance          = "events/maintenance/scheduled"
	PathMaintenanceHistory   = "events/maintenance/history"
)

// Instance identifies what the metadata service does not name in its documents.
type Instance struct {
	// InstanceID is the EC2 instance whose metadata it is.
	InstanceID string
	// BootID is another after every boot. Empty: not known.
	BootID string
}

// ParseMetadata reads the document at one of the paths above. Where the
// document does not say since when, the event's time is zero: see Restate.
//
// The error is an *Error. Of a list, what can be read counts: facts may come
// with the error of the first entry that cannot.
func ParseMetadata(path string, body []byte, instance Instance) (Document, error) {
	parse, ok := metadataParsers[path]
	if !ok {
		return Document{}, unexpected("the path", quote(path), "one of ParseMetadata's")
	}
	events, passed, err := parse(body)
	document := Document{Passed: passed}
	for _, e := range events {
		e.BootID = instance.BootID
		document.Facts = append(document.Facts, Fact{InstanceID: instance.InstanceID, Event: e})
	}
	return document, err
}

var metadataParsers = map[string]func([]byte) (events []v1alpha1.Event, passed string, err error){
	PathSpotInstanceAction:   parseSpotInstanceAction,
	PathRebalance:            parseRebalanceNotice,
	PathTargetLifecycleState: parseTargetLifecycleState,
	PathMaintenance:          parseMaintenance,
	PathMaintenanceHistory:   parseMaintenanceHistory,
}

// decodeMetadata reads a JSON document of the metadata service.
func decodeMetadata(body []byte, into any) error {
	err := json.Unmarshal(body, into)
	if err == nil {
		return nil
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field := wrong.Field
		if field == "" {
			field = "the document"
		}
		return unexpected(field, "a JSON "+cut(wrong.Value, 64), jsonName(wrong.Type))
	}
	return unexpected("the document", fmt.Sprintf("not JSON (%s)", err), "one of the instance metadata service")
}

// parseSpotInstanceAction reads the notice that a spot instance is interrupted,
// two minutes ahead, except that hibernation begins at once.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
func parseSpotInstanceAction(body []byte) ([]v1alpha1.Event, string, error) {
	const notice = 2 * time.Minute
	var d struct {
		Action string `json:"action"`
		Time   string `json:"time"`
	}
	if err := decodeMetadata(body, &d); err != nil {
		return nil, "", err
	}
	if err := required("action", d.Action, "terminate, stop or hibernate"); err != nil {
		return nil, "", err
	}
	t, err := parseTime("time", d.Time)
	if err != nil {
		return nil, "", err
	}
	e := v1alpha1.Event{
		ID:             kindID(v1alpha1.SourceIMDS, v1alpha1.SpotInterruption),
		Kind:           v1alpha1.SpotInterruption,
		Time:           metav1.Time{Time: t.Add(-notice)},
		Deadline:       at(t),
		InstanceAction: cut(d.Action, maxAction),
	}
	if d.Action == "hibernate" {
		e.Time = metav1.Time{Time: t}
	}
	return []v1alpha1.Event{e}, "", nil
}

// parseRebalanceNotice reads the signal that a spot instance is at elevated risk of interruption.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
func parseRebalanceNotice(body []byte) ([]v1alpha1.Event, string, error) {
	var d struct {
		NoticeTime string `json:"noticeTime"`
	}
	if err := decodeMetadata(body, &d); err != nil {
		return nil, "", err
	}
	t, err := parseTime("noticeTime", d.NoticeTime)
	if err != nil {
		return nil, "", err
	}
	return []v1alpha1.Event{{
		ID:   kindID(v1alpha1.SourceIMDS, v1alpha1.RebalanceRecommendation),
		Kind: v1alpha1.RebalanceRecommendation,
		Time: metav1.Time{Time: t},
	}}, "", nil
}

// inService is the target state of an instance that its group keeps, or takes back from
// its warm pool.
const inService = "InService"

// targetStates are those that an Auto Scaling group moves its instances to, and
// what that does to one: a warm pool's instances are stopped and come back with
// another boot. Empty: nothing that a node would notice.
// https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html
var targetStates = map[string]string{
	inService:           "",
	"Standby":           "",
	"Detached":          "",
	"Terminated":        "terminate",
	"Warmed:Running":    "",
	"Warmed:Stopped":    "stop",
	"Warmed:Hibernated": "hibernate",
	"Warmed:Terminated": "terminate",
}

// UnknownState begins why a document was passed over whose target state this version does not know. AWS
// adds some now and then, and a watcher that called them an error would not be ready.
const UnknownState = "unknown target state "

// stateForm is the form of Auto Scaling's states.
var stateForm = regexp.MustCompile(`^[A-Z][A-Za-z]{1,63}(:[A-Z][A-Za-z]{1,63})?$`)

// parseTargetLifecycleState reads where the instance's Auto Scaling group moves
// it. The document does not say whether a hook waits, nor since when it says so.
// InService cancels what was said before.
func parseTargetLifecycleState(body []byte) ([]v1alpha1.Event, string, error) {
	e := v1alpha1.Event{ID: kindID(v1alpha1.SourceIMDS, v1alpha1.AutoScalingTermination), Kind: v1alpha1.AutoScalingTermination}
	state := strings.TrimSpace(string(body))
	action, known := targetStates[state]
	switch {
	case !known && stateForm.MatchString(state):
		return nil, UnknownState + quote(state), nil
	case !known:
		return nil, "", unexpected("the target state", quote(state), "one of Auto Scaling's, such as InService or Terminated")
	case state == inService:
		e.Cancelled = new(true)
		return []v1alpha1.Event{e}, "", nil
	case action == "":
		return nil, "target state " + quote(state) + " ends nothing", nil
	}
	e.InstanceAction = action
	return []v1alpha1.Event{e}, "", nil
}

// maintenance is an entry of the lists of scheduled and past events.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/viewing_scheduled_events.html
type maintenance struct {
	Code        string `json:"Code"`
	Description string `json:"Description"`
	EventID     string `json:"EventId"`
	NotBefore   string `json:"NotBefore"`
	NotAfter    string `json:"NotAfter"`
	// State is active, completed or canceled.
	State string `json:"State"`
}

// parseMaintenance reads the maintenance that is scheduled. One that is over is cancelled.
func parseMaintenance(body []byte) ([]v1alpha1.Event, string, error) {
	return maintenances(body, true)
}

// parseMaintenanceHistory reads the maintenance that is over: it only cancels.
func parseMaintenanceHistory(body []byte) ([]v1alpha1.Event, string, error) {
	return maintenances(body, false)
}

// maintenances reads a list, with what is still to come or without. The list does not say
// since when it has an entry.
func maintenances(body []byte, coming bool) (events []v1alpha1.Event, passed string, err error) {
	var list []maintenance
	if err := decodeMetadata(body, &list); err != nil {
		return nil, "", err
	}
	for _, m := range list {
		e, wrong := m.event()
		switch over := e.Cancelled != nil; {
		case wrong != nil:
			err = cmp.Or(err, wrong)
		case over || coming:
			events = append(events, e)
		}
	}
	if len(events) == 0 && err == nil {
		passed = "no maintenance is listed that matters"
	}
	return events, passed, err
}

func (m maintenance) event() (v1alpha1.Event, error) {
	if err := required("EventId", m.EventID, "the event's ID, such as instance-event-0d59937288b749b32"); err != nil {
		return v1alpha1.Event{}, err
	}
	notBefore, err := parseMaintenanceTime("NotBefore", m.NotBefore)
	if err != nil {
		return v1alpha1.Event{}, err
	}
	e := v1alpha1.Event{
		ID:             eventID(m.EventID),
		Kind:           v1alpha1.ScheduledMaintenance,
		Deadline:       at(notBefore),
		NotBefore:      at(notBefore),
		Description:    cut(strings.TrimSpace(m.Description), maxDescription),
		InstanceAction: cut(m.Code, maxAction),
	}
	if notAfter, err := parseMaintenanceTime("NotAfter", m.NotAfter); err == nil && !notAfter.Before(notBefore) { // optional
		e.NotAfter = at(notAfter)
	}
	switch strings.ToLower(m.State) {
	case "completed", "canceled", "cancelled":
		e.Cancelled = new(true)
	}
	return e, nil
}

// parseMaintenanceTime reads what the metadata service writes, 21 Jan 2019 09:00:43 GMT,
// besides what parseTime does.
func parseMaintenanceTime(field, value string) (time.Time, error) {
	if t, err := time.Parse("2 Jan 2006 15:04:05 GMT", value); err == nil {
		value = t.Format(time.RFC3339)
	}
	return parseTime(field, value)
}
