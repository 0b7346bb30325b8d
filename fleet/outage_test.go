package fleet

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/redistest"
)

func alone(t testing.TB) *Store   { return Single(t, false) }
func proxied(t testing.TB) *Store { return Single(t, true) }

// outages are T9 to T11 and T14, and a bucket that is lost.
var outages = []Outage{
	{Name: "kill -9, restart", Open: alone, Total: true, Gift: .5, Lasts: 2500 * time.Millisecond,
		Strike: func(s *Store) { s.First().Kill() }, Mend: func(s *Store) { s.First().Restart() }},
	{Name: "SIGSTOP", Open: alone, Total: true, Lasts: 5 * time.Second, // edge case 16
		Strike: func(s *Store) { s.First().Pause() }, Mend: func(s *Store) { s.First().Resume() }},
	{Name: "SCRIPT FLUSH", Open: alone, Strike: func(s *Store) { _ = s.Each("SCRIPT", "FLUSH") }}, // edge case 15
	{Name: "FLUSHALL", Open: alone, Gift: 1, Strike: func(s *Store) { _ = s.Each("FLUSHALL") }},
	{Name: "partition", Open: proxied, Total: true, Lasts: 5 * time.Second,
		Strike: func(s *Store) { s.Proxy.Stall() }, Mend: func(s *Store) { s.Proxy.Heal() }},
	{Name: "connections refused", Open: proxied, Total: true, Lasts: 3 * time.Second,
		Strike: func(s *Store) { s.Proxy.Cut() }, Mend: func(s *Store) { s.Proxy.Heal() }},
	{Name: "replies lost", Open: proxied, Total: true, Lasts: 3 * time.Second, // edge case 14
		Strike: func(s *Store) { s.Proxy.DropReplies() }, Mend: func(s *Store) { s.Proxy.Heal() }},
	failover("failover", Watched), failover("failover", Sharded),
}

// failover kills a primary; it is over when another one has taken its place.
func failover(name string, open func(testing.TB) *Store) Outage {
	var old *redistest.Server
	return Outage{Name: name, Open: open, Gift: 1, Lasts: time.Millisecond,
		Strike: func(s *Store) { old = s.busiest(); old.Kill() },
		Mend: func(s *Store) {
			if s.Sentinel != nil {
				s.Sentinel.AwaitFailover(old)
			} else {
				s.Cluster.AwaitFailover(old)
			}
		}}
}

// busiest is the primary with the most keys.
func (s *Store) busiest() (most *redistest.Server) {
	keys := int64(-1)
	for _, p := range s.Primaries() {
		if n, err := p.Do("DBSIZE"); err == nil && n.(int64) > keys {
			keys, most = n.(int64), p
		}
	}
	return most
}

// TestOutages has Redis fail under steady load. ONCEGATE_FLEET=full plays every fault, otherwise those of one server that last
// shortest; ONCEGATE_FLEET_OUTAGES names a file for the table.
func TestOutages(t *testing.T) {
	var table bytes.Buffer
	OutageHead(&table)
	for i, o := range outages {
		if !full() && i > 3 {
			break
		}
		t.Run(o.Name, func(t *testing.T) {
			if !full() {
				o.Lasts = min(o.Lasts, 2500*time.Millisecond)
			}
			var store *Store
			var c Course
			fairly(t, o.Name, func(uint64) ([]string, float64) {
				store = o.Open(t)
				c = suffer(t, o, store)
				return o.Misses(c), c.Busy()
			})
			o.Write(&table, store, c)
		})
	}
	t.Logf("\n%s", table.String())
	if path := os.Getenv("ONCEGATE_FLEET_OUTAGES"); path != "" {
		if err := os.WriteFile(path, table.Bytes(), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// suffer plays one outage under load.
func suffer(t *testing.T, o Outage, store *Store) Course {
	t.Helper()
	const before, after, gateways = 2 * time.Second, 4 * time.Second, 3
	f := Open(t, binary(t), gateways, store, Document{Shared: true, Limits: OutageLimits})
	defer f.Stop()
	streams := []Stream{{Route: f.Free(), PerSecond: 100, Clients: []int{0}, For: time.Minute}}
	for i := range OutageLimits {
		streams = append(streams, Stream{Route: i, PerSecond: OutageLoad * OutageRule.Rate, Clients: []int{0}, For: time.Minute})
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	load, got := f.Load(Connections(gateways)), make(chan History, 1)
	load.Begun = time.Now()
	arrivals := Poisson(seed(t), gateways, streams...)
	go func() { got <- load.Run(ctx, arrivals) }()
	time.Sleep(before)
	c := Course{Gateways: gateways, Struck: time.Since(load.Begun)}
	o.Strike(store)
	time.Sleep(o.Lasts)
	if o.Mend != nil {
		o.Mend(store)
	}
	c.Mended = time.Since(load.Begun)
	c.Asked = askedAgain(store, after)
	time.Sleep(time.Until(load.Begun.Add(c.Mended + after)))
	stop()
	c.History = <-got
	return c
}

// askedAgain is how long it takes until Redis runs scripts.
func askedAgain(s *Store, limit time.Duration) time.Duration {
	begun, first := time.Now(), s.Scripts()
	for time.Since(begun) < limit {
		if s.Scripts() > first {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(begun)
}

// The judgement of outages finds each broken promise in a history that is made by hand, and nothing in a good one.
func TestOutageMisses(t *testing.T) {
	o := Outage{Total: true, Lasts: 3 * time.Second}
	for _, c := range []struct {
		name, want string
		spoil      func(r *Request)
	}{
		{"good", "", func(*Request) {}},
		{"an internal error", "status 500", func(r *Request) { r.Status = 500 }},
		{"no answer", "status 0", func(r *Request) { r.Status = 0 }},
		{"waits for Redis", "more than 25ms added", func(r *Request) {
			if during(r) && r.Route != len(OutageLimits) {
				r.Done += 30 * time.Millisecond
			}
		}},
		{"local lets all pass", "local: ", func(r *Request) {
			if during(r) && r.Route == Local {
				r.Status = 200
			}
		}},
		{"local refuses all", "without Redis", func(r *Request) {
			if during(r) && r.Route == Local {
				r.Status = 429
			}
		}},
		{"the burst is there again", "a burst was given again", func(r *Request) {
			if r.Route == Local && r.Sent > 5*time.Second && r.Sent < 5600*time.Millisecond {
				r.Status = 200
			}
		}},
		{"never recovers", "allow: ", func(r *Request) {
			if r.Route == Allow && r.Sent > 5*time.Second {
				r.Status = 200
			}
		}},
		{"allow refuses", "were refused without Redis", func(r *Request) {
			if r.Route == Allow && during(r) {
				r.Status = 429
			}
		}},
		{"deny admits", "deny: ", func(r *Request) {
			if r.Route == Deny && during(r) {
				r.Status = 200
			}
		}},
		{"no Retry-After", "deny: a 503 has Retry-After 0", func(r *Request) { r.RetryAfter = 0 }},
		{"denies for too long", "after Redis was back", func(r *Request) {
			if r.Route == Deny && r.Sent > 7500*time.Millisecond {
				*r = refusedByStore(*r)
			}
		}},
	} {
		h := goodOutage()
		for i := range h {
			c.spoil(&h[i])
		}
		got := strings.Join(o.Misses(Course{History: h, Struck: 2 * time.Second, Mended: 5 * time.Second, Gateways: 3}), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, wanted %q", c.name, got, c.want)
		}
	}
}

func during(r *Request) bool { return r.Sent >= 2*time.Second && r.Sent < 5*time.Second }

func refusedByStore(r Request) Request {
	r.Status, r.RetryAfter, r.StoreDown = 503, 1, true
	return r
}

// goodOutage is nine seconds of 100 requests a second to each route, of which Redis is away from the second to the fifth.
func goodOutage() (h History) {
	for i := range 900 {
		at := time.Duration(i) * 10 * time.Millisecond
		for route := range len(OutageLimits) + 1 {
			r := Request{Due: at, Sent: at, Done: at + time.Millisecond, Route: route, Gateway: i % 3, Status: 429, RetryAfter: 1}
			out := during(&r)
			switch {
			case route == len(OutageLimits), route == Allow && out, i%5 < 2, route != Deny && i < 66:
				r.Status = 200
			}
			if route == Deny && out {
				r = refusedByStore(r)
			}
			h = append(h, r)
		}
	}
	return h
}
