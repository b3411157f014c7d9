package main

import (
	_ "embed"
	"strings"

	"sigs.k8s.io/kwok/kustomize/stage/node/fast"
	heartbeat "sigs.k8s.io/kwok/kustomize/stage/node/heartbeat-with-lease"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
)

// podDeleteDelayed is our own stage: a pod that takes time to stop.
//
//go:embed pod-delete-delayed.yaml
var podDeleteDelayed string

// kwokOptions has kwok play the kubelet of every node that has its usual annotation. Nothing
// listens on the addresses that pods get; the range is wide enough for many thousands.
const kwokOptions = `
apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokConfiguration
options:
  manageNodesWithAnnotationSelector: kwok.x-k8s.io/node=fake
  nodeLeaseDurationSeconds: 40
  nodeIP: 127.0.0.1
  cidr: 10.128.0.0/9
  enablePodsOnNodeSyncListPager: false
  enablePodsOnNodeSyncStreamWatch: true
  nodeLeaseParallelism: 4
  nodePlayStageParallelism: 4
  podPlayStageParallelism: 16
  podsOnNodeSyncParallelism: 1
`

// kwokConfig returns kwok's configuration: nodes become ready and stay so, pods become ready, pods of
// Jobs complete, and deleted pods go.
func kwokConfig() string {
	return strings.Join([]string{
		kwokOptions,
		fast.DefaultNodeInit,
		heartbeat.DefaultNodeHeartbeatWithLease,
		podfast.DefaultPodReady,
		podfast.DefaultPodComplete,
		podfast.DefaultPodDelete,
		podDeleteDelayed,
	}, "\n---\n")
}
