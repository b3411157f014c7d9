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

// standBack is how long a replica on a doomed node leaves the lease to others, from
// the moment at which they could take it. They need a second or two.
const standBack = 10 * time.Second

// Lock is the lease in a namespace, by which the replicas agree on the one that
// acts. timeout bounds each of the calls for it. Unlike controller-runtime's own
// it emits no Kubernetes events: the log says who leads, and the lease does.
func (r *Replica) Lock(config *rest.Config, namespace string, timeout time.Duration) (resourcelock.Interface, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("cannot name this replica: %w", err)
	}
	config = rest.AddUserAgent(rest.CopyConfig(config), "leader-election") // it changes what it is given
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
	return &modestLock{Interface: lease, doomed: r.doomed, clock: clock.RealClock{}, log: r.Log}, nil
}

// modestLock keeps a replica whose node is being taken away from campaigning for
// the lease: to the elector it looks as if somebody had just renewed it, until
// nobody has for so long that this replica has to act. It does not touch a lease
// that the replica holds. Like every lock it is used by one goroutine.
type modestLock struct {
	resourcelock.Interface
	doomed func(context.Context) bool
	clock  clock.PassiveClock
	log    logr.Logger

	// since is when the lease was first seen as it is in raw, nil for no lease.
	since time.Time
	raw   []byte
	// standing is whether it stands back, for the log.
	standing bool
}

// Get reads the lease, and what the elector is to believe of it.
func (l *modestLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	if err != nil && !apierrors.IsNotFound(err) {
		return record, raw, err
	}
	now := l.clock.Now()
	if l.since.IsZero() || !bytes.Equal(raw, l.raw) {
		l.since, l.raw = now, raw
	}
	if record != nil && record.HolderIdentity == l.Identity() || !l.doomed(ctx) {
		l.stand(false, "this replica's node is not being taken away any more: it takes the lease if nobody else has it")
		return record, raw, err
	}
	if now.Before(l.free(record).Add(standBack)) {
		l.stand(true, "this replica's node is being taken away: it leaves the lease to others")
		return &resourcelock.LeaderElectionRecord{
			HolderIdentity: "any other replica", LeaseDurationSeconds: int(standBack / time.Second), RenewTime: metav1.NewTime(now),
		}, []byte(now.String()), nil // other bytes each time, by which the elector sees a renewal
	}
	l.stand(false, "no other replica takes the lease: this one does, although its node is being taken away")
	if record != nil {
		vacant := *record
		vacant.HolderIdentity = "" // or the elector would wait once more for the lease to expire
		record = &vacant
	}
	return record, raw, err
}

// free is from when on others can take the lease, nil for none, if it stays as it is.
func (l *modestLock) free(record *resourcelock.LeaderElectionRecord) time.Time {
	if record == nil || record.HolderIdentity == "" {
		return l.since
	}
	return l.since.Add(time.Duration(record.LeaseDurationSeconds) * time.Second)
}

// stand notes whether the replica stands back, and says so when that changes.
func (l *modestLock) stand(back bool, why string) {
	if l.standing != back {
		l.log.Info(why)
	}
	l.standing = back
}
