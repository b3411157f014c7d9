// SPDX-License-Identifier: Apache-2.0

package awsapi

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
const describeInstances Operation = "ec2:DescribeInstances"

const (
	// gatherFor is how long instances are gathered for one call.
	gatherFor = 100 * time.Millisecond
	// batchSize is how many instances a call asks about. A filter takes 200 values.
	// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
	batchSize = 100
	// pageSize is the most that EC2 returns at once.
	pageSize = 1000
	// minAge is how old an answer may always be: who asks again when notified
	// must find it.
	minAge = 5 * time.Second
	// notFoundAge is how old the answer may be at most that EC2 does not know an instance: one
	// that was launched seconds ago will soon be known.
	notFoundAge = 30 * time.Second
)

// instanceBackoff is how long EC2 is not asked again about an instance that it did not
// answer about: a second, twice as long every time, up to a minute.
var instanceBackoff = wait.Backoff{Duration: time.Second, Factor: 2, Steps: math.MaxInt32, Cap: time.Minute}

// Instance is what EC2 says of an instance.
type Instance struct {
	// Found: EC2 knows it. It forgets an instance about an hour after
	// its termination, may not know one yet that was launched seconds ago, and knows none of
	// another account or region than the one that was asked: only of one that it knew before does it say anything.
	Found bool
	// State: pending, running, stopping, stopped, shutting-down or terminated.
	// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceState.html
	State string
	// Tags are its tags as key=value, sorted. A terminated instance may have lost them.
	Tags []string
}

// HasTag reports whether the instance has a tag: a key, whatever its value, or key=value.
func (i Instance) HasTag(tag string) bool {
	return slices.ContainsFunc(i.Tags, func(has string) bool { return has == tag || strings.HasPrefix(has, tag+"=") })
}

type instanceKey struct {
	account Account
	id      string
}

// knownInstance is what is known of an instance.
type knownInstance struct {
	instance Instance
	at       time.Time // when EC2 said so; zero: it has not
	asked    time.Time // when somebody last asked for it
	pending  bool      // EC2 is being asked

	err     error        // why EC2 last did not answer
	backoff wait.Backoff // when it does not answer once more
	retry   time.Time    // not before this is EC2 asked again
}

// Instance returns what EC2 said of the instance at most maxAge ago, or five seconds
// if that is longer; that it does not know it, half a minute ago at most. It answers at once: what is not known is asked for in the
// background, and Options.Notify is called when it makes sense to look again. err
// is why EC2 last did not answer; it is asked again when Instance is called
// again, at first after a second and at last every minute. An ID that is none is an
// error at once.
func (c *Client) Instance(at Account, id string, maxAge time.Duration) (in Instance, known bool, err error) {
	if !v1alpha1.IsInstanceID(id) {
		return Instance{}, false, fmt.Errorf("%q is no ID of an EC2 instance, such as i-0abc1234def567890", id)
	}
	key, now := instanceKey{at, id}, c.opts.Clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropInstances(now)
	entry := c.instances[key]
	if entry == nil {
		entry = &knownInstance{backoff: instanceBackoff}
		c.instances[key] = entry
	}
	entry.asked = now
	if !entry.at.IsZero() && !entry.instance.Found {
		maxAge = min(maxAge, notFoundAge)
	}
	if !entry.at.IsZero() && now.Sub(entry.at) < max(maxAge, minAge) {
		answer := entry.instance
		answer.Tags = slices.Clone(answer.Tags)
		return answer, true, nil
	}
	if !entry.pending && !now.Before(entry.retry) {
		entry.pending = true
		c.wanted = append(c.wanted, key)
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
	return Instance{}, false, entry.err
}

// NeedLeaderElection tells the manager that one replica acts, and so asks.
func (c *Client) NeedLeaderElection() bool { return true }

// Start asks EC2 about instances until ctx ends. It is to be called once; until
// then no instance is known.
func (c *Client) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		}
		timer := c.opts.Clock.NewTimer(gatherFor)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C():
		}
		c.ask(ctx)
	}
}

// ask asks EC2 about the instances that are wanted, in batches side by side, and
// returns when all of them have an answer or an error.
func (c *Client) ask(ctx context.Context) {
	c.mu.Lock()
	wanted := map[Account][]string{}
	for _, key := range c.wanted {
		wanted[key.account] = append(wanted[key.account], key.id)
	}
	c.wanted = nil
	c.mu.Unlock()
	var batches sync.WaitGroup
	for at, ids := range wanted {
		for batch := range slices.Chunk(ids, batchSize) {
			batches.Go(func() { c.askAbout(ctx, at, batch) })
		}
	}
	batches.Wait()
}

// askAbout asks EC2 about a batch of instances. Nobody waits for it, so it waits for a slot.
func (c *Client) askAbout(ctx context.Context, at Account, ids []string) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	found := map[string]Instance{}
	err := c.send(ctx, at, describeInstances, func(ctx context.Context, to *connection) error {
		return describeAll(ctx, to.ec2, ids, found)
	})
	<-c.slots
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		c.opts.Log.V(1).Info("EC2 does not answer about instances", // those who ask say so
			"region", at.Region, "role", at.RoleARN, "instances", len(ids), "error", err.Error())
	}
	c.learn(at, ids, found, err)
	for _, id := range ids {
		c.opts.Notify(id)
	}
}

// describeAll fills found with the instances that EC2 knows. They are a filter: an
// ID that EC2 does not know would fail the call for all of them otherwise.
func describeAll(ctx context.Context, api *ec2.Client, ids []string, found map[string]Instance) error {
	return eachInstance(ctx, api, func(instance types.Instance) {
		found[aws.ToString(instance.InstanceId)] = instanceOf(instance)
	}, types.Filter{Name: aws.String("instance-id"), Values: ids})
}

// isRunning is the filter of the instances that run.
var isRunning = types.Filter{Name: aws.String("instance-state-name"), Values: []string{string(types.InstanceStateNameRunning)}}

// eachInstance calls do with each instance that all filters let through.
func eachInstance(ctx context.Context, api *ec2.Client, do func(types.Instance), filters ...types.Filter) error {
	pages := ec2.NewDescribeInstancesPaginator(api, &ec2.DescribeInstancesInput{Filters: filters, MaxResults: aws.Int32(pageSize)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, reservation := range page.Reservations {
			for _, instance := range reservation.Instances {
				do(instance)
			}
		}
	}
	return nil
}

// instanceOf returns what EC2 says of an instance.
func instanceOf(instance types.Instance) Instance {
	in := Instance{Found: true}
	if instance.State != nil {
		in.State = string(instance.State.Name)
	}
	for _, tag := range instance.Tags {
		in.Tags = append(in.Tags, aws.ToString(tag.Key)+"="+aws.ToString(tag.Value))
	}
	slices.Sort(in.Tags)
	return in
}

// learn remembers what EC2 said of a batch, or why it did not.
func (c *Client) learn(at Account, ids []string, found map[string]Instance, err error) {
	now := c.opts.Clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		entry := c.instances[instanceKey{at, id}] // pending, so it is there
		entry.pending = false
		if err == nil {
			entry.instance, entry.at = found[id], now
			entry.err, entry.backoff, entry.retry = nil, instanceBackoff, time.Time{}
			continue
		}
		entry.err = err
		entry.retry = now.Add(entry.backoff.Step())
	}
}
