// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// asHandler makes this test's program the handler that is measured.
const asHandler = "BENCH_TEST_HANDLER"

func TestMain(m *testing.M) {
	if os.Getenv(asHandler) != "" {
		if err := handle(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// handle is the simplest handler: it cordons each node and evicts its pods, one after the other.
func handle(ctx context.Context) error {
	restConfig, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	core, err := corev1client.NewForConfig(restConfig)
	if err != nil {
		return err
	}
	awsConfig, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	queue := sqs.NewFromConfig(awsConfig)
	for {
		got, err := queue.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: aws.String(os.Getenv("QUEUE_URL")), WaitTimeSeconds: 10})
		if err != nil {
			return err
		}
		for _, message := range got.Messages {
			var event struct {
				Detail struct {
					Instance string `json:"instance-id"`
				} `json:"detail"`
			}
			if err := json.Unmarshal([]byte(aws.ToString(message.Body)), &event); err != nil {
				return err
			}
			if err := drainInstance(ctx, core, event.Detail.Instance); err != nil {
				return err
			}
		}
	}
}

func drainInstance(ctx context.Context, core corev1client.CoreV1Interface, instance string) error {
	nodes, err := core.Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range nodes.Items {
		node := &nodes.Items[i]
		if !strings.HasSuffix(node.Spec.ProviderID, "/"+instance) {
			continue
		}
		patch := []byte(`{"spec":{"unschedulable":true}}`)
		if _, err := core.Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return err
		}
		pods, err := core.Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node.Name})
		if err != nil {
			return err
		}
		for j := range pods.Items {
			pod := &pods.Items[j]
			eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
			if err := core.Pods(pod.Namespace).EvictV1(ctx, eviction); err != nil {
				return err
			}
		}
	}
	return nil
}
