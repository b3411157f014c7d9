// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodetermination/operator/hack/awssim"
)

// known asks for what must be known.
func (f *fixture) known(id string, maxAge time.Duration) Instance {
	f.t.Helper()
	in, known, err := f.Instance(account, id, maxAge)
	if !known || err != nil {
		f.t.Fatalf("%s is known: %v, error: %v", id, known, err)
	}
	return in
}

// unknown asks for what must not be known, and returns why.
func (f *fixture) unknown(id string, maxAge time.Duration) error {
	f.t.Helper()
	in, known, err := f.Instance(account, id, maxAge)
	if known {
		f.t.Fatalf("%s is known: %+v", id, in)
	}
	return err
}

func (f *fixture) asked() int { return len(f.sim.Calls("ec2", "DescribeInstances")) }

// batches returns how many different calls EC2 was sent. A connection that breaks while it answers about a
// hundred instances has the SDK send the same call again.
func (f *fixture) batches() int {
	different := map[string]bool{}
	for _, call := range f.sim.Calls("ec2", "DescribeInstances") {
		different[fmt.Sprint(call.Params)] = true
	}
	return len(different)
}

func TestInstancesAreAskedForInBatches(t *testing.T) {
	f := newFixture(t)
	var ids []string
	for i := range batchSize + 1 {
		id := fmt.Sprintf("i-%017x", i)
		ids = append(ids, id)
		if i%2 == 0 { // EC2 does not know the others
			f.put(awssim.Instance{ID: id, Tags: map[string]string{"b": "", "a": "x"}})
		}
	}
	for _, id := range append(ids, ids...) { // each is asked for once
		if err := f.unknown(id, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	f.start()
	if told := f.gathered(len(ids)); len(told) != len(ids) {
		t.Errorf("told of %d instances, want %d", len(told), len(ids))
	}
	for i, id := range ids {
		want := Instance{}
		if i%2 == 0 {
			want = Instance{Found: true, State: "running", Tags: []string{"a=x", "b="}}
		}
		if diff := cmp.Diff(want, f.known(id, time.Minute)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
	if n := f.batches(); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
}

func TestInstancesOfRegionsAreAskedForThere(t *testing.T) {
	f := newFixture(t)
	f.put(awssim.Instance{ID: instance})
	f.start()
	for _, region := range []string{"us-east-1", "eu-west-1"} {
		if _, known, err := f.Instance(Account{Region: region}, instance, time.Minute); known || err != nil {
			t.Fatalf("known: %v, error: %v", known, err)
		}
	}
	f.gathered(2)
	if n := f.asked(); n != 2 {
		t.Errorf("%d calls, want one for each region", n)
	}
}

// An answer counts for as long as the caller says, and at least as long as it takes to fetch it.
func TestInstancesAge(t *testing.T) {
	f := newFixture(t)
	f.put(awssim.Instance{ID: instance})
	f.start()
	f.unknown(instance, time.Minute)
	f.gathered(1)
	f.put(awssim.Instance{ID: instance, State: "stopped", Tags: map[string]string{"a": ""}})

	f.known(instance, 0)
	f.clock.Step(time.Minute - 1)
	if got := f.known(instance, time.Minute); got.State != "running" {
		t.Errorf("%+v, want what was remembered", got)
	}
	f.clock.Step(1)
	if err := f.unknown(instance, time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := f.known(instance, time.Hour); got.State != "running" {
		t.Errorf("%+v, want what was remembered", got)
	}
	f.gathered(1)
	got := f.known(instance, time.Minute)
	if diff := cmp.Diff(Instance{Found: true, State: "stopped", Tags: []string{"a="}}, got); diff != "" {
		t.Errorf("after a minute (-want +got):\n%s", diff)
	}
	got.Tags[0] = "changed by a caller"
	if keys := f.known(instance, time.Minute).Tags; keys[0] != "a=" {
		t.Errorf("tags %q, want a=", keys)
	}
	f.sim.RemoveInstance(instance)
	f.clock.Step(minAge)
	f.unknown(instance, 0)
	f.gathered(1)
	if got := f.known(instance, 0); got.Found {
		t.Errorf("%+v, want that it is gone", got)
	}
}

// EC2 is asked again only by who asks, and less and less often.
func TestInstancesThatEC2DoesNotAnswerAbout(t *testing.T) {
	f := newFixture(t)
	f.put(awssim.Instance{ID: instance})
	f.fault(awssim.Fault{Service: "ec2", Code: "UnauthorizedOperation", Message: "You are not authorized."})
	f.start()
	if err := f.unknown(instance, time.Minute); err != nil {
		t.Fatal(err)
	}
	var told string
	for i, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		wait *= time.Second
		f.gathered(1)
		err := f.unknown(instance, time.Minute)
		if err == nil || !strings.Contains(err.Error(), "allow ec2:DescribeInstances") {
			t.Fatalf("error %v, want that it is not allowed", err)
		}
		if told != "" && err.Error() != told {
			t.Errorf("the error changes: %q, before: %q", err, told)
		}
		told = err.Error()
		f.clock.Step(wait - 1)
		f.unknown(instance, time.Minute)
		if f.clock.HasWaiters() || f.asked() != i+1 {
			t.Fatalf("asked %d times before %s", f.asked(), wait)
		}
		f.clock.Step(1)
		f.unknown(instance, time.Minute)
	}
	f.sim.ClearFaults()
	f.gathered(1)
	f.known(instance, time.Minute)
	f.fault(awssim.Fault{Service: "ec2", Code: "UnauthorizedOperation"})
	f.clock.Step(time.Minute)
	if err := f.unknown(instance, time.Minute); err != nil {
		t.Errorf("asked again after an answer: %v", err)
	}
	f.gathered(1)
	f.clock.Step(instanceBackoff.Duration)
	f.unknown(instance, time.Minute)
	f.gathered(1) // the backoff began anew
}

func TestInstancesNobodyAsksForAreForgotten(t *testing.T) {
	f := newFixture(t)
	f.start()
	const other = "i-0abc1234def567891"
	f.put(awssim.Instance{ID: instance})
	f.put(awssim.Instance{ID: other})
	f.unknown(instance, time.Minute)
	f.unknown(other, time.Minute)
	f.gathered(2)
	remembered := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.instances)
	}
	for range 5 {
		f.clock.Step(forgetEvery)
		f.known(instance, 3*time.Hour)
	}
	if n := remembered(); n != 2 {
		t.Errorf("%d instances are remembered, want 2", n)
	}
	f.clock.Step(2 * forgetEvery)
	f.known(instance, 3*time.Hour)
	if n := remembered(); n != 1 {
		t.Errorf("%d instances are remembered, want 1", n)
	}
}

// That EC2 does not know an instance is soon asked again: it may have been launched this moment.
func TestInstancesThatEC2DoesNotKnowYet(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.unknown(instance, time.Hour)
	f.gathered(1)
	f.clock.Step(notFoundAge - 1)
	if got := f.known(instance, time.Hour); got.Found {
		t.Errorf("%+v, want that it is not known", got)
	}
	f.put(awssim.Instance{ID: instance})
	f.clock.Step(1)
	f.unknown(instance, time.Hour)
	f.gathered(1)
	if got := f.known(instance, time.Hour); !got.Found {
		t.Errorf("%+v, want that it is known by now", got)
	}
}

func TestInstanceIDsThatAreNone(t *testing.T) {
	f := newFixture(t)
	for _, id := range []string{"", "i-", "i-*", "i-0abc1234def56789?", "ip-10-0-0-1.ec2.internal", "mi-0abc1234def567890"} {
		if err := f.unknown(id, time.Minute); err == nil || !strings.Contains(err.Error(), "such as i-0abc1234def567890") {
			t.Errorf("%q: %v, want an error that says what an ID is", id, err)
		}
	}
	if len(f.instances) != 0 {
		t.Errorf("%d are remembered", len(f.instances))
	}
}

func TestHasTag(t *testing.T) {
	tagged := Instance{Tags: []string{"kubernetes.io/cluster/prod=owned", "managed=", "team=a=b"}}
	for tag, want := range map[string]bool{
		"managed": true, "managed=": true, "manage": false, "managed=x": false,
		"kubernetes.io/cluster/prod": true, "kubernetes.io/cluster/prod=owned": true, "kubernetes.io/cluster/prod=own": false,
		"kubernetes.io/cluster/prod=shared": false, "kubernetes.io/cluster": false, "team=a=b": true, "other": false,
	} {
		if got := tagged.HasTag(tag); got != want {
			t.Errorf("%s: %t", tag, got)
		}
	}
}
