// SPDX-License-Identifier: Apache-2.0

package policy

import (
	corev1 "k8s.io/api/core/v1"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/nodetermination/operator/api/v1alpha1"
	ec2node "github.com/nodetermination/operator/controllers/node"
)

// windowsAccount is who watchers run as on Windows: the account with the least rights of those that HostProcess
// containers can have.
// https://kubernetes.io/docs/tasks/configure-pod-container/create-hostprocess-pod/
const windowsAccount = `NT AUTHORITY\LocalService`

// windows has no container of Linux's kind with the network of the node: there is only a HostProcess container, a process
// of the node itself. The program is looked for in the image, which is its working directory.
var windows = operatingSystem{
	name: corev1.Windows, prefix: "windows-" + watcher + "-", command: watcher + ".exe", memory: "128Mi", secure: secureWindows,
}

// secureWindows makes the pods HostProcess pods, which always have the network of their node.
func secureWindows(spec *coreac.PodSpecApplyConfiguration, _ *coreac.ContainerApplyConfiguration, _ v1alpha1.WatcherPodTemplate) {
	spec.
		WithOS(coreac.PodOS().WithName(corev1.Windows)).
		WithHostNetwork(true).
		WithSecurityContext(coreac.PodSecurityContext().WithWindowsOptions(coreac.WindowsSecurityContextOptions().
			WithHostProcess(true).
			WithRunAsUserName(windowsAccount)))
}

// addWindowsNode notes which policies' watchers a Windows node needs.
func (snap *snapshot) addWindowsNode(node *corev1.Node) {
	if node.Labels[corev1.LabelOSStable] != string(corev1.Windows) {
		return
	}
	for i := range snap.policies {
		if selects, err := ec2node.Selects(&snap.policies[i], node); err == nil && selects {
			snap.windows[snap.policies[i].UID] = true
		}
	}
}

// systems returns the operating systems that a policy's watchers run on. There is a DaemonSet for Linux even without a
// node, ready for the first one, and one for Windows as long as the policy selects a Windows node.
func (snap *snapshot) systems(policy *v1alpha1.NodeTerminationPolicy) []*operatingSystem {
	if snap.windows[policy.UID] {
		return []*operatingSystem{&linux, &windows}
	}
	return []*operatingSystem{&linux}
}
