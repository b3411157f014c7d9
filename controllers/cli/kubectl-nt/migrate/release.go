// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/kubernetes"
)

// release is what is read of a release that Helm stored.
type release struct {
	Chart struct {
		Metadata struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		} `json:"metadata"`
	} `json:"chart"`
	Config tree `json:"config"` // the values that its user gave
}

// readRelease returns the revision of a release that is installed.
func readRelease(ctx context.Context, client kubernetes.Interface, namespace, name string) (*release, error) {
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return nil, fmt.Errorf("--release: %q is no name of a release: helm list -A has them", name)
	}
	secrets, err := client.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{LabelSelector: "owner=helm,status=deployed,name=" + name})
	if err != nil {
		return nil, fmt.Errorf("the release %s: %w", name, err)
	}
	var newest *corev1.Secret
	last := -1
	for i := range secrets.Items {
		if revision, err := strconv.Atoi(secrets.Items[i].Labels["version"]); err == nil && revision > last {
			newest, last = &secrets.Items[i], revision
		}
	}
	if newest == nil {
		return nil, fmt.Errorf("no release %s is deployed in the namespace %s: helm list -A has the releases and their namespaces, which -n takes; of one that Helm does not store in Secrets write helm get values %s -o yaml | kubectl nt migrate -f -", name, namespace, name)
	}
	r, err := decodeRelease(newest.Data["release"])
	if err != nil {
		return nil, fmt.Errorf("the secret %s/%s: %w", namespace, newest.Name, err)
	}
	return r, nil
}

// decodeRelease decodes a release as Helm v3 and v4 store it: JSON, compressed, in base64.
func decodeRelease(data []byte) (*release, error) {
	compressed, err := base64.StdEncoding.DecodeString(string(data))
	if err != nil {
		return nil, fmt.Errorf("it is no release of Helm's (%w): write helm get values … -o yaml | kubectl nt migrate -f -", err)
	}
	var content io.Reader = bytes.NewReader(compressed)
	if bytes.HasPrefix(compressed, []byte{0x1f, 0x8b}) {
		if content, err = gzip.NewReader(content); err != nil {
			return nil, fmt.Errorf("it is no release of Helm's (%w): write helm get values … -o yaml | kubectl nt migrate -f -", err)
		}
	}
	const largest = 16 * maxInput // compressed it fits into a Secret
	r := &release{}
	if err := json.NewDecoder(io.LimitReader(content, largest)).Decode(r); err != nil {
		return nil, fmt.Errorf("it is no release of Helm's (%w): write helm get values … -o yaml | kubectl nt migrate -f -", err)
	}
	return r, nil
}

// check returns an error if a release is not NTH's, nor one of a chart that depends on it.
func (r *release) check(name string) error {
	_, depends := r.Config[chartName].(tree)
	if chart := r.Chart.Metadata.Name; chart != chartName && !depends {
		return fmt.Errorf("the release %s is of the chart %s, not of %s: helm list -A shows the chart of each", name, printable(chart), chartName)
	}
	return nil
}

// older reports whether the chart of a release is older than a version.
func (r *release) older(than string) bool {
	if r.Chart.Metadata.Name != chartName {
		return false
	}
	v, err := version.ParseSemantic(r.Chart.Metadata.Version)
	return err == nil && v.LessThan(version.MustParseSemantic(than))
}
