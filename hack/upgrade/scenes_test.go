// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"cmp"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/testcluster"
)

// namespace is where the pods of all nodes are.
const namespace = "shop"

// scene is a node whose termination comes to a state.
type scene struct {
	node   string // its name
	policy string // that selects it, if any
	pods   []string
	play   func(c *cluster, node *corev1.Node)
	state  string
}

// scenes are a node for each state that lasts. The name of a node is that of its state, but for the one that has
// another wait.
var scenes = []scene{
	{"draining", "workers", []string{stuckPod, slowPod, quickPod}, reservationEnds, v1alpha1.StateDraining},
	{"first", "turns", []string{stuckPod}, annotate, v1alpha1.StateDraining},
	{"waiting", "turns", []string{quickPod}, annotate, v1alpha1.StateWaiting},
	{"cordoned", "workers", []string{quickPod}, send(awssim.RebalanceRecommendation), v1alpha1.StateCordoned},
	{"scheduled", "workers", []string{quickPod}, maintenance, v1alpha1.StateScheduled},
	{"completing", "workers", []string{quickPod}, terminate, v1alpha1.StateCompleting},
	{"completed", "workers", []string{quickPod}, reservationEnds, v1alpha1.StateCompleted},
	{"failed", "impatient", []string{stuckPod}, annotate, v1alpha1.StateFailed},
	{"cancelled", "workers", []string{stuckPod}, annotateAndCancel, v1alpha1.StateCancelled},
	{"ignored", "ignoring", []string{quickPod}, send(awssim.RebalanceRecommendation), v1alpha1.StateIgnored},
	{"nopolicy", "", []string{quickPod}, byHand, v1alpha1.StateNoPolicy},
	{"dryrun", "trying", []string{quickPod}, reservationEnds, v1alpha1.StateDryRun},
	{"suspended", "workers", []string{stuckPod}, annotateAndSuspend, v1alpha1.StateSuspended},
	{"policygone", "gone", []string{stuckPod}, annotateAndDeletePolicy, v1alpha1.StatePolicyGone},
	{"refused", "workers", []string{quickPod}, byHand, v1alpha1.StateRefused},
}

// The pods of a node, by their name's first part.
const (
	stuckPod = "stuck" // a disruption budget never lets it go
	slowPod  = "slow"  // it takes half an hour to stop
	quickPod = "quick"
)

// makeNode makes the node of a scene and its pods.
func (c *cluster) makeNode(s scene) *corev1.Node {
	c.t.Helper()
	node := c.CreateNodes(c.t, 1, func(node *corev1.Node) {
		node.Name = s.node
		node.Labels[corev1.LabelHostname] = s.node
		node.Labels["policy"] = s.policy
		if s.state == v1alpha1.StateRefused {
			node.Spec.ProviderID = ""
		}
	})[0]
	for _, kind := range s.pods {
		c.CreatePods(c.t, namespace, s.node, 1, func(pod *corev1.Pod) {
			pod.GenerateName, pod.Name = "", kind+"-"+s.node
			pod.Labels = map[string]string{kind: "yes"}
			if kind == slowPod {
				pod.Spec.TerminationGracePeriodSeconds = ptr.To(int64(3600))
				pod.Annotations = map[string]string{testcluster.TerminatesAfter: "30m"}
			}
		})
	}
	return node
}

func instanceOf(node *corev1.Node) string {
	id, _ := ec2node.InstanceID(node)
	return id
}

// send returns what sends a message of a kind about a node.
func send(kind string, change ...func(*awssim.Notice)) func(*cluster, *corev1.Node) {
	return func(c *cluster, node *corev1.Node) {
		c.t.Helper()
		notice := awssim.Notice{Kind: kind, InstanceIDs: []string{instanceOf(node)}}
		for _, set := range change {
			set(&notice)
		}
		if _, err := c.aws.Send(c.queue, notice); err != nil {
			c.t.Fatal(err)
		}
	}
}

// reservationEnds has the node's instance end in an hour, which is a deadline that does not pass during a test.
func reservationEnds(c *cluster, node *corev1.Node) {
	c.t.Helper()
	send(awssim.CapacityReservation, func(n *awssim.Notice) { n.NotBefore = time.Now().Add(time.Hour) })(c, node)
}

func maintenance(c *cluster, node *corev1.Node) {
	c.t.Helper()
	send(awssim.Health, func(n *awssim.Notice) { n.NotBefore = time.Now().Add(14 * 24 * time.Hour) })(c, node)
}

// hook is that of the group of the node completing.
var hook = awssim.LifecycleHook{Group: "workers", Name: "drain", HeartbeatTimeout: 2 * time.Hour}

// terminate has the node's group terminate it, and EC2 Auto Scaling answer no completion.
func terminate(c *cluster, node *corev1.Node) {
	c.t.Helper()
	if err := c.aws.PutLifecycleHook(hook); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.aws.AddFault(awssim.Fault{Service: "autoscaling", Action: "CompleteLifecycleAction", Code: "ServerError"}); err != nil {
		c.t.Fatal(err)
	}
	send(awssim.Lifecycle, func(n *awssim.Notice) { n.Group, n.Hook = hook.Group, hook.Name })(c, node)
}

func annotate(c *cluster, node *corev1.Node) {
	c.t.Helper()
	c.kubectl("annotate", "node", node.Name, v1alpha1.AnnotationDrain+"=upgrade")
}

func annotateAndCancel(c *cluster, node *corev1.Node) {
	c.t.Helper()
	annotate(c, node)
	c.until(node.Name, v1alpha1.StateDraining)
	c.kubectl("annotate", "node", node.Name, v1alpha1.AnnotationDrain+"-")
}

func annotateAndSuspend(c *cluster, node *corev1.Node) {
	c.t.Helper()
	annotate(c, node)
	c.until(node.Name, v1alpha1.StateDraining)
	c.kubectl("patch", "nt", instanceOf(node), "--type=merge", "--patch", `{"spec":{"suspend":true}}`)
}

func annotateAndDeletePolicy(c *cluster, node *corev1.Node) {
	c.t.Helper()
	annotate(c, node)
	c.until(node.Name, v1alpha1.StateDraining)
	c.kubectl("delete", "ntp", node.Labels["policy"])
}

// byHand creates a NodeTermination as an administrator may, of another instance if the node does not say on which it runs.
func byHand(c *cluster, node *corev1.Node) {
	c.t.Helper()
	now := metav1.Time{Time: time.Now().Truncate(time.Second)}
	id := cmp.Or(instanceOf(node), "i-0fedcba9876543210")
	c.create(&v1alpha1.NodeTermination{
		ObjectMeta: metav1.ObjectMeta{Name: id},
		Spec: v1alpha1.NodeTerminationSpec{InstanceID: id, NodeName: node.Name, Events: []v1alpha1.Event{{
			ID: "by-hand", Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceManual, Time: now,
			Deadline: &metav1.Time{Time: now.Add(time.Hour)},
		}}},
	})
}
