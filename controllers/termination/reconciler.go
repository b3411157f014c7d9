// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/controllers/awsapi"
	"github.com/nodetermination/operator/controllers/drain"
	"github.com/nodetermination/operator/controllers/identity"
	"github.com/nodetermination/operator/controllers/leader"
	"github.com/nodetermination/operator/controllers/webhook"
)

// conflictRetry is how soon a reconcile that lost a race of writes is tried again.
const conflictRetry = 50 * time.Millisecond

// Executor evicts and deletes pods: a *drain.Executor.
type Executor interface {
	Set(owner string, actions []drain.Action)
	Blockers(owner string) map[types.UID]drain.Blocker
}

// PodWatcher follows the pods of the nodes being drained: a *drain.PodWatcher.
type PodWatcher interface {
	Watch(node string)
	Stop(node string)
	Pods(node string) (pods []drain.Pod, synced bool)
	List(ctx context.Context, node string) ([]drain.Pod, error)
	SawDeletion(node string) bool
	Gone(node string) []drain.Pod
	Err(node string) error
}

// AWS asks EC2 about instances, and Auto Scaling about lifecycle hooks: an *awsapi.Client.
type AWS interface {
	Instance(at awsapi.Account, id string, maxAge time.Duration) (in awsapi.Instance, known bool, err error)
	GroupInstance(ctx context.Context, at awsapi.Account, instanceID string) (awsapi.GroupInstance, error)
	DescribeHooks(ctx context.Context, at awsapi.Account, group string) ([]awsapi.Hook, error)
	Heartbeat(ctx context.Context, action awsapi.Action) error
	Complete(ctx context.Context, action awsapi.Action, result awsapi.Result) error
}

// Options are what a Reconciler works with. All but Identities are required; of Log the zero value discards.
type Options struct {
	// Client reads from the manager's cache, in which Nodes are indexed by
	// ec2node.InstanceIDIndex, and writes.
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
	// Queue wakes terminations. Its Wake and WakeNode are what the other parts notify.
	Queue *Queue
	// Local is what this process knows, the same as the Queue's and the Events'.
	Local *LocalState
	// Events emits Kubernetes events. Its OnEvicted is what the Executor calls.
	Events *EventRecorder
	// Executor evicts and deletes pods.
	Executor Executor
	// Watcher follows the pods of the nodes being drained.
	Watcher PodWatcher
	// AWS asks Auto Scaling and EC2.
	AWS AWS
	// Identities finds the nodes of instances. Nil: by their providerID alone.
	Identities *identity.Finder
	// Dispatcher notifies webhooks through Sender, Webhooks reads what they refer to.
	Dispatcher *webhook.Dispatcher
	Sender     *webhook.Sender
	Webhooks   *webhook.Resolver
	// Replica is this process, whose pod is evicted last.
	Replica *leader.Replica
	// Log gets a line for each state, and for each error once.
	Log logr.Logger
	// Clock tells the time.
	Clock clock.PassiveClock
}

// Reconciler drains the nodes that NodeTerminations are about.
type Reconciler struct {
	Options
	budget budget
	// forgedLog bounds what the log says of forged NodeTerminations.
	forgedLog rate.Sometimes
}

// verdict says how a reconcile goes on after a phase.
type verdict int

const (
	// proceed: with the next phase.
	proceed verdict = iota
	// ended: nothing more is done about the node; now the status says so.
	ended
	// postponed: more will be known in a moment, so that the status is not worth a write yet.
	postponed
)

// New returns a Reconciler. The error says which options are missing.
func New(o Options) (*Reconciler, error) {
	missing := map[string]bool{
		"Client": o.Client == nil, "Live": o.Live == nil, "Queue": o.Queue == nil, "Local": o.Local == nil, "Events": o.Events == nil,
		"Executor": o.Executor == nil, "Watcher": o.Watcher == nil, "AWS": o.AWS == nil, "Dispatcher": o.Dispatcher == nil,
		"Sender": o.Sender == nil, "Webhooks": o.Webhooks == nil, "Replica": o.Replica == nil, "Clock": o.Clock == nil,
	}
	maps.DeleteFunc(missing, func(_ string, missing bool) bool { return !missing })
	if len(missing) > 0 {
		return nil, fmt.Errorf("options %v of the termination controller are missing", slices.Sorted(maps.Keys(missing)))
	}
	o.Queue.identities = o.Identities
	return &Reconciler{Options: o, forgedLog: rate.Sometimes{First: 10, Interval: time.Minute}}, nil
}
