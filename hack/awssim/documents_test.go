// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// The documents have the fields, types and spellings of AWS's own samples; see documents.go for where they are.
func TestDocuments(t *testing.T) {
	const id, instance = "12345678-1234-1234-1234-123456789012", "i-1234567890abcdef0"
	instances := []string{instance}
	for name, test := range map[string]struct {
		notice Notice
		want   string
	}{
		"spot": {Notice{Kind: SpotInterruption, InstanceIDs: instances}, `{
			"version": "0", "id": "12345678-1234-1234-1234-123456789012",
			"detail-type": "EC2 Spot Instance Interruption Warning", "source": "aws.ec2",
			"account": "123456789012", "time": "2026-03-01T12:00:00Z", "region": "us-east-2",
			"resources": ["arn:aws:ec2:us-east-2:123456789012:instance/i-1234567890abcdef0"],
			"detail": {"instance-id": "i-1234567890abcdef0", "instance-action": "terminate"}}`},
		"rebalance": {Notice{Kind: RebalanceRecommendation, InstanceIDs: instances}, `{
			"version": "0", "id": "12345678-1234-1234-1234-123456789012",
			"detail-type": "EC2 Instance Rebalance Recommendation", "source": "aws.ec2",
			"account": "123456789012", "time": "2026-03-01T12:00:00Z", "region": "us-east-2",
			"resources": ["arn:aws:ec2:us-east-2:123456789012:instance/i-1234567890abcdef0"],
			"detail": {"instance-id": "i-1234567890abcdef0"}}`},
		"state change": {Notice{Kind: StateChange, InstanceIDs: instances, State: "stopping"}, `{
			"version": "0", "id": "12345678-1234-1234-1234-123456789012",
			"detail-type": "EC2 Instance State-change Notification", "source": "aws.ec2",
			"account": "123456789012", "time": "2026-03-01T12:00:00Z", "region": "us-east-2",
			"resources": ["arn:aws:ec2:us-east-2:123456789012:instance/i-1234567890abcdef0"],
			"detail": {"instance-id": "i-1234567890abcdef0", "state": "stopping"}}`},
		"capacity reservation": {Notice{Kind: CapacityReservation, InstanceIDs: instances}, `{
			"version": "0", "id": "12345678-1234-1234-1234-123456789012",
			"detail-type": "EC2 Capacity Reservation Instance Interruption Warning", "source": "aws.ec2",
			"account": "123456789012", "time": "2026-03-01T12:00:00Z",
			"resources": "arn:aws:ec2:us-east-2:123456789012:instance/i-1234567890abcdef0", "region": "us-east-2",
			"detail": {"instance-id": "i-1234567890abcdef0", "instance-action": "terminate",
				"instance-termination-time": "2026-03-01T12:02:00Z", "azId": "use1-az1"}}`},
		"capacity reservation, spelled otherwise": {Notice{Kind: CapacityReservation, InstanceIDs: instances, OtherSpelling: true, NotBefore: epoch.Add(time.Minute)}, `{
			"version": "0", "id": "12345678-1234-1234-1234-123456789012",
			"detail-type": "EC2 Interruptible Capacity Reservation Instance Interruption Warning", "source": "aws.ec2",
			"account": "123456789012", "time": "2026-03-01T12:00:00Z",
			"resources": "arn:aws:ec2:us-east-2:123456789012:instance/i-1234567890abcdef0", "region": "us-east-2",
			"detail": {"instance-id": "i-1234567890abcdef0", "instance-action": "terminate",
				"instance-termination-time": "2026-03-01T12:01:00Z", "azId": "use1-az1"}}`},
		"health": {Notice{Kind: Health, InstanceIDs: []string{"i-11111111", "i-22222222"}, EventARN: "arn:e", NotBefore: epoch.AddDate(0, 0, 14)}, `{
			"version": "0", "id": "12345678-1234-1234-1234-123456789012",
			"detail-type": "AWS Health Event", "source": "aws.health",
			"account": "123456789012", "time": "2026-03-01T12:00:00Z", "region": "us-east-2",
			"resources": ["i-11111111", "i-22222222"],
			"detail": {"eventArn": "arn:e", "service": "EC2", "eventTypeCode": "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED",
				"eventTypeCategory": "scheduledChange", "eventScopeCode": "ACCOUNT_SPECIFIC",
				"communicationId": "12345678-1234-1234-1234-123456789012-1",
				"startTime": "Sun, 15 Mar 2026 12:00:00 GMT", "lastUpdatedTime": "Sun, 01 Mar 2026 12:00:00 GMT",
				"statusCode": "upcoming", "eventRegion": "us-east-2",
				"eventDescription": [{"language": "en_US", "latestDescription": "A description of the event will be provided here"}],
				"affectedEntities": [
					{"entityValue": "i-11111111", "lastUpdatedTime": "Sun, 01 Mar 2026 12:00:00 GMT", "status": "PENDING"},
					{"entityValue": "i-22222222", "lastUpdatedTime": "Sun, 01 Mar 2026 12:00:00 GMT", "status": "PENDING"}],
				"affectedAccount": "123456789012", "page": "1", "totalPages": "1", "backupEvent": "false",
				"personas": ["OPERATIONS"], "actionability": "ACTION_REQUIRED"}}`},
		"termination through EventBridge": {Notice{Kind: Lifecycle, InstanceIDs: instances, Token: id, Metadata: "m"}, `{
			"version": "0", "id": "12345678-1234-1234-1234-123456789012",
			"detail-type": "EC2 Instance-terminate Lifecycle Action", "source": "aws.autoscaling",
			"account": "123456789012", "time": "2026-03-01T12:00:00Z", "region": "us-east-2",
			"resources": ["arn:aws:autoscaling:us-east-2:123456789012:autoScalingGroup:26e7234b-03a4-47fb-b0a9-2b241662774e:autoScalingGroupName/workers"],
			"detail": {"LifecycleActionToken": "12345678-1234-1234-1234-123456789012", "AutoScalingGroupName": "workers",
				"LifecycleHookName": "drain", "EC2InstanceId": "i-1234567890abcdef0",
				"LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING", "NotificationMetadata": "m",
				"Origin": "AutoScalingGroup", "Destination": "EC2"}}`},
		"launch straight to SQS": {Notice{Kind: LifecycleDirect, InstanceIDs: instances, Token: id, Launching: true, Destination: "WarmPool"}, `{
			"Service": "AWS Auto Scaling", "Time": "2026-03-01T12:00:00.000Z", "RequestId": "12345678-1234-1234-1234-123456789012",
			"AccountId": "123456789012", "LifecycleActionToken": "12345678-1234-1234-1234-123456789012",
			"AutoScalingGroupName": "workers", "LifecycleHookName": "join", "EC2InstanceId": "i-1234567890abcdef0",
			"LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING", "Origin": "EC2", "Destination": "WarmPool"}`},
		"test notification": {Notice{Kind: TestNotification}, `{
			"Service": "AWS Auto Scaling", "Time": "2026-03-01T12:00:00.000Z", "RequestId": "12345678-1234-1234-1234-123456789012",
			"AccountId": "123456789012", "AutoScalingGroupName": "workers",
			"AutoScalingGroupARN": "arn:aws:autoscaling:us-east-2:123456789012:autoScalingGroup:26e7234b-03a4-47fb-b0a9-2b241662774e:autoScalingGroupName/workers",
			"Event": "autoscaling:TEST_NOTIFICATION"}`},
	} {
		t.Run(name, func(t *testing.T) {
			test.notice.ID, test.notice.Region, test.notice.Time = id, "us-east-2", epoch
			var got, want any
			if err := json.Unmarshal([]byte(must[string](t)(test.notice.Message())), &got); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(test.want), &want); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got\n%v\nwant\n%v", got, want)
			}
		})
	}
}

func TestDocumentInSNS(t *testing.T) {
	plain := Notice{Kind: Raw, Body: `{"a": "b"}`, Time: epoch}
	wrapped := plain
	wrapped.SNS = true
	var got map[string]string
	if err := json.Unmarshal([]byte(must[string](t)(wrapped.Message())), &got); err != nil {
		t.Fatal(err)
	}
	want := "Message MessageId Signature SignatureVersion SigningCertURL Timestamp TopicArn Type UnsubscribeURL"
	if keys := strings.Join(slices.Sorted(maps.Keys(got)), " "); keys != want {
		t.Errorf("fields %s, want %s", keys, want)
	}
	if got["Message"] != must[string](t)(plain.Message()) || got["Type"] != "Notification" || got["Timestamp"] != "2026-03-01T12:00:00.000Z" {
		t.Errorf("wrapped as %v", got)
	}
}

func TestDocumentMistakes(t *testing.T) {
	for want, n := range map[string]Notice{
		"use one of": {Kind: "meteor", InstanceIDs: []string{"i-11111111"}},
		"not 0":      {Kind: SpotInterruption},
		"not 2":      {Kind: Lifecycle, InstanceIDs: []string{"i-11111111", "i-22222222"}},
	} {
		if _, err := n.Message(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", n, err, want)
		}
	}
}

func TestSend(t *testing.T) {
	s := start(t, Options{Now: stopped, Region: "eu-west-1"})
	url := must[string](t)(s.CreateQueue("events", nil))
	for _, n := range []Notice{
		{Kind: SpotInterruption, InstanceIDs: []string{"i-11111111"}},
		{Kind: Lifecycle, InstanceIDs: []string{"i-11111111"}},
		{Kind: LifecycleDirect, InstanceIDs: []string{"i-11111111"}, Token: newUUID()},
	} {
		must[string](t)(s.Send(url, n))
	}
	sent := must[[]Message](t)(s.Messages(url))
	if len(sent) != 3 {
		t.Fatalf("%d messages in the queue, want 3", len(sent))
	}
	if body := sent[0].Body; !strings.Contains(body, `"region":"eu-west-1"`) || !strings.Contains(body, `"time":"2026-03-01T12:00:00Z"`) {
		t.Errorf("sent with another region or time than the server's: %s", body)
	}
	actions := s.LifecycleActions()
	if len(actions) != 1 || !strings.Contains(sent[1].Body, actions[0].Token) {
		t.Errorf("lifecycle actions %+v, want one, with the token in %s", actions, sent[1].Body)
	}
	if _, err := s.Send(url, Notice{Kind: "meteor"}); err == nil {
		t.Error("sent an unknown kind")
	}
	if _, err := s.Send(s.URL()+"/nowhere", Notice{Kind: TestNotification}); err == nil {
		t.Error("sent to a queue that is not there")
	}
}
