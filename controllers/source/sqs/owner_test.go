// SPDX-License-Identifier: Apache-2.0

package sqs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/controllers/awsapi"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/testcluster"
)

func TestOwnerOf(t *testing.T) {
	const ours, theirs = clusterTag + "blue=owned", clusterTag + "green=shared"
	for name, test := range map[string]struct {
		instance awsapi.Instance
		want     owner
	}{
		"no tag":                                 {awsapi.Instance{Found: true, State: "running", Tags: []string{"Name=web"}}, noOther},
		"ours":                                   {awsapi.Instance{Found: true, Tags: []string{ours}}, noOther},
		"another's":                              {awsapi.Instance{Found: true, Tags: []string{"a=b", theirs}}, others},
		"another's, without a value":             {awsapi.Instance{Found: true, Tags: []string{clusterTag + "green="}}, others},
		"another's, whose name begins like ours": {awsapi.Instance{Found: true, Tags: []string{clusterTag + "blue-2=owned"}}, others},
		"another's, terminated":                  {awsapi.Instance{Found: true, State: "terminated", Tags: []string{theirs}}, others},
		"both":                                   {awsapi.Instance{Found: true, Tags: []string{ours, theirs}}, shared},
		"an older name of ours":                  {awsapi.Instance{Found: true, Tags: []string{clusterTag + "navy=owned"}}, noOther},
		"terminated, without a tag":              {awsapi.Instance{Found: true, State: "terminated"}, notFound},
		"shutting down, without a tag":           {awsapi.Instance{Found: true, State: "shutting-down"}, notFound},
		"stopped, without a tag":                 {awsapi.Instance{Found: true, State: "stopped"}, noOther},
		"not known to EC2":                       {awsapi.Instance{}, notFound},
		"a tag that only looks like one":         {awsapi.Instance{Found: true, Tags: []string{"x-" + theirs, "kubernetes.io/clusters/green=owned"}}, noOther},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ownerOf(test.instance, []string{"blue", "navy"}); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestOwnerOutcome(t *testing.T) {
	for _, test := range []struct {
		owner           owner
		young, old      outcome // of a message that would be discarded
		launch, launchO outcome // of one that would be skipped
	}{
		{noOther, discarded, discarded, skipped, skipped},
		{others, otherCluster, otherCluster, otherCluster, otherCluster},
		{shared, otherCluster, discarded, otherCluster, skipped},
		{notFound, retained, discarded, retained, skipped},
		{notAsked, otherCluster, otherCluster, otherCluster, otherCluster},
		{notAnswered, retained, retained, retained, retained},
	} {
		got := []outcome{
			test.owner.outcome(discarded, keepUnknown-1), test.owner.outcome(discarded, keepUnknown),
			test.owner.outcome(skipped, keepUnknown-1), test.owner.outcome(skipped, keepUnknown),
		}
		if want := []outcome{test.young, test.old, test.launch, test.launchO}; !slices.Equal(got, want) {
			t.Errorf("owner %d: %v, want %v", test.owner, got, want)
		}
	}
}

// inCluster gives the policy's cluster a name.
func inCluster(name string) func(*v1alpha1.NodeTerminationPolicy) {
	return func(p *v1alpha1.NodeTerminationPolicy) { p.Spec.Sources[0].SQS.ClusterName = name }
}

// said answers for EC2.
type said struct {
	mu        sync.Mutex
	instances map[string]awsapi.Instance // by role and ID
	err       error
	asked     []awsapi.Account
}

func (s *said) Instance(at awsapi.Account, id string, _ time.Duration) (awsapi.Instance, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, at)
	in, known := s.instances[at.RoleARN+id]
	return in, known, s.err
}

// What becomes of messages about instances that are no nodes of this cluster, which is blue.
func TestMessagesOfOtherClusters(t *testing.T) {
	green := awsapi.Instance{Found: true, Tags: []string{clusterTag + "green=owned"}}
	nobodys := awsapi.Instance{Found: true, State: "running"}
	for name, test := range map[string]struct {
		said      *said
		change    []func(*v1alpha1.NodeTerminationPolicy)
		notice    awssim.Notice
		age       time.Duration
		result    outcome
		hidden    time.Duration // zero: released within a second, or gone
		says      string
		wantRoles []string
	}{
		"another's": {said: &said{instances: map[string]awsapi.Instance{stranger: green}}, result: otherCluster},
		"another's, to be discarded": {
			said: &said{instances: map[string]awsapi.Instance{stranger: green}}, change: []func(*v1alpha1.NodeTerminationPolicy){discarding}, result: otherCluster,
		},
		"another's, after hours":     {said: &said{instances: map[string]awsapi.Instance{stranger: green}}, age: 3 * time.Hour, result: otherCluster},
		"nobody's":                   {said: &said{instances: map[string]awsapi.Instance{stranger: nobodys}}, result: retained, hidden: minRetain},
		"nobody's, after 15 minutes": {said: &said{instances: map[string]awsapi.Instance{stranger: nobodys}}, age: keepUnknown, result: discarded},
		"nobody's, to be discarded": {
			said: &said{instances: map[string]awsapi.Instance{stranger: nobodys}}, change: []func(*v1alpha1.NodeTerminationPolicy){discarding}, result: discarded,
		},
		"EC2 is being asked": {said: &said{}, result: otherCluster},
		"EC2 does not answer": {
			said: &said{err: errors.New("allow ec2:DescribeInstances")}, change: []func(*v1alpha1.NodeTerminationPolicy){discarding}, age: time.Hour,
			result: retained, hidden: minRetain, says: "EC2 does not say which cluster instances belong to, and messages about unknown ones stay in the queue: allow ec2:DescribeInstances.",
		},
		"EC2 does not know it, to be discarded": {
			said: &said{instances: map[string]awsapi.Instance{stranger: {}}}, change: []func(*v1alpha1.NodeTerminationPolicy){discarding}, result: retained, hidden: minRetain,
		},
		"in another account": {
			said: &said{instances: map[string]awsapi.Instance{stranger: {}, role + stranger: green}}, result: otherCluster, wantRoles: []string{"", role},
		},
		"a launch hook": {said: &said{instances: map[string]awsapi.Instance{stranger: green}}, notice: launching(stranger), result: otherCluster},
		"a launch hook of nobody's": {
			said: &said{instances: map[string]awsapi.Instance{stranger: nobodys}}, notice: launching(stranger), result: skipped,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, node("a", instance))
			f.policy("all", append(test.change, inCluster("blue"))...)
			if len(test.wantRoles) > 0 {
				f.policy("theirs", func(p *v1alpha1.NodeTerminationPolicy) {
					p.Spec.LifecycleHook = &v1alpha1.LifecycleHookSpec{RoleARN: role}
				})
			}
			f.opts.AWS = test.said
			if test.notice.Kind == "" {
				test.notice = awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{stranger}}
			}
			f.send(test.notice)
			f.step(test.age)
			f.run()
			before := f.of(test.result)
			f.handled(1)
			if got := f.of(test.result) - before; got != 1 {
				t.Errorf("outcome %s %v times, want once", test.result, got)
			}
			switch {
			case test.result == otherCluster:
				f.waitFor("the message to be received again", func() bool {
					f.step(releaseWithin / 4)
					return f.messages()[0].Receives >= 2
				})
				if age := f.clock.Now().Sub(f.messages()[0].Sent) - test.age; age >= visibility {
					t.Errorf("received again after %s only", age)
				}
			case test.hidden > 0:
				if got := f.hiddenFor(); got != test.hidden {
					t.Errorf("hidden for %s, want %s", got, test.hidden)
				}
			default:
				f.waitFor("the message to be deleted", func() bool { return len(f.messages()) == 0 })
			}
			if message := f.Health(f.queue).Message; !strings.Contains(message, test.says) {
				t.Errorf("message %q, want %q in it", message, test.says)
			}
			for _, role := range test.wantRoles {
				if !slices.Contains(test.said.asked, awsapi.Account{Region: "us-east-1", RoleARN: role}) {
					t.Errorf("asked %+v, want role %q among them", test.said.asked, role)
				}
			}
		})
	}
}

// Nobody asks EC2 unless a policy says how the cluster is called.
func TestTagsDoNotCountWithoutAClusterName(t *testing.T) {
	f := newFixture(t)
	f.policy("all")
	ec2 := &said{}
	f.opts.AWS = ec2
	f.spot(stranger)
	f.run()
	f.handled(1)
	if got := f.hiddenFor(); got != minRetain || len(ec2.asked) != 0 {
		t.Errorf("hidden for %s, asked %+v", got, ec2.asked)
	}
}

// A message that was received often is hidden for longer every time, as its cluster does not read.
func TestMessagesOfClustersThatDoNotRead(t *testing.T) {
	f := newFixture(t)
	f.policy("all", inCluster("blue"))
	f.opts.AWS = &said{instances: map[string]awsapi.Instance{stranger: {Found: true, Tags: []string{clusterTag + "green=owned"}}}}
	f.spot(stranger)
	f.run()
	for range promptReceives {
		f.handled(1)
		f.waitFor("the release", func() bool { f.step(releaseWithin / 4); return f.counted() > f.outcomes || !f.messages()[0].InFlight })
	}
	f.handled(1)
	if got := f.messages()[0].VisibleAt.Sub(f.clock.Now()); got <= 0 || got > time.Second {
		t.Errorf("hidden for %s at the eleventh time, want a second", got)
	}
	for n, want := range map[int]time.Duration{11: time.Second, 12: 2 * time.Second, 18: 128 * time.Second, 20: maxOther, 99: maxOther} {
		if got := doubled(time.Second, n-promptReceives, maxOther); got != want {
			t.Errorf("hidden for %s after %d receives, want %s", got, n, want)
		}
	}
}

// Two clusters read one queue: every message reaches the one that has the instance, in time.
func TestTwoClustersShareAQueue(t *testing.T) {
	const messages, want = 200, 10 * time.Second
	sim, err := awssim.Start(awssim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	deadLetters, err := sim.CreateQueue("dead", nil)
	if err != nil {
		t.Fatal(err)
	}
	url, err := sim.CreateQueue("q", map[string]string{"RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":"20"}`, sim.QueueARN("dead"))})
	if err != nil {
		t.Fatal(err)
	}
	clusters := []*fixture{newSharer(t, sim, url, "blue"), newSharer(t, sim, url, "green")}
	owners := map[string]*fixture{} // by instance
	for i := range messages {
		id := fmt.Sprintf("i-0abc1234def5%05x", i)
		in := rand.N(len(clusters))
		owners[id] = clusters[in]
		clusters[in].opts.Cache.(indexedNodes).nodes[id] = node(fmt.Sprintf("n%d", i), id)
		if err := sim.PutInstance(awssim.Instance{ID: id, Tags: map[string]string{clusterTag + []string{"blue", "green"}[in]: "owned"}}); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	sent, took := map[string]time.Time{}, make([]time.Duration, 0, messages)
	for _, c := range clusters {
		c.onApply(func(_ context.Context, instanceID string, apply func() error) error {
			mu.Lock()
			defer mu.Unlock()
			if owners[instanceID] != c {
				t.Errorf("%s is stored by the wrong cluster", instanceID)
			}
			took = append(took, time.Since(sent[instanceID]))
			return apply()
		})
		c.run()
	}
	for id := range owners {
		mu.Lock()
		sent[id] = time.Now()
		mu.Unlock()
		if _, err := sim.Send(url, awssim.Notice{Kind: awssim.SpotInterruption, InstanceIDs: []string{id}}); err != nil {
			t.Fatal(err)
		}
	}
	// A message that one cluster has received ten times in a row is left to the other for longer and longer.
	testcluster.Eventually(t, 3*time.Minute, func() error {
		left, err := sim.Messages(url)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d messages are left", len(left))
		}
		return err
	})
	slices.Sort(took)
	t.Logf("half of the messages took %s, 99 %% %s, all %s", took[messages/2], took[messages*99/100-1], took[messages-1])
	if p99 := took[messages*99/100-1]; p99 > want {
		t.Errorf("99 %% of the messages took %s, want at most %s", p99, want)
	}
	if len(took) != messages {
		t.Errorf("%d messages were stored, want %d", len(took), messages)
	}
	if dead, err := sim.Messages(deadLetters); err != nil || len(dead) > 0 {
		t.Errorf("dead letters %+v, error %v", dead, err)
	}
}

// indexedNodes finds nodes by their instance as fast as the manager's cache, which the fake client does not.
type indexedNodes struct {
	client.Reader
	nodes map[string]*corev1.Node // by instance
}

func (r indexedNodes) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	found, ok := list.(*corev1.NodeList)
	if !ok {
		return r.Reader.List(ctx, list, opts...)
	}
	asked := (&client.ListOptions{}).ApplyOptions(opts)
	for id, node := range r.nodes {
		if asked.FieldSelector.Matches(fields.Set{ec2node.InstanceIDIndex: id}) {
			found.Items = append(found.Items, *node)
		}
	}
	return nil
}

// newSharer is a cluster with a Kubernetes of its own, which reads a queue of all of them. Its time is the present.
func newSharer(t *testing.T, sim *awssim.Server, url, name string) *fixture {
	t.Helper()
	f := newFixture(t)
	_ = f.sim.Close()
	f.sim, f.url, f.queue = sim, url, Queue{URL: url, Region: "us-east-1"}
	ec2 := awsapi.New(awsapi.Options{LoadAWSConfig: f.autoScaling})
	f.opts.AWS, f.opts.Clock = ec2, clock.RealClock{}
	f.opts.Cache = indexedNodes{f.kube, map[string]*corev1.Node{}}
	go func() { _ = ec2.Start(t.Context()) }()
	f.policy("all", inCluster(name))
	return f
}
