package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestTimeLeft(t *testing.T) {
	for name, tt := range map[string]struct {
		total, done float64
		elapsed     time.Duration
		cores       int
		want        string
	}{
		"at the beginning":                   {840, 0, 0, 2, "14 min left"},
		"at the beginning, eight cores":      {840, 0, 0, 8, "4 min left"},
		"at the beginning, one core":         {840, 0, 0, 1, "28 min left"},
		"as fast as it was measured":         {840, 420, 420 * time.Second, 2, "7 min left"},
		"twice as fast as it was measured":   {840, 420, 210 * time.Second, 2, "4 min left"},
		"half as fast as it was measured":    {840, 420, 840 * time.Second, 2, "13 min left"},
		"all that was compiled is cached":    {840, 800, 10 * time.Second, 2, "10 s left"},
		"slow in the beginning is no omen":   {840, 1, 10 * time.Second, 2, "16 min left"},
		"the last seconds":                   {840, 835, 835 * time.Second, 2, "10 s left"},
		"nothing":                            {840, 840, 840 * time.Second, 2, "done"},
		"a minute and a half are no minutes": {840, 751, 751 * time.Second, 2, "90 s left"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := timeLeft(tt.total, tt.done, tt.elapsed, tt.cores); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestEstimate(t *testing.T) {
	one := map[string][]binary{}
	for _, b := range binaries {
		one[b.name] = []binary{b}
	}
	for name, tt := range map[string]struct {
		missing []binary
		want    float64
	}{
		"all":                                {binaries, 840},
		"kwok needs what Kubernetes has too": {one["kwok"], 200},
		"etcd":                               {one["etcd"], 30},
	} {
		if got := newEstimate(tt.missing, 2).total; got != tt.want {
			t.Errorf("%s: got %v s, want %v", name, got, tt.want)
		}
	}
	e := newEstimate(binaries, 2)
	e.begin(binaries[0])
	e.end()
	e.begin(binaries[1])
	e.packages.Store(1569 / 2)
	if done := e.done + e.current.seconds/2; done != 350 || e.left() == timeLeft(840, 30, 0, 2) {
		t.Errorf("after etcd and half of kube-apiserver %v s are done, %s", done, e.left())
	}
}

// What runs is built before kubectl, and modules are downloaded meanwhile, which the fake go waits for.
func TestBuildOrder(t *testing.T) {
	log := fakeGo(t)
	output := watchProgress(t)
	if err := build(t.Context(), t.TempDir(), binaries); err != nil {
		t.Fatal(err)
	}
	calls, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(calls)) {
		if fields := strings.Fields(line); fields[0] == "build" {
			got = append(got, fields[len(fields)-1])
		}
	}
	want := "go.etcd.io/etcd/server/v3 k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager " +
		"k8s.io/kubernetes/cmd/kube-scheduler sigs.k8s.io/kwok/cmd/kwok k8s.io/kubernetes/cmd/kubectl"
	if strings.Join(got, " ") != want {
		t.Errorf("built %q, want %q", got, want)
	}
	for _, line := range []string{"building 6 programs: ", "[1/6] etcd: built in ", " min left\n", "[6/6] kubectl: built in ", "s; done\n", "built all in "} {
		if !strings.Contains(output.String(), line) {
			t.Errorf("no line has %q:\n%s", line, output)
		}
	}
}
