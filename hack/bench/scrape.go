// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodetermination/operator/hack/operator"
)

// scrapeInterval is how often the manager's metrics are read.
const scrapeInterval = time.Second

// scraper reads a manager's metrics, as Prometheus would, into a file of Prometheus' text format with
// the time of each sample. The dashboard's picture is drawn from it.
type scraper struct {
	file  *os.File
	token string
	http  http.Client
}

// newScraper creates the file and a service account that may read metrics.
func (l *lab) newScraper(ctx context.Context, path string) (*scraper, error) {
	const name = "prometheus"
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: operator.Namespace, Name: name}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "node-termination-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: operator.Namespace, Name: name}},
	}
	token := &authenticationv1.TokenRequest{}
	if err := errors.Join(l.admin.Create(ctx, account), l.admin.Create(ctx, binding)); err != nil {
		return nil, err
	}
	if err := l.admin.SubResource("token").Create(ctx, account, token); err != nil {
		return nil, err
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	// The manager makes its certificate itself.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // on loopback
	return &scraper{file: file, token: token.Status.Token, http: http.Client{Transport: transport, Timeout: 5 * time.Second}}, nil
}

func (s *scraper) close() error { return s.file.Close() }

// start scrapes an address until stop is called. A failed scrape is reported and leaves a gap.
func (s *scraper) start(ctx context.Context, address string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ticks := time.Tick(scrapeInterval); ; {
			if err := s.scrape(ctx, address); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "the metrics cannot be read:", err)
			}
			select {
			case <-ticks:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}

func (s *scraper) scrape(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/metrics", http.NoBody)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	now := time.Now().UnixMilli()
	answer, err := s.http.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer is %s", answer.Status)
	}
	return keepSamples(s.file, answer.Body, now)
}

// keepSamples writes the operator's own samples with their time in milliseconds.
func keepSamples(to io.Writer, from io.Reader, now int64) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if line := lines.Text(); strings.HasPrefix(line, "node_termination_") {
			if _, err := fmt.Fprintf(to, "%s %d\n", line, now); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

// freeAddress returns an address at which nothing listens now.
func freeAddress() (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
