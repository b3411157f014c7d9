// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/nodetermination/operator/api/v1alpha1"
)

// podJSON is a pod of some 4 kB as kubectl prints it; its number, application and node are filled in.
var podJSON = `{"apiVersion":"v1","kind":"Pod","metadata":{"annotations":{"example.com/checksum":"` + strings.Repeat("x", 300) + `"},
"creationTimestamp":"2026-01-01T00:00:00Z","generateName":"app-%[2]d-","labels":{"app":"app-%[2]d","pod-template-hash":"7d9f8c6b5d","team":"platform",
"app.kubernetes.io/name":"app-%[2]d","app.kubernetes.io/instance":"app-%[2]d","helm.sh/chart":"app-1.2.3"},"name":"app-%[2]d-%[1]d","namespace":"ns-%[4]d",
"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"app-%[2]d","uid":"00000000-0000-4000-8000-%012[2]d","controller":true}],
"uid":"10000000-0000-4000-8000-%012[1]d"},"spec":{"containers":[{"env":[` + strings.Repeat(`{"name":"VARIABLE","value":"0123456789012345678901234567890123456789"},`, 15) + `
{"name":"LAST","value":""}],"image":"registry.example.com/team/app:1.2.3","livenessProbe":{"failureThreshold":3,"httpGet":{"path":"/healthz","port":8080},
"periodSeconds":10},"name":"main","resources":{"limits":{"memory":"512Mi"},"requests":{"cpu":"100m","memory":"256Mi"}},
"volumeMounts":[{"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount","name":"kube-api-access","readOnly":true}]}],"dnsPolicy":"ClusterFirst",
"nodeName":"node-%[3]d","priority":0,"restartPolicy":"Always","serviceAccountName":"default","terminationGracePeriodSeconds":30,"tolerations":[
{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","operator":"Exists","tolerationSeconds":300},
{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","operator":"Exists","tolerationSeconds":300}],"volumes":[{"name":"kube-api-access",
"projected":{"defaultMode":420,"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"name":"kube-root-ca.crt"}}]}}]},
"status":{"conditions":[` + strings.Repeat(`{"lastTransitionTime":"2026-01-01T00:00:00Z","status":"True","type":"Initialized"},`, 4) + `
{"lastTransitionTime":"2026-01-01T00:00:00Z","status":"True","type":"Ready"}],"containerStatuses":[{"containerID":"containerd://` + strings.Repeat("0", 64) + `",
"image":"registry.example.com/team/app:1.2.3","lastState":{},"name":"main","ready":true,"restartCount":0,"state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}}}],
"hostIP":"10.0.0.1","phase":"Running","podIP":"10.1.1.1","qosClass":"Burstable","startTime":"2026-01-01T00:00:00Z"}}`

// largeCluster writes a list of so many nodes with 30 pods each, and a budget for every 30 pods.
func largeCluster(w io.Writer, nodes int) {
	pods := 30 * nodes
	_, _ = io.WriteString(w, `{"apiVersion":"v1","items":[`)
	for i := range nodes {
		fmt.Fprintf(w, `{"apiVersion":"v1","kind":"Node","metadata":{"name":"node-%[1]d"},"spec":{"providerID":"aws:///us-east-1a/i-0abc%013[1]x"},
			"status":{"allocatable":{"cpu":"16","memory":"64Gi","pods":"110"}}},`, i)
		fmt.Fprintf(w, `{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{"name":"app-%[1]d","namespace":"ns-%[2]d"},
			"spec":{"maxUnavailable":"25%%","selector":{"matchLabels":{"app":"app-%[1]d"}}}},`, i, i%50)
	}
	for i := range pods {
		app := i / 30
		if i > 0 {
			_, _ = io.WriteString(w, ",")
		}
		fmt.Fprintf(w, podJSON, i, app, i%nodes, app%50)
	}
	_, _ = io.WriteString(w, `],"kind":"List"}`)
}

// BenchmarkLargeCluster forecasts 5,000 nodes with 150,000 pods: to take less than 30 seconds and 1 GiB.
func BenchmarkLargeCluster(b *testing.B) {
	for b.Loop() {
		forecastLarge(b, 5000)
	}
}

// TestLargeCluster does the same with fewer.
func TestLargeCluster(t *testing.T) {
	f := forecastLarge(t, 50)
	if f.Summary.Pods != 1500 || f.Summary.LeaveInTime != 1500 {
		t.Errorf("%+v, want 1500 pods that leave in time", f.Summary)
	}
}

func forecastLarge(tb testing.TB, nodes int) *Forecast {
	tb.Helper()
	r, w := io.Pipe()
	go func() {
		largeCluster(w, nodes)
		_ = w.Close()
	}()
	s := newSnapshot()
	started := time.Now()
	if err := s.read(r, "pipe"); err != nil {
		tb.Fatal(err)
	}
	read := time.Since(started)
	s.assumeDefaults("none")
	s.finish()
	f := newForecast(s, &request{
		assumptions: assumptions{kind: v1alpha1.SpotInterruption, notice: 2 * time.Minute, readyAfter: 30 * time.Second, now: started},
		nodes:       s.sortedNodes(), governs: func(n *node) governance { return governanceOf(s, n, s.defaults) },
	})
	tb.Logf("%d pods read in %s, forecast in %s", f.Summary.Pods, read, time.Since(started)-read)
	return f
}
