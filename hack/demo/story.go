// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/awssim"
)

const (
	// notice is how long before AWS interrupts a spot instance it announces that.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
	notice = 2 * time.Minute
	// replacedTimeout is how long the workloads may take to be complete again after the drain.
	replacedTimeout = 15 * time.Second
)

// story is one spot interruption, reported as it happens by watches of the API server.
type story struct {
	*playground
	client   client.WithWatch
	queueURL string // of the policy

	nodes       []corev1.Node
	node        *corev1.Node              // the one whose instance is interrupted
	instance    string                    // that instance
	pods        map[types.UID]*corev1.Pod // as last seen
	termination v1alpha1.NodeTermination  // as last seen

	sent     time.Time
	blocked  map[types.NamespacedName]bool // pods that were blocked
	toGo     int                           // how many pods have to be evicted
	evicted  int                           // how many of them were evicted
	gone     int                           // how many of them are gone
	replaced int                           // how many new pods are ready elsewhere
}

func newStory(p *playground) (*story, error) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	c, err := client.NewWithWatch(p.config, client.Options{Scheme: scheme})
	return &story{playground: p, client: c, pods: map[types.UID]*corev1.Pod{}, blocked: map[types.NamespacedName]bool{}}, err
}

// run announces an interruption and returns when the node is drained and the workloads are complete again.
func (s *story) run(ctx context.Context, announce func(*story, context.Context) error) error {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, err := s.watch(watching)
	if err != nil {
		return err
	}
	s.choose()
	s.printNodes()
	if err := s.readPolicy(ctx); err != nil {
		return err
	}
	if err := announce(s, ctx); err != nil {
		return err
	}
	return s.follow(ctx, changes)
}

// sendToQueue announces it as EventBridge does.
func (s *story) sendToQueue(ctx context.Context) error {
	s.heading(fmt.Sprintf("EC2 interrupts the spot instance %s in two minutes and announces it in the queue", s.instance))
	return s.awssim(ctx, s.sendCommand(awssim.SpotInterruption, s.instance))
}

// awssim runs a command of the simulator, for everybody to see, from which the story's time counts.
func (s *story) awssim(ctx context.Context, command string) error {
	s.command(command, "")
	s.printf("\n")
	s.sent = time.Now()
	_, err := output(ctx, filepath.Join(s.root, "bin"), "/bin/sh", "-c", "./"+command)
	return err
}

// showAfterwards shows the state of everything after both stories.
func (s *story) showAfterwards(ctx context.Context) error {
	// The policy's counts follow within a second.
	if _, err := s.kubectl(ctx, "wait", "--for=jsonpath={.status.activeTerminations}=0", "--timeout=10s", "nodeterminationpolicy", "--all"); err != nil {
		return err
	}
	s.heading("What kubectl shows afterwards")
	for _, table := range []struct {
		of      string
		columns int
	}{
		{"nt", width - 2}, // up to the state
		{"ntp", width - 2},
		{"nodes", 52}, // up to the status
	} {
		if err := s.showColumns(ctx, table.columns, "get", table.of); err != nil {
			return err
		}
		s.printf("\n")
	}
	return nil
}

// readPolicy finds out which queue is polled.
func (s *story) readPolicy(ctx context.Context) error {
	var policies v1alpha1.NodeTerminationPolicyList
	if err := s.client.List(ctx, &policies); err != nil {
		return err
	}
	for i := range policies.Items {
		for _, source := range policies.Items[i].Spec.Sources {
			if source.SQS != nil {
				s.queueURL = source.SQS.QueueURL
				return nil
			}
		}
	}
	return fmt.Errorf("%s has no source with an SQS queue", sample)
}

// sendCommand returns the shell command that sends a message about an instance.
func (s *story) sendCommand(kind, instance string) string {
	return fmt.Sprintf("awssim send %s --instance %s \\\n    --endpoint %s --queue-url \\\n    %s", kind, instance, s.endpoint, s.queueURL)
}

// changes are the watches of a story.
type changes struct{ terminations, nodes, pods watch.Interface }

// watch lists what there is and watches it from there on until ctx ends.
func (s *story) watch(ctx context.Context) (*changes, error) {
	var (
		terminations v1alpha1.NodeTerminationList
		nodes        corev1.NodeList
		pods         corev1.PodList
		c            = &changes{}
	)
	for _, kind := range []struct {
		list  client.ObjectList
		in    client.InNamespace
		watch *watch.Interface
	}{
		{&terminations, "", &c.terminations},
		{&nodes, "", &c.nodes},
		{&pods, namespace, &c.pods},
	} {
		if err := s.client.List(ctx, kind.list, kind.in); err != nil {
			return nil, err
		}
		from := &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: kind.list.GetResourceVersion()}}
		w, err := s.client.Watch(ctx, kind.list, kind.in, from)
		if err != nil {
			return nil, err
		}
		*kind.watch = w
	}
	s.nodes = nodes.Items
	for i := range pods.Items {
		s.pods[pods.Items[i].UID] = &pods.Items[i]
	}
	return c, nil
}

// choose chooses the node on which budgets block the most pods.
func (s *story) choose() {
	most := 0
	for i := range s.nodes {
		if databases := s.running(s.nodes[i].Name)["db"]; s.node == nil || databases > most {
			s.node, most = &s.nodes[i], databases
		}
	}
	s.instance, _ = ec2node.InstanceID(s.node)
	for _, pod := range s.pods {
		if pod.Spec.NodeName == s.node.Name && !ofDaemonSet(pod) {
			s.toGo++
		}
	}
}

// running counts the pods on a node by their app.
func (s *story) running(node string) map[string]int {
	apps := map[string]int{}
	for _, pod := range s.pods {
		if pod.Spec.NodeName == node {
			apps[pod.Labels["app"]]++
		}
	}
	return apps
}

func (s *story) printNodes() {
	const format = "  %-27s %-21s %s"
	s.printf("\n%s\n", s.in(faint, fmt.Sprintf(format, "NODE", "INSTANCE", "PODS")))
	for i := range s.nodes {
		node := &s.nodes[i]
		apps := s.running(node.Name)
		var pods []string
		for _, app := range []string{"web", "db", "agent"} {
			if apps[app] > 0 {
				pods = append(pods, fmt.Sprintf("%d %s", apps[app], app))
			}
		}
		instance, _ := ec2node.InstanceID(node)
		s.printf(format+"\n", node.Name, instance, strings.Join(pods, ", "))
	}
}

// follow reports what happens until the node is drained and its pods are replaced.
func (s *story) follow(ctx context.Context, c *changes) error {
	timeout := time.NewTimer(notice)
	defer timeout.Stop()
	drained := false
	for !drained || s.replaced < s.evicted {
		var err error
		select {
		case event, ok := <-c.terminations.ResultChan():
			err = s.each(event, ok)
		case event, ok := <-c.nodes.ResultChan():
			err = s.each(event, ok)
		case event, ok := <-c.pods.ResultChan():
			err = s.each(event, ok)
		case <-timeout.C:
			return s.late(drained)
		case <-s.manager.Done():
			return s.managerEnded()
		case <-s.watcherDone():
			return s.watcherEnded()
		case <-s.controlPlane.done:
			return s.controlPlane.ended()
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		// The watches are not in step: what was seen last may come last.
		over := s.termination.Status.CompletionTime != nil && (s.gone == s.toGo || s.state() != v1alpha1.StateCompleted)
		if over && !drained {
			if drained, err = true, s.ended(); err != nil {
				return err
			}
			timeout.Reset(replacedTimeout)
		}
	}
	return nil
}

// each handles one event of a watch.
func (s *story) each(event watch.Event, ok bool) error {
	if !ok {
		return fmt.Errorf("the API server ended a watch")
	}
	switch object := event.Object.(type) {
	case *v1alpha1.NodeTermination:
		if object.Name == s.instance {
			s.terminationChanged(object)
		}
	case *corev1.Node:
		if object.Name == s.node.Name {
			s.nodeChanged(object)
		}
	case *corev1.Pod:
		if event.Type == watch.Deleted {
			s.podGone(object)
		} else {
			s.podChanged(object)
		}
	default:
		return apierrors.FromObject(object)
	}
	return nil
}

// late returns the error that something has not happened in time.
func (s *story) late(drained bool) error {
	what := fmt.Sprintf("the node is not drained %s after the message", notice)
	if drained {
		what = fmt.Sprintf("only %d of %d pods are replaced %s after the drain", s.replaced, s.evicted, replacedTimeout)
	}
	return s.failed(what)
}

// failed returns an error with the termination's state and the operator's log.
func (s *story) failed(what string) error {
	state := "no NodeTermination was seen"
	if ready := meta.FindStatusCondition(s.termination.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		state = fmt.Sprintf("%s is %s: %s", s.termination.Name, ready.Reason, ready.Message)
	}
	return fmt.Errorf("%s; %s. %s", what, state, s.managerLog())
}
