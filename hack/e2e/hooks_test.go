// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
)

// Calls to Auto Scaling.
const (
	heartbeat  = "RecordLifecycleActionHeartbeat"
	completion = "CompleteLifecycleAction"
)

// terminate has a node's instance wait at the hook drain of the fixture's own group, of this timeout,
// which EventBridge sends to the queue.
func (f *fixture) terminate(node *corev1.Node, timeout time.Duration) awssim.LifecycleAction {
	f.t.Helper()
	return f.waitAt(awssim.LifecycleHook{Group: f.queueName, Name: "drain", HeartbeatTimeout: timeout}, instanceOf(node))
}

// waitAt has an instance wait at a termination hook, which EventBridge sends to the queue.
func (f *fixture) waitAt(hook awssim.LifecycleHook, instanceID string) awssim.LifecycleAction {
	f.t.Helper()
	if err := f.sim.PutLifecycleHook(hook); err != nil {
		f.t.Fatal(err)
	}
	f.send(awssim.Notice{Kind: awssim.Lifecycle, InstanceIDs: []string{instanceID}, Group: hook.Group, Hook: hook.Name})
	return f.action(instanceID)
}

// action is the one lifecycle action in which an instance waits, or has waited.
func (f *fixture) action(instanceID string) awssim.LifecycleAction {
	f.t.Helper()
	for _, action := range f.sim.LifecycleActions() {
		if action.InstanceID == instanceID {
			return action
		}
	}
	f.t.Fatalf("instance %s never waited", instanceID)
	return awssim.LifecycleAction{}
}

// calls are those about a lifecycle action, whatever became of them. An empty name is any.
func (f *fixture) calls(name string, action *awssim.LifecycleAction) []awssim.Call {
	var calls []awssim.Call
	for _, call := range f.sim.Calls("autoscaling", name) {
		if call.Params["LifecycleActionToken"] == action.Token || call.Params["InstanceId"] == action.InstanceID {
			calls = append(calls, call)
		}
	}
	return calls
}

// checkContinuedOnce checks that the hook of a drained node was completed, by one call.
func (f *fixture) checkContinuedOnce(node *corev1.Node) {
	f.t.Helper()
	action := f.action(instanceOf(node))
	if n := len(f.calls(completion, &action)); n != 1 || action.Result != "CONTINUE" || action.TimedOut {
		f.t.Errorf("%d completions, want one, with CONTINUE: %+v", n, action)
	}
}

// checkGone checks that pods are there no more.
func (f *fixture) checkGone(pods []*corev1.Pod) {
	f.t.Helper()
	for _, pod := range pods {
		if err := admin(f.t).Get(f.t.Context(), client.ObjectKeyFromObject(pod), &corev1.Pod{}); !apierrors.IsNotFound(err) {
			f.t.Errorf("pod %s is still there (%v)", pod.Name, err)
		}
	}
}

// testSpotAndTermination: spot takes the instance back and its group terminates it. Both messages
// are in the queue before anybody listens.
func testSpotAndTermination(t *testing.T) {
	f := emptyFixture(t, aws)
	node := f.nodes(1)[0]
	pods := f.pods(node, 3, stopsIn(5*time.Second))
	f.interrupt(node)
	f.terminate(node, time.Hour)
	f.apply()
	eventually(t, func() error {
		if action := f.action(instanceOf(node)); action.Result == "" {
			return errors.New("the hook is not completed")
		}
		return nil
	})
	f.checkGone(pods)
	nt := f.until(node, v1alpha1.StateCompleted)
	if len(nt.Spec.Events) != 2 {
		t.Errorf("the NodeTermination has the events %+v, want two", nt.Spec.Events)
	}
	f.untilQueueEmpty()
	f.checkEvictedOnce(pods...)
	f.checkContinuedOnce(node)
}

// testReceivedTwice: the group sends one and the same action itself and through EventBridge.
func testReceivedTwice(t *testing.T) {
	f := newFixture(t)
	node := f.nodes(1)[0]
	pods := f.pods(node, 2)
	action := f.terminate(node, time.Minute)
	f.send(awssim.Notice{
		Kind: awssim.LifecycleDirect, InstanceIDs: []string{instanceOf(node)},
		Group: action.Hook.Group, Hook: action.Hook.Name, Token: action.Token,
	})
	f.untilQueueEmpty()
	nt := f.until(node, v1alpha1.StateCompleted)
	e := checkKind(t, nt, v1alpha1.AutoScalingTermination, time.Time{})
	want := v1alpha1.LifecycleHook{AutoScalingGroupName: action.Hook.Group, Name: action.Hook.Name, Token: action.Token, Destination: "EC2"}
	if e.LifecycleHook == nil || *e.LifecycleHook != want {
		t.Errorf("the hook is %+v, want %+v", e.LifecycleHook, want)
	}
	f.checkEvictedOnce(pods...)
	f.checkContinuedOnce(node)
}

// testOthersHooks: the hooks of another group's node, of a managed node group and of an instance
// that never joined are nobody's business here, though the node of the second one is drained.
func testOthersHooks(t *testing.T) {
	f := newFixture(t)
	nodes := f.nodes(2)
	managed, own := nodes[0], nodes[1]
	stranger := cluster.Get(t).CreateNodes(t, 1)[0]
	pods := f.pods(managed, 1)
	left := map[string]awssim.LifecycleAction{
		"another group's":        f.waitAt(awssim.LifecycleHook{Group: f.queueName + "-other", Name: "drain"}, instanceOf(stranger)),
		"a managed node group's": f.waitAt(awssim.LifecycleHook{Group: f.queueName, Name: "Terminate-LC-Hook"}, instanceOf(managed)),
		"an unjoined instance's": f.waitAt(awssim.LifecycleHook{Group: f.queueName, Name: "unjoined"}, "i-0e2e0000000000004"),
	}
	f.terminate(own, time.Hour)
	f.until(own, v1alpha1.StateCompleted)
	f.checkContinuedOnce(own)
	nt := f.until(managed, v1alpha1.StateCompleted)
	if hooks := nt.Status.LifecycleHooks; len(hooks) != 1 || hooks[0].State != v1alpha1.HookIgnored {
		t.Errorf("the managed node group's hook is %+v, want it left alone", hooks)
	}
	f.checkEvictedOnce(pods...)
	eventually(t, func() error { // what is left is about the instance that may join yet, and the node that may be selected yet
		if messages := f.messages(); len(messages) != 2 || messages[0].Receives == 0 || messages[1].Receives == 0 {
			return fmt.Errorf("the queue has %+v, want two messages that were received", messages)
		}
		return nil
	})
	for whose, action := range left {
		if calls := f.calls("", &action); len(calls) > 0 || f.action(action.InstanceID).Result != "" {
			t.Errorf("%s hook was touched: %+v", whose, calls)
		}
	}
}

// testVolumes: the hook waits until the volume of a pod that left is detached, and not for that of
// a pod that stays.
func testVolumes(t *testing.T) {
	f := newFixture(t)
	node := f.nodes(1)[0]
	f.pods(node, 1)
	f.claim("stays")
	f.pods(node, 1, func(pod *corev1.Pod) {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, v1alpha1.AnnotationDrain, "skip")
		pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "stays"},
		}}}
	})
	f.attach(node, "stays")
	leaves := f.attach(node, "leaves")
	f.terminate(node, time.Minute)
	eventually(t, func() error {
		nt, err := f.termination(node)
		if err != nil {
			return err
		}
		ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != v1alpha1.StateCompleting || !strings.HasSuffix(ready.Message, "1 volumes are still attached: "+f.volume("leaves")) {
			return fmt.Errorf("NodeTermination %s should wait for a volume and is %+v", nt.Name, ready)
		}
		return nil
	})
	if action := f.action(instanceOf(node)); action.Result != "" {
		t.Errorf("the hook was completed while a volume was attached: %+v", action)
	}
	f.remove(leaves)
	f.until(node, v1alpha1.StateCompleted)
	f.checkContinuedOnce(node)
}

// volume is the name of one of the fixture's PersistentVolumes.
func (f *fixture) volume(name string) string { return f.queueName + "-" + name }

// claim makes a claim for one of the fixture's volumes.
func (f *fixture) claim(name string) {
	f.t.Helper()
	f.create(&corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			VolumeName:  f.volume(name),
		},
	})
}

// attach attaches one of the fixture's volumes to a node.
func (f *fixture) attach(node *corev1.Node, name string) *storagev1.VolumeAttachment {
	f.t.Helper()
	attachment := &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: f.volume(name)},
		Spec: storagev1.VolumeAttachmentSpec{
			Attacher: "ebs.csi.aws.com", NodeName: node.Name,
			Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: ptr.To(f.volume(name))},
		},
	}
	f.create(attachment)
	return attachment
}
