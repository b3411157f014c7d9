// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/operator"
)

// TestAgainstTheOdds: others write the same objects, or wrong ones, or keep pods where they are.
func TestAgainstTheOdds(t *testing.T) {
	startManager(t)
	for name, test := range map[string]func(*testing.T, *world){
		"a node that somebody writes all the time":    testBusyNode,
		"a hundred nodes whose kubelets are busy":     testBusyKubelets,
		"a NodeTermination that names the wrong node": testWrongNode,
		"a budget that blocks until shortly before":   testBlockedToTheEnd,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newWorld(t, taints))
		})
	}
}

func taints(spec *v1alpha1.NodeTerminationPolicySpec) {
	spec.Node = &v1alpha1.NodeActions{Taint: &v1alpha1.NodeTaint{Effect: "NoSchedule"}}
}

// testBusyNode: the manager's writes to the node lose some races, and it tries again.
func testBusyNode(t *testing.T, w *world) {
	nodes := w.nodes(5)
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan error, len(nodes))
	for _, node := range nodes {
		go func() {
			for i := 0; ctx.Err() == nil; i++ {
				patch := fmt.Appendf(nil, `{"metadata": {"annotations": {"e2e": "%d"}}}`, i)
				err := admin(t).Patch(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name}}, client.RawPatch(types.MergePatchType, patch))
				if err != nil && ctx.Err() == nil {
					written <- err
					return
				}
			}
			written <- nil
		}()
	}
	for _, node := range nodes {
		w.interrupt(node)
	}
	for _, node := range nodes {
		w.until(node, v1alpha1.StateCompleted)
		w.untilNode(node, cordoned)
	}
	stop()
	for range nodes {
		if err := <-written; err != nil {
			t.Error(err)
		}
	}
}

// testBusyKubelets: a hundred nodes go at once, while their kubelets write what they have to say.
func testBusyKubelets(t *testing.T, w *world) {
	const kubelets = 8 // each writes the status of as many nodes as the others
	nodes := w.nodes(100)
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan error, kubelets)
	for first := range kubelets {
		go func() { written <- keepWritingStatus(ctx, admin(t), nodes, first, kubelets) }()
	}
	for _, node := range nodes {
		w.interrupt(node)
	}
	for _, node := range nodes {
		w.until(node, v1alpha1.StateCompleted)
	}
	stop()
	for range kubelets {
		if err := <-written; err != nil {
			t.Error(err)
		}
	}
	for _, node := range nodes {
		w.untilNode(node, func(current *corev1.Node) error {
			if !hasTaint(current, v1alpha1.SpotInterruption) {
				return fmt.Errorf("node %s has the taints %v", current.Name, current.Spec.Taints)
			}
			return cordoned(current)
		})
	}
	conflicts, err := audit.find(func(r *request) bool {
		return r.Verb == "patch" && r.resource() == "nodes" && r.Response.Code == http.StatusConflict
	})
	t.Logf("%d writes lost a race and were tried again, %v", len(conflicts), err)
}

// keepWritingStatus writes the status of every step-th node, from the first one on, until ctx ends.
func keepWritingStatus(ctx context.Context, c client.Client, nodes []*corev1.Node, first, step int) error {
	for n := 0; ; n++ {
		for i := first; i < len(nodes); i += step {
			patch := fmt.Appendf(nil, `{"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": %d}}}}`, 10_000+n%1000)
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodes[i].Name}}
			err := c.Status().Patch(ctx, node, client.RawPatch(types.MergePatchType, patch))
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
}

// hasTaint is whether a node has the operator's taint for a kind of event.
func hasTaint(node *corev1.Node, kind v1alpha1.EventKind) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == v1alpha1.TaintKey(kind) })
}

// testWrongNode: an object that pairs an instance with a node that does not run on it must keep
// neither the truth from being stored nor the right node from being drained.
func testWrongNode(t *testing.T, w *world) {
	nodes := w.nodes(2)
	pods := w.pods(nodes[0], 1)
	w.pods(nodes[1], 1)
	wrong := &v1alpha1.NodeTermination{ObjectMeta: metav1.ObjectMeta{Name: instanceOf(nodes[0])}}
	wrong.Spec = v1alpha1.NodeTerminationSpec{
		InstanceID: instanceOf(nodes[0]), NodeName: nodes[1].Name,
		Events: []v1alpha1.Event{{ID: "wrong", Kind: v1alpha1.SpotInterruption, Source: v1alpha1.SourceSQS, Time: metav1.Now()}},
	}
	w.create(wrong)
	w.until(nodes[0], v1alpha1.StateRefused)
	w.interrupt(nodes[0])
	nt := w.until(nodes[0], v1alpha1.StateCompleted)
	if nt.UID == wrong.UID || nt.Spec.NodeName != nodes[0].Name {
		t.Errorf("the NodeTermination names node %s, want %s, in a new object", nt.Spec.NodeName, nodes[0].Name)
	}
	w.checkToldOnce(pods...)
	w.untilNode(nodes[1], schedulable)
}

// testBlockedToTheEnd: half a minute before the instance goes, what a budget still keeps is deleted,
// so that it gets its SIGTERM, and not before.
func testBlockedToTheEnd(t *testing.T, w *world) {
	const deletesBefore = 30 * time.Second
	node := w.nodes(1)[0]
	w.budgetForGood()
	pods := w.pods(node, 2, stuck)
	deadline := time.Now().Add(deletesBefore + 8*time.Second).Truncate(time.Second)
	w.send(awssim.Notice{Kind: awssim.CapacityReservation, InstanceIDs: []string{instanceOf(node)}, NotBefore: deadline})
	w.until(node, v1alpha1.StateCompleted)
	w.checkToldOnce(pods...)
	deleted, err := audit.find(func(r *request) bool {
		return r.Verb == "delete" && r.tellsPodToGo() && r.Object.Namespace == w.namespace
	})
	if err != nil || len(deleted) != len(pods) {
		t.Fatalf("%d pods were deleted, %v, want %d", len(deleted), err, len(pods))
	}
	for i := range deleted {
		if left := deadline.Sub(deleted[i].At); left > deletesBefore || left < deletesBefore/2 {
			t.Errorf("pod %s was deleted %s before the deadline, want about %s", deleted[i].Object.Name, left, deletesBefore)
		}
	}
}

// TestMetrics: they are given to who may read them, and to nobody else.
func TestMetrics(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	startManager(t, func(opts *operator.Options) { opts.Args = append(opts.Args, "--metrics-bind-address="+address) })
	w := newWorld(t)
	node := w.nodes(1)[0]
	w.interrupt(node)
	w.until(node, v1alpha1.StateCompleted)

	stranger, prometheus := w.account("stranger"), w.account("prometheus")
	w.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: w.queueName},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "node-termination-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: w.namespace, Name: "prometheus"}},
	})
	// The manager remembers a refusal for half a minute, so the binding has to be in force first.
	eventually(t, func() error {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:                  "system:serviceaccount:" + w.namespace + ":prometheus",
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"},
		}}
		if err := admin(t).Create(t.Context(), review); err != nil || !review.Status.Allowed {
			return fmt.Errorf("prometheus may not read metrics yet: %+v, %w", review.Status, err)
		}
		return nil
	})

	if status, _ := scrape(t, address, ""); status != http.StatusUnauthorized {
		t.Errorf("without a token the answer is %d, want 401", status)
	}
	if status, _ := scrape(t, address, stranger); status != http.StatusForbidden {
		t.Errorf("without the right the answer is %d, want 403", status)
	}
	var answer string
	eventually(t, func() error {
		status, body := scrape(t, address, prometheus)
		for _, want := range []string{
			`node_termination_events_total{kind="SpotInterruption",source="SQS"} 1`,
			`node_termination_queue_messages_total{outcome="stored"} 1`,
			`node_termination_queue_lag_seconds_count 1`,
			`node_termination_margin_at_drained_seconds_count{kind="SpotInterruption"} 1`,
			`node_termination_ended_total{state="Completed"} 1`,
			`node_termination_terminations{state="Completed"} 1`,
			`node_termination_source_up{policy="` + w.policy.Name + `",source="queue"} 1`,
			`node_termination_leader 1`,
		} {
			if status != http.StatusOK || !strings.Contains(body, want) {
				return fmt.Errorf("the answer is %d, without %s", status, want)
			}
		}
		answer = body
		return nil
	})
	checkMetrics(t, answer)
}

// account makes a service account and returns a token of it.
func (w *world) account(name string) (token string) {
	w.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	w.create(account)
	request := &authenticationv1.TokenRequest{}
	if err := admin(w.t).SubResource("token").Create(w.t.Context(), account, request); err != nil {
		w.t.Fatal(err)
	}
	return request.Status.Token
}

// scrape reads the metrics as a Prometheus with a token does.
func scrape(t *testing.T, address, token string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	// The certificate is one that the manager has made for itself.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(content)
}
