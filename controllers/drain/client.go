// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"context"
	"net/http"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// callTimeout is how long an answer is waited for. The API server itself gives
// up after 10 s where it cannot write to a pod or a budget.
const callTimeout = 12 * time.Second

// NewClient is a client for pods as Watches and an Executor need it: it speaks
// protobuf and sets no limit of its own to the rate of requests, which is for the
// API server's priority and fairness to do. Nil shares no connection with others;
// a manager's GetHTTPClient does.
func NewClient(config *rest.Config, httpClient *http.Client) (corev1client.CoreV1Interface, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst, config.RateLimiter = -1, 0, nil
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	if httpClient == nil {
		return corev1client.NewForConfig(config)
	}
	return corev1client.NewForConfigAndClient(config, httpClient)
}

// send tells one pod to go and waits for the answer, without client-go's own
// retries: it would sit on a request for as long as a budget's Retry-After says,
// ten times over.
func send(ctx context.Context, client rest.Interface, action *Action, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	pod := &action.Pod
	options := metav1.DeleteOptions{
		GracePeriodSeconds: action.graceAt(now),
		Preconditions:      &metav1.Preconditions{UID: ptr.To(pod.UID)},
	}
	request := client.Delete().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).Body(&options)
	if action.Verb == Evict {
		request = client.Post().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("eviction").
			Body(&policyv1.Eviction{
				ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
				DeleteOptions: &options,
			})
	}
	return request.MaxRetries(0).Do(ctx).Error()
}
