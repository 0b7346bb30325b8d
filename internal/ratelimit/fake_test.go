package ratelimit

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

type fakeRequest struct {
	pipeline.Request
	method string
	length int64
	header map[string]string
}

func (r *fakeRequest) Method() []byte { return []byte(r.method) }

func (r *fakeRequest) Header(name string) []byte {
	for k, v := range r.header {
		if strings.EqualFold(k, name) {
			return []byte(v)
		}
	}
	return nil
}

func (r *fakeRequest) ContentLength() int64 { return r.length }

type fakeResponse struct {
	pipeline.Response
	status int
	header map[string]string
}

func (r *fakeResponse) Status() int { return r.status }

func (r *fakeResponse) Header(name string) []byte {
	if v, ok := r.header[name]; ok {
		return []byte(v)
	}
	return nil
}

func (r *fakeResponse) Del(name string) { delete(r.header, name) }

func (r *fakeResponse) Set(name string, value []byte) { r.header[name] = string(value) }

type claims map[string]string

func (c claims) Claim(name string) (string, bool) { v, ok := c[name]; return v, ok }

// decisions counts what a layer reports.
type decisions struct {
	sync.Mutex
	n map[string]int
}

func (d *decisions) Decision(policy, decision string) {
	d.Lock()
	defer d.Unlock()
	if d.n == nil {
		d.n = map[string]int{}
	}
	d.n[policy+" "+decision]++
}

func newExchange() (*pipeline.Exchange, *fakeRequest, *fakeResponse) {
	req := &fakeRequest{method: "GET", header: map[string]string{}}
	resp := &fakeResponse{status: 200, header: map[string]string{}}
	x := &pipeline.Exchange{}
	x.Begin(req, resp, nil)
	x.ClientIP = netip.MustParseAddr("192.0.2.1")
	x.Peer = netip.MustParseAddrPort("198.51.100.7:4711")
	x.Route = "orders"
	x.Client = pipeline.Client{Identity: "main|u1", Subject: "u1", Claims: claims{"plan": "gold"}}
	return x, req, resp
}

func limit(t testing.TB, name, rate string, cfg Config) *Limit {
	t.Helper()
	if err := cfg.Rate.UnmarshalText([]byte(rate)); err != nil {
		t.Fatal(err)
	}
	if cfg.Cost.Base == 0 {
		cfg.Cost.Base = 1
	}
	p := units.NewProblems()
	if cfg.Validate(p); len(p.List()) > 0 {
		t.Fatalf("config of %s: %v", name, p.List())
	}
	return Compile(name, cfg)
}

// clock is a store's time, set by hand.
type clock struct{ ns int64 }

func (c *clock) advance(d time.Duration) { c.ns += int64(d) }

func newMemory(cfg MemoryConfig) (*Memory, *clock) {
	m, c := NewMemory(cfg), &clock{}
	m.now = func() int64 { return c.ns }
	return m, c
}

// takeOne charges one limit for a key that is made of the limit's name and who.
func takeOne(m *Memory, l *Limit, who string) (Charge, bool) {
	charges := []Charge{charge(l, who)}
	ok, _ := m.Take(context.Background(), charges)
	return charges[0], ok
}

func charge(l *Limit, who string) Charge {
	return Charge{Limit: l, Cost: l.cost, Key: append([]byte(l.name+"\x00"), who...)}
}

// giveBack undoes what was taken.
func giveBack(s Store, charges []Charge) {
	for i := range charges {
		charges[i].Change = charges[i].Cost
	}
	s.Settle(context.Background(), charges)
}
