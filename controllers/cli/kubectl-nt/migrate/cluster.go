// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// readCluster returns the settings of each DaemonSet and Deployment of NTH in a namespace; "" for all.
func readCluster(ctx context.Context, client kubernetes.Interface, namespace string) ([]*settings, error) {
	deployments, err := client.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing Deployments: %w", err)
	}
	daemonSets, err := client.AppsV1().DaemonSets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing DaemonSets: %w", err)
	}
	var found []*settings
	for i := range deployments.Items {
		d := &deployments.Items[i]
		if s := readWorkload("Deployment", &d.ObjectMeta, &d.Spec.Template); s != nil {
			if d.Spec.Replicas != nil {
				s.set["replicas"] = setting{value: float64(*d.Spec.Replicas), from: "spec.replicas"}
			}
			found = append(found, s)
		}
	}
	for i := range daemonSets.Items {
		d := &daemonSets.Items[i]
		if s := readWorkload("DaemonSet", &d.ObjectMeta, &d.Spec.Template); s != nil {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		return nil, errors.New("no DaemonSet or Deployment runs an image aws-node-termination-handler there: name its namespace with -n, or leave -n out for all")
	}
	for _, s := range found {
		s.readServiceAccount(ctx, client)
	}
	return found, nil
}

// readWorkload returns the settings of a DaemonSet or Deployment, or nil if it is not NTH's.
func readWorkload(kind string, meta *metav1.ObjectMeta, pod *corev1.PodTemplateSpec) *settings {
	container := containerOf(pod)
	if container == nil {
		return nil
	}
	s := newSettings(meta.Name, fmt.Sprintf("the %s %s/%s", kind, meta.Namespace, meta.Name), meta.Namespace)
	s.readContainer(&pod.Spec, container)
	s.readPod(pod)
	return s
}

// containerOf returns the container that runs NTH, or nil.
func containerOf(pod *corev1.PodTemplateSpec) *corev1.Container {
	for i := range pod.Spec.Containers {
		if c := &pod.Spec.Containers[i]; strings.Contains(c.Image, chartName) || c.Name == chartName {
			return c
		}
	}
	if len(pod.Spec.Containers) > 0 && (pod.Labels["k8s-app"] == chartName || pod.Labels["app.kubernetes.io/name"] == chartName) {
		return &pod.Spec.Containers[0]
	}
	return nil
}

// readPod reads what the chart sets on NTH's pods.
func (s *settings) readPod(pod *corev1.PodTemplateSpec) {
	const path = "spec.template.spec."
	spec := &pod.Spec
	selector := maps.Clone(spec.NodeSelector)
	if selector[corev1.LabelOSStable] == "windows" {
		s.set["targetNodeOs"] = setting{value: "windows", from: path + "nodeSelector"}
	}
	delete(selector, corev1.LabelOSStable)
	s.setObject("nodeSelector", selector, path+"nodeSelector")
	s.setObject("affinity", spec.Affinity, path+"affinity")
	s.setObject("tolerations", spec.Tolerations, path+"tolerations")
	// What the chart has by default and this DaemonSet may not have.
	s.set["daemonsetTolerations"] = setting{value: list{}, from: path + "tolerations"}
	s.set["daemonsetAffinity"] = setting{value: tree{}, from: path + "affinity"}
	s.setObject("image.pullSecrets", spec.ImagePullSecrets, path+"imagePullSecrets")
	s.set["useHostNetwork"] = setting{value: spec.HostNetwork, from: path + "hostNetwork"}
	if spec.PriorityClassName != "" {
		s.set["priorityClassName"] = setting{value: spec.PriorityClassName, from: path + "priorityClassName"}
		s.set["daemonsetPriorityClassName"] = s.set["priorityClassName"]
	}
	own := func(key string) bool {
		return strings.HasPrefix(key, "app.kubernetes.io/") || key == "k8s-app" || key == corev1.LabelOSStable || strings.HasPrefix(key, "kubectl.kubernetes.io/")
	}
	s.setObject("podLabels", without(pod.Labels, own), "spec.template.metadata.labels")
	s.setObject("podAnnotations", without(pod.Annotations, own), "spec.template.metadata.annotations")
	s.account = spec.ServiceAccountName
}

// without returns a map without the keys for which a function is true.
func without(from map[string]string, drop func(string) bool) map[string]string {
	kept := maps.Clone(from)
	maps.DeleteFunc(kept, func(key, _ string) bool { return drop(key) })
	return kept
}

// setObject sets an option to an object of Kubernetes.
func (s *settings) setObject(key string, object any, from string) {
	var value any
	encoded, err := json.Marshal(object)
	if err == nil {
		err = json.Unmarshal(encoded, &value)
	}
	if err == nil && !empty(value) {
		s.set[key] = setting{value: value, from: from}
	}
}

// readServiceAccount reads the annotations of NTH's service account, where the role for its AWS permissions is.
func (s *settings) readServiceAccount(ctx context.Context, client kubernetes.Interface) {
	if s.account == "" {
		return
	}
	account, err := client.CoreV1().ServiceAccounts(s.namespace).Get(ctx, s.account, metav1.GetOptions{})
	if err != nil {
		s.notes.add(todo, "the service account "+s.namespace+"/"+s.account, "its annotations were not read ("+oneLine(err.Error())+"): give the role in eks.amazonaws.com/role-arn to the manager's service account")
		return
	}
	helm := func(key string) bool {
		return strings.HasPrefix(key, "meta.helm.sh/") || strings.HasPrefix(key, "kubectl.kubernetes.io/")
	}
	s.setObject("serviceAccount.annotations", without(account.Annotations, helm), "the annotations of the service account "+s.account)
}
