// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// tokenLifetime is longer than anything here runs. Nobody renews the token, as a kubelet would.
const tokenLifetime = 24 * time.Hour

// cluster is access to a cluster as its administrator.
type cluster struct {
	config *rest.Config
	client client.Client
}

// connect returns access by an administrator's kubeconfig.
func connect(kubeconfig string) (*cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{})
	return &cluster{config: config, client: c}, err
}

// manager returns the pod template of the Deployment, which has one container.
func (c *cluster) manager(ctx context.Context, deployment types.NamespacedName) (*corev1.PodSpec, error) {
	var found appsv1.Deployment
	if err := c.client.Get(ctx, deployment, &found); err != nil {
		return nil, fmt.Errorf("is it installed? %w", err)
	}
	pod := &found.Spec.Template.Spec
	if len(pod.Containers) != 1 {
		return nil, fmt.Errorf("deployment %s should have one container, not %d", deployment, len(pod.Containers))
	}
	return pod, nil
}

// environment returns what a pod of the template would have in its environment, as KEY=value, but for what there is no pod for:
// its name, its node's and its memory.
func environment(namespace string, pod *corev1.PodSpec) []string {
	var env []string
	for _, e := range pod.Containers[0].Env {
		switch {
		case e.ValueFrom == nil:
			env = append(env, e.Name+"="+e.Value)
		case e.ValueFrom.FieldRef == nil:
		case e.ValueFrom.FieldRef.FieldPath == "metadata.namespace":
			env = append(env, e.Name+"="+namespace)
		case e.ValueFrom.FieldRef.FieldPath == "spec.serviceAccountName":
			env = append(env, e.Name+"="+pod.ServiceAccountName)
		}
	}
	return env
}

// kubeconfig returns one with a token of a service account and nothing else. The token is bound to the
// pod, as those are that a kubelet requests, unless there is none.
func (c *cluster) kubeconfig(ctx context.Context, namespace, serviceAccount string, pod *corev1.Pod) (clientcmdapi.Config, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: serviceAccount}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: ptr.To(int64(tokenLifetime / time.Second)),
	}}
	if pod != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	}
	if err := c.client.SubResource("token").Create(ctx, account, request); err != nil {
		return clientcmdapi.Config{}, fmt.Errorf("getting a token of service account %s/%s: %w", namespace, serviceAccount, err)
	}
	config := rest.CopyConfig(c.config)
	if err := rest.LoadTLSFiles(config); err != nil {
		return clientcmdapi.Config{}, err
	}
	const name = "operator"
	return clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {Token: request.Status.Token}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	}, nil
}
