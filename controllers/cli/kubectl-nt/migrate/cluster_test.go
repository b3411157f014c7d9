// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/nodetermination/operator/hack/operator"
	"github.com/nodetermination/operator/hack/testcluster"
)

const repositoryRoot = "../../../.."

var cluster = testcluster.Shared{SetUp: func(c *testcluster.Cluster) error { return c.InstallCRDs(repositoryRoot + "/config/crd/bases") }}

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }

// TestAccepted: the API server accepts what becomes of the corpus, and of each option by itself.
func TestAccepted(t *testing.T) {
	admin := client.WithFieldValidation(cluster.Get(t).Client(), "Strict")
	inputs := map[string]string{}
	for _, file := range corpus(t) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		inputs[filepath.Base(file)] = string(content)
	}
	for i := range options {
		if o := &options[i]; o.chart() {
			inputs[o.key] = withValues(t, "{}", other(o))
			inputs[o.key+" with a queue"] = withValues(t, "{enableSqsTerminationDraining: true, queueURL: "+exampleQueue+"}", other(o))
		}
	}
	maps.Copy(inputs, map[string]string{
		"much":            "{nodeTerminationGracePeriod: 99999999, podTerminationGracePeriod: 99999999, enableRebalanceDraining: 'true'}",
		"little":          "{nodeTerminationGracePeriod: 0, podTerminationGracePeriod: 0, nodeSelector: {a: ''}, daemonsetTolerations: []}",
		"many":            "{taintNode: true, podLabels: {" + entries(32) + "}, nodeSelector: {" + entries(32) + "}, emitKubernetesEvents: true, kubernetesEventsExtraAnnotations: 'a=b=c, d='}",
		"nothing drained": "{cordonOnly: true, enableSpotInterruptionDraining: false, enableASGLifecycleDraining: false, enableScheduledEventDraining: false, enableRebalanceMonitoring: true}",
		"a long wait":     "{enableSqsTerminationDraining: true, queueURL: 'https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q', completeLifecycleActionDelaySeconds: 99999, heartbeatInterval: 3600}",
		"a simulator":     "{enableSqsTerminationDraining: true, queueURL: 'http://localstack.testing.svc:4566/000000000000/q', awsRegion: us-gov-west-1, taintNode: true, extraEnv: [{name: TAINT_EFFECT, value: NoExecute}]}",
		"a long template": "{webhookURL: 'http://a/', webhookTemplate: '" + strings.Repeat("x", maxTemplate+1) + "'}",
		"no template":     "{webhookURLSecretName: a.b, webhookTemplate: '{{ env \"HOME\" }}', webhookProxy: 'tcp://[::1]:3128/'}",
	})
	for name, values := range inputs {
		stdout, _, err := migrate(t, values, "-f", "-")
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for document := range strings.SplitSeq(stdout, "\n---\n") {
			var policy unstructured.Unstructured
			if err := yaml.UnmarshalStrict([]byte(document), &policy.Object); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := admin.Create(t.Context(), &policy, client.DryRunAll); err != nil {
				t.Errorf("%s: %v\n%s", name, err, document)
			}
		}
	}
}

// entries returns n labels.
func entries(n int) string {
	var found []string
	for i := range n {
		found = append(found, fmt.Sprintf("a%d: b", i))
	}
	return strings.Join(found, ", ")
}

// TestRelease reads the newest deployed revision of a release, as Helm stores it.
func TestRelease(t *testing.T) {
	c := cluster.Get(t)
	namespace := c.CreateNamespace(t)
	for revision, release := range []struct{ status, chart, config string }{
		{"superseded", chartName, `{"dryRun": true}`},
		{"deployed", chartName, `{"nodeTerminationGracePeriod": 60}`},
		{"deployed", chartName, `{"nodeTerminationGracePeriod": 300, "dryrun": true}`},
		{"pending-upgrade", chartName, `{"cordonOnly": true}`},
	} {
		storeRelease(t, c.Client(), namespace, "handler", revision, release.status, release.chart, release.config)
	}
	storeRelease(t, c.Client(), namespace, "other", 1, "deployed", "nginx", `{}`)
	storeRelease(t, c.Client(), namespace, "umbrella", 1, "deployed", "platform", `{"`+chartName+`": {"taintNode": true}}`)

	flags := []string{"--kubeconfig", c.Kubeconfig(), "-n", namespace}
	stdout, _, err := migrate(t, "podTerminationGracePeriod: 20", append(flags, "--release", "handler", "-f", "-")...)
	if err == nil || !strings.Contains(err.Error(), "write dryRun") {
		t.Errorf("%v, want the unknown value", err)
	}
	for _, want := range []string{"name: handler\n", "timeoutSeconds: 300 #", "podGracePeriodSeconds: 20", "kind: AutoScalingTermination\n    action: Ignore # enableASGLifecycleDraining, which the chart has from version 0.24.1 on"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is missing:\n%s", want, stdout)
		}
	}
	if stdout, _, err = migrate(t, "", append(flags, "--release", "umbrella")...); err != nil || !strings.Contains(stdout, "taint:") {
		t.Errorf("%v:\n%s", err, stdout)
	}
	for release, want := range map[string]string{"other": "is of the chart nginx", "none": "no release none is deployed"} {
		if _, _, err := migrate(t, "", append(flags, "--release", release)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", release, err, want)
		}
	}
}

// storeRelease stores a revision of a release.
func storeRelease(t *testing.T, admin client.Client, namespace, name string, revision int, status, chart, config string) {
	t.Helper()
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	err := json.NewEncoder(w).Encode(map[string]any{
		"name": name, "namespace": namespace, "version": revision, "config": json.RawMessage(config),
		"chart": map[string]any{"metadata": map[string]any{"name": chart, "version": "0.23.0"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("sh.helm.release.v1.%s.v%d", name, revision),
			Labels: map[string]string{"owner": "helm", "name": name, "status": status, "version": fmt.Sprint(revision)},
		},
		Type: "helm.sh/release.v1",
		Data: map[string][]byte{"release": []byte(base64.StdEncoding.EncodeToString(compressed.Bytes()))},
	}
	if err := admin.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
}

// createWorkloads creates a DaemonSet and a Deployment of NTH, as its chart does.
func createWorkloads(t *testing.T, admin client.Client, namespace, name string) {
	t.Helper()
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"k8s-app": chartName}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/nth"}}}
	daemons, replicas := daemonSet(variables("TAINT_NODE=true")), daemonSet(variables("ENABLE_SQS_TERMINATION_DRAINING=true"), "--queue-url="+exampleQueue)
	for _, pod := range []*corev1.PodTemplateSpec{daemons, replicas} {
		pod.Spec.Containers[0].Image = "busybox"
		pod.Spec.ServiceAccountName = name
	}
	replicas.Spec.HostNetwork = false
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
	for _, o := range []client.Object{
		account,
		&appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: *daemons}},
		&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](2), Selector: selector, Template: *replicas}},
	} {
		if err := admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFromCluster reads what runs: a DaemonSet and a Deployment are two policies.
func TestFromCluster(t *testing.T) {
	c := cluster.Get(t)
	namespace := c.CreateNamespace(t)
	if _, _, err := migrate(t, "", "--kubeconfig", c.Kubeconfig(), "-n", namespace, "--from-cluster"); err == nil || !strings.Contains(err.Error(), "no DaemonSet or Deployment runs") {
		t.Errorf("%v", err)
	}
	createWorkloads(t, c.Client(), namespace, "nth")
	stdout, stderr, err := migrate(t, "", "--kubeconfig", c.Kubeconfig(), "-n", namespace, "--from-cluster")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"name: nth\n", "name: nth-2\n", "queueURL: " + exampleQueue + " # --queue-url", "instanceTag: aws-node-termination-handler/managed", "key: NTH # TAINT_NODE=true",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is missing:\n%s", want, stdout)
		}
	}
	if !strings.Contains(stderr, "the annotations of the service account nth: the role's trust policy") || !strings.Contains(stderr, "several policies") {
		t.Error(stderr)
	}
	values, _, err := migrate(t, "", "--kubeconfig", c.Kubeconfig(), "-n", namespace, "--from-cluster", "-o", "values")
	if err != nil || !strings.Contains(values, "eks.amazonaws.com/role-arn: arn:aws:iam::123456789012:role/nth") || !strings.Contains(values, "replicas: 2 # spec.replicas: 2") || strings.Contains(values, "watchers:") {
		t.Errorf("%v:\n%s", err, values)
	}
}

// kubectlIn runs kubectl in a directory.
func kubectlIn(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	path, err := operator.Kubectl(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, append([]string{"--kubeconfig", cluster.Get(t).Kubeconfig(), "--cache-dir", filepath.Join(dir, "cache")}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestOverlays builds each overlay of the corpus, with the bases of this checkout.
func TestOverlays(t *testing.T) {
	cluster.Get(t)
	for _, file := range corpus(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			dir := t.TempDir()
			stdout, _, err := migrate(t, "", "-f", file, "-o", "kustomization")
			if err != nil {
				t.Fatal(err)
			}
			writeOverlay(t, dir, stdout)
			built, err := kubectlIn(t, dir, "kustomize", ".")
			if err != nil {
				t.Fatal(built)
			}
			for _, want := range map[string][]string{
				"imds-linux.yaml": {"name: registry\n", "--watcher-env=HTTPS_PROXY,NO_PROXY", "imagePullPolicy: Always", "release: prometheus", "interval: 60s"},
				"queue.yaml":      {"eks.amazonaws.com/role-arn: arn:aws:iam::123456789012:role/nth"},
				"queue-full.yaml": {"replicas: 3\n", "example.com/system: \"true\"", "minAvailable: 2", "--log-level=debug", "example.com/app: nth"},
			}[filepath.Base(file)] {
				if !strings.Contains(built, want) {
					t.Errorf("%q is missing:\n%s", want, built)
				}
			}
			for object := range strings.SplitSeq(built, "\n---\n") {
				if strings.Contains(object, "minAvailable: 2") && strings.Contains(object, "maxUnavailable:") {
					t.Error("the disruption budget has both minAvailable and maxUnavailable")
				}
			}
		})
	}
}

// writeOverlay writes a kustomization whose bases are those of this checkout.
func writeOverlay(t *testing.T, dir, text string) {
	t.Helper()
	root, err := filepath.Abs(repositoryRoot)
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(dir, root)
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(regexp.QuoteMeta(repository)+`([a-z/-]+)\?ref=\S+`).ReplaceAllString(text, relative+"/config/$1")
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDocumentedCommands runs the commands of the page in their order, beside a NTH that runs.
func TestDocumentedCommands(t *testing.T) {
	c := cluster.Get(t)
	dir := t.TempDir()
	values, _ := example(t)
	if err := os.WriteFile(filepath.Join(dir, "values.yaml"), []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	createWorkloads(t, c.Client(), "kube-system", chartName)
	storeRelease(t, c.Client(), "kube-system", chartName, 1, "deployed", chartName, `{}`)
	t.Cleanup(func() {
		for _, kind := range []client.Object{&appsv1.DaemonSet{}, &appsv1.Deployment{}} {
			kind.SetNamespace("kube-system")
			kind.SetName(chartName)
			if err := c.Client().Delete(context.WithoutCancel(t.Context()), kind); err != nil {
				t.Error(err)
			}
		}
	})
	ran := 0
	for _, line := range commands(t) {
		out, err := runLine(t, dir, line)
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		ran++
	}
	if ran < 14 {
		t.Errorf("%d commands", ran)
	}
	policy, err := kubectlIn(t, dir, "get", "ntp", "nth", "-o", "jsonpath={.spec.mode}")
	if err != nil || policy != "DryRun" {
		t.Errorf("after the roll back the mode is %q (%v)", policy, err)
	}
}

// runLine runs a command of the page.
func runLine(t *testing.T, dir, line string) (string, error) {
	t.Helper()
	line, file, _ := strings.Cut(line, " > ")
	args := words(line)
	if args[1] != "nt" {
		return kubectlIn(t, dir, args[1:]...)
	}
	for i := range args {
		if args[i] == "values.yaml" {
			args[i] = filepath.Join(dir, args[i])
		}
	}
	stdout, stderr, err := migrate(t, "", append(args[3:], "--kubeconfig", cluster.Get(t).Kubeconfig())...)
	if err != nil {
		return stderr, err
	}
	if file == "kustomization.yaml" {
		writeOverlay(t, dir, stdout)
		return "", nil
	}
	return "", os.WriteFile(filepath.Join(dir, file), []byte(stdout), 0o600)
}

// words splits a command as a shell does.
func words(line string) []string {
	var found []string
	for _, match := range regexp.MustCompile(`'[^']*'|\S+`).FindAllString(line, -1) {
		found = append(found, strings.Trim(match, "'"))
	}
	return found
}
