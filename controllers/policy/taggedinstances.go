// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/identity"
)

const (
	// tagsPeriod is how often EC2 is asked for the instances with a policy's tag.
	tagsPeriod = 5 * time.Minute
	// tagsLook is how often policies are looked at, which may have another tag, and when EC2 is asked again
	// that has not answered.
	tagsLook = time.Minute
)

// TaggedAWS lists instances: an *awsapi.Client.
type TaggedAWS interface {
	TaggedInstances(ctx context.Context, region, tag string) ([]string, error)
}

// TaggedInstances counts the instances with a policy's instanceTag that are no node: those that never joined, or
// whose Node was deleted, and that nobody would drain. All of its fields but Identities are required.
type TaggedInstances struct {
	// Cache has the policies, and the nodes indexed by node.InstanceIDIndex.
	Cache client.Reader
	// Identities finds the nodes of instances. Nil: by their providerID alone.
	Identities *identity.Finder
	// AWS asks EC2, in the manager's Region.
	AWS TaggedAWS
	// Log gets a line when EC2 does not answer.
	Log logr.Logger
	// Clock decides when to ask.
	Clock clock.Clock
}

// tagCount is how many running instances with a tag were no node at a time.
type tagCount struct {
	instances int
	at        time.Time
}

// NeedLeaderElection tells the manager that one replica asks.
func (t *TaggedInstances) NeedLeaderElection() bool { return true }

// Start counts every five minutes until ctx ends.
func (t *TaggedInstances) Start(ctx context.Context) error {
	counts, told := map[string]tagCount{}, ""
	for {
		err := t.count(ctx, counts)
		if before := told; err == nil {
			told = ""
		} else if told = err.Error(); told != before && ctx.Err() == nil {
			t.Log.Info("It is not known how many instances with the policies' instanceTag are no node", "error", err.Error())
		}
		timer := t.Clock.NewTimer(wait.Jitter(tagsLook, 0.1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C():
		}
	}
}

// count brings the counts up to date, by the policies' tags, and makes them metrics. A tag about which EC2 has not
// answered for five minutes has no count.
func (t *TaggedInstances) count(ctx context.Context, counts map[string]tagCount) error {
	var policies v1alpha1.NodeTerminationPolicyList
	if err := t.Cache.List(ctx, &policies); err != nil {
		return fmt.Errorf("cannot list policies: %w", err)
	}
	now := t.Clock.Now()
	maps.DeleteFunc(counts, func(_ string, known tagCount) bool { return now.Sub(known.at) >= tagsPeriod })
	var failed error
	strays := map[string]int{}
	for i := range policies.Items {
		tag := policies.Items[i].Spec.InstanceTag
		if tag == "" {
			continue
		}
		if _, fresh := counts[tag]; !fresh {
			n, err := t.withoutNode(ctx, tag)
			if err != nil {
				failed = err
				continue
			}
			counts[tag] = tagCount{n, now}
		}
		strays[tag] = counts[tag].instances
	}
	gauges.strays.Store(&strays)
	return failed
}

// withoutNode returns how many of the running instances with a tag are no node.
func (t *TaggedInstances) withoutNode(ctx context.Context, tag string) (int, error) {
	ids, err := t.AWS.TaggedInstances(ctx, "", tag)
	if err != nil {
		return 0, err
	}
	if err := t.Identities.Pending(); err != nil && len(ids) > 0 {
		return 0, err
	}
	n := 0
	for _, id := range ids {
		node, err := t.Identities.ByInstance(ctx, t.Cache, id)
		if err != nil {
			return 0, err
		}
		if node == nil {
			n++
		}
	}
	return n, nil
}
