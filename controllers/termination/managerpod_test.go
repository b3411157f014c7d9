// SPDX-License-Identifier: Apache-2.0

package termination

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/nodetermination/operator/api/v1alpha1"
)

func TestEvictSelfAt(t *testing.T) {
	for name, test := range map[string]struct {
		end    time.Duration
		dues   []time.Duration
		others bool // there is more in the plan
		want   time.Duration
	}{
		"nothing is due elsewhere":                  {end: 2 * time.Minute},
		"what is due is far ahead":                  {end: time.Hour, dues: []time.Duration{2 * time.Minute, time.Hour}},
		"what was due is past":                      {end: time.Hour, dues: []time.Duration{-time.Second}},
		"after what is due within two minutes":      {end: time.Hour, dues: []time.Duration{time.Minute, 90 * time.Second, -time.Hour}, want: 91 * time.Second},
		"seconds before its own end all the same":   {end: 80 * time.Second, dues: []time.Duration{50 * time.Second, 90 * time.Second}, want: 75 * time.Second},
		"not together with other pods":              {end: time.Minute, others: true, want: 55 * time.Second},
		"at the end, though others remain":          {end: 5 * time.Second, others: true},
		"at once, if its own end has come":          {end: -time.Minute, dues: []time.Duration{time.Second}, others: true, want: -65 * time.Second},
		"of several interrupted at once, the first": {end: 120 * time.Second, dues: []time.Duration{93 * time.Second, 123 * time.Second}, want: 94 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			var dues []time.Time
			for _, due := range test.dues {
				dues = append(dues, t0.Add(due))
			}
			if got := evictSelfAt(t0, t0.Add(test.end), dues, !test.others); !got.Equal(t0.Add(test.want)) {
				t.Errorf("%s, want %s from now", got.Sub(t0), test.want)
			}
		})
	}
}

func TestDueTimes(t *testing.T) {
	for name, test := range map[string]struct {
		rules *v1alpha1.DrainSpec
		want  []time.Duration // before the deadline
	}{
		"by default": {want: []time.Duration{0, 30 * time.Second}},
		"waves and blocked pods": {
			rules: &v1alpha1.DrainSpec{
				Waves:       []v1alpha1.Wave{{PriorityBelow: ptr.To[int32](10), ReserveSeconds: ptr.To[int32](300)}, {PriorityBelow: ptr.To[int32](20)}, {ReserveSeconds: ptr.To[int32](60)}},
				BlockedPods: &v1alpha1.BlockedPods{Action: v1alpha1.BlockedDelete, BeforeSeconds: ptr.To[int32](200)},
			},
			want: []time.Duration{0, 300 * time.Second, 60 * time.Second, 200 * time.Second},
		},
	} {
		var got []time.Duration
		for _, due := range dueTimes(t0, test.rules) {
			got = append(got, t0.Sub(due))
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if dues := dueTimes(time.Time{}, nil); dues != nil {
		t.Errorf("%v without a deadline", dues)
	}
}
