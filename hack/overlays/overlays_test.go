// SPDX-License-Identifier: Apache-2.0

package overlays

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/operator"
)

const config = "../../config/overlays/"

// TestEveryOverlayIsTested: each folder of config/overlays is applied by a test.
func TestEveryOverlayIsTested(t *testing.T) {
	folders, err := os.ReadDir(config)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("overlays_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		applied := fmt.Sprintf("config+%q", folder.Name())
		if !strings.Contains(strings.ReplaceAll(string(tests), " ", ""), applied) && folder.Name() != "names" { // testdata/renamed is made of it
			t.Errorf("no test applies config/overlays/%s", folder.Name())
		}
	}
}

// TestRenamed: another namespace for the manager and another for watchers, a prefix, a suffix, another image, more
// replicas and other resources, all at once.
func TestRenamed(t *testing.T) {
	i := install(t, "testdata/renamed", "")
	i.start(aws.Env())
	watcher := drainsByWatcher(t)
	container := watcher.Spec.Containers[0]
	if watcher.Namespace != "acme-watchers" || watcher.Spec.ServiceAccountName != "prod-acme-imds-watcher-blue" || container.Image != i.container().Image {
		t.Errorf("a watcher in namespace %s with account %s and image %s", watcher.Namespace, watcher.Spec.ServiceAccountName, container.Image)
	}
	if !exists(t, &coordinationv1.Lease{}, "acme-system", v1alpha1.FieldManager) {
		t.Error("the lease is not in the manager's namespace")
	}
	for _, namespace := range []string{operator.Namespace, operator.WatcherNamespace} {
		if exists(t, &corev1.Namespace{}, "", namespace) {
			t.Errorf("namespace %s was made as well", namespace)
		}
	}
	// The policies are in force under the other names, too.
	shell := watcher.DeepCopy()
	shell.ObjectMeta = metav1.ObjectMeta{Namespace: watcher.Namespace, Name: "shell"}
	shell.Spec.Containers[0].Command = []string{"/bin/sh"}
	if err := admin.Create(t.Context(), shell); err == nil || !strings.Contains(err.Error(), "only watchers run in this namespace") {
		t.Errorf("a shell among the watchers: %v", err)
	}
	built, err := kubectl(t.Context(), "kustomize", "testdata/renamed")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"replicas: 3\n", "image: registry.example.com/platform/nto@sha256:", "cpu: 200m\n", "memory: 512Mi\n"} {
		if strings.Count(built, want) != 1 {
			t.Errorf("%d times %q", strings.Count(built, want), want)
		}
	}
}

// TestPrefix: a name prefix and suffix alone need nothing else.
func TestPrefix(t *testing.T) {
	i := install(t, "testdata/prefix", "")
	i.start(aws.Env())
	watcher := drainsByWatcher(t)
	if watcher.Namespace != operator.WatcherNamespace || watcher.Spec.ServiceAccountName != "prod-imds-watcher-blue" {
		t.Errorf("a watcher in namespace %s with account %s", watcher.Namespace, watcher.Spec.ServiceAccountName)
	}
}

// TestOneNamespace: kustomize refuses one namespace for both, and so does the manager where it is made in another way.
func TestOneNamespace(t *testing.T) {
	cluster.Get(t)
	if _, err := kubectl(t.Context(), "kustomize", "testdata/one-namespace"); err == nil || !strings.Contains(err.Error(), "ID conflict") {
		t.Errorf("kustomize: %v", err)
	}
	install(t, "../../config/default", "")
	process, err := operator.Start(t.Context(), operator.Options{
		Binary: program("manager"), Kubeconfig: cluster.Get(t).Kubeconfig(), Dir: t.TempDir(), Env: []string{"WATCHER_NAMESPACE=" + operator.Namespace},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Wait(); err == nil || !strings.Contains(process.LogTail(1), "Pod Security") {
		t.Errorf("the manager ended with %v and said %s", err, process.LogTail(1))
	}
}

// TestQueueOnly: no watchers, and one namespace, whatever it is called.
func TestQueueOnly(t *testing.T) {
	for name, namespace := range map[string]string{config + "queue-only": operator.Namespace, "testdata/queue-namespace": "platform"} {
		t.Run(namespace, func(t *testing.T) {
			i := install(t, name, "")
			i.start(aws.Env())
			if i.deployment.Namespace != namespace || exists(t, &corev1.Namespace{}, "", operator.WatcherNamespace) {
				t.Errorf("the manager is in %s", i.deployment.Namespace)
			}
			t.Run("queue", drainsByQueue)
			apply(t, metadata)
			eventually(t, func() error {
				status, err := sourceStatus(t, metadata.Name)
				if err == nil && !strings.Contains(status.Message, "--watcher-namespace") {
					err = fmt.Errorf("%s: %s", status.Reason, status.Message)
				}
				return err
			})
		})
	}
}

// TestWatchersOnly: the manager needs nothing of AWS.
func TestWatchersOnly(t *testing.T) {
	i := install(t, config+"watchers-only", "")
	i.start(nil) // no credentials and no region
	drainsByWatcher(t)
}

// TestPodIdentity: with what the webhook of EKS adds to the pods the manager reads its queue.
func TestPodIdentity(t *testing.T) {
	i := install(t, config+"pod-identity", "")
	i.start(withAgent(t))
	drainsByQueue(t)
}

// withAgent returns the environment of a pod with EKS Pod Identity, and plays the agent.
// https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html
func withAgent(t *testing.T) []string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	agent := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "the token" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = fmt.Fprintf(w, `{"AccessKeyId":"AKIAIOSFODNN7EXAMPLE","SecretAccessKey":"secret","Token":"session","Expiration":%q}`,
			time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	})}
	go func() { _ = agent.Serve(listener) }()
	t.Cleanup(func() { _ = agent.Close() })
	token := t.TempDir() + "/token"
	if err := os.WriteFile(token, []byte("the token"), 0o600); err != nil {
		t.Fatal(err)
	}
	return append(withoutCredentials(),
		"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://"+listener.Addr().String()+"/v1/credentials", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="+token)
}

// withoutCredentials returns the environment for the simulator, without a key or anything that the overlay has to set.
func withoutCredentials() []string {
	return slices.DeleteFunc(aws.Env(), func(e string) bool {
		return strings.HasPrefix(e, "AWS_ACCESS_KEY") || strings.HasPrefix(e, "AWS_SECRET") || strings.HasPrefix(e, "AWS_EC2_METADATA")
	})
}

// TestIRSA: the annotation is on the account that the manager's pods have.
func TestIRSA(t *testing.T) {
	i := install(t, config+"irsa", "")
	account := &corev1.ServiceAccount{}
	if !exists(t, account, i.deployment.Namespace, i.deployment.Spec.Template.Spec.ServiceAccountName) ||
		account.Annotations["eks.amazonaws.com/role-arn"] != "arn:aws:iam::123456789012:role/node-termination-operator" {
		t.Errorf("service account %s has the annotations %v", account.Name, account.Annotations)
	}
	i.start(aws.Env())
	drainsByQueue(t)
}

// TestNoRoleOfTheNode: without an identity of its own the manager says so, and takes no other.
func TestNoRoleOfTheNode(t *testing.T) {
	i := install(t, config+"pod-identity", "")
	i.start(withoutCredentials())
	source, _ := queue(t)
	apply(t, source)
	eventually(t, func() error {
		status, err := sourceStatus(t, source.Name)
		if err == nil && status.Reason != v1alpha1.ReasonNoCredentials {
			err = fmt.Errorf("%s: %s", status.Reason, status.Message)
		}
		return err
	})
}

// TestPrometheus: Prometheus' account may read the metrics, and the monitors select what there is.
func TestPrometheus(t *testing.T) {
	create(t, &corev1.Namespace{ObjectMeta: meta("monitoring")})
	create(t, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "prometheus-k8s"}})
	i := install(t, config+"prometheus", "")
	address := freeAddress(t)
	i.start(aws.Env(), "--metrics-bind-address="+address)
	token := &authenticationv1.TokenRequest{}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "prometheus-k8s"}}
	if err := admin.SubResource("token").Create(t.Context(), account, token); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return scrape("https://"+address, token.Status.Token, http.StatusOK) })
	if err := scrape("https://"+address, "", http.StatusUnauthorized); err != nil {
		t.Error(err)
	}
	monitor := &unstructured.Unstructured{}
	monitor.SetGroupVersionKind(schema.GroupVersionKind{Group: "monitoring.coreos.com", Version: "v1", Kind: "ServiceMonitor"})
	service := &corev1.Service{}
	if !exists(t, monitor, i.deployment.Namespace, "node-termination-manager") || !exists(t, service, i.deployment.Namespace, "node-termination-metrics") {
		t.Fatal("there is no ServiceMonitor or no Service")
	}
	selector, _, _ := unstructured.NestedStringMap(monitor.Object, "spec", "selector", "matchLabels")
	if diff := cmp.Diff(selector, service.Labels); diff != "" {
		t.Errorf("the ServiceMonitor selects other labels than those of the Service (-selected +labels):\n%s", diff)
	}
	drainsByQueue(t)
}

// TestPlainHTTPMetrics: the annotations name the port that the manager is told to listen at.
func TestPlainHTTPMetrics(t *testing.T) {
	i := install(t, config+"plain-http-metrics", "")
	template := i.deployment.Spec.Template
	port := template.Annotations["prometheus.io/port"]
	if !slices.Contains(i.container().Args, "--metrics-bind-address=:"+port) || fmt.Sprint(i.container().Ports[0].ContainerPort) != port {
		t.Errorf("annotations %v, args %v, ports %v", template.Annotations, i.container().Args, i.container().Ports)
	}
	if exists(t, &rbacv1.ClusterRole{}, "", "node-termination-metrics-auth") {
		t.Error("the manager may still ask who its clients are")
	}
	address := freeAddress(t)
	i.start(aws.Env(), "--metrics-bind-address="+address)
	url := template.Annotations["prometheus.io/scheme"] + "://" + address
	eventually(t, func() error { return scrape(url, "", http.StatusOK) })
	drainsByQueue(t)
}

// TestPrivate: the manager talks to the endpoints that the overlay names, and watchers have the proxy of the manager.
func TestPrivate(t *testing.T) {
	var sim string
	var env []string
	for _, e := range aws.Env() {
		if url, found := strings.CutPrefix(e, "AWS_ENDPOINT_URL="); found {
			sim = url
			continue
		}
		env = append(env, e)
	}
	i := install(t, config+"private", `
patches:
- patch: |
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: node-termination-manager, namespace: node-termination-system}
    spec: {template: {spec: {containers: [{name: manager, env: [{name: AWS_ENDPOINT_URL_SQS, value: "`+sim+`"}]}]}}}
`)
	i.start(env)
	t.Run("queue", drainsByQueue)
	watcher := drainsByWatcher(t)
	own := map[string]corev1.EnvVar{}
	for _, e := range i.container().Env {
		own[e.Name] = e
	}
	if diff := cmp.Diff([]corev1.EnvVar{own["HTTPS_PROXY"], own["NO_PROXY"]}, watcher.Spec.Containers[0].Env[1:]); diff != "" {
		t.Errorf("the watchers' environment after NODE_NAME (-want +got):\n%s", diff)
	}
}

// freeAddress returns an address of the loopback interface that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// scrape reads metrics and says what is wrong with the answer.
func scrape(url, token string, want int) error {
	req, err := http.NewRequest(http.MethodGet, url+"/metrics", http.NoBody)
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	// The certificate is one that the manager has made for itself.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != want || want == http.StatusOK && !strings.Contains(string(content), "node_termination_leader") {
		return fmt.Errorf("%s: %s, want %d and the manager's metrics", url, resp.Status, want)
	}
	return nil
}

// TestInstallPage: each kustomization of docs/install.md can be built, with the files of this repository in the place of
// those at GitHub.
func TestInstallPage(t *testing.T) {
	cluster.Get(t)
	page, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	found := regexp.MustCompile("(?s)```yaml\n# (\\S+)/kustomization.yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(found) < 4 {
		t.Fatalf("%d kustomizations", len(found))
	}
	for _, match := range found {
		folder := filepath.Join(dir, match[1])
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		relative, err := filepath.Rel(folder, root)
		if err != nil {
			t.Fatal(err)
		}
		content := strings.ReplaceAll(strings.ReplaceAll(match[2], "https://github.com/nodetermination/operator/", relative), "?ref=main", "")
		if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for folder, want := range map[string]string{"prefixed": "prod-imds-watcher", "renamed": "acme-imds-watcher"} {
		built, err := kubectl(t.Context(), "kustomize", filepath.Join(dir, folder))
		if err != nil || !strings.Contains(built, want) {
			t.Errorf("%s: %v, want %s", folder, err, want)
		}
	}
	want, err := kubectl(t.Context(), "kustomize", config+"names")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := kubectl(t.Context(), "kustomize", filepath.Join(dir, "renamed")); err != nil || got != want {
		t.Errorf("the page makes something else than config/overlays/names: %v", err)
	}
}
