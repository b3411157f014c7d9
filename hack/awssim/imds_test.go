// SPDX-License-Identifier: Apache-2.0

package awssim

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// startMetadata runs a metadata service for the test.
func startMetadata(t *testing.T, opts MetadataOptions) *Metadata {
	t.Helper()
	m, err := StartMetadata(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("closing the metadata service: %v", err)
		}
	})
	return m
}

// metadataSDK is the SDK's client of m, version 2 only and without retries.
func metadataSDK(m *Metadata) *imds.Client {
	return imds.New(imds.Options{Endpoint: m.URL(), EnableFallback: aws.FalseTernary, Retryer: aws.NopRetryer{}})
}

// readMetadata reads a document by the SDK; its status if the answer was no good one.
func readMetadata(t *testing.T, c *imds.Client, path string) (body string, status int) {
	t.Helper()
	out, err := c.GetMetadata(t.Context(), &imds.GetMetadataInput{Path: strings.TrimPrefix(path, "meta-data/")})
	if err != nil { // the SDK hides some statuses from errors.As, but not from people
		_, after, _ := strings.Cut(err.Error(), "StatusCode: ")
		_, _ = fmt.Sscan(after, &status)
		return err.Error(), status
	}
	return string(must[[]byte](t)(io.ReadAll(out.Content))), http.StatusOK
}

func TestMetadataIdentity(t *testing.T) {
	m := startMetadata(t, MetadataOptions{Instance: MetadataInstance{ID: "i-0abc1234def567890", Type: "c7g.large", LifeCycle: "on-demand", Zone: "eu-west-1b"}})
	c := metadataSDK(m)
	out, err := c.GetInstanceIdentityDocument(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if out.InstanceID != "i-0abc1234def567890" || out.InstanceType != "c7g.large" || out.AvailabilityZone != "eu-west-1b" || out.Region != "eu-west-1" || out.AccountID != Account {
		t.Errorf("identity %+v", out.InstanceIdentityDocument)
	}
	for path, want := range map[string]string{
		"instance-id": "i-0abc1234def567890", "instance-life-cycle": "on-demand", "instance-type": "c7g.large",
		MetadataMaintenance: "[]", MetadataMaintenanceHistory: "[]",
	} {
		if got, _ := readMetadata(t, c, path); got != want {
			t.Errorf("%s says %q, want %q", path, got, want)
		}
	}
}

func TestMetadataEvents(t *testing.T) {
	m := startMetadata(t, MetadataOptions{Now: stopped})
	c := metadataSDK(m)
	at := epoch.Add(time.Hour)
	for _, step := range []struct {
		event MetadataEvent
		path  string
		want  string // empty: 404
	}{
		{MetadataEvent{Kind: MetadataKindSpot}, MetadataSpotAction, `{"action":"terminate","time":"` + epoch.Add(2*time.Minute).Format(time.RFC3339) + `"}`},
		{MetadataEvent{Kind: MetadataKindSpot, Action: "hibernate", Time: at}, MetadataSpotAction, `{"action":"hibernate","time":"` + at.Format(time.RFC3339) + `"}`},
		{MetadataEvent{Kind: MetadataKindRebalance}, MetadataRebalance, `{"noticeTime":"` + epoch.Format(time.RFC3339) + `"}`},
		{MetadataEvent{Kind: MetadataKindTargetState}, MetadataTargetState, "Terminated"},
		{MetadataEvent{Kind: MetadataKindTargetState, State: "InService"}, MetadataTargetState, "InService"},
		{MetadataEvent{Kind: MetadataKindDocument, Path: MetadataTargetState}, MetadataTargetState, ""},
		{MetadataEvent{Kind: MetadataKindDocument, Path: "/latest/" + MetadataTargetState, Body: "x"}, MetadataTargetState, "x"},
	} {
		if err := m.Say(step.event); err != nil {
			t.Fatalf("%+v: %v", step.event, err)
		}
		got, status := readMetadata(t, c, step.path)
		if step.want == "" && status == http.StatusNotFound {
			continue
		}
		if got != step.want {
			t.Errorf("after %+v %s says %q (%d), want %q", step.event, step.path, got, status, step.want)
		}
	}
	for _, wrong := range []MetadataEvent{{}, {Kind: "dance"}, {Kind: MetadataKindDocument}, {Kind: MetadataKindMaintenance, State: "soon"}} {
		if err := m.Say(wrong); err == nil {
			t.Errorf("%+v was taken", wrong)
		}
	}
}

// TestMetadataMaintenance: what is over moves from one list to the other.
func TestMetadataMaintenance(t *testing.T) {
	m := startMetadata(t, MetadataOptions{})
	c := metadataSDK(m)
	list := func(path string) (found []maintenance) {
		body, _ := readMetadata(t, c, path)
		if err := json.Unmarshal([]byte(body), &found); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		return found
	}
	for _, state := range []string{"active", "canceled", "active", "completed"} {
		if err := m.Say(MetadataEvent{Kind: MetadataKindMaintenance, EventID: "instance-event-1", Code: "instance-stop", State: state, NotBefore: epoch}); err != nil {
			t.Fatal(err)
		}
		scheduled, past := list(MetadataMaintenance), list(MetadataMaintenanceHistory)
		all := slices.Concat(scheduled, past)
		if (len(scheduled) == 1) != (state == "active") || len(all) != 1 {
			t.Fatalf("%s: scheduled %+v, history %+v", state, scheduled, past)
		}
		if e := all[0]; e.State != state || e.Code != "instance-stop" || e.EventId != "instance-event-1" || e.NotBefore != epoch.UTC().Format("02 Jan 2006 15:04:05 GMT") {
			t.Errorf("%s: %+v", state, e)
		}
	}
}

func TestMetadataTokens(t *testing.T) {
	m := startMetadata(t, MetadataOptions{})
	request := func(method, path string, header ...string) int {
		r := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), method, m.URL()+"/latest/"+path, http.NoBody))
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		response := must[*http.Response](t)(http.DefaultClient.Do(r))
		_ = response.Body.Close()
		return response.StatusCode
	}
	const ttl = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	for _, step := range []struct {
		method, path string
		header       []string
		want         int
	}{
		{"GET", "meta-data/instance-id", nil, 401},
		{"GET", "meta-data/instance-id", []string{"X-Aws-Ec2-Metadata-Token", "mine"}, 401},
		{"PUT", MetadataToken, nil, 400},
		{"PUT", MetadataToken, []string{ttl, "0"}, 400},
		{"PUT", MetadataToken, []string{ttl, "21601"}, 400},
		{"PUT", MetadataToken, []string{ttl, "60", "X-Forwarded-For", "10.0.0.1"}, 403},
		{"GET", MetadataToken, []string{ttl, "60"}, 405},
		{"PUT", "meta-data/instance-id", []string{ttl, "60"}, 405},
		{"PUT", MetadataToken, []string{ttl, "60"}, 200},
	} {
		if got := request(step.method, step.path, step.header...); got != step.want {
			t.Errorf("%s %s %v: %d, want %d", step.method, step.path, step.header, got, step.want)
		}
	}

	c := metadataSDK(m)
	if _, status := readMetadata(t, c, "instance-id"); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	m.Advance(time.Hour)
	if _, status := readMetadata(t, c, "instance-id"); status != http.StatusUnauthorized {
		t.Errorf("the token has expired, but the status is %d", status)
	}
	if _, status := readMetadata(t, c, "instance-id"); status != http.StatusOK {
		t.Errorf("with a new token the status is %d", status)
	}
}

func TestMetadataAccess(t *testing.T) {
	m := startMetadata(t, MetadataOptions{})
	if err := m.SetAccess("perhaps"); err == nil {
		t.Error("any access will do")
	}
	if err := m.SetAccess(AccessDisabled); err != nil {
		t.Fatal(err)
	}
	if _, status := readMetadata(t, metadataSDK(m), "instance-id"); status != http.StatusForbidden {
		t.Errorf("disabled: status %d", status)
	}
	if err := m.SetAccess(AccessHopLimit); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := metadataSDK(m).GetMetadata(ctx, &imds.GetMetadataInput{Path: "instance-id"}); err == nil || ctx.Err() == nil {
		t.Errorf("hop limit: %v, want no answer", err)
	}
	if err := m.SetAccess(AccessEnabled); err != nil {
		t.Fatal(err)
	}
	if _, status := readMetadata(t, metadataSDK(m), "instance-id"); status != http.StatusOK {
		t.Errorf("enabled: status %d", status)
	}
}

func TestMetadataFaults(t *testing.T) {
	m := startMetadata(t, MetadataOptions{})
	c := metadataSDK(m)
	const path, other = "meta-data/instance-id", "meta-data/instance-type"
	for name, f := range map[string]MetadataFault{
		"status":   {Status: 503},
		"drop":     {Drop: true},
		"truncate": {Truncate: true},
		"body":     {Body: "garbage"},
		"delay":    {Delay: 20 * time.Millisecond},
	} {
		if f.Path, f.Times = path, 1; f.Drop {
			f.Times = 2 // net/http itself tries again on a new connection
		}
		if err := m.AddFault(f); err != nil {
			t.Fatal(err)
		}
		if body, status := readMetadata(t, c, other); status != http.StatusOK || body != "m6i.large" {
			t.Errorf("%s: another path says %q (%d)", name, body, status)
		}
		before := time.Now()
		body, status := readMetadata(t, c, path)
		right := map[string]bool{
			"status": status == 503, "drop": status == 0, "truncate": status == 0,
			"body": body == "garbage", "delay": status == 200 && time.Since(before) >= f.Delay,
		}
		if !right[name] {
			t.Errorf("%s: %q (%d)", name, body, status)
		}
		if body, _ := readMetadata(t, c, path); body != "i-1234567890abcdef0" {
			t.Errorf("%s: and once more %q", name, body)
		}
	}
	for _, wrong := range []MetadataFault{{}, {Status: 200}, {Status: 503, Times: -1}, {Status: 503, Probability: 2}} {
		if err := m.AddFault(wrong); err == nil {
			t.Errorf("%+v was taken", wrong)
		}
	}

	if err := m.AddFault(MetadataFault{Status: 503, Probability: 0.5}); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for range 200 {
		if _, status := readMetadata(t, c, path); status != http.StatusOK {
			failed++
		}
	}
	if failed < 60 || failed > 140 {
		t.Errorf("%d of 200 failed, want about half", failed)
	}
	m.ClearFaults()
	if _, status := readMetadata(t, c, path); status != http.StatusOK {
		t.Errorf("after all faults were cleared: %d", status)
	}
}

func TestMetadataControl(t *testing.T) {
	m := startMetadata(t, MetadataOptions{Now: stopped})
	for _, step := range []struct{ method, path, body, want string }{
		{"POST", "events", `{"kind": "rebalance"}`, "{}"},
		{"POST", "access", `{"access": "disabled"}`, "{}"},
		{"POST", "access", `{"access": "enabled"}`, "{}"},
		{"POST", "faults", `{"status": 503}`, "{}"},
		{"DELETE", "faults", "", "{}"},
		{"POST", "advance", `{"seconds": 60}`, "{}"},
		{"GET", "requests?path=api/token", "", `{"requests":0}`},
	} {
		r := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), step.method, m.URL()+controlPath+step.path, strings.NewReader(step.body)))
		response := must[*http.Response](t)(http.DefaultClient.Do(r))
		got := string(must[[]byte](t)(io.ReadAll(response.Body)))
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK || got != step.want {
			t.Errorf("%s %s: %d %s, want %s", step.method, step.path, response.StatusCode, got, step.want)
		}
	}
	if body, _ := readMetadata(t, metadataSDK(m), MetadataRebalance); body == "" {
		t.Error("there is no recommendation")
	}
	if m.Requests("") != 2 || m.Requests(MetadataToken) != 1 {
		t.Errorf("%d requests, want one for a token and one for a document", m.Requests(""))
	}
}

func TestMetadataLoopbackOnly(t *testing.T) {
	if _, err := StartMetadata(MetadataOptions{Addr: "0.0.0.0:0"}); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("error %v", err)
	}
}
