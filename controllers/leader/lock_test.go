// SPDX-License-Identifier: Apache-2.0

package leader

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	clocktesting "k8s.io/utils/clock/testing"
)

const leaseDuration = 7 * time.Second

// fakeLock is the lease, of which there is none while record is nil.
type fakeLock struct {
	resourcelock.Interface
	record *resourcelock.LeaderElectionRecord
	err    error
}

func (l *fakeLock) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	if l.err != nil {
		return nil, nil, l.err
	}
	if l.record == nil {
		return nil, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, "lease")
	}
	raw, err := json.Marshal(l.record)
	return l.record, raw, err
}

func (*fakeLock) Identity() string { return "self" }

// elector is client-go's LeaderElector in short: what it makes of a lock.
type elector struct {
	t           *testing.T
	lock        *deferringLock
	lease       fakeLock
	clock       *clocktesting.FakePassiveClock
	terminating bool
	observed    []byte
	at          time.Time
	logged      []string
}

func newElector(t *testing.T) *elector {
	e := &elector{t: t, clock: clocktesting.NewFakePassiveClock(time.Unix(1e9, 0)), terminating: true}
	log := funcr.New(func(_, args string) { e.logged = append(e.logged, args) }, funcr.Options{})
	e.lock = &deferringLock{Interface: &e.lease, nodeTerminating: func(context.Context) bool { return e.terminating }, clock: e.clock, log: log}
	return e
}

// held makes a replica hold the lease and renew it now.
func (e *elector) held(by string) {
	e.lease.record = &resourcelock.LeaderElectionRecord{
		HolderIdentity: by, LeaseDurationSeconds: int(leaseDuration / time.Second), RenewTime: metav1.NewTime(e.clock.Now()),
	}
}

// takes reports whether the elector would take or renew the lease now.
func (e *elector) takes() bool {
	e.t.Helper()
	record, raw, err := e.lock.Get(e.t.Context())
	if apierrors.IsNotFound(err) {
		return true
	}
	if err != nil {
		e.t.Fatal(err)
	}
	if !bytes.Equal(raw, e.observed) {
		e.observed, e.at = raw, e.clock.Now()
	}
	valid := e.clock.Now().Before(e.at.Add(time.Duration(record.LeaseDurationSeconds) * time.Second))
	return record.HolderIdentity == "" || record.HolderIdentity == e.lock.Identity() || !valid
}

// takesAfter returns how long it takes until the elector takes the lease, which it reads every half second.
func (e *elector) takesAfter() time.Duration {
	e.t.Helper()
	for passed := time.Duration(0); passed < time.Minute; passed += time.Second / 2 {
		if e.takes() {
			return passed
		}
		e.clock.SetTime(e.clock.Now().Add(time.Second / 2))
	}
	e.t.Fatal("it does not take the lease within a minute")
	return 0
}

func TestCampaign(t *testing.T) {
	for name, test := range map[string]struct {
		lease             func(*elector)
		stays, terminates time.Duration
	}{
		"no lease":         {func(*elector) {}, 0, deferDuration},
		"released":         {func(e *elector) { e.held("") }, 0, deferDuration},
		"the leader died":  {func(e *elector) { e.held("other") }, leaseDuration, leaseDuration + deferDuration},
		"its own, renewed": {func(e *elector) { e.held("self") }, 0, 0},
	} {
		for terminating, want := range map[bool]time.Duration{false: test.stays, true: test.terminates} {
			t.Run(fmt.Sprintf("%s, node terminating %v", name, terminating), func(t *testing.T) {
				e := newElector(t)
				e.terminating = terminating
				test.lease(e)
				if got := e.takesAfter(); got != want {
					t.Errorf("it takes the lease after %s, want %s", got, want)
				}
			})
		}
	}
}

func TestLeaseInUseIsNoVacantOne(t *testing.T) {
	e := newElector(t)
	for range 100 { // renewed every second half of a second
		e.held("other")
		for range 2 {
			if e.takes() {
				t.Fatal("it takes a lease that is renewed")
			}
			e.clock.SetTime(e.clock.Now().Add(time.Second / 2))
		}
	}
	e.held("") // and another one takes it late
	for range 18 {
		if e.takes() {
			t.Fatal("it does not defer")
		}
		e.clock.SetTime(e.clock.Now().Add(time.Second / 2))
	}
	e.held("another")
	if got, want := e.takesAfter(), leaseDuration+deferDuration; got != want {
		t.Errorf("it takes the lease after %s, want %s", got, want)
	}
	if len(e.logged) != 2 {
		t.Errorf("it logged %q, want when it deferred and when it did not any more", e.logged)
	}
}

func TestNodeThatStaysAfterAll(t *testing.T) {
	e := newElector(t)
	e.held("")
	if e.takes() {
		t.Fatal("it does not defer")
	}
	e.terminating = false
	if !e.takes() {
		t.Error("it defers although its node stays")
	}
	if len(e.logged) != 2 {
		t.Errorf("it logged %q", e.logged)
	}
}

func TestLeaderRenewsOnATerminatingNode(t *testing.T) {
	e := newElector(t)
	e.terminating = false
	e.held("")
	if !e.takes() {
		t.Fatal("it does not take the lease")
	}
	e.terminating = true
	for range 100 {
		e.held("self")
		if !e.takes() {
			t.Fatal("it gives up its own lease")
		}
		e.clock.SetTime(e.clock.Now().Add(time.Second))
	}
}

func TestLeaseThatCannotBeRead(t *testing.T) {
	e := newElector(t)
	e.lease.err = errors.New("no answer")
	if _, _, err := e.lock.Get(t.Context()); !errors.Is(err, e.lease.err) {
		t.Errorf("error %v", err)
	}
}

// The lock's short timeout is its own: on the configuration that all share it would
// end every watch of the manager within seconds.
func TestLockLeavesTheConfigurationAlone(t *testing.T) {
	config := &rest.Config{Host: "https://127.0.0.1:1", UserAgent: "manager"}
	if _, err := NewLock(config, "default", time.Second, funcr.New(func(string, string) {}, funcr.Options{}), (&Replica{}).NodeTerminating); err != nil {
		t.Fatal(err)
	}
	if config.Timeout != 0 || config.UserAgent != "manager" {
		t.Errorf("the shared configuration has a timeout of %s and the user agent %q now", config.Timeout, config.UserAgent)
	}
}
