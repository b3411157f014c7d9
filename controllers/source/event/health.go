// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/json"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// healthDetail is the part of an AWS Health event that matters here. A long
// event comes in pages, which are messages like any other with a part of the entities.
// https://docs.aws.amazon.com/health/latest/ug/aws-health-events-eventbridge-schema.html
type healthDetail struct {
	EventARN     string `json:"eventArn"`
	Service      string `json:"service"`
	TypeCode     string `json:"eventTypeCode"`
	TypeCategory string `json:"eventTypeCategory"`
	StartTime    string `json:"startTime"`
	EndTime      string `json:"endTime"`
	LastUpdated  string `json:"lastUpdatedTime"`
	// StatusCode is upcoming, open or closed.
	StatusCode   string              `json:"statusCode"`
	Descriptions []healthDescription `json:"eventDescription"`
	Entities     []healthEntity      `json:"affectedEntities"`
	// Account is that of the entities. The envelope has the account which the event was delivered to: that of
	// the organization, or of its delegated administrator, where AWS Health's organizational view is on.
	// https://docs.aws.amazon.com/health/latest/ug/aggregate-events.html
	Account string `json:"affectedAccount"`
}

type healthDescription struct {
	Language string `json:"language"`
	Latest   string `json:"latestDescription"`
}

type healthEntity struct {
	// Value is an ID or an ARN, of an instance or of anything else.
	Value string `json:"entityValue"`
	// Status is IMPAIRED, UNIMPAIRED, PENDING, RESOLVED or UNKNOWN.
	Status string `json:"status"`
	// err is why it cannot be read, nil if it can.
	err error
}

// parseHealth reads EC2's scheduled maintenance from an event of AWS Health.
//
// An update of a Health event, such as another time, has the same ARN, so the
// event keeps its ID. It is cancelled, or done, when AWS closes it, and for one instance
// when that entity is RESOLVED. No other status of an entity means that.
func parseHealth(b eventBridgeEvent) (Document, error) {
	d, err := readHealth(b.detail)
	if err != nil {
		return Document{}, err
	}
	if passed, err := d.pass(); passed != "" || err != nil {
		return Document{Passed: passed}, err
	}
	e, err := d.maintenance(b)
	if err != nil {
		return Document{}, err
	}
	document := Document{Facts: make([]Fact, 0, len(d.Entities))}
	for _, entity := range d.Entities {
		fact, err := entity.fact(e)
		switch {
		case err != nil:
			document.Unread = append(document.Unread, err)
		case fact != nil:
			document.Facts = append(document.Facts, *fact)
		}
	}
	switch {
	case len(document.Facts) > 0:
		return document.within(d.Account), nil
	case len(document.Unread) > 0:
		return Document{}, document.Unread[0]
	}
	return Document{Passed: quote(d.TypeCode) + " affects no instance"}, nil
}

// readHealth reads the detail of an event of AWS Health. An entity that cannot be read keeps no other from
// being read.
func readHealth(raw []byte) (d healthDetail, err error) {
	if err = decode(raw, "detail.", &d); err == nil {
		return d, nil
	}
	var loose struct {
		healthDetail
		Entities []json.RawMessage `json:"affectedEntities"`
	}
	if err := decode(raw, "detail.", &loose); err != nil {
		return d, err
	}
	d = loose.healthDetail
	for _, raw := range loose.Entities {
		var entity healthEntity
		entity.err = decode(raw, "detail.affectedEntities.", &entity)
		d.Entities = append(d.Entities, entity)
	}
	return d, nil
}

// fact returns the fact about an entity; nil if it is no instance.
func (e healthEntity) fact(common v1alpha1.Event) (*Fact, error) {
	if e.err != nil {
		return nil, e.err
	}
	id, ok := e.instance()
	if !ok {
		return nil, nil
	}
	if err := checkInstanceID("detail.affectedEntities.entityValue", id); err != nil {
		return nil, err
	}
	own := *common.DeepCopy()
	if e.Status == "RESOLVED" {
		own.Cancelled = new(true)
	}
	return &Fact{InstanceID: id, Event: own}, nil
}

// pass returns why the event is no maintenance of instances; empty if it is one.
func (d healthDetail) pass() (string, error) {
	if err := required("detail.service", d.Service, "the service, such as EC2"); err != nil {
		return "", err
	}
	if err := required("detail.eventTypeCategory", d.TypeCategory, "the category, such as scheduledChange"); err != nil {
		return "", err
	}
	switch {
	case d.Service != "EC2":
		return "AWS Health about " + quote(d.Service) + ", not EC2", nil
	case d.TypeCategory != "scheduledChange":
		return "AWS Health's " + quote(d.TypeCategory) + " is no scheduled change", nil
	case strings.HasSuffix(d.TypeCode, "_PLANNED_LIFECYCLE_EVENT"):
		// Such as an end of support, months ahead: for people to act on, no reason to cordon.
		// https://docs.aws.amazon.com/health/latest/ug/aws-health-planned-lifecycle-events.html
		return quote(d.TypeCode) + " is no maintenance of instances", nil
	case d.TypeCode != "" && !d.announcesMaintenance():
		return quote(d.TypeCode) + " announces no maintenance of instances", nil
	}
	return "", nil
}

// announcing are what the type code of a maintenance contains, and ended how that of one ends that is over:
// EC2's codes are in no list of AWS.
var (
	announcing = []string{"MAINTENANCE", "RETIREMENT", "REBOOT", "STOP", "TERMINATION", "MIGRATION", "REPLACEMENT"}
	ended      = []string{"_COMPLETED", "_COMPLETE", "_CANCELLED", "_CANCELED"}
)

// announcesMaintenance reports whether the type code is that of something that happens to instances.
func (d healthDetail) announcesMaintenance() bool {
	within := func(part string) bool { return strings.Contains(d.TypeCode, part) }
	atEnd := func(part string) bool { return strings.HasSuffix(d.TypeCode, part) }
	return slices.ContainsFunc(announcing, within) && !slices.ContainsFunc(ended, atEnd)
}

// maintenance returns the event that all affected instances have in common.
func (d healthDetail) maintenance(b eventBridgeEvent) (v1alpha1.Event, error) {
	if err := required("detail.eventArn", d.EventARN, "the ARN of the AWS Health event"); err != nil {
		return v1alpha1.Event{}, err
	}
	start, err := parseTime("detail.startTime", d.StartTime)
	if err != nil {
		return v1alpha1.Event{}, err
	}
	e := b.event(v1alpha1.ScheduledMaintenance)
	e.ID = hashID(d.EventARN)
	// The same for all pages and for the copy sent to the backup region, unlike
	// the envelope's time.
	if updated, err := parseTime("detail.lastUpdatedTime", d.LastUpdated); err == nil { // optional
		e.Time = metav1.Time{Time: updated}
	}
	e.NotBefore, e.Deadline = at(start), at(start)
	if end, err := parseTime("detail.endTime", d.EndTime); err == nil && !end.Before(start) { // optional
		e.NotAfter = at(end)
	}
	e.Description = d.description()
	e.InstanceAction = d.action()
	if d.StatusCode == "closed" {
		e.Cancelled = new(true)
	}
	return e, nil
}

// description returns the English text, else the first there is.
func (d healthDetail) description() string {
	var text string
	for i, t := range d.Descriptions {
		english := strings.HasPrefix(t.Language, "en")
		if i == 0 || english {
			text = t.Latest
		}
		if english {
			break
		}
	}
	return cut(strings.TrimSpace(text), maxDescription)
}

// healthActions are EC2's codes for scheduled events, by what the type code of
// the Health event contains.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instances-status-check_sched.html
var healthActions = []struct{ contains, action string }{
	{"_INSTANCE_RETIREMENT_", "instance-retirement"},
	{"_INSTANCE_REBOOT_", "instance-reboot"},
	{"_INSTANCE_STOP_", "instance-stop"},
	{"_SYSTEM_REBOOT_", "system-reboot"},
	{"_NETWORK_MAINTENANCE_", "system-maintenance"},
	{"_POWER_MAINTENANCE_", "system-maintenance"},
}

// action returns what happens to the instances, empty if the type code does not say.
func (d healthDetail) action() string {
	for _, a := range healthActions {
		if strings.Contains(d.TypeCode, a.contains) {
			return a.action
		}
	}
	return ""
}

// instance returns the entity's instance ID, unchecked, and false if the entity is
// something else, such as a dedicated host.
func (e healthEntity) instance() (string, bool) {
	if strings.HasPrefix(e.Value, "i-") {
		return e.Value, true
	}
	if !strings.HasPrefix(e.Value, "arn:") {
		return "", false
	}
	_, id, ok := strings.Cut(e.Value, ":instance/")
	return id, ok
}
