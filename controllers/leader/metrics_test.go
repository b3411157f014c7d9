// SPDX-License-Identifier: Apache-2.0

package leader

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestLeaderMetric(t *testing.T) {
	if is := testutil.ToFloat64(leading); is != 0 {
		t.Fatalf("it is %v before it leads", is)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- (&Replica{}).Start(ctx) }()
		synctest.Wait()
		if is := testutil.ToFloat64(leading); is != 1 {
			t.Errorf("it is %v while it leads", is)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if is := testutil.ToFloat64(leading); is != 0 {
		t.Errorf("it is %v in the end", is)
	}
}
