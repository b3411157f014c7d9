// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/awssim"
	"github.com/nodetermination/operator/hack/operator"
)

// checkMetrics holds what a manager's metrics endpoint says to Prometheus' conventions and to docs/metrics.md.
func checkMetrics(t *testing.T, body string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(ours(body))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(ours(body)))
	if err != nil {
		t.Fatal(err)
	}
	checkQueries(t, families)
	docs, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- manager -->\n", "<!-- end -->"
	_, written, _ := strings.Cut(string(docs), begin)
	written, _, _ = strings.Cut(written, end)
	if want := table(families); written != want {
		t.Errorf("docs/metrics.md is not what the manager has: write this between %s and %s\n%s", strings.TrimSpace(begin), end, want)
	}
}

// metricName is the name of one of the operator's metrics in a query.
var metricName = regexp.MustCompile(`\bnode_termination_[a-z_]+`)

// checkQueries holds what alerts and the dashboard ask for to the metrics that there are.
func checkQueries(t *testing.T, families map[string]*dto.MetricFamily) {
	t.Helper()
	for _, file := range []string{"rules.yaml", "dashboard.json"} {
		content, err := os.ReadFile("../../config/prometheus/" + file)
		if err != nil {
			t.Fatal(err)
		}
		names := metricName.FindAllString(string(content), -1)
		if len(names) == 0 {
			t.Errorf("%s asks for nothing", file)
		}
		for _, name := range names {
			if families[strings.TrimSuffix(name, "_bucket")] == nil {
				t.Errorf("%s asks for %s, which the manager does not have", file, name)
			}
		}
	}
}

// TestWatcherServesMetrics: a watcher whose policy asks for them serves metrics, and receives events as all others do.
func TestWatcherServesMetrics(t *testing.T) {
	startManager(t, withWatchers)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	f := emptyFixture(t, aws)
	f.apply(func(spec *v1alpha1.NodeTerminationPolicySpec) {
		spec.Sources = []v1alpha1.Source{{Name: "metadata", IMDS: &v1alpha1.IMDSSource{MetricsPort: ptr.To(int32(port))}}}
	})
	node := f.nodes(1)[0]
	m := f.metadataOf(node)
	m.watch()
	m.say(awssim.MetadataEvent{Kind: awssim.MetadataKindSpot})
	f.until(node, v1alpha1.StateCompleted)
	eventually(t, func() error {
		answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", port))
		if err != nil {
			return err
		}
		body, err := io.ReadAll(answer.Body)
		if err := errors.Join(err, answer.Body.Close()); err != nil {
			return err
		}
		if want := `node_termination_watcher_events_total{kind="SpotInterruption"} 1`; !strings.Contains(string(body), want) {
			return fmt.Errorf("the metrics are without %s:\n%s", want, body)
		}
		return nil
	})
}

// ours are the lines about the operator's own metrics.
func ours(body string) string {
	var lines strings.Builder
	for line := range strings.Lines(body) {
		if strings.HasPrefix(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "), "node_termination_") {
			lines.WriteString(line)
		}
	}
	return lines.String()
}

// table describes metrics in Markdown.
func table(families map[string]*dto.MetricFamily) string {
	text := "| Metric | Type | Labels | Description |\n|---|---|---|---|\n"
	for _, name := range slices.Sorted(maps.Keys(families)) {
		family := families[name]
		var labels []string
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+label.GetName()+"`")
		}
		text += fmt.Sprintf("| %#q | %s | %s | %s |\n",
			name, strings.ToLower(family.GetType().String()), strings.Join(labels, ", "), family.GetHelp())
	}
	return text
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
	f := newFixture(t)
	node := f.nodes(1)[0]
	f.interrupt(node)
	f.until(node, v1alpha1.StateCompleted)

	stranger, prometheus := f.account("stranger"), f.account("prometheus")
	f.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: f.queueName},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "node-termination-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: f.namespace, Name: "prometheus"}},
	})
	// The manager remembers a refusal for half a minute, so the binding has to be in force first.
	eventually(t, func() error {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:                  "system:serviceaccount:" + f.namespace + ":prometheus",
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
			`node_termination_source_up{policy="` + f.policy.Name + `",source="queue"} 1`,
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
func (f *fixture) account(name string) (token string) {
	f.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name}}
	f.create(account)
	request := &authenticationv1.TokenRequest{}
	if err := admin(f.t).SubResource("token").Create(f.t.Context(), account, request); err != nil {
		f.t.Fatal(err)
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
