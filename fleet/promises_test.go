package fleet

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A10: whoever waits as long as Retry-After says is admitted. Each caller has a bucket of its own and changes gateways.
func TestRetryAfterIsHonest(t *testing.T) {
	t.Parallel()
	d := Document{Shared: true, Limits: []Limit{{Name: "two", Rule: Rule{2, 2}, Spec: "rate: 2/s, burst: 2"}, {Name: "slow", Rule: Rule{.4, 2}, Spec: "rate: 2/5s, burst: 2"}}}
	f := Open(t, binary(t), 2, Single(t, false), d)
	var obeyed, admitted atomic.Int64
	var callers sync.WaitGroup
	load := f.Load(1)
	load.Begun, load.Patience = time.Now(), 5*time.Second
	for client := range 24 {
		callers.Go(func() {
			for end := time.Now().Add(6 * time.Second); time.Now().Before(end); {
				r := once(load, Arrival{Gateway: client % 2, Client: client, Route: client / 12})
				if r.Status != 429 {
					continue
				}
				if r.RetryAfter < 1 {
					t.Errorf("429 with Retry-After %d", r.RetryAfter)
					return
				}
				time.Sleep(time.Duration(r.RetryAfter) * time.Second)
				obeyed.Add(1)
				if once(load, Arrival{Gateway: (client + 1) % 2, Client: client, Route: client / 12}).Admitted() {
					admitted.Add(1)
				}
			}
		})
	}
	callers.Wait()
	t.Logf("A10: Retry-After obeyed %d times, %d admitted", obeyed.Load(), admitted.Load())
	if n := obeyed.Load(); n < 24 || float64(admitted.Load()) < .99*float64(n) {
		t.Errorf("Retry-After was obeyed %d times, and only %d were admitted", n, admitted.Load())
	}
}

// once sends one request on a connection of its own.
func once(l Load, a Arrival) Request {
	w := worker{load: &l, address: l.Addresses[a.Gateway], requests: map[[2]int][]byte{}}
	defer w.drop()
	r := Request{Gateway: a.Gateway, Client: a.Client, Route: a.Route, Sent: time.Since(l.Begun)}
	if w.exchange(w.request(a)) == nil {
		r.Status = w.answer.StatusCode()
		w.read(&r)
	}
	r.Done = time.Since(l.Begun)
	return r
}

// T12: 600 of 1000 a day are used when Redis forgets everything. What gateways remember having drawn counts again.
func TestQuotaSurvivesFlushAll(t *testing.T) {
	t.Parallel()
	if left := time.Until(time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)); left < 30*time.Second {
		time.Sleep(left + time.Second) // tomorrow has 1000 of its own
	}
	d := Document{Shared: true, Limits: []Limit{{Name: "day", Rule: Rule{0, 1000}, Spec: "quota: 1000/d"}}}
	f := Open(t, binary(t), 3, Single(t, false), d)
	load := f.Load(Connections(3))
	send := func(n int) (admitted int) {
		arrivals := make([]Arrival, n)
		for i := range arrivals {
			arrivals[i] = Arrival{Due: time.Duration(i) * 3 * time.Millisecond, Gateway: i % 3}
		}
		h := load.Run(within(t, time.Minute), arrivals)
		for status, count := range h.Statuses() {
			if status != 200 && status != 429 {
				t.Errorf("%d answers with status %d", count, status)
			}
		}
		return len(h.Admitted())
	}
	first := send(600)
	if first != 600 {
		t.Errorf("%d of 600 were admitted", first)
	}
	if err := f.Store.Each("FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	second := send(900)
	held := int(Held(Rule{0, 1000}, 3))
	t.Logf("600 used, FLUSHALL, then %d of 900: %d in all of 1000", second, first+second)
	if total := first + second; total > 1000+held || total < 1000-held {
		t.Errorf("%d were admitted in all, 1000 is the quota, %d may be held", total, held)
	}
}

// T16, edge case 19: an edit of a live limit keeps what was used: no reload is a way to a full bucket.
func TestEditOfALimitKeepsItsLevel(t *testing.T) {
	t.Parallel()
	edited := func(burst int) Document {
		return Document{Shared: true, Limits: []Limit{{Name: "edited", Rule: Rule{1. / 3600, 50}, Spec: fmt.Sprintf("rate: 1/1h, burst: %d", burst)}}}
	}
	f := Open(t, binary(t), 2, Single(t, false), edited(50))
	load := f.Load(8)
	took := func(n int) int { return len(load.Run(within(t, time.Second), Burst(0, n, 2, 0, 0)).Admitted()) }
	all := took(60) + took(30) // one that waited too long for Redis is refused
	if all != 50 {
		t.Errorf("%d admitted, wanted 50", all)
	}
	for _, burst := range []int{200, 20, 50} {
		f.Reload(edited(burst))
		all += took(30)
		if all > 50 {
			t.Errorf("burst %d: %d admitted in all after the edit", burst, all)
		}
	}
}

// T37, edge cases 10 and 11: a bucket's name lives in Redis until it is full again, and hardly longer.
func TestNamesLiveUntilTheirBucketIsFull(t *testing.T) {
	t.Parallel()
	d := Document{Shared: true, Limits: []Limit{{Name: "drained", Rule: Rule{.1, 3}, Spec: "rate: 1/10s, burst: 3"}}}
	f := Open(t, binary(t), 2, Single(t, false), d)
	f.Send(within(t, time.Second), Burst(0, 10, 2, 0, 0))
	names, err := f.Store.First().Do("KEYS", "*:b:*")
	if err != nil || len(names.([]any)) != 1 {
		t.Fatalf("buckets in Redis: %v, %v; wanted one", names, err)
	}
	left, err := f.Store.First().Do("PTTL", names.([]any)[0])
	if ms, _ := left.(int64); err != nil || ms < 25_000 || ms > 32_000 {
		t.Errorf("it lives for %v ms, %v; it is full in 30 s", left, err)
	}
	if name := names.([]any)[0].(string); strings.Contains(name, "run1-0") {
		t.Errorf("%s shows who it belongs to", name)
	}
}

// T34, edge cases 34 and 35: a gateway that is killed frees its slots when they expire; one that lives keeps them.
func TestSlotsOfADeadGatewayAreFreed(t *testing.T) {
	t.Parallel()
	d := Document{Shared: true, Limits: []Limit{{Name: "slots", Spec: "in_flight: 4", Path: HoldPath}}}
	f := Open(t, binary(t), 2, Single(t, false), d)
	held, look := f.Load(4), Load{}
	held.Patience = time.Minute
	look = held
	look.Paths, look.Begun = []string{HoldPath + "?now"}, time.Now()
	ended := make(chan History, 2)
	go func() { ended <- held.Run(t.Context(), Burst(0, 4, 1, 0, 0)) }()
	eventually(t, 20*time.Second, "four requests wait", func() bool { return f.Origin.Held.Load() == 4 })
	refused := func(when string) {
		t.Helper()
		for g := range f.Gateways {
			if r := once(look, Arrival{Gateway: g}); r.Status != 429 {
				t.Errorf("%s: a fifth request is answered with %d on gateway %d", when, r.Status, g)
			}
		}
	}
	refused("at once")
	if full() {
		time.Sleep(15 * time.Second)
		refused("after longer than a slot lives")
	}
	f.Gateways[0].Kill()
	killed := time.Now()
	eventually(t, 20*time.Second, "a slot is free", func() bool { return once(look, Arrival{Gateway: 1}).Admitted() })
	t.Logf("T34: slots of a killed gateway were free after %.1f s", time.Since(killed).Seconds())
	go func() {
		ended <- held.Run(t.Context(), []Arrival{{Gateway: 1}, {Gateway: 1}, {Gateway: 1}, {Gateway: 1}})
	}()
	eventually(t, 20*time.Second, "four more wait", func() bool { return f.Origin.Held.Load() == 8 })
	if r := once(look, Arrival{Gateway: 1}); r.Status != 429 {
		t.Errorf("a fifth request is answered with %d", r.Status)
	}
	f.Origin.Release()
	for range 2 {
		<-ended
	}
	eventually(t, 20*time.Second, "all slots are free", func() bool { return once(look, Arrival{Gateway: 1}).Admitted() })
}

func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v until %s", limit, what)
		}
	}
}
