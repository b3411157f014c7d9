// SPDX-License-Identifier: Apache-2.0

package leader

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/clock"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// deferDuration is how long a replica whose node is terminating leaves the lease to others,
// from the moment at which they could take it. They need a second or two.
const deferDuration = 10 * time.Second

// NewLock returns the lease in a namespace, by which the replicas agree on the one that
// acts. timeout bounds each of the calls for it. nodeTerminating is asked, once the lease
// is, whether this replica's own node is being terminated: see Replica.NodeTerminating.
// Unlike controller-runtime's own it emits no Kubernetes events: the log says who leads,
// and the lease does.
func NewLock(config *rest.Config, namespace string, timeout time.Duration, log logr.Logger, nodeTerminating func(context.Context) bool) (resourcelock.Interface, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("cannot name this replica: %w", err)
	}
	config = rest.AddUserAgent(rest.CopyConfig(config), "leader-election") // it changes the configuration that it is given
	config.Timeout = timeout
	client, err := coordinationv1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot set up the client for the lease: %w", err)
	}
	lease := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: v1alpha1.FieldManager},
		Client:     client,
		LockConfig: resourcelock.ResourceLockConfig{Identity: hostname + "_" + string(uuid.NewUUID())},
	}
	return &deferringLock{Interface: lease, nodeTerminating: nodeTerminating, clock: clock.RealClock{}, log: log}, nil
}

// deferringLock keeps a replica whose node is terminating from campaigning for
// the lease: to the elector it looks as if another replica had just renewed it, until
// none has for so long that this replica has to act. It does not touch a lease
// that the replica holds. Like every lock it is used by one goroutine.
type deferringLock struct {
	resourcelock.Interface
	nodeTerminating func(context.Context) bool
	clock           clock.PassiveClock
	log             logr.Logger

	// since is when the lease was first seen as it is in raw, nil for no lease.
	since time.Time
	raw   []byte
	// deferring is whether it leaves the lease to others, for the log.
	deferring bool
}

// Get returns the lease as the elector is to see it.
func (l *deferringLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	if err != nil && !apierrors.IsNotFound(err) {
		return record, raw, err
	}
	now := l.clock.Now()
	if l.since.IsZero() || !bytes.Equal(raw, l.raw) {
		l.since, l.raw = now, raw
	}
	if record != nil && record.HolderIdentity == l.Identity() || !l.nodeTerminating(ctx) {
		l.setDeferring(false, "this replica's node is not terminating any more: it takes the lease if no other has it")
		return record, raw, err
	}
	if now.Before(l.vacantFrom(record).Add(deferDuration)) {
		l.setDeferring(true, "this replica's node is terminating: it leaves the lease to others")
		return &resourcelock.LeaderElectionRecord{
			HolderIdentity: "any other replica", LeaseDurationSeconds: int(deferDuration / time.Second), RenewTime: metav1.NewTime(now),
		}, []byte(now.String()), nil // other bytes each time, by which the elector sees a renewal
	}
	l.setDeferring(false, "no other replica takes the lease: this one does, although its node is terminating")
	if record != nil {
		vacant := *record
		vacant.HolderIdentity = "" // or the elector would wait once more for the lease to expire
		record = &vacant
	}
	return record, raw, err
}

// vacantFrom returns from when on others can take the lease, nil for none, if it stays as it is.
func (l *deferringLock) vacantFrom(record *resourcelock.LeaderElectionRecord) time.Time {
	if record == nil || record.HolderIdentity == "" {
		return l.since
	}
	return l.since.Add(time.Duration(record.LeaseDurationSeconds) * time.Second)
}

// setDeferring records whether the replica leaves the lease to others, and logs why when that changes.
func (l *deferringLock) setDeferring(deferring bool, why string) {
	if l.deferring != deferring {
		l.log.Info(why)
	}
	l.deferring = deferring
}
