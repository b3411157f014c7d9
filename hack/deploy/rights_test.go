// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// request is a request to SQS, as far as the policy of a queue looks at it.
type request struct {
	action     string
	service    string         // the service that makes it; empty: a principal of the account
	keys       map[string]any // condition keys; one that is missing is not in the request
	queueOwner bool           // its own policies allow it
}

// allowed reports whether the queue's policy, with the principal's own, lets a request pass.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
func (r *request) allowed(t *testing.T, policy any) bool {
	t.Helper()
	allowed := r.queueOwner
	for _, statement := range policy.(map[string]any)["Statement"].([]any) {
		fields := statement.(map[string]any)
		if !r.isIn(t, fields) {
			continue
		}
		if fields["Effect"] == "Deny" {
			return false
		}
		allowed = true
	}
	return allowed
}

// isIn reports whether a statement is about the request.
func (r *request) isIn(t *testing.T, statement map[string]any) bool {
	t.Helper()
	if action := statement["Action"].(string); action != r.action && action != "sqs:*" {
		return false
	}
	if service, ok := statement["Principal"].(map[string]any); ok && service["Service"] != r.service {
		return false
	}
	conditions, _ := statement["Condition"].(map[string]any)
	for operator, keys := range conditions {
		for key, values := range keys.(map[string]any) {
			list, ok := values.([]any)
			if !ok {
				list = []any{values}
			}
			isOne := slices.Contains(list, r.keys[key])
			switch operator {
			case "ArnEquals", "Bool":
			case "ArnNotEquals": // also true if the key is missing
				isOne = !isOne
			default:
				t.Fatalf("this test does not know the condition %s", operator)
			}
			if !isOne {
				return false
			}
		}
	}
	return true
}

// TestSenders: EventBridge's rules of the stack send, the groups' role where it is asked for, and nobody else.
func TestSenders(t *testing.T) {
	const anotherRule = "arn:aws:events:us-east-1:123456789012:rule/another"
	secure := func(keys map[string]any) map[string]any { keys["aws:SecureTransport"] = "true"; return keys }
	rule := func(arn string) request {
		return request{action: "sqs:SendMessage", service: "events.amazonaws.com", keys: secure(map[string]any{"aws:SourceArn": arn})}
	}
	principal := func(arn, action string) request {
		return request{action: action, queueOwner: true, keys: secure(map[string]any{"aws:PrincipalArn": arn})}
	}
	for name, tt := range map[string]struct {
		request request
		// allowed without and with direct delivery.
		allowed, direct bool
	}{
		"a rule of the stack":        {rule("${InstanceEvents.Arn}"), true, true},
		"the rule of deleted alarms": {rule("${DeletedAlarms.Arn}"), true, true},
		"another rule":               {rule(anotherRule), false, false},
		"SNS":                        {request{action: "sqs:SendMessage", service: "sns.amazonaws.com", keys: secure(map[string]any{"aws:SourceArn": "${InstanceEvents.Arn}"})}, false, false},
		"the groups' role":           {principal("${DeliveryRole.Arn}", "sqs:SendMessage"), false, true},
		"an administrator":           {principal("arn:aws:iam::123456789012:role/admin", "sqs:SendMessage"), false, false},
		"the manager, receiving":     {principal("${PodIdentityRole.Arn}", "sqs:ReceiveMessage"), true, true},
		"the manager, sending":       {principal("${PodIdentityRole.Arn}", "sqs:SendMessage"), false, false},
		"the manager, unencrypted":   {request{action: "sqs:ReceiveMessage", queueOwner: true, keys: map[string]any{"aws:SecureTransport": "false"}}, false, false},
		"a rule of the stack, unencrypted": {request{action: "sqs:SendMessage", service: "events.amazonaws.com",
			keys: map[string]any{"aws:SourceArn": "${InstanceEvents.Arn}", "aws:SecureTransport": "false"}}, false, false},
		"a stranger": {request{action: "sqs:ReceiveMessage", keys: secure(map[string]any{})}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, direct := range []string{"false", "true"} {
				s := newStack(t, with(everything, "DirectDelivery", direct))
				want := tt.allowed
				if direct == "true" {
					want = tt.direct
				}
				if got := tt.request.allowed(t, s.resources["QueuePolicy"]["PolicyDocument"]); got != want {
					t.Errorf("DirectDelivery %s: allowed %t, want %t", direct, got, want)
				}
			}
		})
	}
}

// TestEveryRuleSends: the queue's policy names each rule that there is.
func TestEveryRuleSends(t *testing.T) {
	for name, parameters := range stacks {
		s := newStack(t, parameters)
		for id := range rulesOf(s) {
			r := request{action: "sqs:SendMessage", service: "events.amazonaws.com", keys: map[string]any{"aws:SourceArn": "${" + id + ".Arn}", "aws:SecureTransport": "true"}}
			if !r.allowed(t, s.resources["QueuePolicy"]["PolicyDocument"]) {
				t.Errorf("%s: rule %s cannot send", name, id)
			}
		}
	}
}

// statements returns the statements of a policy by their Sid.
func statements(policy any) map[string]map[string]any {
	all := map[string]map[string]any{}
	for _, statement := range policy.(map[string]any)["Statement"].([]any) {
		fields := statement.(map[string]any)
		all[fields["Sid"].(string)] = fields
	}
	return all
}

// TestHooksOfTheStackOnly: the manager completes hooks of the stack's groups, and of no other.
func TestHooksOfTheStackOnly(t *testing.T) {
	const groups = "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:*:autoScalingGroupName/"
	for name, tt := range map[string]struct {
		parameters map[string]string
		want       []any
	}{
		"no group": {},
		"a group":  {map[string]string{"Group1": "workers"}, []any{groups + "workers"}},
		"more":     {map[string]string{"Group2": "a", "Group4": "b", "GroupPrefix": "c-"}, []any{groups + "a", groups + "b", groups + "c-*"}},
	} {
		t.Run(name, func(t *testing.T) {
			complete := statements(newStack(t, tt.parameters).resources["ManagerPolicy"]["PolicyDocument"])["CompleteLifecycleHooks"]
			got, _ := complete["Resource"].([]any)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestRightsAreThoseToCopy: the stack gives the rights of iam-policy.json, which is for those who make the queue and
// the role by hand.
func TestRightsAreThoseToCopy(t *testing.T) {
	content, err := os.ReadFile(path("config/aws/iam-policy.json"))
	if err != nil {
		t.Fatal(err)
	}
	var document any
	if err := json.Unmarshal(content, &document); err != nil {
		t.Fatal(err)
	}
	toCopy := statements(document)
	delete(toCopy, "AssumeRoles") // for policies with a roleARN: see TestRolesToAssume
	stack := statements(newStack(t, map[string]string{"Group1": "workers"}).resources["ManagerPolicy"]["PolicyDocument"])
	if len(stack) != len(toCopy) {
		t.Errorf("the stack has %d statements, iam-policy.json %d", len(stack), len(toCopy))
	}
	for sid, statement := range toCopy {
		if diff := cmp.Diff(statement["Action"], stack[sid]["Action"]); diff != "" {
			t.Errorf("%s (-iam-policy.json +stack)\n%s", sid, diff)
		}
		if all := statement["Resource"] == "*"; all != (stack[sid]["Resource"] == "*") {
			t.Errorf("%s: one of both is for every resource", sid)
		}
	}
}

// TestRolesToAssume: the manager may assume the roles that it is given, and without any it has no such right.
func TestRolesToAssume(t *testing.T) {
	const role = "arn:aws:iam::210987654321:role/drain"
	for name, tt := range map[string]struct {
		parameters map[string]string
		want       []any
	}{
		"none": {},
		"one":  {map[string]string{"AssumeRole1": role}, []any{role}},
		"two":  {map[string]string{"AssumeRole1": role, "AssumeRole2": role + "-2"}, []any{role, role + "-2"}},
	} {
		t.Run(name, func(t *testing.T) {
			assume, given := statements(newStack(t, tt.parameters).resources["ManagerPolicy"]["PolicyDocument"])["AssumeRoles"]
			got, _ := assume["Resource"].([]any)
			if diff := cmp.Diff(tt.want, got); diff != "" || given != (len(tt.want) > 0) {
				t.Errorf("statement %v (-want +got)\n%s", assume, diff)
			}
		})
	}
}

// TestTrust: the role is for the manager's service account only.
func TestTrust(t *testing.T) {
	s := newStack(t, stacks["IRSA"])
	document := decodeJSON(t, s.resources["IRSARole"]["AssumeRolePolicyDocument"].(string))
	condition := document.(map[string]any)["Statement"].([]any)[0].(map[string]any)["Condition"].(map[string]any)["StringEquals"]
	const issuer = "oidc.eks.us-east-1.amazonaws.com/id/BLUE"
	want := map[string]any{issuer + ":aud": "sts.amazonaws.com", issuer + ":sub": "system:serviceaccount:nt:manager"}
	if diff := cmp.Diff(any(want), condition); diff != "" {
		t.Errorf("IRSA (-want +got)\n%s", diff)
	}
	s = newStack(t, everything)
	statement := s.resources["PodIdentityRole"]["AssumeRolePolicyDocument"].(map[string]any)["Statement"].([]any)[0].(map[string]any)
	want = map[string]any{"StringEquals": map[string]any{
		"aws:RequestTag/kubernetes-namespace": "nt", "aws:RequestTag/kubernetes-service-account": "manager",
	}}
	if diff := cmp.Diff(any(want), statement["Condition"]); diff != "" {
		t.Errorf("Pod Identity (-want +got)\n%s", diff)
	}
	for id := range s.resources {
		if strings.HasPrefix(id, "IRSA") {
			t.Errorf("with Pod Identity there is %s too", id)
		}
	}
}
