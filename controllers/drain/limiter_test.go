// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// apiServer is a model of an API server: requests wait for one of its cores, which are busy with each for
// service in the mean, and for etcd and the network for wait.
type apiServer struct {
	cores         int
	service, wait time.Duration
	// shared: what else runs on the machine takes as much of it as so many requests in flight do.
	shared float64

	random *rand.Rand
	free   []time.Time // when each core is
}

// answerTo returns when a request that is sent now is answered.
func (s *apiServer) answerTo(now time.Time, inFlight int) time.Time {
	if s.free == nil {
		s.free = make([]time.Time, s.cores)
		s.random = rand.New(rand.NewPCG(1, 2))
	}
	core := 0
	for i := range s.free {
		if s.free[i].Before(s.free[core]) {
			core = i
		}
	}
	begins := now
	if s.free[core].After(now) {
		begins = s.free[core]
	}
	service := float64(s.service) * (1 + s.shared/float64(inFlight+1))
	s.free[core] = begins.Add(time.Duration(service * s.random.ExpFloat64()))
	return s.free[core].Add(time.Duration(float64(s.wait) * (0.5 + s.random.ExpFloat64()/2)))
}

// flight is a request and when it will be answered.
type flight struct {
	number uint64
	at     time.Time
}

type flights []flight

func (f flights) Len() int           { return len(f) }
func (f flights) Less(i, j int) bool { return f[i].at.Before(f[j].at) }
func (f flights) Swap(i, j int)      { f[i], f[j] = f[j], f[i] }
func (f *flights) Push(x any)        { *f = append(*f, x.(flight)) }
func (f *flights) Pop() any {
	last := (*f)[len(*f)-1]
	*f = (*f)[:len(*f)-1]
	return last
}

// evictAll sends so many requests, as many at a time as the limiter says, and returns how long that took,
// which limits there were, and the mean of them over all answers.
func evictAll(l *limiter, s *apiServer, n int) (took time.Duration, limits []int, mean int) {
	now := start
	var inFlight flights
	last := 0
	for sent := 0; sent < n || len(inFlight) > 0; {
		if l.limit != last {
			last = l.limit
			limits = append(limits, last)
		}
		if sent < n && len(inFlight) < l.limit {
			heap.Push(&inFlight, flight{l.onSend(), s.answerTo(now, len(inFlight))})
			sent++
			continue
		}
		if sent == n {
			l.onIdle()
		}
		first := heap.Pop(&inFlight).(flight)
		now = first.at
		l.onAnswer(first.number, now)
		mean += l.limit
	}
	return now.Sub(start), limits, mean / n
}

// The answers a second are about as many as with the best of all fixed limits, whatever the API server, and
// the limit is mostly left alone.
func TestLimiterFindsTheBest(t *testing.T) {
	const least, most = DefaultMinInFlight, DefaultMaxInFlight
	for name, s := range map[string]apiServer{
		"one core":                   {cores: 1, service: 6 * time.Millisecond, wait: 10 * time.Millisecond},
		"one core, far away":         {cores: 1, service: 6 * time.Millisecond, wait: 30 * time.Millisecond},
		"one core, slow storage":     {cores: 1, service: 6 * time.Millisecond, wait: 240 * time.Millisecond},
		"one core that it shares":    {cores: 1, service: 6 * time.Millisecond, wait: 10 * time.Millisecond, shared: 40},
		"two cores":                  {cores: 2, service: 6 * time.Millisecond, wait: 10 * time.Millisecond},
		"two cores, far away":        {cores: 2, service: 6 * time.Millisecond, wait: 30 * time.Millisecond},
		"eight cores":                {cores: 8, service: 6 * time.Millisecond, wait: 10 * time.Millisecond},
		"eight cores, far away":      {cores: 8, service: 6 * time.Millisecond, wait: 30 * time.Millisecond},
		"thirty-two cores":           {cores: 32, service: 6 * time.Millisecond, wait: 10 * time.Millisecond},
		"thirty-two cores, far away": {cores: 32, service: 6 * time.Millisecond, wait: 30 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			for _, pods := range []int{500, 1500, 20_000} {
				best, width := time.Duration(math.MaxInt64), 0
				for _, fixed := range []int{8, 16, 32, 64, 128, most} {
					api := s
					if took, _, _ := evictAll(newLimiter(fixed, fixed), &api, pods); took < best {
						best, width = took, fixed
					}
				}
				api := s
				took, limits, mean := evictAll(newLimiter(least, most), &api, pods)
				t.Logf("%d pods: %.2f s with %d in flight, %d changes; with %d in flight %.2f s",
					pods, took.Seconds(), mean, len(limits), width, best.Seconds())
				if bound := max(best*115/100, best+100*time.Millisecond); took > bound {
					t.Errorf("%d pods took %s, with %d in flight %s; limits %v", pods, took, width, best, limits)
				}
				if most := 6 + pods/300; len(limits) > most {
					t.Errorf("the limit was changed %d times within %d pods: %v", len(limits), pods, limits)
				}
			}
		})
	}
}

// The API server may become slower or faster, and less or more busy with others.
func TestLimiterFollows(t *testing.T) {
	l := newLimiter(DefaultMinInFlight, DefaultMaxInFlight)
	fast := &apiServer{cores: 32, service: 6 * time.Millisecond, wait: 20 * time.Millisecond}
	slow := &apiServer{cores: 1, service: 6 * time.Millisecond, wait: 10 * time.Millisecond}
	for _, s := range []*apiServer{fast, slow, fast, slow} {
		s.free = nil
		_, limits, mean := evictAll(l, s, 20_000)
		if s == fast && mean < 100 || s == slow && mean > 128 {
			t.Errorf("%d in flight at an API server with %d cores: %v", mean, s.cores, limits)
		}
	}
}

func TestLimiterOverload(t *testing.T) {
	l := newLimiter(4, 200)
	var first uint64
	for range l.limit {
		first = l.onSend()
	}
	for number := uint64(1); number <= first; number++ {
		l.onOverload(number)
	}
	if l.limit != firstLimit/2 {
		t.Errorf("%d in flight after one overload", l.limit)
	}
	for range 10 {
		l.onOverload(l.onSend())
	}
	if l.limit != 4 {
		t.Errorf("%d in flight after many, at least 4 are allowed", l.limit)
	}
	limits := []int{l.limit}
	for now := start; l.limit < 128; now = now.Add(50 * time.Millisecond) {
		if now.After(after(60)) {
			t.Fatalf("it does not recover: %v", limits)
		}
		for range l.limit {
			l.onAnswer(l.onSend(), now)
		}
		if last := limits[len(limits)-1]; l.limit != last {
			limits = append(limits, l.limit)
		}
		if len(limits) == 2 && now.Before(start.Add(time.Second)) {
			t.Fatalf("it grows again after %s", now.Sub(start))
		}
	}
	if diff := cmp.Diff([]int{4, 8, 16, 32, 64, 128}, limits); diff != "" {
		t.Error(diff)
	}
}

// While there is not enough to send, the answers say nothing about the limit.
func TestLimiterIdle(t *testing.T) {
	l := newLimiter(4, 200)
	now := start
	for range 10_000 {
		now = now.Add(10 * time.Millisecond)
		l.onAnswer(l.onSend(), now)
		l.onIdle()
	}
	if l.limit != firstLimit {
		t.Errorf("%d in flight", l.limit)
	}
}

func TestLimiterBounds(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		least := 1 + random.IntN(100)
		most := least + random.IntN(400)
		l := newLimiter(least, most)
		now := start
		for range 5000 {
			now = now.Add(time.Duration(random.IntN(20)) * time.Millisecond)
			switch number := l.onSend() - uint64(random.IntN(2)); random.IntN(200) {
			case 0:
				l.onOverload(number)
			case 1:
				l.onIdle()
			default:
				l.onAnswer(number, now)
			}
			if l.limit < least || l.limit > most {
				t.Fatalf("%d in flight, bounds are %d and %d", l.limit, least, most)
			}
		}
	}
}
