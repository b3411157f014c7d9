// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kinds of MetadataEvent.
const (
	MetadataKindSpot        = "spot"         // the spot instance is taken back
	MetadataKindRebalance   = "rebalance"    // it is at elevated risk of that
	MetadataKindMaintenance = "maintenance"  // it is to be rebooted, stopped or retired
	MetadataKindTargetState = "target-state" // its Auto Scaling group moves it
	MetadataKindDocument    = "document"     // Body at Path, as it is; no Body takes it away
)

// MetadataKinds returns all kinds of MetadataEvent.
func MetadataKinds() []string {
	return []string{MetadataKindSpot, MetadataKindRebalance, MetadataKindMaintenance, MetadataKindTargetState, MetadataKindDocument}
}

// MetadataEvent describes what an instance's metadata begins to announce. Only Kind is needed, and Path
// for a document; fields that a kind does not have are ignored.
type MetadataEvent struct {
	Kind string `json:"kind"`

	// Action that the instance faces: terminate (default), stop or hibernate. Spot.
	Action string `json:"action,omitempty"`
	// Time of Action (Spot, default: in two minutes) or of the notice (Rebalance, default: now).
	Time time.Time `json:"time,omitzero"`

	// EventID names a maintenance across its changes. Default: always the same.
	EventID string `json:"eventID,omitempty"`
	// Code of a maintenance. Default system-reboot.
	Code string `json:"code,omitempty"`
	// State: of a maintenance active (default), completed or canceled, with which it moves to the
	// history; of a target state the state, default Terminated.
	State string `json:"state,omitempty"`
	// NotBefore is when a maintenance begins. Default: in two hours.
	NotBefore time.Time `json:"notBefore,omitzero"`
	// Description of a maintenance. Default: scheduled reboot, with the state where it is over.
	Description string `json:"description,omitempty"`

	// Path of a document below /latest/.
	Path string `json:"path,omitempty"`
	// Body of a document.
	Body string `json:"body,omitempty"`
}

// documents returns those that describe an instance.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html
func (i MetadataInstance) documents() map[string]string {
	identity := mustJSON(map[string]any{
		"accountId":        Account,
		"architecture":     "x86_64",
		"availabilityZone": i.Zone,
		"imageId":          "ami-5fb8c835",
		"instanceId":       i.ID,
		"instanceType":     i.Type,
		"pendingTime":      "2026-01-01T00:00:00Z",
		"privateIp":        "10.158.112.84",
		"region":           strings.TrimRight(i.Zone, "abcdef"),
		"version":          "2017-09-30",
	})
	return map[string]string{
		MetadataIdentity:                        identity,
		"meta-data/instance-id":                 i.ID,
		"meta-data/instance-type":               i.Type,
		"meta-data/instance-life-cycle":         i.LifeCycle,
		"meta-data/placement/availability-zone": i.Zone,
		MetadataMaintenance:                     "[]",
		MetadataMaintenanceHistory:              "[]",
	}
}

// Say makes the metadata announce what AWS would. The error says what is wrong with the event.
func (m *Metadata) Say(e MetadataEvent) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch e.Kind {
	case MetadataKindSpot:
		if e.Time.IsZero() {
			e.Time = m.now().Add(2 * time.Minute)
		}
		m.set(MetadataSpotAction, mustJSON(map[string]string{
			"action": cmp.Or(e.Action, "terminate"), "time": e.Time.UTC().Format(time.RFC3339),
		}))
	case MetadataKindRebalance:
		if e.Time.IsZero() {
			e.Time = m.now()
		}
		m.set(MetadataRebalance, mustJSON(map[string]string{"noticeTime": e.Time.UTC().Format(time.RFC3339)}))
	case MetadataKindMaintenance:
		return m.maintain(e)
	case MetadataKindTargetState:
		m.set(MetadataTargetState, cmp.Or(e.State, "Terminated"))
	case MetadataKindDocument:
		if e.Path == "" {
			return errors.New("the path of the document is missing, for example " + MetadataSpotAction)
		}
		m.set(strings.TrimPrefix(e.Path, "/latest/"), e.Body)
	default:
		return fmt.Errorf("kind %q: use one of %s", e.Kind, strings.Join(MetadataKinds(), ", "))
	}
	return nil
}

// maintenance is an entry of the lists of scheduled and past events.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/viewing_scheduled_events.html
type maintenance struct {
	NotBefore   string
	Code        string
	Description string
	EventId     string //nolint:revive // as AWS spells it
	NotAfter    string
	State       string
}

// maintain puts a maintenance into the list that its state belongs to.
func (m *Metadata) maintain(e MetadataEvent) error {
	const layout = "02 Jan 2006 15:04:05 GMT"
	if e.NotBefore.IsZero() {
		e.NotBefore = m.now().Add(2 * time.Hour)
	}
	entry := maintenance{
		NotBefore:   e.NotBefore.UTC().Format(layout),
		Code:        cmp.Or(e.Code, "system-reboot"),
		Description: e.Description,
		EventId:     cmp.Or(e.EventID, "instance-event-0d59937288b749b32"),
		NotAfter:    e.NotBefore.UTC().Add(2 * time.Hour).Format(layout),
		State:       cmp.Or(e.State, "active"),
	}
	prefix, known := map[string]string{"active": "", "completed": "[Completed] ", "canceled": "[Canceled] "}[entry.State]
	if !known {
		return fmt.Errorf("state %q: use active, completed or canceled", entry.State)
	}
	entry.Description = cmp.Or(entry.Description, prefix+"scheduled reboot")
	into := MetadataMaintenance
	if entry.State != "active" {
		into = MetadataMaintenanceHistory
	}
	for _, path := range []string{MetadataMaintenance, MetadataMaintenanceHistory} {
		var list []maintenance
		if err := json.Unmarshal([]byte(cmp.Or(m.documents[path], "[]")), &list); err != nil {
			return fmt.Errorf("the document at %s is not a list of events: set it to [] first", path)
		}
		list = slices.DeleteFunc(list, func(other maintenance) bool { return other.EventId == entry.EventId })
		if path == into {
			list = append(list, entry)
		}
		m.set(path, mustJSON(slices.Concat([]maintenance{}, list)))
	}
	return nil
}

// mustJSON returns JSON of what always can be JSON.
func mustJSON(v any) string {
	content, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(content)
}
