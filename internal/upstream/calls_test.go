package upstream

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// A target whose answers break off is ejected as one that gives none; while a stream runs, its call is in flight.
func TestStreamsCount(t *testing.T) {
	next := make(chan struct{}, 100)
	f := newFake(t, func(p *peer) {
		for s := p.request(); s != nil; s = p.request() {
			p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
			<-next
			if s.id == "breaks" {
				return
			}
			p.send("0\r\n\r\n")
		}
	})
	r := newRig(t, several(f.url, f.url)).live()
	all := func() (n int) { return r.Targets()[0].InFlight + r.Targets()[1].InFlight }
	call := func(id string) *pipeline.Memory {
		m := with("POST", id)
		if err := r.Serve(t.Context(), &m.Exchange); err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := call("whole")
	if all() != 1 {
		t.Errorf("%d in flight", all())
	}
	next <- struct{}{}
	if body, err := m.Sent.ReadBody(); string(body) != "a" || err != nil || all() != 0 {
		t.Errorf("%q, %v, %d in flight", body, err, all())
	}
	m = call("left")
	m.Sent.Reset()
	next <- struct{}{}
	if all() != 0 {
		t.Errorf("%d in flight after the client left", all())
	}
	for range 20 {
		m = call("breaks")
		next <- struct{}{}
		if _, err := m.Sent.ReadBody(); err == nil || err == io.EOF {
			t.Fatal("a clean end")
		}
	}
	if !strings.Contains(r.states(), Ejected) || all() != 0 {
		t.Errorf("%s, %d in flight", r.states(), all())
	}
}

// A drained target finishes what runs there, keeps no connection and gets nothing more, in panic neither.
func TestDrain(t *testing.T) {
	first, second := newFake(t, answering(okAnswer)), newFake(t, answering(okAnswer))
	r := newRig(t, several(first.url, second.url)).live()
	r.errors(t, 10)
	address := r.Targets()[0].Address
	if !r.Drain(address, true) || r.Drain("10.9.9.9:1", true) {
		t.Error("drain finds what it should not, or not what it should")
	}
	if info := r.Targets()[0]; info.Open != 0 || info.State != Drained {
		t.Errorf("%+v", info)
	}
	before := len(first.requests())
	r.errors(t, 20)
	r.Drain(r.Targets()[1].Address, true)
	_, err := r.do(with("POST", "x"))
	wantKind(t, err, pipeline.UpstreamOpen)
	if n := len(first.requests()); n != before {
		t.Errorf("%d calls at a drained target", n-before)
	}
	r.Drain(address, false)
	r.errors(t, 10)
	if n := len(first.requests()); n != before+10 {
		t.Errorf("%d calls after it was taken back", n-before)
	}
}

// A dead address on a route whose time-out is shorter than that of a connection is still found out; a call that had no time is
// no proof.
func TestDeadAddressWithAShortDeadline(t *testing.T) {
	silent := newFake(t, func(p *peer) { p.block() })
	for deadline, want := range map[time.Duration]string{120 * time.Millisecond: "ejected up", 20 * time.Millisecond: "up up"} {
		r := newRig(t, several("https://"+silent.ln.Addr().String(), newFake(t, answering(okAnswer)).url)).live()
		for range 10 {
			m := with("POST", "x")
			m.Deadline = time.Now().Add(deadline)
			_, _ = r.do(m)
		}
		r.wantStates(t, want)
	}
}

// Further tries of one request, made by a layer above, go to other targets while there are any; then from the beginning.
func TestFurtherTriesGoElsewhere(t *testing.T) {
	var urls []string
	for range 4 {
		urls = append(urls, newFake(t, answering(okAnswer)).url)
	}
	for _, balance := range []string{"round_robin", "least_request", "ewma", "hash"} {
		cfg := several(urls...)
		cfg.Balance = balance
		r := newRig(t, cfg).live()
		fallback := several(urls[:3]...)
		fallback.Balance = "hash"
		other := newRig(t, fallback).live()
		own := get("x")
		if _, err := other.do(own); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			m, met := get("x"), map[string]int{}
			m.Attempt.Once = true
			for range 8 {
				body, err := r.do(m)
				wantOK(t, body, err)
				met[m.Attempt.Target]++
			}
			for target, n := range met {
				if n != 2 || len(met) != 4 {
					t.Fatalf("%s: %s was called %d times in eight tries: %v", balance, target, n, met)
				}
			}
			m = get("x")
			_, _ = r.do(m)
			body, err := other.do(m) // a fallback: what was tried before was not among its targets
			if wantOK(t, body, err); m.Attempt.Target != own.Attempt.Target {
				t.Fatalf("%s: %s, not the key's own %s", balance, m.Attempt.Target, own.Attempt.Target)
			}
		}
	}
}
