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

// terminate has a node's instance wait at the hook drain of the world's own group, of this timeout,
// which EventBridge tells the queue.
func (w *world) terminate(node *corev1.Node, timeout time.Duration) awssim.LifecycleAction {
	w.t.Helper()
	return w.waitAt(awssim.LifecycleHook{Group: w.queueName, Name: "drain", HeartbeatTimeout: timeout}, instanceOf(node))
}

// waitAt has an instance wait at a termination hook, which EventBridge tells the queue.
func (w *world) waitAt(hook awssim.LifecycleHook, instanceID string) awssim.LifecycleAction {
	w.t.Helper()
	if err := w.sim.PutLifecycleHook(hook); err != nil {
		w.t.Fatal(err)
	}
	w.send(awssim.Notice{Kind: awssim.Lifecycle, InstanceIDs: []string{instanceID}, Group: hook.Group, Hook: hook.Name})
	return w.action(instanceID)
}

// action is the one lifecycle action in which an instance waits, or has waited.
func (w *world) action(instanceID string) awssim.LifecycleAction {
	w.t.Helper()
	for _, action := range w.sim.LifecycleActions() {
		if action.InstanceID == instanceID {
			return action
		}
	}
	w.t.Fatalf("instance %s never waited", instanceID)
	return awssim.LifecycleAction{}
}

// calls are those about a lifecycle action, whatever became of them. An empty name is any.
func (w *world) calls(name string, action *awssim.LifecycleAction) []awssim.Call {
	var calls []awssim.Call
	for _, call := range w.sim.Calls("autoscaling", name) {
		if call.Params["LifecycleActionToken"] == action.Token || call.Params["InstanceId"] == action.InstanceID {
			calls = append(calls, call)
		}
	}
	return calls
}

// checkContinuedOnce checks that the hook of a drained node was completed, by one call.
func (w *world) checkContinuedOnce(node *corev1.Node) {
	w.t.Helper()
	action := w.action(instanceOf(node))
	if n := len(w.calls(completion, &action)); n != 1 || action.Result != "CONTINUE" || action.TimedOut {
		w.t.Errorf("%d completions, want one, with CONTINUE: %+v", n, action)
	}
}

// checkGone checks that pods are there no more.
func (w *world) checkGone(pods []*corev1.Pod) {
	w.t.Helper()
	for _, pod := range pods {
		if err := admin(w.t).Get(w.t.Context(), client.ObjectKeyFromObject(pod), &corev1.Pod{}); !apierrors.IsNotFound(err) {
			w.t.Errorf("pod %s is still there (%v)", pod.Name, err)
		}
	}
}

// testSpotAndTermination: spot takes the instance back and its group terminates it. Both messages
// are in the queue before anybody listens.
func testSpotAndTermination(t *testing.T) {
	w := emptyWorld(t, aws)
	node := w.nodes(1)[0]
	pods := w.pods(node, 3, stopsIn(5*time.Second))
	w.interrupt(node)
	w.terminate(node, time.Hour)
	w.apply()
	eventually(t, func() error {
		if action := w.action(instanceOf(node)); action.Result == "" {
			return errors.New("the hook is not completed")
		}
		return nil
	})
	w.checkGone(pods)
	nt := w.until(node, v1alpha1.StateCompleted)
	if len(nt.Spec.Events) != 2 {
		t.Errorf("the NodeTermination has the events %+v, want two", nt.Spec.Events)
	}
	w.untilQueueEmpty()
	w.checkToldOnce(pods...)
	w.checkContinuedOnce(node)
}

// testHeardTwice: the group tells of one and the same action itself and through EventBridge.
func testHeardTwice(t *testing.T) {
	w := newWorld(t)
	node := w.nodes(1)[0]
	pods := w.pods(node, 2)
	action := w.terminate(node, time.Minute)
	w.send(awssim.Notice{
		Kind: awssim.LifecycleDirect, InstanceIDs: []string{instanceOf(node)},
		Group: action.Hook.Group, Hook: action.Hook.Name, Token: action.Token,
	})
	w.untilQueueEmpty()
	nt := w.until(node, v1alpha1.StateCompleted)
	e := checkKind(t, nt, v1alpha1.AutoScalingTermination, time.Time{})
	want := v1alpha1.LifecycleHook{AutoScalingGroupName: action.Hook.Group, Name: action.Hook.Name, Token: action.Token, Destination: "EC2"}
	if e.LifecycleHook == nil || *e.LifecycleHook != want {
		t.Errorf("the hook is %+v, want %+v", e.LifecycleHook, want)
	}
	w.checkToldOnce(pods...)
	w.checkContinuedOnce(node)
}

// testOthersHooks: the hooks of another group's node, of a managed node group and of an instance
// that never joined are nobody's business here, though the node of the second one is drained.
func testOthersHooks(t *testing.T) {
	w := newWorld(t)
	nodes := w.nodes(2)
	managed, own := nodes[0], nodes[1]
	stranger := cluster.Get(t).CreateNodes(t, 1)[0]
	pods := w.pods(managed, 1)
	left := map[string]awssim.LifecycleAction{
		"another group's":        w.waitAt(awssim.LifecycleHook{Group: w.queueName + "-other", Name: "drain"}, instanceOf(stranger)),
		"a managed node group's": w.waitAt(awssim.LifecycleHook{Group: w.queueName, Name: "Terminate-LC-Hook"}, instanceOf(managed)),
		"an unjoined instance's": w.waitAt(awssim.LifecycleHook{Group: w.queueName, Name: "unjoined"}, "i-0e2e0000000000004"),
	}
	w.terminate(own, time.Hour)
	w.until(own, v1alpha1.StateCompleted)
	w.checkContinuedOnce(own)
	nt := w.until(managed, v1alpha1.StateCompleted)
	if hooks := nt.Status.LifecycleHooks; len(hooks) != 1 || hooks[0].State != v1alpha1.HookIgnored {
		t.Errorf("the managed node group's hook is %+v, want it left alone", hooks)
	}
	w.checkToldOnce(pods...)
	eventually(t, func() error { // what is left is about the instance that may join yet
		if messages := w.messages(); len(messages) != 1 || messages[0].Receives == 0 {
			return fmt.Errorf("the queue has %+v, want one message that was received", messages)
		}
		return nil
	})
	for whose, action := range left {
		if calls := w.calls("", &action); len(calls) > 0 || w.action(action.InstanceID).Result != "" {
			t.Errorf("%s hook was touched: %+v", whose, calls)
		}
	}
}

// testVolumes: the hook waits until the volume of a pod that left is detached, and not for that of
// a pod that stays.
func testVolumes(t *testing.T) {
	w := newWorld(t)
	node := w.nodes(1)[0]
	w.pods(node, 1)
	w.claim("stays")
	w.pods(node, 1, func(pod *corev1.Pod) {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, v1alpha1.AnnotationDrain, "skip")
		pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "stays"},
		}}}
	})
	w.attach(node, "stays")
	leaves := w.attach(node, "leaves")
	w.terminate(node, time.Minute)
	eventually(t, func() error {
		nt, err := w.termination(node)
		if err != nil {
			return err
		}
		ready := meta.FindStatusCondition(nt.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != v1alpha1.StateCompleting || !strings.HasSuffix(ready.Message, "1 volumes are still attached: "+w.volume("leaves")) {
			return fmt.Errorf("NodeTermination %s should wait for a volume and is %+v", nt.Name, ready)
		}
		return nil
	})
	if action := w.action(instanceOf(node)); action.Result != "" {
		t.Errorf("the hook was completed while a volume was attached: %+v", action)
	}
	w.remove(leaves)
	w.until(node, v1alpha1.StateCompleted)
	w.checkContinuedOnce(node)
}

// volume is the name of one of the world's PersistentVolumes.
func (w *world) volume(name string) string { return w.queueName + "-" + name }

// claim makes a claim for one of the world's volumes.
func (w *world) claim(name string) {
	w.t.Helper()
	w.create(&corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			VolumeName:  w.volume(name),
		},
	})
}

// attach attaches one of the world's volumes to a node.
func (w *world) attach(node *corev1.Node, name string) *storagev1.VolumeAttachment {
	w.t.Helper()
	attachment := &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: w.volume(name)},
		Spec: storagev1.VolumeAttachmentSpec{
			Attacher: "ebs.csi.aws.com", NodeName: node.Name,
			Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: ptr.To(w.volume(name))},
		},
	}
	w.create(attachment)
	return attachment
}
