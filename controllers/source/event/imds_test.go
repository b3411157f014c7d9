// SPDX-License-Identifier: Apache-2.0

package event

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

var testInstance = Instance{InstanceID: instance, BootID: "3a3b7b4c-3b69-4a3d-9c80-b83ba5b4d8c6"}

const (
	scheduledID = "instance-event-0d59937288b749b32"
	pastID      = "instance-event-0d59937288b749b33"
)

func maintenanceOf(id, notBefore, description string, cancelled bool) v1alpha1.Event {
	e := v1alpha1.Event{
		ID: id, Kind: v1alpha1.ScheduledMaintenance, Deadline: stampPtr(notBefore), NotBefore: stampPtr(notBefore),
		Description: description, InstanceAction: "system-reboot",
	}
	if cancelled {
		e.Cancelled = ptr.To(true)
	}
	return e
}

func until(notAfter string, e v1alpha1.Event) v1alpha1.Event {
	e.NotAfter = stampPtr(notAfter)
	return e
}

// metadataSamples are documents: AWS's own samples, with this year's dates, in
// testdata/imds, or short ones as they are.
var metadataSamples = []struct {
	name, path, body string // of the file imds/<name>.json if there is no body
	source           string // the page with AWS's sample
	events           []v1alpha1.Event
	passed           string
}{{
	name: "spot-terminate", path: PathSpotInstanceAction,
	source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html",
	events: []v1alpha1.Event{{
		ID: "IMDS-SpotInterruption", Kind: v1alpha1.SpotInterruption, InstanceAction: "terminate",
		Time: stamp("2026-11-22T05:08:00Z"), Deadline: stampPtr("2026-11-22T05:10:00Z"),
	}},
}, {
	name: "spot-hibernate", path: PathSpotInstanceAction, // begins at once
	source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html",
	events: []v1alpha1.Event{{
		ID: "IMDS-SpotInterruption", Kind: v1alpha1.SpotInterruption, InstanceAction: "hibernate",
		Time: stamp("2026-11-22T05:10:00Z"), Deadline: stampPtr("2026-11-22T05:10:00Z"),
	}},
}, {
	name: "rebalance", path: PathRebalance,
	source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html",
	events: []v1alpha1.Event{{
		ID: "IMDS-RebalanceRecommendation", Kind: v1alpha1.RebalanceRecommendation, Time: stamp("2026-11-22T05:08:22Z"),
	}},
}, {
	name: "maintenance", path: PathMaintenance,
	source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/viewing_scheduled_events.html",
	events: []v1alpha1.Event{until("2026-01-21T09:17:23Z", maintenanceOf(scheduledID, "2026-01-21T09:00:43Z", "scheduled reboot", false))},
}, {
	name: "maintenance-history", path: PathMaintenanceHistory,
	source: "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/viewing_scheduled_events.html",
	events: []v1alpha1.Event{
		until("2026-01-21T09:17:23Z", maintenanceOf(scheduledID, "2026-01-21T09:00:43Z", "[Canceled] scheduled reboot", true)),
		until("2026-01-29T09:17:23Z", maintenanceOf(pastID, "2026-01-29T09:00:43Z", "[Completed] scheduled reboot", true)),
	},
}, {
	name: "no maintenance", path: PathMaintenance, body: "[]", passed: "no maintenance is listed that matters",
}, {
	name: "maintenance of state null", path: PathMaintenance,
	body:   `[{"NotBefore": "1 Jan 2026 09:00:43 GMT", "Code": "system-reboot", "EventId": "a b", "State": null}]`,
	events: []v1alpha1.Event{maintenanceOf("c8687a08aa5d6ed2044328fa6a697ab8e96dc34291e8c2034ae8c38e6fcc6d65", "2026-01-01T09:00:43Z", "", false)},
}, {
	name: "active maintenance in the history", path: PathMaintenanceHistory,
	body:   `[{"NotBefore": "2026-01-21T09:00:43Z", "Code": "system-reboot", "EventId": "a", "State": "active"}]`,
	passed: "no maintenance is listed that matters",
}, {
	name: "cancelled, still scheduled", path: PathMaintenance,
	body:   `[{"NotBefore": "21 Jan 2026 09:00:43 GMT", "Code": "system-reboot", "EventId": "` + scheduledID + `", "State": "Cancelled"}]`,
	events: []v1alpha1.Event{maintenanceOf(scheduledID, "2026-01-21T09:00:43Z", "", true)},
}, {
	name: "terminated", path: PathTargetLifecycleState, body: "Terminated\n",
	source: "https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html",
	events: []v1alpha1.Event{{ID: "IMDS-AutoScalingTermination", Kind: v1alpha1.AutoScalingTermination, InstanceAction: "terminate"}},
}, {
	name: "warm pool, terminated", path: PathTargetLifecycleState, body: "Warmed:Terminated",
	events: []v1alpha1.Event{{ID: "IMDS-AutoScalingTermination", Kind: v1alpha1.AutoScalingTermination, InstanceAction: "terminate"}},
}, {
	name: "warm pool, stopped", path: PathTargetLifecycleState, body: "Warmed:Stopped",
	events: []v1alpha1.Event{{ID: "IMDS-AutoScalingTermination", Kind: v1alpha1.AutoScalingTermination, InstanceAction: "stop"}},
}, {
	name: "warm pool, hibernated", path: PathTargetLifecycleState, body: "Warmed:Hibernated",
	events: []v1alpha1.Event{{ID: "IMDS-AutoScalingTermination", Kind: v1alpha1.AutoScalingTermination, InstanceAction: "hibernate"}},
}, {
	name: "in service", path: PathTargetLifecycleState, body: "InService",
	events: []v1alpha1.Event{{ID: "IMDS-AutoScalingTermination", Kind: v1alpha1.AutoScalingTermination, Cancelled: ptr.To(true)}},
}, {
	name: "standby", path: PathTargetLifecycleState, body: "Standby", passed: `target state "Standby" ends nothing`,
}, {
	name: "detached", path: PathTargetLifecycleState, body: "Detached", passed: `target state "Detached" ends nothing`,
}, {
	name: "a state of the future", path: PathTargetLifecycleState, body: "Warmed:Replaced", passed: `unknown target state "Warmed:Replaced"`,
}, {
	name: "warm pool, running", path: PathTargetLifecycleState, body: "Warmed:Running", passed: `target state "Warmed:Running" ends nothing`,
}}

func metadataBody(t testing.TB, name, body string) []byte {
	t.Helper()
	if body != "" {
		return []byte(body)
	}
	content, err := os.ReadFile(filepath.Join("testdata", "imds", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestMetadata(t *testing.T) {
	for _, s := range metadataSamples {
		t.Run(s.name, func(t *testing.T) {
			got, err := ParseMetadata(s.path, metadataBody(t, s.name, s.body), testInstance)
			if err != nil {
				t.Fatal(err)
			}
			want := Document{Passed: s.passed}
			for _, e := range s.events {
				e.BootID = testInstance.BootID
				want.Facts = append(want.Facts, Fact{InstanceID: instance, Event: e})
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			checkMetadata(t, got)
		})
	}
}

// checkMetadata does as checkDocument, with the time that whoever receives it sets.
func checkMetadata(t testing.TB, d Document) {
	t.Helper()
	facts := make([]Fact, len(d.Facts))
	for i, f := range d.Facts {
		if facts[i] = f; f.Event.Time.IsZero() {
			facts[i].Event.Time = metav1.NewTime(sent.Truncate(time.Second))
		}
	}
	checkDocument(t, Document{Facts: facts, Passed: d.Passed})
}

func TestMetadataErrors(t *testing.T) {
	const (
		service = ", expected one of the instance metadata service"
		date    = ", expected a time such as 2026-08-27T13:00:00Z or Thu, 27 Aug 2026 13:00:00 GMT"
		id      = ", expected the event's ID, such as instance-event-0d59937288b749b32"
		state   = ", expected one of Auto Scaling's, such as InService or Terminated"
	)
	for name, c := range map[string]struct{ path, body, want string }{
		"unknown path":     {"spot/termination-time", "2026-11-22T05:10:00Z", `the path is "spot/termination-time", expected one of ParseMetadata's`},
		"empty":            {PathSpotInstanceAction, "", "the document is not JSON (unexpected end of JSON input)" + service},
		"cut":              {PathSpotInstanceAction, `{"action": "term`, "the document is not JSON (unexpected end of JSON input)" + service},
		"HTML":             {PathRebalance, "<html>", "the document is not JSON (invalid character '<' looking for beginning of value)" + service},
		"array":            {PathSpotInstanceAction, "[]", "the document is a JSON array, expected an object"},
		"object":           {PathMaintenance, "{}", "the document is a JSON object, expected an array"},
		"null":             {PathSpotInstanceAction, "null", "action is missing, expected terminate, stop or hibernate"},
		"number as action": {PathSpotInstanceAction, `{"action": 1}`, "action is a JSON number, expected a string"},
		"no time":          {PathSpotInstanceAction, `{"action": "stop"}`, "time is missing" + date},
		"bad time":         {PathSpotInstanceAction, `{"action": "stop", "time": "soon"}`, `time is "soon"` + date},
		"no noticeTime":    {PathRebalance, `{}`, "noticeTime is missing" + date},
		"no event ID":      {PathMaintenance, `[{"NotBefore": "21 Jan 2026 09:00:43 GMT"}]`, "EventId is missing" + id},
		"no notBefore":     {PathMaintenance, `[{"EventId": "a"}]`, "NotBefore is missing" + date},
		"other zone":       {PathMaintenance, `[{"EventId": "a", "NotBefore": "21 Jan 2026 09:00:43 PST"}]`, `NotBefore is "21 Jan 2026 09:00:43 PST"` + date},
		"entry is text":    {PathMaintenanceHistory, `["x"]`, "the document is a JSON string, expected an object"},
		"no state's form":  {PathTargetLifecycleState, "<html>", `the target state is "<html>"` + state},
		"no state":         {PathTargetLifecycleState, " ", `the target state is ""` + state},
		"long state":       {PathTargetLifecycleState, strings.Repeat("x", 300), `the target state is "` + strings.Repeat("x", 64) + `"` + state},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := ParseMetadata(c.path, []byte(c.body), testInstance)
			checkError(t, err, c.want)
			if len(d.Facts) > 0 || d.Passed != "" {
				t.Errorf("%+v came with the error", d)
			}
		})
	}
}

// TestMetadataPartly: an entry that cannot be read does not hide the others.
func TestMetadataPartly(t *testing.T) {
	body := `[{"EventId": "a"}, {"EventId": "b", "NotBefore": "21 Jan 2026 09:00:43 GMT"}, {"NotBefore": "21 Jan 2026 09:00:43 GMT"}]`
	d, err := ParseMetadata(PathMaintenance, []byte(body), testInstance)
	checkError(t, err, "NotBefore is missing, expected a time such as 2026-08-27T13:00:00Z or Thu, 27 Aug 2026 13:00:00 GMT")
	if len(d.Facts) != 1 || d.Facts[0].Event.ID != "b" {
		t.Errorf("facts %+v, want that of b", d.Facts)
	}
}

// TestMetadataIDs: one thing has one ID, whatever is said of it.
func TestMetadataIDs(t *testing.T) {
	idOf := func(path, body string, m Instance) string {
		d, err := ParseMetadata(path, []byte(body), m)
		if err != nil || len(d.Facts) != 1 {
			t.Fatalf("%s: %+v, %v", body, d, err)
		}
		return d.Facts[0].Event.ID
	}
	other := Instance{InstanceID: instance, BootID: "another"}
	for name, c := range map[string]struct {
		path, one, two string
		boot           Instance
		same           bool
	}{
		"another action":         {PathSpotInstanceAction, `{"action": "stop", "time": "2026-11-22T05:10:00Z"}`, `{"action": "terminate", "time": "2026-11-22T05:10:00Z"}`, testInstance, true},
		"another time":           {PathSpotInstanceAction, `{"action": "stop", "time": "2026-11-22T05:10:00Z"}`, `{"action": "stop", "time": "2026-11-22T06:10:00Z"}`, testInstance, true},
		"otherwise written":      {PathSpotInstanceAction, `{"action": "stop", "time": "2026-11-22T05:10:00Z"}`, `{"time":"2026-11-22T05:10:00.000Z","action":"stop"}`, testInstance, true},
		"notice after a boot":    {PathSpotInstanceAction, `{"action": "stop", "time": "2026-11-22T05:10:00Z"}`, `{"action": "stop", "time": "2026-11-22T05:10:00Z"}`, other, true},
		"another recommendation": {PathRebalance, `{"noticeTime": "2026-11-22T05:08:22Z"}`, `{"noticeTime": "2026-11-22T05:08:23Z"}`, testInstance, true},
		"another maintenance":    {PathMaintenance, `[{"EventId": "a", "NotBefore": "21 Jan 2026 09:00:43 GMT"}]`, `[{"EventId": "b", "NotBefore": "21 Jan 2026 09:00:43 GMT"}]`, testInstance, false},
		"rescheduled":            {PathMaintenance, `[{"EventId": "a", "NotBefore": "21 Jan 2026 09:00:43 GMT"}]`, `[{"EventId": "a", "NotBefore": "22 Jan 2026 09:00:43 GMT"}]`, testInstance, true},
		"same state":             {PathTargetLifecycleState, "Warmed:Stopped", "Warmed:Stopped", testInstance, true},
		"stopped once more":      {PathTargetLifecycleState, "Warmed:Stopped", "Warmed:Stopped", other, true},
		"in service again":       {PathTargetLifecycleState, "Warmed:Stopped", "InService", testInstance, true},
	} {
		one, two := idOf(c.path, c.one, testInstance), idOf(c.path, c.two, c.boot)
		if (one == two) != c.same {
			t.Errorf("%s: IDs %s and %s, want the same: %t", name, one, two, c.same)
		}
	}
}

// FuzzMetadata: nothing panics, and what comes out can be stored, whatever the service says.
func FuzzMetadata(f *testing.F) {
	for _, s := range metadataSamples {
		f.Add(s.path, metadataBody(f, s.name, s.body))
	}
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		d, err := ParseMetadata(path, body, testInstance)
		if err != nil {
			checkError(t, err, err.Error())
			if len(err.Error()) > 1000 || d.Passed != "" {
				t.Fatalf("%v came with %v", err, d)
			}
		} else if len(d.Facts) == 0 && d.Passed == "" {
			t.Fatal("neither facts nor a reason")
		}
		checkMetadata(t, d)
		again, _ := ParseMetadata(path, body, testInstance)
		if diff := cmp.Diff(d, again); diff != "" {
			t.Fatalf("the second time: %s", diff)
		}
	})
}
