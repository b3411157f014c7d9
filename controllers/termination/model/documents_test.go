// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"strings"
	"time"
)

// envelope returns an event of EventBridge.
func envelope(source, detailType string, at time.Time, instances []string, detail string) string {
	return fmt.Sprintf(`{"version":"0","id":"7fb65329-1628-4cf3-a740-95fa457a1402","detail-type":%q,"source":%q,"account":"123456789012","time":%q,"region":"us-east-1","resources":[%s],"detail":%s}`,
		detailType, source, at.UTC().Format(time.RFC3339), `"`+strings.Join(instances, `","`)+`"`, detail)
}

// ec2 returns an event of EC2 with one more field than the instance.
func ec2(detailType string, at time.Time, instance, field, value string) string {
	detail := fmt.Sprintf(`{"instance-id":%q}`, instance)
	if field != "" {
		detail = fmt.Sprintf(`{"instance-id":%q,%q:%q}`, instance, field, value)
	}
	return envelope("aws.ec2", detailType, at, []string{instance}, detail)
}

func spotDocument(at time.Time, instance, action string) string {
	return ec2("EC2 Spot Instance Interruption Warning", at, instance, "instance-action", action)
}

func rebalanceDocument(at time.Time, instance string) string {
	return ec2("EC2 Instance Rebalance Recommendation", at, instance, "", "")
}

func reservationDocument(at time.Time, instance string) string {
	return ec2("EC2 Capacity Reservation Instance Interruption Warning", at, instance, "", "")
}

func stateDocument(at time.Time, instance, state string) string {
	return ec2("EC2 Instance State-change Notification", at, instance, "state", state)
}

// hookDocument returns that a group waits at a termination hook.
func hookDocument(at time.Time, instance string, w *wait) string {
	return envelope("aws.autoscaling", "EC2 Instance-terminate Lifecycle Action", at, []string{instance}, fmt.Sprintf(
		`{"LifecycleActionToken":%q,"AutoScalingGroupName":%q,"LifecycleHookName":%q,"EC2InstanceId":%q,"LifecycleTransition":"autoscaling:EC2_INSTANCE_TERMINATING","Origin":"AutoScalingGroup","Destination":%q}`,
		w.token, groupName, w.hook, instance, w.destination))
}

// healthDocument returns what AWS Health says of a maintenance.
func healthDocument(now time.Time, m *maintenance, instances []string) string {
	var entities []string
	for _, id := range instances {
		entities = append(entities, fmt.Sprintf(`{"entityValue":%q,"status":"PENDING"}`, id))
	}
	end, status := "", "upcoming"
	if !m.end.IsZero() {
		end = fmt.Sprintf(`"endTime":%q,`, m.end.UTC().Format(time.RFC1123))
	}
	if m.over {
		status = "closed"
	}
	return envelope("aws.health", "AWS Health Event", now, instances, fmt.Sprintf(
		`{"eventArn":"arn:aws:health:us-east-1::event/EC2/%[1]s/%[1]s_%[2]d","service":"EC2","eventTypeCode":%[1]q,"eventTypeCategory":"scheduledChange","eventScopeCode":"ACCOUNT_SPECIFIC","communicationId":"c-1","startTime":%[3]q,%[4]s"lastUpdatedTime":%[5]q,"statusCode":%[6]q,"eventRegion":"us-east-1","eventDescription":[{"language":"en_US","latestDescription":"x"}],"affectedEntities":[%[7]s],"affectedAccount":"123456789012","page":"1","totalPages":"1"}`,
		m.typeCode(), m.number, m.start.UTC().Format(time.RFC1123), end, m.updated.UTC().Format(time.RFC1123), status, strings.Join(entities, ",")))
}

// maintenanceEntry returns what the metadata service lists of a maintenance.
func maintenanceEntry(m *maintenance, state string) string {
	const layout = "2 Jan 2006 15:04:05 GMT"
	end := ""
	if !m.end.IsZero() {
		end = fmt.Sprintf(`"NotAfter":%q,`, m.end.UTC().Format(layout))
	}
	return fmt.Sprintf(`{"NotBefore":%q,%s"Code":%q,"Description":"x","EventId":%q,"State":%q}`,
		m.start.UTC().Format(layout), end, m.code, m.eventID(), state)
}
