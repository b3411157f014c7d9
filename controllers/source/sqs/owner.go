// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nodetermination/operator/controllers/awsapi"
)

const (
	// clusterTag begins the key of the tag that gives an instance to a cluster. Its value does
	// not matter, as for Kubernetes' cloud provider.
	// https://cloud-provider-aws.sigs.k8s.io/prerequisites/
	clusterTag = "kubernetes.io/cluster/"
	// tagsAge is for how long an instance's tags are believed.
	tagsAge = 10 * time.Minute
	// releaseWithin is the time within which a message is released that another cluster is to
	// receive. It is not released at once, as this one might receive it again.
	releaseWithin = time.Second
	// promptReceives is how often a message may have been received and still be released within
	// a second: several clusters take turns by chance. Who has not received it by then does not
	// read, and its message is hidden for a time that doubles, up to maxOther.
	promptReceives = 10
	maxOther       = 5 * time.Minute
)

// Instances says what EC2 knows of instances, as awsapi.Client does.
type Instances interface {
	// Instance returns what EC2 said of an instance at most maxAge ago. It answers at
	// once; what is not known is asked for, and err is why EC2 last did not answer.
	Instance(at awsapi.Account, id string, maxAge time.Duration) (instance awsapi.Instance, known bool, err error)
}

// owner is to which cluster EC2's tags give an instance that is no node of this one.
type owner int

const (
	// noOther: to none, or to this cluster alone.
	noOther owner = iota
	// others: to another cluster alone.
	others
	// shared: to this cluster and to another one.
	shared
	// notFound: EC2 does not know the instance, or no tag is left of one that is terminated.
	notFound
	// notAsked: EC2 has not said yet, and is being asked.
	notAsked
	// notAnswered: EC2 does not answer.
	notAnswered
)

// outcome returns what becomes of a message about the instance; otherwise is what does if no
// other cluster is concerned.
func (o owner) outcome(otherwise outcome, age time.Duration) outcome {
	switch {
	case o == others, o == notAsked, o == shared && age < keepUnknown:
		return otherCluster
	case o == notAnswered, o == notFound && age < keepUnknown:
		return retained
	}
	return otherwise
}

// ownerOf returns whose an instance is by its tags. clusters are the names of this cluster.
func ownerOf(instance awsapi.Instance, clusters []string) owner {
	var ours, theirs bool
	for _, tag := range instance.Tags {
		if name, ok := strings.CutPrefix(tag, clusterTag); ok {
			name, _, _ = strings.Cut(name, "=")
			ours = ours || slices.Contains(clusters, name)
			theirs = theirs || !slices.Contains(clusters, name)
		}
	}
	switch {
	case !instance.Found, !ours && !theirs && (instance.State == "terminated" || instance.State == "shutting-down"):
		return notFound
	case ours && theirs:
		return shared
	case theirs:
		return others
	}
	return noOther
}

// byOwner returns what becomes of a message about an instance that is no node of this cluster:
// if the policies say how it is called, EC2's tags decide first.
func (c *consumer) byOwner(subs subscribers, instanceID string, otherwise outcome, age time.Duration) outcome {
	if len(subs.clusters) == 0 {
		return otherwise
	}
	return c.findOwner(subs, instanceID).outcome(otherwise, age)
}

// findOwner returns whose an instance is, in whichever of the policies' AWS accounts it is.
func (c *consumer) findOwner(subs subscribers, instanceID string) owner {
	found := notFound
	for _, role := range subs.roles {
		account := awsapi.Account{Region: c.client.region, RoleARN: role}
		instance, known, err := c.opts.AWS.Instance(account, instanceID, tagsAge)
		switch {
		case known && instance.Found:
			c.health.worked(describing, nil)
			return ownerOf(instance, subs.clusters)
		case err != nil:
			c.health.worked(describing, err)
			found = max(found, notAnswered)
		case !known:
			found = max(found, notAsked)
		}
	}
	return found
}

// releaseSoon makes messages visible for other clusters until listen ends: at a random time within
// a second, together with those that are to be released meanwhile.
func (c *consumer) releaseSoon(listen, work context.Context) {
	for listen.Err() == nil {
		select {
		case <-c.toRelease.wake:
			c.sleep(listen, rand.N(releaseWithin)) // so that clusters take turns
			c.release(work, c.toRelease.take())
		case <-listen.Done():
		}
	}
}

// release makes messages visible, so that whoever reads the queue receives them at once.
func (c *consumer) release(ctx context.Context, handles []string) {
	for handles := range slices.Chunk(handles, batchSize) {
		messages := make([]visibilityChange, len(handles))
		for i, handle := range handles {
			messages[i] = visibilityChange{handle: handle}
		}
		lost, err := c.client.changeVisibility(ctx, messages)
		c.finished(ctx, hiding, lost, err)
	}
}

// releases are messages that are to be made visible together. wake holds an element while there
// are some.
type releases struct {
	wake chan struct{}

	mu      sync.Mutex
	handles []string
}

func newReleases() *releases { return &releases{wake: make(chan struct{}, 1)} }

// add adds messages.
func (r *releases) add(handles []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handles = append(r.handles, handles...)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// take returns all of them, of which none is left.
func (r *releases) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	handles := r.handles
	r.handles = nil
	return handles
}
