// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// callTimeout is how long a call waits for its answer. The API server itself gives
// up after 10 s where it cannot write to a pod or a budget.
const callTimeout = 12 * time.Second

// dialTimeout is how long a connection may take to come about, as in client-go.
const dialTimeout = 30 * time.Second

// pageSize is how many pods are listed at a time.
const pageSize = 500

// NewClient returns a client for pods as a PodWatcher and an Executor need it: it speaks
// protobuf and sets no limit of its own to the rate of requests, which is for the
// API server's priority and fairness to do. Nil makes connections of its own, for an Executor: the
// API server allows a hundred requests at a time on each, which evictions alone may take up. A
// PodWatcher shares a manager's GetHTTPClient.
func NewClient(config *rest.Config, httpClient *http.Client) (corev1client.CoreV1Interface, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst, config.RateLimiter = -1, 0, nil
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	if httpClient == nil {
		// client-go shares connections among all clients of one configuration, unless they dial.
		if config.Dial == nil {
			config.Dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: dialTimeout}).DialContext
		}
		return corev1client.NewForConfig(config)
	}
	return corev1client.NewForConfigAndClient(config, httpClient)
}

// listPods lists the pods of one node, one page of them if options say so.
func listPods(ctx context.Context, client rest.Interface, node string, options metav1.ListOptions) (*corev1.PodList, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	options.FieldSelector = onNode(node)
	list := &corev1.PodList{}
	err := client.Get().Resource("pods").VersionedParams(&options, scheme.ParameterCodec).MaxRetries(0).Do(ctx).Into(list)
	if err != nil {
		return nil, fmt.Errorf("cannot list the pods of node %s: %w", node, err)
	}
	return list, nil
}

// listAllPods lists the pods of one node as they are now, page by page.
func listAllPods(ctx context.Context, client rest.Interface, node string) ([]Pod, error) {
	options := metav1.ListOptions{Limit: pageSize}
	var pods []Pod
	for {
		list, err := listPods(ctx, client, node, options)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			pods = append(pods, NewPod(&list.Items[i]))
		}
		if list.Continue == "" {
			return pods, nil
		}
		options.Continue = list.Continue
	}
}

// watchPods watches the pods of one node.
func watchPods(ctx context.Context, client corev1client.PodsGetter, node string, options metav1.ListOptions) (watch.Interface, error) {
	options.FieldSelector = onNode(node)
	changes, err := client.Pods(metav1.NamespaceAll).Watch(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("cannot watch the pods of node %s: %w", node, err)
	}
	return changes, nil
}

// onNode returns the field selector for the pods of a node.
func onNode(node string) string {
	return fields.OneTermEqualSelector("spec.nodeName", node).String()
}

// sendAction evicts or deletes one pod and waits for the answer, without client-go's own
// retries: it would hold a request for as long as a budget's Retry-After says,
// ten times over.
func sendAction(ctx context.Context, client rest.Interface, action *Action, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	pod := &action.Pod
	options := metav1.DeleteOptions{
		GracePeriodSeconds: action.graceAt(now),
		Preconditions:      &metav1.Preconditions{UID: ptr.To(pod.UID)},
	}
	request := client.Delete().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).Body(&options)
	if action.Method == Evict {
		request = client.Post().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("eviction").
			Body(&policyv1.Eviction{
				ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
				DeleteOptions: &options,
			})
	}
	return request.MaxRetries(0).Do(ctx).Error()
}
