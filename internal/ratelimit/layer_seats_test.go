package ratelimit

import (
	"context"
	"errors"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

func seatRig(seats Seats, limits ...*Limit) *rig {
	r := &rig{seen: &decisions{}, answer: func(*pipeline.Exchange) error { return nil }}
	r.store, r.now = newMemory(MemoryConfig{})
	r.handler = New(limits, LayerConfig{}, Deps{Store: r.store, Seats: seats, Recorder: r.seen})(r.end())
	return r
}

func inFlight(t *testing.T, n int) *Limit {
	t.Helper()
	return Compile("places", Config{InFlight: n, Cost: Cost{Base: 1}})
}

// Edge cases 34 and 35: a place is held until the last byte of the answer, and left by whatever ends the request.
func TestPlaces(t *testing.T) {
	seats := NewMemorySeats(SeatsConfig{})
	r := seatRig(seats, inFlight(t, 2), limit(t, "x", "1/h", Config{Burst: 9}))
	var running []*pipeline.Exchange
	for range 2 {
		x, _, resp := newExchange()
		if err := r.serve(x); err != nil {
			t.Fatal(err)
		}
		running = append(running, x)
		wantPolicy := `"x";q=9;w=32400, "places";q=2;qu="concurrent-requests"`
		if resp.header["RateLimit-Policy"] != wantPolicy {
			t.Errorf("policy %s", resp.header["RateLimit-Policy"])
		}
	}
	x, _, resp := newExchange()
	if err := r.serve(x); err != pipeline.RateLimited || x.Problem.Policy != "places" || x.Problem.RetryAfter != 1 {
		t.Fatalf("%v, %+v", err, x.Problem)
	}
	if got := resp.header["RateLimit"]; got != `"x";r=7;t=7200, "places";r=0` { // the token was given back
		t.Errorf("RateLimit %s", got)
	}
	x.Finish(pipeline.End{}) // a refused request holds nothing
	if seats.Len() != 1 {
		t.Errorf("%d clients hold places", seats.Len())
	}
	for _, x := range running {
		x.Finish(pipeline.End{})
	}
	if seats.Len() != 0 {
		t.Error("a place was not left")
	}
	if n := r.seen.n["x allowed"]; n != 2 {
		t.Errorf("decisions %v", r.seen.n)
	}
}

func TestPlaceIsLeftAfterPanicAndFailure(t *testing.T) {
	seats := NewMemorySeats(SeatsConfig{})
	r := seatRig(seats, inFlight(t, 1))
	r.answer = func(*pipeline.Exchange) error { panic("below") }
	x, _, _ := newExchange()
	func() {
		defer func() { _ = recover() }()
		r.serve(x)
	}()
	x.Finish(pipeline.End{})
	r.answer = func(*pipeline.Exchange) error { return pipeline.UpstreamTimeout }
	x, _, _ = newExchange()
	if err := r.serve(x); err != pipeline.UpstreamTimeout {
		t.Fatalf("the place was not left: %v", err)
	}
	x.Finish(pipeline.End{})
	if seats.Len() != 0 {
		t.Error("the place was not left")
	}
}

type brokenSeats struct{}

func (brokenSeats) Acquire(context.Context, []Charge) (bool, error) { return false, errors.New("down") }
func (brokenSeats) Release([]Charge)                                {}

func TestBrokenSeatsFailClosed(t *testing.T) {
	for _, seats := range []Seats{brokenSeats{}, nil} {
		r := seatRig(seats, inFlight(t, 1), limit(t, "x", "1/h", Config{Burst: 2}))
		x, _, _ := newExchange()
		if err := r.serve(x); pipeline.KindOf(err) != pipeline.StoreUnavailable || x.Problem.RetryAfter != 1 || r.calls > 0 {
			t.Errorf("%v, %+v, %d calls", err, x.Problem, r.calls)
		}
		if c, _ := takeOne(r.store, limit(t, "other", "1/s", Config{}), "a"); !c.Admitted || r.store.Len() > 2 {
			t.Error("the token was not given back")
		}
	}
}

// What the store refuses takes no place: nobody is asked.
func TestNoPlaceForTheRefused(t *testing.T) {
	seats := NewMemorySeats(SeatsConfig{})
	r := seatRig(seats, inFlight(t, 1), limit(t, "x", "1/h", Config{Burst: 1}))
	x, _, _ := newExchange()
	r.serve(x)
	x.Finish(pipeline.End{})
	x, _, resp := newExchange()
	if err := r.serve(x); err != pipeline.RateLimited || x.Problem.Policy != "x" || resp.header["RateLimit"] != `"x";r=0;t=3600` || seats.Len() > 0 {
		t.Errorf("%v, %+v, %v", err, x.Problem, resp.header)
	}
}

// Edge case 32: a preflight is free. OPTIONS alone is a request like any other.
func TestPreflightIsFree(t *testing.T) {
	r := newRig(false, limit(t, "x", "1/h", Config{Burst: 1}))
	for range 5 {
		x, req, resp := newExchange()
		req.method, req.header["Origin"], req.header["Access-Control-Request-Method"] = "OPTIONS", "https://a.example", "POST"
		if err := r.serve(x); err != nil || len(resp.header) > 0 {
			t.Fatalf("%v, %v", err, resp.header)
		}
	}
	for _, want := range []error{nil, pipeline.RateLimited} {
		x, req, _ := newExchange()
		req.method, req.header["Origin"] = "OPTIONS", "https://a.example"
		if err := r.serve(x); err != want {
			t.Errorf("OPTIONS: %v, want %v", err, want)
		}
	}
}

// Edge case 41: a shadow limit neither refuses, nor is announced, nor takes from or gives to a limit that enforces.
func TestShadowChangesNothing(t *testing.T) {
	with := newRig(false, limit(t, "x", "1/h", Config{Burst: 3}), limit(t, "dark", "1/h", Config{Burst: 1, Mode: "shadow"}))
	without := newRig(false, limit(t, "x", "1/h", Config{Burst: 3}))
	for i := range 6 {
		x, _, a := newExchange()
		errA := with.serve(x)
		x, _, b := newExchange()
		errB := without.serve(x)
		if errA != errB || a.header["RateLimit"] != b.header["RateLimit"] || a.header["RateLimit-Policy"] != b.header["RateLimit-Policy"] {
			t.Errorf("request %d: %v %v, %v %v", i, errA, a.header, errB, b.header)
		}
	}
	if with.seen.n["dark shadow_refused"] != 5 || with.seen.n["x refused"] != 3 {
		t.Errorf("decisions %v", with.seen.n)
	}
}

func TestNearLimit(t *testing.T) {
	r := newRig(false, limit(t, "x", "1/h", Config{Burst: 10}))
	for range 10 {
		x, _, _ := newExchange()
		r.serve(x)
	}
	if n := r.seen.n["x near_limit"]; n != 2 { // those that left one and none
		t.Errorf("decisions %v", r.seen.n)
	}
}
