// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodetermination/operator/api/v1alpha1"
)

func TestErrors(t *testing.T) {
	const (
		whole = ", expected an event as EventBridge sends it: remove the input transformer from the rule's target"
		known = ", expected an EventBridge event, an Auto Scaling lifecycle notification, or an SNS notification of either, " +
			"unchanged: remove the input transformer from the rule's target"
		id   = ", expected an EC2 instance ID such as i-0abc1234def567890"
		date = ", expected a time such as 2026-08-27T13:00:00Z or Thu, 27 Aug 2026 13:00:00 GMT"
	)
	long := strings.Repeat("x", 300)
	for name, c := range map[string]struct {
		body []byte
		want string
	}{
		"empty":     {[]byte(""), "the message is not JSON (unexpected end of JSON input)" + known},
		"text":      {[]byte("hello"), "the message is not JSON (invalid character 'h' looking for beginning of value)" + known},
		"cut":       {sample(t, "spot-terminate")[:200], "the message is not JSON (unexpected end of JSON input)" + known},
		"null":      {[]byte("null"), "the message is of no known form" + known},
		"array":     {[]byte("[]"), "the message is a JSON array, expected an object"},
		"object":    {[]byte(`{"a": 1}`), "the message is of no known form" + known},
		"detail":    {[]byte(`{"instance-id": "i-1234567890abcdef0", "instance-action": "stop"}`), "the message is of no known form" + known},
		"too long":  {[]byte(strings.Repeat(" ", 1<<20+1)), "the message is 1048577 bytes long, expected at most 1048576, the limit of SQS"},
		"deep":      {[]byte(strings.Repeat("[", 1<<20)), "the message is not JSON (invalid character '[' exceeded max depth)" + known},
		"deep part": {edit(t, "rebalance", `"instance-id"`, `"a": `+strings.Repeat("[", 20000)+strings.Repeat("]", 20000)+`, "instance-id"`), "the message is not JSON (invalid character '[' exceeded max depth)" + known},

		"no source":        {edit(t, "rebalance", `"source": "aws.ec2",`, ``), "source is missing" + whole},
		"other source":     {edit(t, "rebalance", `aws.ec2`, `aws.s3`), `source is "aws.s3", expected aws.ec2, aws.autoscaling, aws.health or aws.cloudwatch: let the EventBridge rule match only those`},
		"no detail-type":   {edit(t, "rebalance", `"detail-type": "EC2 Instance Rebalance Recommendation",`, ``), "detail-type is missing" + whole},
		"no id":            {edit(t, "rebalance", `"id": "12345678-1234-1234-1234-123456789012",`, ``), "id is missing" + whole},
		"no time":          {edit(t, "rebalance", `"time": "2026-11-22T05:08:00Z",`, ``), "time is missing" + date},
		"bad time":         {edit(t, "rebalance", `2026-11-22T05:08:00Z`, `yesterday`), `time is "yesterday"` + date},
		"number as time":   {edit(t, "rebalance", `"2026-11-22T05:08:00Z"`, `1795324080`), "time is a JSON number, expected a string"},
		"number as source": {edit(t, "rebalance", `"aws.ec2"`, `2`), "source is a JSON number, expected a string"},
		"no detail":        {[]byte(`{"source": "aws.ec2", "detail-type": "EC2 Instance Rebalance Recommendation", "id": "1", "time": "2026-11-22T05:08:00Z"}`), "detail is missing" + whole},
		"detail is text":   {[]byte(`{"source": "aws.ec2", "detail-type": "EC2 Instance Rebalance Recommendation", "id": "1", "time": "2026-11-22T05:08:00Z", "detail": "x"}`), "detail is a JSON string, expected an object"},

		"no instance":        {edit(t, "rebalance", `"instance-id"`, `"instance"`), "detail.instance-id is missing" + id},
		"bad instance":       {edit(t, "spot-terminate", `i-1234567890abcdef0`, `I-1234567890ABCDEF0`), `detail.instance-id is "I-1234567890ABCDEF0"` + id},
		"long instance":      {edit(t, "state-stopped", `i-1234567890abcdef0`, long), `detail.instance-id is "` + long[:64] + `"` + id},
		"number as instance": {edit(t, "capacity-reservation", `"instance-id": "i-1234567890abcdef0"`, `"instance-id": 5`), "detail.instance-id is a JSON number, expected a string"},
		"no state":           {edit(t, "state-stopped", `"state"`, `"status"`), "detail.state is missing, expected an instance state such as running or stopping"},

		"no service":      {edit(t, "health-reboot", `"service": "EC2",`, ``), "detail.service is missing, expected the service, such as EC2"},
		"no category":     {edit(t, "health-reboot", `"eventTypeCategory": "scheduledChange",`, ``), "detail.eventTypeCategory is missing, expected the category, such as scheduledChange"},
		"no ARN":          {edit(t, "health-reboot", `"eventArn"`, `"arn"`), "detail.eventArn is missing, expected the ARN of the AWS Health event"},
		"no start":        {edit(t, "health-reboot", `"startTime"`, `"start"`), "detail.startTime is missing" + date},
		"start elsewhere": {edit(t, "health-reboot", `Thu, 3 Sep 2026 13:00:00 GMT`, `Thu, 3 Sep 2026 13:00:00 PST`), `detail.startTime is "Thu, 3 Sep 2026 13:00:00 PST"` + date},
		"bad entity":      {edit(t, "health-retirement", `i-1234567890abcdef0`, `i-wxyz1111`), `detail.affectedEntities.entityValue is "i-wxyz1111"` + id},
		"entity is text": {edit(t, "health-retirement", `[{
      "entityValue"`, `["i-abcd1111"], "x": [{
      "entityValue"`), "detail.affectedEntities is a JSON string, expected an object"},
		"entities object": {edit(t, "health-lambda", `"affectedEntities": [`, `"affectedEntities": {"a": [`, `"RESOLVED"}`+"\n    ]", `"RESOLVED"}`+"\n    ]}"), "detail.affectedEntities is a JSON object, expected an array"},

		"no group":           {edit(t, "autoscaling-terminate", `"AutoScalingGroupName": "my-asg",`, ``), "detail.AutoScalingGroupName is missing, expected the group's name, of at most 255 characters"},
		"long group":         {edit(t, "autoscaling-terminate", `"my-asg"`, `"`+long+`"`), "detail.AutoScalingGroupName is too long, expected the group's name, of at most 255 characters"},
		"long hook":          {edit(t, "autoscaling-terminate-queue", `my-lifecycle-hook`, long), "LifecycleHookName is too long, expected the hook's name, of at most 255 characters"},
		"no group's name":    {edit(t, "autoscaling-terminate", `"my-asg"`, `"arn:aws:autoscaling"`), `detail.AutoScalingGroupName is "arn:aws:autoscaling", expected a group's name, such as workers`},
		"no hook's name":     {edit(t, "autoscaling-terminate-queue", `my-lifecycle-hook`, "my hook"), `LifecycleHookName is "my hook", expected a hook's name, of letters, digits, hyphens, underscores and slashes`},
		"no token":           {edit(t, "autoscaling-terminate-queue", `"LifecycleActionToken"`, `"Token"`), "LifecycleActionToken is missing, expected the action's token, a UUID"},
		"no hook's instance": {edit(t, "autoscaling-terminate-queue", `"EC2InstanceId"`, `"InstanceId"`), "EC2InstanceId is missing" + id},
		"no Time":            {edit(t, "autoscaling-terminate-queue", `"Time"`, `"When"`), "Time is missing" + date},
		"no transition":      {edit(t, "autoscaling-terminate-queue", `"LifecycleTransition"`, `"Transition"`), "LifecycleTransition is missing, expected autoscaling:EC2_INSTANCE_TERMINATING or autoscaling:EC2_INSTANCE_LAUNCHING"},
		"no launch's token":  {edit(t, "autoscaling-launch", `"LifecycleActionToken"`, `"Token"`), "detail.LifecycleActionToken is missing, expected the action's token, a UUID"},
		"bad launch":         {edit(t, "autoscaling-launch-queue", instance, "i-1"), `EC2InstanceId is "i-1"` + id},
		"long launch's hook": {edit(t, "autoscaling-launch", `my-lifecycle-hook`, long), "detail.LifecycleHookName is too long, expected the hook's name, of at most 255 characters"},

		"empty in SNS":  {[]byte(`{"Type": "Notification"}`), "Message is missing" + known},
		"text in SNS":   {wrap(t, []byte("hello")), "the message is not JSON (invalid character 'h' looking for beginning of value)" + known},
		"other of SNS":  {[]byte(`{"Type": "UnsubscribeConfirmation", "Message": "x"}`), `Type is "UnsubscribeConfirmation", expected Notification`},
		"object in SNS": {[]byte(`{"Type": "Notification", "Message": {}}`), "Message is a JSON object, expected a string"},
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := Parse(c.body, sent)
			checkError(t, err, c.want)
			if diff := cmp.Diff(Document{}, doc); diff != "" {
				t.Errorf("with the error came %s", diff)
			}
		})
	}
}

func TestPassed(t *testing.T) {
	for name, c := range map[string]struct {
		body []byte
		want string
	}{
		"unknown state":     {edit(t, "state-pending", `"pending"`, `"dreaming"`), `instance state "dreaming" ends nothing`},
		"by CloudTrail":     {edit(t, "rebalance", "EC2 Instance Rebalance Recommendation", "AWS API Call via CloudTrail"), `"AWS API Call via CloudTrail" of aws.ec2 is nothing to act on`},
		"abuse":             {edit(t, "health-issue", "AWS Health Event", "AWS Health Abuse Event"), `"AWS Health Abuse Event" of aws.health is nothing to act on`},
		"planned lifecycle": {edit(t, "health-reboot", `"AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED"`, `"AWS_EC2_PLANNED_LIFECYCLE_EVENT"`), `"AWS_EC2_PLANNED_LIFECYCLE_EVENT" is no maintenance of instances`},
		"no instance":       {edit(t, "health-retirement", "arn:aws:ec2:us-east-1:123456789012:instance/i-1234567890abcdef0", "arn:aws:ec2:us-east-1:123456789012:dedicated-host/h-0123456789abcdef0"), `"AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED" affects no instance`},
		"no entities":       {edit(t, "health-retirement", `"affectedEntities"`, `"entities"`), `"AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED" affects no instance`},
		"notification":      {edit(t, "autoscaling-test", "TEST_NOTIFICATION", "EC2_INSTANCE_TERMINATE"), `"autoscaling:EC2_INSTANCE_TERMINATE" is no lifecycle action`},
		"transition":        {edit(t, "autoscaling-launch-queue", "LAUNCHING", "DREAMING"), `lifecycle transition "autoscaling:EC2_INSTANCE_DREAMING" is neither a termination nor a launch`},
		"test of a hook":    {edit(t, "autoscaling-terminate-queue", `"Time"`, `"Event": "autoscaling:TEST_NOTIFICATION", "Time"`), `"autoscaling:TEST_NOTIFICATION" is no lifecycle action`},
	} {
		t.Run(name, func(t *testing.T) {
			doc := parse(t, c.body)
			if diff := cmp.Diff(Document{Passed: c.want}, doc); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestDeadline: two minutes from the event's time, or from when the message was
// sent if that was earlier.
func TestDeadline(t *testing.T) {
	for _, c := range []struct {
		file string
		sent time.Time
		want string
	}{
		{"spot-terminate", sent, "2026-11-22T05:10:00Z"},
		{"spot-terminate", sent.Add(time.Hour), "2026-11-22T05:10:00Z"},
		{"spot-terminate", sent.Add(-time.Minute), "2026-11-22T05:09:02Z"},
		{"spot-terminate", time.Time{}, "2026-11-22T05:10:00Z"},
		{"spot-hibernate", sent, "2026-11-22T05:08:00Z"},
		{"capacity-reservation-interruptible", sent.Add(-time.Minute), "2026-11-22T05:09:02Z"},
		{"capacity-reservation", sent.Add(-time.Minute), "2026-11-22T05:09:30Z"},
	} {
		doc, err := Parse(sample(t, c.file), c.sent)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(stampPtr(c.want), doc.Facts[0].Event.Deadline); diff != "" {
			t.Errorf("%s sent at %v: -want +got:\n%s", c.file, c.sent, diff)
		}
	}
}

// TestOptional: what is optional and malformed counts as absent.
func TestOptional(t *testing.T) {
	for _, c := range []struct {
		body []byte
		want []byte
	}{
		{edit(t, "capacity-reservation", "2026-11-22T05:09:30Z", "soon"), edit(t, "capacity-reservation", `"instance-termination-time"`, `"x"`)},
		{edit(t, "health-reboot", "Thu, 3 Sep 2026 15:00:00 GMT", "later"), edit(t, "health-reboot", `"endTime"`, `"x"`)},
		{edit(t, "health-reboot", "Thu, 3 Sep 2026 15:00:00 GMT", "Thu, 3 Sep 2026 12:00:00 GMT"), edit(t, "health-reboot", `"endTime"`, `"x"`)},
		{edit(t, "health-retirement", "Thu, 27 Jan 2026 13:44:13 GMT", "lately"), edit(t, "health-retirement", `"lastUpdatedTime"`, `"x"`)},
	} {
		if diff := cmp.Diff(parse(t, c.want), parse(t, c.body)); diff != "" {
			t.Errorf("-absent +malformed:\n%s", diff)
		}
	}
}

// TestLaunchFromWarmPool: an instance that leaves its group's warm pool is not on its way there any more.
func TestLaunchFromWarmPool(t *testing.T) {
	want := []Fact{{InstanceID: instance, Account: account, Event: v1alpha1.Event{
		ID: "SQS-AutoScalingTermination", Kind: v1alpha1.AutoScalingTermination, Time: stamp("2026-11-22T05:08:00Z"), Cancelled: new(true),
	}}}
	doc := parse(t, edit(t, "autoscaling-launch", `"Origin": "EC2"`, `"Origin": "WarmPool"`))
	if diff := cmp.Diff(Document{Launch: launch("AutoScalingGroup"), Facts: want}, doc); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	doc = parse(t, edit(t, "autoscaling-launch-warm", `"Origin": "EC2"`, `"Origin": "WarmPool"`))
	if diff := cmp.Diff(Document{Launch: launch(WarmPool)}, doc); diff != "" {
		t.Errorf("within the pool, -want +got:\n%s", diff)
	}
}

// TestHealthUpdates: what AWS says later about the same maintenance is the same event.
func TestHealthUpdates(t *testing.T) {
	first := parse(t, sample(t, "health-retirement")).Facts[0].Event
	for name, c := range map[string]struct {
		oldnew    []string
		notBefore string
		cancelled bool
	}{
		"rescheduled":       {[]string{"Thu, 27 Aug 2026", "Fri, 28 Aug 2026", `"7bf73129`, `"8bf73129`}, "2026-08-28T13:19:03Z", false},
		"from backup":       {[]string{`"us-east-1"`, `"us-west-2"`, `"backupEvent": "false"`, `"backupEvent": "true"`, `01:43:21Z`, `01:49:00Z`}, "2026-08-27T13:19:03Z", false},
		"begun":             {[]string{`"PENDING"`, `"IMPAIRED"`}, "2026-08-27T13:19:03Z", false},
		"not begun":         {[]string{`"PENDING"`, `"UNIMPAIRED"`}, "2026-08-27T13:19:03Z", false},
		"closed":            {[]string{`"open"`, `"closed"`}, "2026-08-27T13:19:03Z", true},
		"closed, resolved":  {[]string{`"open"`, `"closed"`, `"PENDING"`, `"RESOLVED"`}, "2026-08-27T13:19:03Z", true},
		"instance resolved": {[]string{`"PENDING"`, `"RESOLVED"`}, "2026-08-27T13:19:03Z", true},
	} {
		t.Run(name, func(t *testing.T) {
			want := *first.DeepCopy()
			want.NotBefore, want.Deadline = stampPtr(c.notBefore), stampPtr(c.notBefore)
			if c.cancelled {
				want.Cancelled = new(true)
			}
			doc := parse(t, edit(t, "health-retirement", c.oldnew...))
			if diff := cmp.Diff([]Fact{{InstanceID: instance, Account: account, Event: want}}, doc.Facts); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if other := parse(t, edit(t, "health-retirement", "90353408594353983", "90353408594353984")); other.Facts[0].Event.ID == first.ID {
		t.Error("another Health event has the same ID")
	}
}

// TestHealthEntities is about entities that cannot be read beside others that can.
func TestHealthEntities(t *testing.T) {
	for found, want := range map[string]string{
		`{"entityValue": "i-wxyz1111"}`: `detail.affectedEntities.entityValue is "i-wxyz1111", expected an EC2 instance ID such as i-0abc1234def567890`,
		`"i-abcd1111"`:                  "detail.affectedEntities is a JSON string, expected an object",
		`{"entityValue": 7}`:            "detail.affectedEntities.entityValue is a JSON number, expected a string",
		`null`:                          "",
		`{}`:                            "",
	} {
		doc := parse(t, edit(t, "health-reboot", `{"entityValue": "i-abcd1111"}`, found))
		if len(doc.Facts) != 2 || doc.Facts[0].InstanceID != instance {
			t.Errorf("%s: %+v, want the two others", found, doc.Facts)
		}
		var got []string
		for _, err := range doc.Unread {
			got = append(got, err.Error())
		}
		if strings.Join(got, "\n") != want {
			t.Errorf("%s: %q, want %q", found, got, want)
		}
	}
}

// TestHealthOfAnOrganization: what a delegated administrator receives is about an instance of another account.
func TestHealthOfAnOrganization(t *testing.T) {
	for found, want := range map[string]string{`"210987654321"`: "210987654321", `"elsewhere"`: "123456789012", `""`: "123456789012"} {
		doc := parse(t, edit(t, "health-retirement", `"affectedAccount": "123456789012"`, `"affectedAccount": `+found))
		if got := doc.Facts[0].Account; got != want {
			t.Errorf("affectedAccount %s: the record has %s, want %s", found, got, want)
		}
	}
}

func TestHealthAnnouncesNoMaintenance(t *testing.T) {
	for _, code := range []string{
		"AWS_EC2_ULTRASERVER_CAPACITY_REDUCED", "AWS_EC2_ULTRASERVER_MAINTENANCE_COMPLETED", "AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_CANCELLED",
		"AWS_EC2_OPERATIONAL_NOTIFICATION", "AWS_EC2_RESERVED_INSTANCES_EXPIRATION", "AWS_EC2_PLANNED_LIFECYCLE_EVENT",
	} {
		doc := parse(t, edit(t, "health-retirement", `"AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED"`, `"`+code+`"`))
		if doc.Passed == "" || len(doc.Facts) > 0 {
			t.Errorf("%s: %+v, want it to be passed over", code, doc)
		}
	}
}

func TestHealthAction(t *testing.T) {
	for code, want := range map[string]string{
		"AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED":                   "instance-retirement",
		"AWS_EC2_INSTANCE_RETIREMENT_EXPEDITED":                   "instance-retirement",
		"AWS_EC2_PERSISTENT_INSTANCE_RETIREMENT_SCHEDULED":        "instance-retirement",
		"AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED":           "instance-reboot",
		"AWS_EC2_INSTANCE_REBOOT_FLEXIBLE_MAINTENANCE_SCHEDULED":  "instance-reboot",
		"AWS_EC2_SYSTEM_REBOOT_MAINTENANCE_SCHEDULED":             "system-reboot",
		"AWS_EC2_INSTANCE_STOP_SCHEDULED":                         "instance-stop",
		"AWS_EC2_INSTANCE_NETWORK_MAINTENANCE_SCHEDULED":          "system-maintenance",
		"AWS_EC2_PERSISTENT_INSTANCE_POWER_MAINTENANCE_SCHEDULED": "system-maintenance",
		"AWS_EC2_MAINTENANCE_SCHEDULED":                           "",
		"":                                                        "",
	} {
		doc := parse(t, edit(t, "health-retirement", `"AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED"`, `"`+code+`"`))
		if got := doc.Facts[0].Event.InstanceAction; got != want {
			t.Errorf("%s: %q, want %q", code, got, want)
		}
	}
}

func TestHealthDescription(t *testing.T) {
	const there = `"latestDescription": "A description of the event will be provided here"`
	for name, c := range map[string]struct{ text, want string }{
		"cut between characters": {fmt.Sprintf(`"latestDescription": %q`, strings.Repeat("é", 2000)), strings.Repeat("é", 1024)},
		"whole":                  {fmt.Sprintf(`"latestDescription": %q`, strings.Repeat("é", 1024)), strings.Repeat("é", 1024)},
		"not UTF-8":              {"\"latestDescription\": \"a\xff\"", "a\uFFFD"},
		"blank":                  {`"latestDescription": " \n"`, ""},
		"none":                   {`"other": ""`, ""},
		"the first":              {`"language": "fr_FR", "latestDescription": "un"}, {"language": "de_DE", "latestDescription": "zwei"`, "un"},
		"English":                {`"language": "fr_FR", "latestDescription": "un"}, {"language": "en_US", "latestDescription": "two"}, {"language": "en_GB", "latestDescription": "three"`, "two"},
	} {
		body := edit(t, "health-retirement", `"language": "en_US",`, ``, there, c.text)
		if got := parse(t, body).Facts[0].Event.Description; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestLengths: texts are cut to what the API takes, identifiers are hashed.
func TestLengths(t *testing.T) {
	long := strings.Repeat("ü", 300)
	for name, body := range map[string][]byte{
		"action":      edit(t, "spot-terminate", `"terminate"`, `"`+long+`"`),
		"destination": edit(t, "autoscaling-terminate", `"Destination": "EC2"`, `"Destination": "`+long+`"`),
		"launch":      edit(t, "autoscaling-launch", `"AutoScalingGroup"`, `"`+long+`"`),
		"id":          edit(t, "rebalance", "12345678-1234-1234-1234-123456789012", long),
		"ARN":         edit(t, "health-reboot", "4c741f55-fbc2-4791-871d-378eb307a20c", long),
		"group":       edit(t, "autoscaling-terminate", `"my-asg"`, `"`+long[:2*255]+`"`),
		"detail-type": edit(t, "rebalance", "EC2 Instance Rebalance Recommendation", long),
		"event":       edit(t, "autoscaling-test", "TEST_NOTIFICATION", long),
	} {
		t.Run(name, func(t *testing.T) {
			checkDocument(t, parse(t, body))
		})
	}
}

func TestEventID(t *testing.T) {
	for id, kept := range map[string]bool{
		"1e5527d7-bb36-4607-3370-4164db56a40e": true,
		"a.b_C-1":                              true,
		strings.Repeat("a", 64):                true,
		strings.Repeat("a", 65):                false,
		"a b":                                  false,
		"a\n":                                  false,
		"é":                                    false,
	} {
		got := eventID(id)
		if (got == id) != kept || len(got) > 64 || eventID(got) != got {
			t.Errorf("%q became %q", id, got)
		}
	}
	if hashID("ab", "c") == hashID("a", "bc") {
		t.Error("the parts of a hash run together")
	}
}

func TestParseTime(t *testing.T) {
	for in, want := range map[string]string{
		"2026-08-27T13:00:00Z":            "2026-08-27T13:00:00Z",
		"2026-08-27T13:00:00.999Z":        "2026-08-27T13:00:00Z",
		"2026-08-27T13:00:00+02:00":       "2026-08-27T11:00:00Z",
		"2026-08-27T13:00:00.999+0000":    "2026-08-27T13:00:00Z",
		"Thu, 27 Aug 2026 13:00:00 GMT":   "2026-08-27T13:00:00Z",
		"Thu, 27 Aug 2026 13:00:00 UTC":   "2026-08-27T13:00:00Z",
		"Fri, 3 Jun 2022 05:01:10 GMT":    "2022-06-03T05:01:10Z",
		"Fri, 03 Jun 2022 05:01:10 GMT":   "2022-06-03T05:01:10Z",
		"Mon, 27 Aug 2026 13:00:00 GMT":   "2026-08-27T13:00:00Z", // a Thursday
		"":                                "",
		"Thu, 27 Aug 2026 13:00:00 PST":   "",
		"Thu, 27 Aug 2026 13:00:00 +0200": "",
		"2026-08-27T13:00:00":             "",
		"2026-08-27":                      "",
		"1795324080":                      "",
		"0001-01-01T00:00:00Z":            "",
		"9999-12-31T23:59:59-12:00":       "",
	} {
		got, err := parseTime("time", in)
		if (err == nil) != (want != "") {
			t.Errorf("%q: error %v", in, err)
		}
		if err == nil && got.Format(time.RFC3339Nano) != want {
			t.Errorf("%q: %s, want %s", in, got.Format(time.RFC3339Nano), want)
		}
	}
}

// FuzzParse: nothing panics, what comes out can be stored, and only deadlines
// depend on when the message was sent.
func FuzzParse(f *testing.F) {
	for _, s := range samples {
		body := sample(f, s.file)
		f.Add(body)
		f.Add(wrap(f, body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		doc, err := Parse(body, sent)
		if err != nil {
			checkError(t, err, err.Error())
			if len(err.Error()) > 1000 || !cmp.Equal(doc, Document{}) {
				t.Fatalf("%v came with %v", err, doc)
			}
			return
		}
		if len(doc.Facts) == 0 && doc.Launch == nil && doc.Passed == "" {
			t.Fatal("neither facts, nor a launch, nor a reason")
		}
		checkDocument(t, doc)
		again, err := Parse(body, sent)
		if diff := cmp.Diff(doc, again); diff != "" || err != nil {
			t.Fatalf("the second time: %v %s", err, diff)
		}
		later, err := Parse(body, sent.Add(-time.Hour))
		if err != nil || len(later.Facts) != len(doc.Facts) || !cmp.Equal(later.Launch, doc.Launch) || later.Passed != doc.Passed {
			t.Fatalf("sent an hour earlier: %v %v", later, err)
		}
		for i := range doc.Facts {
			a, b := doc.Facts[i], later.Facts[i]
			a.Event.Deadline, b.Event.Deadline = nil, nil
			if diff := cmp.Diff(a, b); diff != "" {
				t.Fatalf("sent an hour earlier: %s", diff)
			}
		}
	})
}
